/* The worker threads: a job goes in, a result comes out. Knows neither queues nor priorities. */
#ifndef BUFFERD_POOL_H
#define BUFFERD_POOL_H

#include "assemble.h"

struct pool;

/* `wake(ctx)` is called on a worker, which holds the pool's lock, when a result waits: it may only
 * wake the loop. Return: 0 or negative errno. */
int pool_new(struct pool **pp, unsigned n_threads, const struct job_tables *tables,
             void (*wake)(void *ctx), void *ctx);
/* Idle threads are joined, busy ones get grace_ms and are abandoned then: the tables outlive those.
 */
struct pool *pool_free(struct pool *p, unsigned grace_ms);

/* Start a job on an idle thread; the caller never submits more than there are. `token` comes back
 * with the result. */
void pool_start(struct pool *p, const struct job *job, void *token);
unsigned pool_n_idle(const struct pool *p);
/* The next finished job. False: none. */
bool pool_next(struct pool *p, void **tokenp, struct job_result *out);
/* Wait on the loop until a result waits, at most so long. True: one does. */
bool pool_wait(struct pool *p, unsigned timeout_ms);
/* Give up the thread that runs the job of `token`, start another one (now, or when one can be had);
 * the job's result will never come. What it may still read or write (its range, its source, the
 * tables) stays reserved by the caller; the descriptor of a JOB_OPEN is the thread's from here on.
 * Return: 0, or -ENOENT when it has just finished. */
int pool_abandon(struct pool *p, void *token);
/* Given up and not ended yet. */
unsigned pool_n_stuck(struct pool *p);

#endif
