/* What is remembered of things that have gone: two numbers each, by id, for a while.
 *
 * One slot for each hash: a newer one takes the place of an older. Loop thread only.
 */
#ifndef BUFFERD_GHOST_H
#define BUFFERD_GHOST_H

#include "../../proto/base.h"

struct ghost {
    uint64_t id; /* 0: the slot is empty */
    uint64_t when, gap_ms;
};

struct ghosts {
    struct ghost *slots; /* owned */
    uint64_t n_slots;    /* a power of two */
};

/* Room for about n. Return: 0 or -ENOMEM. */
int ghosts_init(struct ghosts *g, uint64_t n);
void ghosts_deinit(struct ghosts *g);

void ghosts_put(struct ghosts *g, const struct ghost *ghost);
/* Take it out. False: it is not remembered. */
bool ghosts_take(struct ghosts *g, uint64_t id, struct ghost *out);

#endif
