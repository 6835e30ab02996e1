/* Baskets that were not full when the tree was written: they lie uncompressed inside the tree.
 *
 * Such a basket is a key header, then a table of entry offsets if the last byte of the header says
 * so, then a second copy of the header, then the values; it is no framed object
 * (TBasket::Streamer). It is copied into the index in the shape of a basket on disk with a key of
 * no bytes: values, then count and offsets, so that one piece of code reads both.
 */
#include "baskets.h"
#include "../source.h"
#include "../text.h"

#include <string.h>

#define FLAG_MAY_GENERATE 80 /* offsets can be made from the counter */
#define FLAG_WITH_OFFSETS 11
#define FLAG_WITHOUT_OFFSETS 12
#define KEY_TAIL_BYTES 9 /* i4 fNevBuf, i4 fLast, u1 flag end the key */
#define KEY_FIXED_BYTES 18

struct embedded {
    uint16_t key_bytes;
    uint32_t n_entries, border;
    bool has_offsets;
    const uint8_t *offsets; /* big-endian, n_entries of them, each plus key_bytes */
    const uint8_t *values;
};

static void header_read(struct cursor *c, struct embedded *e) {
    uint64_t start = c->pos;
    cursor_skip(c, 4 + 2 + 4 + 4); /* fNbytes, version, fObjlen, fDatime */
    e->key_bytes = cursor_u2(c);
    if (!c->has_failed && (e->key_bytes < KEY_FIXED_BYTES + KEY_TAIL_BYTES || e->key_bytes > 32767))
        cursor_fail(c, "an embedded basket with a key of %u bytes", e->key_bytes);
    if (c->has_failed)
        return;
    cursor_seek(c, start + e->key_bytes - KEY_TAIL_BYTES);
    e->n_entries = cursor_u4(c);
    uint32_t last = cursor_u4(c);
    uint8_t flag = cursor_u1(c);
    flag = flag >= FLAG_MAY_GENERATE ? flag - FLAG_MAY_GENERATE : flag;
    e->has_offsets = flag == FLAG_WITH_OFFSETS;
    if (flag != FLAG_WITH_OFFSETS && flag != FLAG_WITHOUT_OFFSETS)
        cursor_fail(c, "an embedded basket with flag %u", flag);
    else if (e->n_entries > INT32_MAX || last > INT32_MAX || last < e->key_bytes)
        cursor_fail(c, "an embedded basket of %u entries that ends at %u", e->n_entries, last);
    e->border = last - e->key_bytes;
}

static void embedded_read(struct cursor *c, struct embedded *e) {
    *e = (struct embedded){0};
    header_read(c, e);
    if (e->has_offsets && e->n_entries > 0) {
        uint32_t n = cursor_u4(c);
        if (!c->has_failed && n != e->n_entries)
            cursor_fail(c, "an embedded basket of %u entries with %u offsets", e->n_entries, n);
        e->offsets = cursor_bytes(c, 4 * (uint64_t)e->n_entries);
    }
    cursor_skip(c, e->key_bytes);
    e->values = cursor_bytes(c, e->border);
}

static void put_be4(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Offsets lose the key's bytes; what is before the values becomes -1, which the reader refuses. */
static void table_write(uint8_t *p, const struct embedded *e) {
    put_be4(p, e->n_entries + 1);
    for (uint32_t i = 0; i < e->n_entries; i++) {
        uint32_t off = be4(e->offsets + 4 * (uint64_t)i);
        put_be4(p + 4 + 4 * (uint64_t)i, off >= e->key_bytes ? off - e->key_bytes : UINT32_MAX);
    }
    put_be4(p + 4 + 4 * (uint64_t)e->n_entries, e->border);
}

static int embedded_append(struct basket_tables *t, const struct embedded *e, uint64_t entry) {
    uint64_t table_bytes = e->offsets ? 8 + 4 * (uint64_t)e->n_entries : 0;
    uint64_t raw_bytes = e->border + table_bytes;
    if (raw_bytes > SOURCE_MAX_BASKET_BYTES)
        return SOURCE_E_TOO_LARGE;
    int r = memory_grow(t->memory, (void **)&t->embedded, &t->embedded_capacity,
                        t->n_embedded + raw_bytes, 1);
    if (r)
        return r;
    struct tree_basket basket = {.first_entry = entry,
                                 .file_off = t->n_embedded,
                                 .stored_bytes = (uint32_t)raw_bytes,
                                 .raw_bytes = (uint32_t)raw_bytes,
                                 .border_bytes = e->border,
                                 .n_entries = e->n_entries,
                                 .is_embedded = 1,
                                 .flags = BASKET_EMBEDDED | BASKET_PLANNED};
    if (e->offsets)
        basket.flags |= BASKET_HAS_OFFSETS;
    uint8_t *p = t->embedded + t->n_embedded;
    if (e->border > 0)
        memcpy(p, e->values, e->border);
    if (e->offsets)
        table_write(p + e->border, e);
    t->n_embedded += raw_bytes;
    return basket_append(t, &basket);
}

static int element_add(struct basket_tables *t, struct cursor *c, const struct any *a,
                       uint64_t *entryp) {
    struct embedded e;
    if (a->kind != ANY_OBJECT)
        return 0;
    /* A class seen in another list only, which was skipped, is nameless: nothing but baskets is
     * stored in such lists. */
    if (a->class_name.len > 0 && !str_is(a->class_name, "TBasket")) {
        cursor_fail(c, "a %.*s among the baskets", (int)MIN(a->class_name.len, 64),
                    a->class_name.ptr);
        return 0;
    }
    embedded_read(c, &e);
    if (c->has_failed || e.n_entries == 0)
        return 0;
    int r = embedded_append(t, &e, *entryp);
    *entryp += e.n_entries;
    return r;
}

int baskets_add_embedded(struct basket_tables *t, const struct model *m, const struct branch *b,
                         struct column *c, uint64_t *entryp) {
    char error[SOURCE_ERROR_BYTES];
    struct cursor cursor = m->cursor;
    cursor.error = error;
    cursor.n_bytes = b->embedded_end;
    cursor.pos = b->embedded_pos;
    /* A list of its own: positions before the end of what was read would not sort into the tree's.
     */
    struct references refs = {.memory = t->memory, .tag_offset = m->references.tag_offset};
    struct frame f;
    uint32_t n = tobjarray_enter(&cursor, &f);
    int r = 0;
    for (uint32_t i = 0; i < n && r == 0 && !cursor.has_failed; i++) {
        struct any a = any_enter(&refs, &cursor);
        if (!cursor.has_failed)
            r = element_add(t, &cursor, &a, entryp);
        any_leave(&cursor, &a);
    }
    if (r == 0)
        r = refs.status;
    references_deinit(&refs);
    if (r == 0 && cursor.has_failed)
        column_refuse(c, "%s", error);
    return r;
}
