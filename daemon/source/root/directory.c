/* The walk over a file's directories (io/doc/TFile/tdirectory.md, keyslist.md).
 *
 * A hostile file may nest directories without end or let them contain each other: the depth is
 * bounded, every list of keys is visited once, and the bytes of all lists are charged to the
 * caller's memory although each is freed on the way. A directory's name may hold a '/', as may a
 * tree's, so paths are compared as text and never split.
 */
#include "directory.h"
#include "../../../proto/wire.h"
#include "../fault.h"
#include "../text.h"
#include "object.h"

#include <stdio.h>
#include <string.h>

#define HAS_WIDE_SEEKS 1000
#define RECORD_MAX_BYTES 42
#define CYCLE_MAX_BYTES 7 /* ";65535" and the NUL */
#define MAX_DIRECTORIES 4096

struct walk {
    const struct source *source;
    struct memory *memory;
    const char *only;
    directory_tree_fn *on_tree;
    void *ctx;
    char *error;
    char path[WIRE_MAX_NAME_BYTES];
    uint64_t visited[MAX_DIRECTORIES]; /* where their lists of keys are */
    unsigned n_visited, depth;
};

struct record { /* of a directory */
    uint64_t keys_off;
    uint32_t keys_bytes;
};

bool directory_class_is_ttree(struct str c) {
    return str_is(c, "TTree") || str_is(c, "TNtuple") || str_is(c, "TNtupleD");
}

bool directory_class_is_rntuple(struct str c) {
    return str_is(c, "ROOT::RNTuple") || str_is(c, "ROOT::Experimental::RNTuple");
}

static int record_read(struct walk *w, struct record *out, uint64_t off) {
    uint8_t bytes[RECORD_MAX_BYTES];
    uint64_t size = w->source->io.identity.n_bytes;
    uint64_t n = off < size ? MIN(size - off, sizeof(bytes)) : 0;
    int r = root_read(w->source, bytes, n, off, w->error);
    if (r)
        return r;
    struct cursor c = {
        .data = bytes, .n_bytes = n, .what = "a directory", .origin = off, .error = w->error};
    int16_t version = cursor_i2(&c);
    cursor_skip(&c, 8); /* dates */
    int32_t keys_bytes = cursor_i4(&c);
    cursor_skip(&c, 4); /* fNbytesName */
    bool is_wide = version > HAS_WIDE_SEEKS;
    cursor_skip(&c, is_wide ? 16 : 8); /* fSeekDir, fSeekParent */
    out->keys_off = is_wide ? cursor_u8(&c) : cursor_u4(&c);
    out->keys_bytes = (uint32_t)keys_bytes;
    if (keys_bytes < 0)
        cursor_fail(&c, "a list of keys of %d bytes", keys_bytes);
    return c.has_failed ? SOURCE_E_CORRUPT : 0;
}

/* Append a cleaned name. False: it does not fit. */
static bool path_append(struct walk *w, size_t n_path, struct str name) {
    if (name.len >= sizeof(w->path) - CYCLE_MAX_BYTES - n_path)
        return false;
    text_clean(w->path + n_path, name);
    w->path[n_path + name.len] = '\0';
    return true;
}

static int directory_visit(struct walk *w, uint64_t off, size_t n_path);

static int subdirectory_visit(struct walk *w, const struct root_key *k, size_t n_path) {
    size_t n = n_path + k->name.len;
    if (n + 2 > sizeof(w->path) - CYCLE_MAX_BYTES)
        return 0;
    w->path[n] = '/';
    w->path[n + 1] = '\0';
    if (w->only && strncmp(w->only, w->path, n + 1) != 0)
        return 0;
    uint64_t off;
    if (ADD_OVERFLOW(k->seek, (uint64_t)k->key_bytes, &off))
        return fault(w->error, SOURCE_E_CORRUPT, "directory %s lies outside of the file", w->path);
    int r = directory_visit(w, off, n + 1);
    w->path[n_path] = '\0';
    return r;
}

