/* From a branch's three arrays to a basket table without gaps.
 *
 * Normal baskets are those before fWriteBasket that have a place in the file; the entries of each
 * end where the next one's begin. What is missing up to the branch's own number of entries has to
 * be embedded in the tree. Trees end with unused zeros, and the array of entries may be one short:
 * the last basket then goes up to the branch's end, and its key has to agree when it is read.
 */
#include "baskets.h"
#include "../source.h"

#include <errno.h>

void basket_tables_deinit(struct basket_tables *t) {
    free(t->baskets);
    free(t->embedded);
    *t = (struct basket_tables){0};
}

int basket_append(struct basket_tables *t, const struct tree_basket *basket) {
    int r = memory_grow(t->memory, (void **)&t->baskets, &t->baskets_capacity, t->n_baskets + 1,
                        sizeof(*t->baskets));
    if (r == 0)
        t->baskets[t->n_baskets++] = *basket;
    return r;
}

static uint32_t n_normal(const struct branch *b) {
    uint32_t n = 0;
    if (!b->basket_bytes.bytes || !b->basket_entry.bytes || !b->basket_seek.bytes)
        return 0;
    while (n < b->max_baskets && (int64_t)n != b->write_basket &&
           numbers_at(&b->basket_seek, n) != 0)
        n++;
    return n;
}

uint64_t baskets_zip_bytes(const struct branch *b) {
    uint64_t sum = 0;
    for (uint32_t i = 0, n = n_normal(b); i < n; i++) {
        int32_t n_bytes = (int32_t)numbers_at(&b->basket_bytes, i);
        sum += n_bytes > 0 ? (uint32_t)n_bytes : 0;
    }
    return sum;
}

/* Where the entries of basket i - 1 end and those of i begin. */
static uint64_t entry_at(const struct branch *b, uint32_t i) {
    return i < b->max_baskets ? numbers_at(&b->basket_entry, i) : (uint64_t)b->n_entries;
}

static int normal_add(struct basket_tables *t, const struct branch *b, struct column *c,
                      uint64_t file_bytes, uint32_t i) {
    uint64_t seek = numbers_at(&b->basket_seek, i);
    uint32_t stored = (uint32_t)numbers_at(&b->basket_bytes, i);
    uint64_t first = entry_at(b, i), after = entry_at(b, i + 1);
    if (stored > INT32_MAX || stored == 0 || !range_is_inside(seek, stored, file_bytes)) {
        column_refuse(c, "basket %u, %u bytes at byte %llu, lies outside of the file", i, stored,
                      (unsigned long long)seek);
        return 0;
    }
    if (after < first || after - first > INT32_MAX || after > (uint64_t)b->n_entries) {
        column_refuse(c, "basket %u claims entries %lld to %lld of %lld", i, (long long)first,
                      (long long)after, (long long)b->n_entries);
        return 0;
    }
    struct tree_basket basket = {.first_entry = first,
                                 .file_off = seek,
                                 .stored_bytes = stored,
                                 .n_entries = (uint32_t)(after - first)};
    return basket_append(t, &basket);
}

static int baskets_fill(struct basket_tables *t, const struct model *m, const struct branch *b,
                        struct column *c, uint64_t file_bytes) {
    uint32_t n = n_normal(b);
    uint64_t entry = 0;
    if (n > 0 && entry_at(b, 0) != 0)
        column_refuse(c, "its first basket starts at entry %lld", (long long)entry_at(b, 0));
    for (uint32_t i = 0; i < n && c->kind != COLUMN_NONE; i++) {
        int r = normal_add(t, b, c, file_bytes, i);
        if (r)
            return r;
        entry = entry_at(b, i + 1);
    }
    if (c->kind != COLUMN_NONE && entry != (uint64_t)b->n_entries) {
        int r = baskets_add_embedded(t, m, b, c, &entry);
        if (r)
            return r;
    }
    if (c->kind != COLUMN_NONE && entry != (uint64_t)b->n_entries)
        column_refuse(c, "its baskets hold %llu entries, the branch claims %lld",
                      (unsigned long long)entry, (long long)b->n_entries);
    return 0;
}

int baskets_add(struct basket_tables *t, const struct model *m, const struct branch *b,
                struct column *c, uint64_t file_bytes) {
    uint64_t n_baskets = t->n_baskets, n_embedded = t->n_embedded;
    if (b->n_entries < 0) {
        column_refuse(c, "the branch claims %lld entries", (long long)b->n_entries);
        return 0;
    }
    int r = baskets_fill(t, m, b, c, file_bytes);
    if (r == 0 && c->kind == COLUMN_NONE) {
        t->n_baskets = n_baskets;
        t->n_embedded = n_embedded;
    }
    return r;
}
