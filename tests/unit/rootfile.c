/* A writer of just enough of ROOT's format to give the reader its cases: no compression of its own,
 * keys of fixed length (their strings are padded by the title), every class written out anew.
 */
#include "rootfile.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#define BEGIN 100
#define NAME_BYTES 60

void put(struct out *o, uint64_t value, unsigned n_bytes) {
    assert(o->n + n_bytes <= sizeof(o->bytes));
    for (unsigned i = 0; i < n_bytes; i++)
        o->bytes[o->n++] = (uint8_t)(value >> 8 * (n_bytes - 1 - i));
}

void put_bytes(struct out *o, const void *p, size_t n) {
    assert(o->n + n <= sizeof(o->bytes));
    if (n > 0)
        memcpy(o->bytes + o->n, p, n);
    o->n += n;
}

void put_string(struct out *o, const char *s) {
    put(o, strlen(s), 1);
    put_bytes(o, s, strlen(s));
}

size_t put_frame(struct out *o, uint16_t version) {
    size_t at = o->n;
    put(o, 0, 4);
    put(o, version, 2);
    return at;
}

static void patch(struct out *o, size_t at, uint64_t value, unsigned n_bytes) {
    size_t n = o->n;
    o->n = at;
    put(o, value, n_bytes);
    o->n = n;
}

void put_end(struct out *o, size_t frame) {
    patch(o, frame, 0x40000000u | (o->n - frame - 4), 4);
}

size_t put_object(struct out *o, const char *class_name) {
    size_t at = o->n;
    put(o, 0, 4);
    put(o, 0xffffffff, 4);
    put_bytes(o, class_name, strlen(class_name) + 1);
    return at;
}

static void put_tobject(struct out *o) {
    put(o, 1, 2);
    put(o, 0, 4);
    put(o, 0x03000000, 4);
}

void put_named(struct out *o, const char *name, const char *title) {
    size_t f = put_frame(o, 1);
    put_tobject(o);
    put_string(o, name);
    put_string(o, title);
    put_end(o, f);
}

void put_array(struct out *o, uint32_t n, size_t *framep) {
    *framep = put_frame(o, 3);
    put_tobject(o);
    put_string(o, "");
    put(o, n, 4);
    put(o, 0, 4);
}

/* ---- files ---- */

static void put_zeros(struct out *o, size_t n) {
    while (n-- > 0)
        put(o, 0, 1);
}

void rootfile_begin(struct rootfile *f, int32_t version) {
    bool is_big = version >= 1000000;
    unsigned seek = is_big ? 8 : 4;
    memset(f, 0, sizeof(*f));
    put_bytes(&f->all, "root", 4);
    put(&f->all, (uint32_t)version, 4);
    put(&f->all, BEGIN, 4);
    put_zeros(&f->all, 2 * seek + 8);
    put(&f->all, NAME_BYTES, 4);
    put(&f->all, 4, 1);
    put(&f->all, 101, 4);
    put_zeros(&f->all, seek + 4);
    put(&f->all, 1, 2);
    put_bytes(&f->all, "0123456789abcdef", 16);
    put_zeros(&f->all, BEGIN + NAME_BYTES - f->all.n);
    f->directory = f->all.n;
    put_zeros(&f->all, 64);
}

/* Up to the title's end the key takes key_bytes less `tail`. */
static void put_key(struct out *o, uint32_t n_bytes, uint32_t obj_bytes, unsigned key_bytes,
                    unsigned tail, uint16_t cycle, uint64_t seek, const char *class_name,
                    const char *name) {
    size_t start = o->n;
    put(o, n_bytes, 4);
    put(o, 1004, 2);
    put(o, obj_bytes, 4);
    put(o, 0, 4);
    put(o, key_bytes, 2);
    put(o, cycle, 2);
    put(o, seek, 8);
    put(o, BEGIN, 8);
    put_string(o, class_name);
    put_string(o, name);
    size_t n_title = key_bytes - tail - (o->n - start) - 1;
    put(o, n_title, 1);
    for (size_t i = 0; i < n_title; i++)
        put(o, 't', 1);
}

