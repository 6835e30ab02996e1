/* The inside of the loader: works and queues. For loader.c and gather.c only. */
#ifndef BUFFERD_WORKS_H
#define BUFFERD_WORKS_H

#include <string.h>

#include "loader.h"
#include "neighbours.h"
#include "pool.h"

struct loader_queue {
    struct loader *loader;     /* borrowed */
    struct loader_work *works; /* waiting; owned */
    unsigned n_waiting;
    unsigned n_running, max_running;  /* batches, each of which holds a worker */
    struct neighbours near;           /* those of the waiting that read a basket */
    struct loader_queue *prev, *next; /* in loader.queues */
};

enum work_state { WORK_WAITING, WORK_RUNNING, WORK_CANCELLED };

struct loader_work {
    enum work_state state;
    struct loader_group *group; /* borrowed; outlives the callback */
    struct loader_queue *queue; /* borrowed: the one it waits in, else NULL */
    struct pool_batch *batch;   /* borrowed: the one it is in while it runs, else NULL */
    loader_done_fn *done;
    void *ctx;     /* borrowed */
    bool is_small; /* on one basket: may share a batch */
    struct neighbour near;
    struct loader_work *prev, *next;
    struct loader_work *group_prev, *group_next;
    size_t n_job_bytes;
    char job[]; /* the first n_job_bytes of a struct job */
};

struct loader {
    struct pool *pool; /* owned */
    struct loader_options options;
    struct loader_queue demand;
    struct loader_queue *queues;   /* borrowed: their makers own them; the next to serve is first */
    struct loader_work *cancelled; /* owned */
    struct pool_batch *batches;    /* the pool's: started and not taken */
    unsigned n_waiting, n_running; /* works */
    bool is_stopping;
};

/* All of a job but what lies behind its path. */
static inline void work_copy_job(struct job *out, const struct loader_work *work) {
    memcpy(out, work->job, work->n_job_bytes);
    if (work->n_job_bytes < sizeof(*out))
        ((char *)out)[work->n_job_bytes] = '\0';
}

/* loader.c: a work leaves its queue for a batch. */
void work_take(struct loader_work *work, struct pool_batch *batch);
/* gather.c: fill the batch, from the first work of the queue on. */
void gather(struct loader_queue *queue, struct pool_batch *batch);

#endif
