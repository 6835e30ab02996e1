/* Makes the basket table of one branch for the index. */
#ifndef BUFFERD_TTREE_BASKETS_H
#define BUFFERD_TTREE_BASKETS_H

#include "../../../proto/tree_index.h"
#include "column.h"

/* All baskets of a tree, and the payloads of embedded ones. */
struct basket_tables {
    struct memory *memory;       /* borrowed */
    struct tree_basket *baskets; /* owned */
    uint64_t n_baskets, baskets_capacity;
    uint8_t *embedded; /* owned */
    uint64_t n_embedded, embedded_capacity;
};
void basket_tables_deinit(struct basket_tables *t);

/* Append the branch's baskets; when they cannot be right the column is refused and nothing is
 * appended. Return: 0, SOURCE_E_TOO_LARGE, or -ENOMEM. */
int baskets_add(struct basket_tables *t, const struct model *m, const struct branch *b,
                struct column *c, uint64_t file_bytes);

/* Compressed bytes of the branch's baskets, as the tree says. */
uint64_t baskets_zip_bytes(const struct branch *b);

/* embedded.c: append the baskets in fBaskets, whose first entry is `entry`; refuses like
 * baskets_add(). *entryp: the entry after the last one. */
int baskets_add_embedded(struct basket_tables *t, const struct model *m, const struct branch *b,
                         struct column *c, uint64_t *entryp);
int basket_append(struct basket_tables *t, const struct tree_basket *basket);

#endif
