/* Sources: opening, listing, describing; and which reader answers for what.
 *
 * A file holds trees of two kinds. Listing and finding them is ROOT's matter (root/), reading them
 * that of their kind: TTree (ttree/); RNTuples are listed and, for now, refused by name.
 */
#include "source.h"
#include "fault.h"
#include "root/directory.h"
#include "text.h"
#include "ttree/ttree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int source_open(struct source **sp, int fd, const struct io_identity *identity, char *error) {
    CLEANUP(cleanup_free) struct source *s = calloc(1, sizeof(*s));
    if (!s)
        return fault(error, -ENOMEM, "no memory for a source");
    io_init(&s->io, fd, identity);
    int r = root_header_read(s, error);
    if (r)
        return r; /* the descriptor stays the caller's */
    *sp = TAKE_PTR(s);
    return 0;
}

struct source *source_free(struct source *s) {
    if (!s)
        return NULL;
    io_deinit(&s->io);
    free(s);
    return NULL;
}

/* A tree that the walk met. */
struct found {
    uint32_t path, name, class_name, title; /* in the text; name: without the cycle */
    uint16_t cycle;
    bool is_newest;
};

struct listing {
    struct memory *memory; /* borrowed */
    struct text text;
    struct found *trees; /* owned */
    uint64_t n, capacity;
};

static int list_add(struct listing *l, const struct root_key *k, const char *path) {
    char cycle[8];
    struct found f = {.cycle = k->cycle, .is_newest = true};
    const struct str none = {0};
    snprintf(cycle, sizeof(cycle), ";%u", k->cycle);
    int r = text_add(&l->text, &f.path, str_of(path), str_of(cycle), none);
    if (r == 0)
        r = text_add(&l->text, &f.name, str_of(path), none, none);
    if (r == 0)
        r = text_add(&l->text, &f.class_name, k->class_name, none, none);
    if (r == 0)
        r = text_add(&l->text, &f.title, k->title, none, none);
    if (r == 0)
        r = memory_grow(l->memory, (void **)&l->trees, &l->capacity, l->n + 1, sizeof(f));
    if (r == 0)
        l->trees[l->n++] = f;
    return r;
}

static int on_listed(void *ctx, const struct root_key *k, const char *path, char *error) {
    int r = list_add(ctx, k, path);
    return r ? fault(error, r, "the list of trees needs more memory than is allowed") : 0;
}

/* By name, the newest cycle first. */
static int by_name(const void *a, const void *b, void *ctx) {
    const struct listing *l = ctx;
    const struct found *x = &l->trees[*(const uint32_t *)a], *y = &l->trees[*(const uint32_t *)b];
    int order = strcmp(l->text.bytes + x->name, l->text.bytes + y->name);
    if (order)
        return order;
    return x->cycle != y->cycle ? (x->cycle < y->cycle) - (x->cycle > y->cycle) : (x > y) - (x < y);
}

static int newest_mark(struct listing *l) {
    CLEANUP(cleanup_free) uint32_t *order = NULL;
    int r = memory_alloc(l->memory, (void **)&order, l->n * sizeof(*order));
    if (r || l->n == 0)
        return r;
    for (uint32_t i = 0; i < l->n; i++)
        order[i] = i;
    qsort_r(order, l->n, sizeof(*order), by_name, l);
    for (uint64_t i = 1; i < l->n; i++) {
        const struct found *before = &l->trees[order[i - 1]];
        struct found *f = &l->trees[order[i]];
        f->is_newest = strcmp(l->text.bytes + before->name, l->text.bytes + f->name) != 0;
    }
    return 0;
}

static int listing_make(struct listing *l, struct source_blob *out) {
    uint64_t strings_off = 8 + l->n * sizeof(struct source_tree);
    uint64_t n_bytes = strings_off + l->text.n_bytes;
    CLEANUP(cleanup_free) void *blob = NULL;
    int r = memory_alloc(l->memory, &blob, n_bytes);
    if (r)
        return r;
    memcpy(blob, &l->n, 8);
    struct source_tree *t = (void *)((char *)blob + 8);
    for (uint64_t i = 0; i < l->n; i++) {
        const struct found *f = &l->trees[i];
        t[i] = (struct source_tree){.path = strings_off + f->path,
                                    .class_name = strings_off + f->class_name,
                                    .title = strings_off + f->title,
                                    .is_newest = f->is_newest};
    }
    memcpy((char *)blob + strings_off, l->text.bytes, l->text.n_bytes);
    *out = (struct source_blob){.data = TAKE_PTR(blob), .n_bytes = n_bytes};
    return 0;
}

