/* Checks a tree index and finds columns and baskets in it.
 *
 * The daemon makes the blob and its clients map it, read-only, from a file that only the daemon can
 * write. It is checked all the same: a client must not crash because a daemon of another version
 * lays it out otherwise. After tree_index_check() every offset, string, counter and basket range in
 * the blob can be followed without a further look, which is what the rest of the code does.
 *
 * A published blob is cut after n_public_bytes: embedded bytes are bounded against the blob's own
 * length, and who reads them has to hold the whole of it.
 */
#include "tree_index.h"
#include "wire.h"

#include <string.h>

static bool table_is_inside(uint64_t off, uint64_t n, uint64_t item_bytes, uint64_t size) {
    uint64_t n_bytes;
    return off % 8 == 0 && !MUL_OVERFLOW(n, item_bytes, &n_bytes) &&
           range_is_inside(off, n_bytes, size);
}

static bool layout_is_good(const struct tree_index *x, uint64_t n_bytes) {
    if (n_bytes < sizeof(*x) || (uintptr_t)x % 8 != 0)
        return false;
    if (x->magic != TREE_INDEX_MAGIC || x->version != TREE_INDEX_VERSION)
        return false;
    if (x->n_public_bytes < sizeof(*x) || x->n_public_bytes > x->n_bytes)
        return false;
    if (n_bytes != x->n_bytes && n_bytes != x->n_public_bytes)
        return false;
    return table_is_inside(x->columns_off, x->n_columns, sizeof(struct tree_column),
                           x->n_public_bytes) &&
           table_is_inside(x->baskets_off, x->n_baskets, sizeof(struct tree_basket),
                           x->n_public_bytes) &&
           range_is_inside(x->strings_off, x->strings_bytes, x->n_public_bytes) &&
           range_is_inside(x->embedded_off, x->embedded_bytes, x->n_bytes) &&
           (x->embedded_bytes == 0 || x->embedded_off >= x->n_public_bytes);
}

/* The table begins with "" and ends with a NUL, so every offset inside starts a string. */
static bool strings_are_good(const struct tree_index *x) {
    const char *s = (const char *)x + x->strings_off;
    return x->strings_bytes > 0 && s[0] == '\0' && s[x->strings_bytes - 1] == '\0' &&
           x->path < x->strings_bytes && x->title < x->strings_bytes;
}

static bool basket_is_good(const struct tree_index *x, const struct tree_basket *b) {
    if (b->border_bytes > b->raw_bytes)
        return false;
    if (!(b->flags & BASKET_EMBEDDED))
        return b->is_embedded == 0;
    return b->is_embedded == 1 && (b->flags & BASKET_PLANNED) && b->key_bytes == 0 &&
           b->stored_bytes == b->raw_bytes &&
           range_is_inside(b->file_off, b->raw_bytes, x->embedded_bytes);
}

/* Baskets follow each other without gaps, from entry 0 to the branch's last one. */
static bool baskets_are_good(const struct tree_index *x, const struct tree_column *c) {
    if (!range_is_inside(c->first_basket, c->n_baskets, x->n_baskets))
        return false;
    const struct tree_basket *b = tree_index_baskets(x) + c->first_basket;
    uint64_t entry = 0;
    for (uint64_t i = 0; i < c->n_baskets; i++) {
        if (b[i].first_entry != entry || !basket_is_good(x, &b[i]) ||
            ADD_OVERFLOW(entry, b[i].n_entries, &entry))
            return false;
    }
    return c->kind == COLUMN_NONE || entry == c->n_entries;
}

/* A counter is a flat column of one integer in each entry. */
static bool counter_is_good(const struct tree_index *x, const struct tree_column *c) {
    if (c->kind != COLUMN_JAGGED)
        return c->counter == 0;
    if (c->counter == 0 || c->counter > x->n_columns)
        return false;
    const struct tree_column *counter = tree_index_columns(x) + c->counter - 1;
    return counter->kind == COLUMN_FLAT && counter->n_per_entry == 1 &&
           counter->layout.coding == CODING_PLAIN && counter->item_type >= ITEM_I1 &&
           counter->item_type <= ITEM_U8;
}