void rootfile_basket(struct rootfile *f, struct rootfile_basket *out, const void *stored,
                     uint32_t n_stored, uint32_t raw_bytes, uint32_t border, uint32_t n_entries) {
    const unsigned key_bytes = ROOTFILE_BASKET_KEY_BYTES;
    out->seek = f->all.n;
    out->n_bytes = key_bytes + n_stored;
    put_key(&f->all, out->n_bytes, raw_bytes, key_bytes, 19, 1, f->all.n, "TBasket", "b");
    put(&f->all, 2, 2);
    put(&f->all, 32000, 4);
    put(&f->all, 1000, 4);
    put(&f->all, n_entries, 4);
    put(&f->all, key_bytes + border, 4);
    put(&f->all, 0, 1);
    put_bytes(&f->all, stored, n_stored);
}

void rootfile_embedded(struct out *o, const void *values, uint32_t border, const uint32_t *offsets,
                       uint32_t n_entries, uint8_t flag) {
    const unsigned key_bytes = ROOTFILE_BASKET_KEY_BYTES;
    o->n = 0;
    put_key(o, 0, 0, key_bytes, 19, 1, 0, "TBasket", "b");
    put(o, 2, 2);
    put(o, 32000, 4);
    put(o, 1000, 4);
    put(o, n_entries, 4);
    put(o, key_bytes + border, 4);
    put(o, flag, 1);
    if (offsets)
        put(o, n_entries, 4);
    for (uint32_t i = 0; offsets && i < n_entries; i++)
        put(o, offsets[i] + key_bytes, 4);
    put_zeros(o, key_bytes);
    put_bytes(o, values, border);
}

/* ---- trees ---- */

static void put_leaf(struct out *o, const struct rootfile_leaf *l, const char *name) {
    size_t object = put_object(o, l->class_name), kind = put_frame(o, 1), base = put_frame(o, 2);
    put_named(o, name, l->title);
    put(o, l->len, 4);
    put(o, 4, 4);
    put(o, 0, 4);
    put(o, 0, 1);
    put(o, l->is_unsigned, 1);
    put(o, l->counter_tag, 4);
    put_end(o, base);
    put(o, 0, 8); /* minimum, maximum: skipped by the byte count */
    put_end(o, kind);
    put_end(o, object);
}

static void put_numbers(struct out *o, const struct rootfile_branch *b, unsigned width, int which) {
    put(o, 1, 1);
    for (unsigned i = 0; i <= b->n_baskets; i++) {
        bool is_end = i == b->n_baskets;
        uint64_t end_entry = b->embedded ? b->baskets[i].entry : b->n_entries;
        uint64_t values[] = {is_end ? 0 : b->baskets[i].n_bytes,
                             is_end ? end_entry : b->baskets[i].entry,
                             is_end ? 0 : b->baskets[i].seek};
        put(o, values[which], width);
    }
}

static void put_branch(struct out *o, struct rootfile_branch *b) {
    size_t object = put_object(o, "TBranch"), frame = put_frame(o, 13), array;
    put_named(o, b->name, b->name);
    put_end(o, put_frame(o, 2)); /* TAttFill */
    put(o, 101, 4);
    put(o, 32000, 4);
    put(o, 1000, 4);
    put(o, b->n_baskets, 4);
    put(o, b->n_entries, 8);
    size_t features = put_frame(o, 0);
    put(o, 0x1aa12f10, 4);
    put(o, 0, 1);
    put_end(o, features);
    put(o, 0, 4);
    put(o, b->n_baskets + 1, 4);
    put(o, 0, 4);
    put(o, b->n_entries, 8);
    put_zeros(o, 3 * 8);
    put_array(o, 0, &array);
    put_end(o, array);
    put_array(o, b->n_leaves, &array);
    for (unsigned i = 0; i < b->n_leaves; i++) {
        b->leaf_tag = (uint32_t)o->n + ROOTFILE_TREE_KEY_BYTES + 2;
        put_leaf(o, &b->leaves[i], b->name);
    }
    put_end(o, array);
    put_array(o, b->embedded ? 1 : 0, &array);
    if (b->embedded) {
        size_t basket = put_object(o, "TBasket");
        put_bytes(o, b->embedded->bytes, b->embedded->n);
        put_end(o, basket);
    }
    put_end(o, array);
    put_numbers(o, b, 4, 0);
    put_numbers(o, b, 8, 1);
    put_numbers(o, b, 8, 2);
    put_string(o, "");
    put_end(o, frame);
    put_end(o, object);
}

