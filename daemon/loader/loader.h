/* The schedule of the loads: queues of jobs on the loop, a pool of workers behind them.
 *
 * Loop thread only. The pool (pool.h) gets batches of jobs (gather.c) and holds twice as many as it
 * has threads at most, of which those that have not begun can be taken back: so whatever waits can
 * be overtaken by a demand, and cancelled at no cost.
 */
#ifndef BUFFERD_LOADER_H
#define BUFFERD_LOADER_H

#include "assemble.h"
#include "job.h"

struct loader;

/* Jobs wait in queues. The demand queue is served first, then the others in turn (round-robin). */
struct loader_queue;

/* The jobs of one load: they wait in one queue and move or go together. Embedded in its owner,
 * zero-initialised by loader_group_init(). */
struct loader_group {
    struct loader *loader;      /* borrowed */
    struct loader_queue *queue; /* borrowed; where new jobs of the group wait */
    struct loader_work *works;  /* owned by the loader: waiting and running jobs */
    unsigned n_works;
};

/* On the loop, once per submitted job, in the order of completion. The result's blob and source are
 * the callback's. A cancelled job that never ran has the status JOB_E_CANCELLED. A job that was
 * given up has -ETIMEDOUT, which no other has (a read that fails so is -EIO): its thread may still
 * read its source and write its range, so neither is freed or used again; `fd` is -1 then, because
 * the thread keeps the descriptor. */
typedef void loader_done_fn(void *ctx, const struct job *job, struct job_result *result);

struct loader_options {
    unsigned n_workers;              /* >= 1 */
    const struct job_tables *tables; /* borrowed */
    /* On a worker, which holds a lock, or on the loop: it may only wake the loop, because
     * loader_dispatch() has something to do. */
    void (*wake)(void *ctx);
    void *ctx;
    uint64_t stuck_ms; /* a job that runs longer is given up and its thread replaced; 0: 60000 */
};

int loader_new(struct loader **lp, const struct loader_options *options);
/* Waits at most a few seconds for running jobs; waiting ones are cancelled; all callbacks run.
 * Background queues are freed before, or by these callbacks. */
struct loader *loader_free(struct loader *l);

/* The demand queue; always there. */
struct loader_queue *loader_demand(struct loader *l);
/* A queue of background jobs that may hold at most max_running workers at once (0: no bound). */
int loader_queue_new(struct loader_queue **qp, struct loader *l, unsigned max_running);
/* Jobs that still wait there are cancelled; their groups have no queue then and submit nothing
 * before loader_group_move. */
struct loader_queue *loader_queue_free(struct loader_queue *q);

void loader_group_init(struct loader_group *g, struct loader *l, struct loader_queue *queue);
/* Copy the job and queue it at the end of the group's queue. Return: 0, -ENOMEM, or
 * -ECANCELED while the loader is being freed. */
int loader_submit(struct loader_group *g, const struct job *job, loader_done_fn *done, void *ctx);
/* Move the group's waiting jobs, and those it will submit, to another queue. */
void loader_group_move(struct loader_group *g, struct loader_queue *queue);
/* Drop the group's waiting jobs; their callbacks run with JOB_E_CANCELLED in the next
 * loader_dispatch(). Running jobs end as they do. */
void loader_group_cancel(struct loader_group *g);

/* On the loop, after a wake and once a second: completions, then the next jobs. now_ms: monotonic.
 */
void loader_dispatch(struct loader *l, uint64_t now_ms);

struct loader_stats {
    unsigned n_workers;
    unsigned n_running; /* jobs in the pool */
    unsigned n_waiting;
    unsigned n_stuck; /* threads given up that have not ended yet */
};
void loader_get_stats(const struct loader *l, struct loader_stats *out);

#endif