static unsigned stored_item_bytes(const struct tree_column *c) {
    static const uint8_t sizes[] = {[CODING_FLOAT] = 4, [CODING_RANGE] = 4, [CODING_TRUNCATED] = 3};
    return c->layout.coding == CODING_PLAIN ? item_bytes(c->item_type) : sizes[c->layout.coding];
}

static bool levels_are_good(const struct column_layout *l) {
    for (unsigned i = 0; i < l->n_levels; i++) {
        bool is_inner = i + 1u == l->n_levels;
        if (l->levels[i] < LEVEL_COUNT || l->levels[i] > LEVEL_STRING ||
            (l->levels[i] == LEVEL_REST && i > 0) || (l->levels[i] == LEVEL_STRING && !is_inner))
            return false;
    }
    return l->header_bytes == 0 || l->header_bytes == 1 || l->header_bytes == 6;
}

bool tree_column_check_layout(const struct tree_column *c) {
    const struct column_layout *l = &c->layout;
    bool is_float = c->item_type == ITEM_F4 || c->item_type == ITEM_F8;
    if (l->coding > CODING_TRUNCATED || l->n_levels > COLUMN_MAX_LEVELS || l->n_bits > 32 ||
        (l->coding != CODING_PLAIN && (!is_float || l->unit_bytes == 0)) ||
        (l->coding == CODING_TRUNCATED && l->n_bits > 23))
        return false;
    if (c->kind != COLUMN_LISTS && (l->n_levels > 0 || l->header_bytes > 0))
        return false;
    if (l->unit_bytes == 0)
        return l->member_off == 0 && l->flags == 0 && levels_are_good(l);
    return (!(l->flags & LAYOUT_FRAMED) || l->unit_bytes > 10) &&
           range_is_inside(l->member_off, (uint64_t)c->n_per_entry * stored_item_bytes(c),
                           l->unit_bytes) &&
           levels_are_good(l);
}

static bool column_is_good(const struct tree_index *x, const struct tree_column *c) {
    return c->name < x->strings_bytes && c->title < x->strings_bytes &&
           c->class_name < x->strings_bytes && c->type_name < x->strings_bytes &&
           c->reason < x->strings_bytes && c->parent <= x->n_columns && c->n_per_entry >= 1 &&
           c->kind <= COLUMN_LISTS && c->item_type < N_ITEM_TYPES && counter_is_good(x, c) &&
           (!(c->flags & COLUMN_MEMBER) || c->parent > 0) && tree_column_check_layout(c) &&
           baskets_are_good(x, c);
}

bool tree_index_check(const struct tree_index *index, uint64_t n_bytes) {
    if (!layout_is_good(index, n_bytes) || !strings_are_good(index))
        return false;
    const struct tree_column *c = tree_index_columns(index);
    for (uint32_t i = 0; i < index->n_columns; i++)
        if (!column_is_good(index, &c[i]))
            return false;
    return true;
}

static bool text_is(const char *text, struct str s) {
    return strncmp(text, s.ptr, s.len) == 0 && text[s.len] == '\0';
}

int64_t tree_index_find(const struct tree_index *x, struct str name) {
    const struct tree_column *c = tree_index_columns(x);
    if (name.len == 0 || memchr(name.ptr, '\0', name.len))
        return -1;
    int64_t bare = -1;
    for (uint32_t i = 0; i < x->n_columns; i++) {
        const char *path = tree_index_string(x, c[i].name);
        if (text_is(path, name))
            return i;
        const char *slash = strrchr(path, '/');
        if (bare < 0 && slash && text_is(slash + 1, name))
            bare = i;
    }
    return bare;
}

/* The first basket of the column whose entries end after `entry`. */
static uint64_t basket_after(const struct tree_basket *b, uint64_t n, uint64_t entry) {
    uint64_t low = 0, high = n;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (b[mid].first_entry + b[mid].n_entries > entry)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

void tree_index_span(const struct tree_index *x, const struct tree_column *c, uint64_t start,
                     uint64_t stop, uint64_t *firstp, uint64_t *lastp) {
    const struct tree_basket *b = tree_index_baskets(x) + c->first_basket;
    uint64_t first = basket_after(b, c->n_baskets, start), last = first;
    if (start < stop) {
        last = basket_after(b, c->n_baskets, stop - 1);
        last = last < c->n_baskets ? last + 1 : last;
    }
    *firstp = c->first_basket + first;
    *lastp = c->first_basket + MAX(first, last);
}
