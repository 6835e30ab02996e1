/* The worker threads: batches of jobs go in, results come out. Knows neither queues nor priorities,
 * but that a demand goes before what is not one.
 *
 * A batch is a few jobs that one thread runs one after the other, so that the hand-over and the two
 * wake-ups that it takes are paid once for all of them. As many batches again as there are threads
 * may wait here, so that a thread which is done goes on at once; what has not begun can be taken
 * back. All functions are the loop's.
 */
#ifndef BUFFERD_POOL_H
#define BUFFERD_POOL_H

#include "assemble.h"

#define POOL_MAX_TASKS 64 /* of a batch */

struct pool;

struct pool_task {
    struct job job; /* what lies behind a shorter path is not set */
    struct job_result result;
    void *token; /* borrowed */
};

struct pool_batch {
    struct pool_batch *prev, *next; /* where it is: waiting, finished or spare */
    unsigned n;
    unsigned n_done; /* in order; once it has been given up: the one that hangs */
    bool is_demand;
    bool is_begun;
    void *account;                          /* the caller's */
    struct pool_batch *all_prev, *all_next; /* the caller's */
    uint64_t seen_ms;                       /* the caller's: since when seen_done has not changed */
    unsigned seen_done;
    struct pool_task tasks[POOL_MAX_TASKS];
};

/* `wake(ctx)` is called on a worker, which holds the pool's lock, when a result waits: it may only
 * wake the loop. Return: 0 or negative errno. */
int pool_new(struct pool **pp, unsigned n_threads, const struct job_tables *tables,
             void (*wake)(void *ctx), void *ctx);
/* What waits is dropped. Idle threads are joined, busy ones get grace_ms and are abandoned then: the
 * tables outlive those. */
struct pool *pool_free(struct pool *p, unsigned grace_ms);

/* An empty batch to be filled and started; NULL without memory. */
struct pool_batch *pool_batch(struct pool *p);
/* How many more batches may be started now. */
unsigned pool_room(const struct pool *p);
/* Start a batch (n > 0), now or as soon as a thread is free. The caller has looked for room. */
void pool_start(struct pool *p, struct pool_batch *batch, bool is_demand);
/* A batch that has not begun: this one, or with NULL the last that is no demand. It is the caller's
 * again, to be given back. NULL: there is none, or it has begun. */
struct pool_batch *pool_take_back(struct pool *p, struct pool_batch *batch);
/* The next finished batch, all of whose tasks have results; to be given back. NULL: none. */
struct pool_batch *pool_next(struct pool *p);
void pool_give_back(struct pool *p, struct pool_batch *batch);

/* Wait until a result waits, at most so long. True: one does. */
bool pool_wait(struct pool *p, unsigned timeout_ms);
/* How many tasks are done of a batch that runs. False: it does not (any more, or yet). */
bool pool_progress(struct pool *p, const struct pool_batch *batch, unsigned *n_donep);
/* Give up the thread that runs the batch, start another one (now, or when one can be had). The batch
 * is the thread's from here on; the caller gets a copy, to be given back, of which n_done tasks have
 * results, the next one hangs, and those behind it have not begun and never will. What the hanging
 * one may still read or write (its range, its source, the tables) stays reserved by the caller; the
 * descriptor of a JOB_OPEN is the thread's.
 * Return: the copy; NULL when it does not run, or without memory. */
struct pool_batch *pool_abandon(struct pool *p, struct pool_batch *batch);
/* Given up and not ended yet. */
unsigned pool_n_stuck(struct pool *p);

#endif