void rootfile_tree(struct out *o, uint16_t version, uint64_t n_entries,
                   struct rootfile_branch *branches, unsigned n_branches) {
    size_t frame, array;
    o->n = 0;
    frame = put_frame(o, version);
    put_named(o, "tree", "a title");
    for (int i = 0; i < 3; i++)
        put_end(o, put_frame(o, 2));
    put(o, n_entries, 8);
    put_zeros(o, 4 * 8 + 8 + 3 * 4 + 4 + 4 + 6 * 8); /* version 19 */
    put(o, 0, 1);
    put(o, 0, 1);
    if (version >= 20)
        put_end(o, put_frame(o, 1));
    put_array(o, n_branches, &array);
    for (unsigned i = 0; i < n_branches; i++) {
        struct rootfile_branch *b = &branches[i];
        for (unsigned k = 0; k < b->n_leaves; k++)
            if (b->leaves[k].counter_tag == 1) /* stands for: the first branch's leaf */
                b->leaves[k].counter_tag = branches[0].leaf_tag;
        put_branch(o, b);
    }
    put_end(o, array);
    put_end(o, frame);
}

/* ---- directories ---- */

void rootfile_object(struct rootfile *f, const char *class_name, const char *name, uint16_t cycle,
                     const void *stored, uint32_t n_stored, uint32_t obj_bytes) {
    const unsigned key_bytes = ROOTFILE_TREE_KEY_BYTES;
    uint64_t seek = f->all.n;
    for (int i = 0; i < 2; i++)
        put_key(i ? &f->keys : &f->all, key_bytes + n_stored, obj_bytes, key_bytes, 0, cycle, seek,
                class_name, name);
    f->n_keys++;
    put_bytes(&f->all, stored, n_stored);
}

static void put_record(struct out *o, uint64_t keys_off, uint32_t keys_bytes) {
    put(o, 1005, 2);
    put(o, 0, 8);
    put(o, keys_bytes, 4);
    put(o, NAME_BYTES, 4);
    put(o, BEGIN, 8);
    put(o, 0, 8);
    put(o, keys_off, 8);
}

void rootfile_subdirectory(struct rootfile *f, const char *name, uint64_t keys_off,
                           uint32_t keys_bytes) {
    struct out *record = calloc(1, sizeof(*record));
    put_record(record, keys_off, keys_bytes);
    rootfile_object(f, "TDirectory", name, 1, record->bytes, (uint32_t)record->n,
                    (uint32_t)record->n);
    free(record);
}

uint64_t rootfile_keys(struct rootfile *f, uint32_t *n_bytesp) {
    const unsigned key_bytes = ROOTFILE_TREE_KEY_BYTES;
    uint64_t at = f->all.n;
    *n_bytesp = (uint32_t)(key_bytes + 4 + f->keys.n);
    put_key(&f->all, *n_bytesp, (uint32_t)f->keys.n + 4, key_bytes, 0, 1, at, "TFile", "f");
    put(&f->all, f->n_keys, 4);
    put_bytes(&f->all, f->keys.bytes, f->keys.n);
    f->keys.n = f->n_keys = 0;
    return at;
}

int rootfile_end(struct rootfile *f) {
    uint32_t n_bytes;
    uint64_t at = rootfile_keys(f, &n_bytes);
    size_t n = f->all.n;
    f->all.n = f->directory;
    put_record(&f->all, at, n_bytes);
    f->all.n = n;
    int fd = memfd_create("rootfile", MFD_CLOEXEC);
    ssize_t written = write(fd, f->all.bytes, n);
    assert(fd >= 0 && written == (ssize_t)n);
    return fd;
}
