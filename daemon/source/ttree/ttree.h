/* The TTree reader's functions, for source.c. */
#ifndef BUFFERD_TTREE_H
#define BUFFERD_TTREE_H

#include "../root/file.h"

/* index.c: the index of the tree behind a key; `path` is cleaned and has no cycle.
 * Return: 0, SOURCE_E_*, or negative errno. */
int ttree_describe(const struct source *s, struct codec *codec, struct memory *m,
                   const struct root_key *k, const char *path, struct source_blob *out,
                   char *error);

/* basket.c: the functions of source.h, for baskets of a TTree. */
int ttree_plan(const struct source *s, struct tree_basket *baskets, uint64_t n, char *error);
int ttree_fetch_basket(const struct source *s, struct source_bounce *packed,
                       struct tree_basket *basket, uint64_t *n_readp, char *error);
int ttree_read_ahead(const struct source *s, struct source_bounce *packed, uint64_t off, uint64_t n,
                     char *error);
int ttree_find_basket(const struct source_bounce *packed, struct tree_basket *basket, char *error);
int ttree_unpack_basket(struct codec *codec, const struct source_bounce *packed,
                        const struct tree_basket *basket, uint8_t *dst, char *error);

#endif
