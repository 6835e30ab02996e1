/* The arena's helper thread: populates pages and punches holes, one task after the other.
 *
 * Tasks run in the order in which they were put and come back in that order. The arena relies on
 * it: a range that is to be punched may be promised to somebody else at once, as long as its
 * population is put behind.
 */
#ifndef BUFFERD_FILLER_H
#define BUFFERD_FILLER_H

#include "backing.h"

enum filler_kind {
    FILLER_POPULATE, /* all or nothing: what was populated before a failure is punched again */
    FILLER_PUNCH,
    FILLER_FENCE, /* does nothing; comes back when all before it have */
};

/* Embedded in its owner; not touched by the owner between filler_put and filler_take. */
struct filler_task {
    enum filler_kind kind;
    uint64_t off, n_bytes; /* whole units */
    int status;            /* out: 0, -ENOMEM (no headroom), or another negative errno */
    struct filler_task *prev, *next;
};

struct filler;

/* `wake(ctx)` runs on the helper after each task. system_root: as in memory.h. Return: 0 or
 * negative errno. */
int filler_new(struct filler **fp, const struct backing *backing, const char *system_root,
               void (*wake)(void *ctx), void *ctx);
/* Stops after the chunk in hand (tens of milliseconds); every task that is left comes back through
 * `drop`. */
struct filler *filler_free(struct filler *f, void (*drop)(struct filler_task *task));

void filler_put(struct filler *f, struct filler_task *task);
/* The next finished task; NULL: none. */
struct filler_task *filler_take(struct filler *f);

#endif
