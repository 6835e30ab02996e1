/* Items as they are stored in a basket, and as they are in a buffer. */
#ifndef BUFFERD_ITEMS_H
#define BUFFERD_ITEMS_H

#include "../../proto/tree_index.h"

struct items {
    uint64_t unit_bytes;     /* stored bytes of a unit: n_per_unit items, maybe among others */
    uint64_t out_unit_bytes; /* what they become in the buffer */
    uint64_t n_per_unit;
    unsigned item_bytes; /* in the buffer */
    struct column_layout layout;
    bool is_plain; /* units are nothing but their items, and these are only swapped */
    bool is_double;
};

/* n_per_unit >= 1; the layout has passed tree_index_check(). */
struct items items_of(unsigned item_type, uint64_t n_per_unit, const struct column_layout *layout);

/* n_units from `in`, n_units * unit_bytes, to `out`, n_units * out_unit_bytes. False: a framed unit
 * is no object of the announced size; part of `out` may be written then. */
bool items_write(const struct items *x, uint8_t *out, const uint8_t *in, uint64_t n_units);

#endif
