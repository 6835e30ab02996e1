/* Copies big-endian items into native order. */
#ifndef BUFFERD_SWAP_H
#define BUFFERD_SWAP_H

#include "../../proto/base.h"

/* n_bytes is a multiple of item_bytes, which is 1, 2, 4 or 8. The ranges do not overlap; neither
 * needs to be aligned. */
void swap_copy(void *dst, const void *src, size_t n_bytes, unsigned item_bytes);

#endif
