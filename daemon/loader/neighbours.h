/* Which waiting basket lies next in its file? An index of waiting jobs by position. Loop thread
 * only. */
#ifndef BUFFERD_NEIGHBOURS_H
#define BUFFERD_NEIGHBOURS_H

#include "../../proto/base.h"

#define NEIGHBOURS_GAP_BYTES (64u << 10) /* what one read may skip */
#define NEIGHBOURS_HEADS 1024

/* Embedded in its owner. */
struct neighbour {
    struct neighbour *prev, *next;
    uint32_t source;
    uint64_t start, n_bytes; /* in the file */
    bool is_listed;
};

struct neighbours {
    struct neighbour *heads[NEIGHBOURS_HEADS]; /* borrowed lists */
};

void neighbours_add(struct neighbours *ns, struct neighbour *n);
/* One that is not listed is left alone. */
void neighbours_remove(struct neighbours *ns, struct neighbour *n);
/* The first that starts in [from, from + NEIGHBOURS_GAP_BYTES] of the source; NULL: none. */
struct neighbour *neighbours_next(const struct neighbours *ns, uint32_t source, uint64_t from);

#endif
