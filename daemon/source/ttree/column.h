/* Decides what a branch is as a column: flat, jagged, or not read natively, and why not. */
#ifndef BUFFERD_TTREE_COLUMN_H
#define BUFFERD_TTREE_COLUMN_H

#include "model.h"

#define COLUMN_TEXT_BYTES 160

struct column {
    uint8_t kind;            /* enum column_kind */
    bool is_counts;          /* COLUMN_COUNTS */
    uint8_t item_type;       /* enum item_type */
    uint32_t n_per_entry;    /* >= 1 */
    uint32_t counter_branch; /* of a jagged one: number */
    char type_name[COLUMN_TEXT_BYTES];
    char reason[COLUMN_TEXT_BYTES]; /* empty unless the kind is COLUMN_NONE */
};

/* By the branch's and its leaf's description alone: what the counter branch is, and whether the
 * baskets are sound, is for the caller. */
void column_describe(struct column *out, const struct model *m, const struct branch *b);

/* Make it COLUMN_NONE. */
void column_refuse(struct column *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