int source_list(const struct source *s, struct codec *codec, struct source_blob *out,
                uint64_t max_bytes, char *error) {
    struct memory m = {.left = max_bytes};
    struct listing l = {.memory = &m};
    (void)codec; /* keys are never compressed */
    error[0] = '\0';
    int r = text_init(&l.text, &m);
    if (r == 0)
        r = directory_walk(s, &m, NULL, on_listed, &l, error);
    if (r == 0)
        r = newest_mark(&l);
    if (r == 0)
        r = listing_make(&l, out);
    text_deinit(&l.text);
    free(l.trees);
    if (r && !error[0])
        fault(error, r, "the list of trees needs more memory than is allowed");
    return r;
}

/* The tree that a path names: its key, with the strings copied out of the walk's memory. */
struct wanted {
    struct root_key key;
    char class_name[64];
    char path[WIRE_MAX_NAME_BYTES]; /* without the cycle */
    bool has_cycle, is_found;
    uint16_t cycle;
};

static int on_wanted(void *ctx, const struct root_key *k, const char *path, char *error) {
    struct wanted *w = ctx;
    if (w->has_cycle ? k->cycle != w->cycle : w->is_found && k->cycle <= w->key.cycle)
        return 0;
    w->is_found = true;
    w->key = *k;
    w->key.name = w->key.title = (struct str){0};
    /* The walk calls for trees alone, so the class is one of a few short names. */
    snprintf(w->class_name, sizeof(w->class_name), "%.*s", (int)MIN(k->class_name.len, 63),
             k->class_name.ptr);
    w->key.class_name = str_of(w->class_name);
    return 0;
}

/* "/dir/Events;1" -> "dir/Events", 1. A ';' without a number after it belongs to the name. */
static bool wanted_parse(struct wanted *w, const char *tree) {
    while (*tree == '/')
        tree++;
    size_t n = strnlen(tree, sizeof(w->path));
    if (n == 0 || n == sizeof(w->path))
        return false;
    memcpy(w->path, tree, n + 1);
    char *semicolon = strrchr(w->path, ';');
    if (!semicolon || semicolon[1] == '\0' ||
        strspn(semicolon + 1, "0123456789") != strlen(semicolon + 1))
        return true;
    unsigned long cycle = strtoul(semicolon + 1, NULL, 10);
    *semicolon = '\0';
    w->has_cycle = true;
    w->cycle = (uint16_t)cycle;
    return cycle <= UINT16_MAX;
}

int source_describe(const struct source *s, struct codec *codec, const char *tree,
                    struct source_blob *out, uint64_t max_bytes, char *error) {
    struct memory m = {.left = max_bytes};
    struct wanted w = {0};
    if (!wanted_parse(&w, tree))
        return fault(error, SOURCE_E_NO_TREE, "no tree has the name \"%.100s\"", tree);
    int r = directory_walk(s, &m, w.path, on_wanted, &w, error);
    if (r)
        return r;
    if (!w.is_found)
        return fault(error, SOURCE_E_NO_TREE, "the file has no tree \"%.100s\"", tree);
    if (!directory_class_is_ttree(w.key.class_name))
        return fault(error, SOURCE_E_UNSUPPORTED, "\"%.100s\" is a %s, which is not read", tree,
                     w.class_name);
    return ttree_describe(s, codec, &m, &w.key, w.path, out, error);
}

int source_plan(const struct source *s, struct tree_basket *baskets, uint64_t n, char *error) {
    return ttree_plan(s, baskets, n, error);
}

int source_fetch_basket(const struct source *s, struct source_bounce *packed,
                        struct tree_basket *basket, uint64_t *n_readp, char *error) {
    return ttree_fetch_basket(s, packed, basket, n_readp, error);
}

int source_read_ahead(const struct source *s, struct source_bounce *packed, uint64_t off,
                      uint64_t n, char *error) {
    return ttree_read_ahead(s, packed, off, n, error);
}

int source_find_basket(const struct source_bounce *packed, struct tree_basket *basket,
                       char *error) {
    return ttree_find_basket(packed, basket, error);
}

int source_unpack_basket(struct codec *codec, const struct source_bounce *packed,
                         const struct tree_basket *basket, uint8_t *dst, char *error) {
    return ttree_unpack_basket(codec, packed, basket, dst, error);
}

int source_bounce_reserve(struct source_bounce *b, size_t n_bytes) {
    if (n_bytes <= b->n_bytes)
        return 0;
    size_t n = round_up(MAX(n_bytes, b->n_bytes + b->n_bytes / 2), 4096);
    uint8_t *data = malloc(n);
    if (!data)
        return -ENOMEM;
    free(b->data);
    *b = (struct source_bounce){.data = data, .n_bytes = n};
    return 0;
}

void source_bounce_deinit(struct source_bounce *b) {
    free(b->data);
    *b = (struct source_bounce){0};
}
