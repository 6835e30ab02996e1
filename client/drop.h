/* The pages of the arena that this process has mapped, and gives back. */
#ifndef BUFFERD_DROP_H
#define BUFFERD_DROP_H

#include "session.h"

#define DROP_HUGE_PAGE (2ull << 20)
#define DROP_UNIT (64ull << 10) /* without huge pages */

/* Bytes of the arena. */
struct drop_range {
    uint64_t start, stop;
};

/* The pages that a buffer's bytes lie on; empty when that is no part of the arena. */
struct drop_range drop_range_of(const struct bufferd *b, uint64_t offset, uint64_t n_bytes);
/* Sorts the ranges. What is read there again is mapped again. */
void drop_ranges(const struct bufferd *b, struct drop_range *ranges, size_t n);

#endif
