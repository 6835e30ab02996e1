/* A line of units, some free: best fit with neighbours, metadata elsewhere.
 *
 * Knows no memory and no unit size: the arena's pages and the key heap's 16-byte units both use it.
 * Not safe for threads.
 */
#ifndef BUFFERD_SPACE_H
#define BUFFERD_SPACE_H

#include "../../proto/base.h"

enum { SPACE_E_FULL = 1 }; /* no free range of that size */

struct space;

/* All n_units (> 0) are free. Return: 0 or -ENOMEM. */
int space_new(struct space **sp, uint64_t n_units);
struct space *space_free(struct space *s);

/* The smallest free range that holds n units (> 0), the lowest one of equals; its start is taken.
 * Return: 0, SPACE_E_FULL, or -ENOMEM. */
int space_alloc(struct space *s, uint64_t *offp, uint64_t n);
/* Take these units, which must all be free. Cannot fail with room for one range more. Return: 0 or
 * -ENOMEM. */
int space_take(struct space *s, uint64_t off, uint64_t n);
/* Joins its free neighbours. Room is kept for every range that came from space_alloc; who gives
 * back other pieces calls space_reserve before. */
void space_give_back(struct space *s, uint64_t off, uint64_t n);
/* Room for so many free ranges in all. Return: 0 or -ENOMEM. */
int space_reserve(struct space *s, uint64_t n_ranges);

uint64_t space_n_free(const struct space *s);   /* units */
uint64_t space_n_ranges(const struct space *s); /* free ranges */
uint64_t space_largest(const struct space *s);  /* units of the largest free range */
/* The first free range that ends after `from`; walk with from = off + n. False: none. */
bool space_next(const struct space *s, uint64_t from, uint64_t *offp, uint64_t *np);

#endif
