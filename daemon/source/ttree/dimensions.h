/* The title of a leaf, "name[counter][3][2]", taken apart. */
#ifndef BUFFERD_DIMENSIONS_H
#define BUFFERD_DIMENSIONS_H

#include "../../../proto/base.h"

#define DIMENSIONS_TEXT_BYTES 64
#define DIMENSIONS_MAX_PRODUCT (1u << 24)

struct dimensions {
    bool has_any, has_counter, is_odd;
    bool has_range;                   /* of a Double32_t or Float16_t: "[0,10,8]" */
    uint64_t product;                 /* at most DIMENSIONS_MAX_PRODUCT + 1 */
    char text[DIMENSIONS_TEXT_BYTES]; /* "[3][2]" */
};

struct dimensions dimensions_parse(struct str title);

#endif