static int key_visit(struct walk *w, const struct root_key *k, size_t n_path) {
    if (!path_append(w, n_path, k->name))
        return 0;
    if (str_is(k->class_name, "TDirectory") || str_is(k->class_name, "TDirectoryFile"))
        return subdirectory_visit(w, k, n_path);
    if (!directory_class_is_ttree(k->class_name) && !directory_class_is_rntuple(k->class_name))
        return 0;
    if (w->only && strcmp(w->only, w->path) != 0)
        return 0;
    return w->on_tree(w->ctx, k, w->path, w->error);
}

static int keys_visit(struct walk *w, const struct record *rec, const uint8_t *bytes,
                      size_t n_path) {
    struct cursor c = {.data = bytes,
                       .n_bytes = rec->keys_bytes,
                       .what = "a list of keys",
                       .origin = rec->keys_off,
                       .error = w->error};
    struct root_key k;
    root_key_read(&c, &k);
    if (!c.has_failed)
        cursor_seek(&c, k.key_bytes);
    uint32_t n = cursor_u4(&c);
    for (uint32_t i = 0; i < n && !c.has_failed; i++) {
        root_key_read(&c, &k);
        int r = c.has_failed ? 0 : key_visit(w, &k, n_path);
        if (r)
            return r;
    }
    return c.has_failed ? SOURCE_E_CORRUPT : 0;
}

/* True the first time. */
static bool visit_begin(struct walk *w, uint64_t keys_off) {
    for (unsigned i = 0; i < w->n_visited; i++)
        if (w->visited[i] == keys_off)
            return false;
    w->visited[w->n_visited++] = keys_off;
    return true;
}

static int directory_read(struct walk *w, const struct record *rec, size_t n_path) {
    CLEANUP(cleanup_free) void *bytes = NULL;
    if (!range_is_inside(rec->keys_off, rec->keys_bytes, w->source->io.identity.n_bytes))
        return fault(w->error, SOURCE_E_CORRUPT,
                     "the list of keys, %u bytes at byte %llu, lies outside of the file",
                     rec->keys_bytes, (unsigned long long)rec->keys_off);
    int r = memory_alloc(w->memory, &bytes, rec->keys_bytes);
    if (r)
        return fault(w->error, r, "no memory for a list of keys of %u bytes", rec->keys_bytes);
    r = root_read(w->source, bytes, rec->keys_bytes, rec->keys_off, w->error);
    if (r == 0)
        r = keys_visit(w, rec, bytes, n_path);
    return r;
}

static int directory_visit(struct walk *w, uint64_t off, size_t n_path) {
    struct record rec;
    if (w->depth >= OBJECT_MAX_DEPTH)
        return fault(w->error, SOURCE_E_CORRUPT, "directories are nested deeper than %d",
                     OBJECT_MAX_DEPTH);
    int r = record_read(w, &rec, off);
    if (r || rec.keys_off == 0)
        return r;
    if (w->n_visited == MAX_DIRECTORIES)
        return fault(w->error, SOURCE_E_TOO_LARGE, "more than %d directories", MAX_DIRECTORIES);
    if (!visit_begin(w, rec.keys_off))
        return 0;
    w->depth++;
    r = directory_read(w, &rec, n_path);
    w->depth--;
    return r;
}

int directory_walk(const struct source *s, struct memory *m, const char *only,
                   directory_tree_fn *on_tree, void *ctx, char *error) {
    CLEANUP(cleanup_free) void *room = NULL;
    int r = memory_alloc(m, &room, sizeof(struct walk));
    if (r)
        return fault(error, r, "no memory for a walk over the directories");
    struct walk *w = room;
    *w = (struct walk){
        .source = s, .memory = m, .only = only, .on_tree = on_tree, .ctx = ctx, .error = error};
    return directory_visit(w, s->directory_off, 0);
}
