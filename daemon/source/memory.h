/* Bounded memory: what a reader may allocate while it makes one answer. */
#ifndef BUFFERD_MEMORY_H
#define BUFFERD_MEMORY_H

#include "../../proto/base.h"

struct memory {
    uint64_t left; /* bytes that may still be allocated */
};

/* Charge n bytes without allocating. Return: 0 or SOURCE_E_TOO_LARGE (without a text). */
int memory_charge(struct memory *m, uint64_t n_bytes);

/* Allocate, at least one byte; the caller frees with free(). What was charged stays charged.
 * Return: 0, SOURCE_E_TOO_LARGE, or -ENOMEM. */
int memory_alloc(struct memory *m, void **pp, uint64_t n_bytes);

/* Make room for n items in a growing array. Return: as memory_alloc(). */
int memory_grow(struct memory *m, void **pp, uint64_t *capacityp, uint64_t n, size_t item_bytes);

#endif
