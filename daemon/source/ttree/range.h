/* The range of a Double32_t or Float16_t: "[low, high, bits]" in a title. */
#ifndef BUFFERD_RANGE_H
#define BUFFERD_RANGE_H

#include "../../../proto/tree_index.h"

struct range {
    uint8_t coding; /* enum column_coding */
    uint8_t n_bits;
    double low, step;
};

/* No range is one as well. False: what it means cannot be told. */
bool range_parse(struct range *out, struct str title, bool is_double);

#endif
