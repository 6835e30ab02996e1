/* Waiting jobs sit here and not in the pool, so that order can still change: the demand queue goes
 * first, background queues take turns (who was served goes to the end of the line), each within its
 * bound of running jobs.
 *
 * A work is one submitted job. It is in its group's list until its callback, and in exactly one
 * other: a queue (waiting), `running`, or `cancelled` (its callback is due). Callbacks run only in
 * loader_dispatch and loader_free, one at a time, after the work has left all lists, so a callback
 * may submit, cancel, move, or free the group's owner.
 *
 * Hundreds of thousands of baskets may wait, and a struct job is mostly room for a path that only
 * few have: waiting works keep the used part.
 *
 * Time comes with loader_dispatch. A job is timed from the first dispatch that sees it run, so a
 * stale clock never makes it stuck.
 */
#include "loader.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "pool.h"

#define STUCK_MS 60000
#define GRACE_MS 3000 /* for running jobs at the end */
#define WAIT_MS 50

struct loader_queue {
    struct loader *loader;     /* borrowed */
    struct loader_work *works; /* waiting; owned */
    unsigned n_running, max_running;
    struct loader_queue *prev, *next; /* in loader.queues */
};

enum work_state { WORK_WAITING, WORK_RUNNING, WORK_CANCELLED };

struct loader_work {
    enum work_state state;
    struct loader_group *group; /* borrowed; outlives the callback */
    struct loader_queue *queue; /* borrowed: waits in, or runs on account of; NULL: that is gone */
    loader_done_fn *done;
    void *ctx;           /* borrowed */
    bool is_timed;       /* started_ms is set */
    uint64_t started_ms; /* first dispatch that saw it run */
    struct loader_work *prev, *next;
    struct loader_work *group_prev, *group_next;
    size_t n_job_bytes;
    char job[]; /* the first n_job_bytes of a struct job */
};

struct loader {
    struct pool *pool; /* owned */
    struct loader_options options;
    struct loader_queue demand;
    struct loader_queue *queues; /* borrowed: their makers own them; the next to serve is first */
    struct loader_work *running, *cancelled; /* owned */
    unsigned n_waiting, n_running;
    bool is_stopping;
};

static struct job work_job(const struct loader_work *work) {
    struct job job = {0};
    memcpy(&job, work->job, work->n_job_bytes);
    return job;
}

/* --- from list to list --- */

static void work_wait(struct loader_work *work, struct loader_queue *queue) {
    work->state = WORK_WAITING;
    work->queue = queue;
    DL_APPEND(queue->works, work);
    queue->loader->n_waiting++;
}

static void work_unwait(struct loader_work *work) {
    DL_DELETE(work->queue->works, work);
    work->queue->loader->n_waiting--;
}

static void work_cancel(struct loader *l, struct loader_work *work) {
    work_unwait(work);
    work->state = WORK_CANCELLED;
    work->queue = NULL;
    DL_APPEND(l->cancelled, work);
}

static void work_run(struct loader *l, struct loader_work *work) {
    struct job job = work_job(work);
    work_unwait(work);
    work->state = WORK_RUNNING;
    work->queue->n_running++;
    l->n_running++;
    DL_APPEND(l->running, work);
    pool_start(l->pool, &job, work);
}

/* It has left every list and is gone when its callback runs. */
static void work_finish(struct loader *l, struct loader_work *work, struct job *job,
                        struct job_result *result) {
    loader_done_fn *done = work->done;
    void *ctx = work->ctx;
    if (work->state == WORK_RUNNING) {
        DL_DELETE(l->running, work);
        l->n_running--;
        if (work->queue)
            work->queue->n_running--;
    } else {
        DL_DELETE(l->cancelled, work);
    }
    DL_DELETE2(work->group->works, work, group_prev, group_next);
    work->group->n_works--;
    free(work);
    done(ctx, job, result);
}

/* --- queues and groups --- */

struct loader_queue *loader_demand(struct loader *l) {
    return &l->demand;
}

int loader_queue_new(struct loader_queue **qp, struct loader *l, unsigned max_running) {
    struct loader_queue *q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    *q = (struct loader_queue){.loader = l, .max_running = max_running};
    DL_APPEND(l->queues, q);
    *qp = q;
    return 0;
}

static void queue_cancel(struct loader_queue *q) {
    while (q->works)
        work_cancel(q->loader, q->works);
}

struct loader_queue *loader_queue_free(struct loader_queue *q) {
    struct loader_work *work;
    if (!q)
        return NULL;
    struct loader *l = q->loader;
    if (q->works)
        l->options.wake(l->options.ctx);
    DL_FOREACH (q->works, work) {
        work->group->queue = NULL;
    }
    queue_cancel(q);
    DL_FOREACH (l->running, work) {
        if (work->queue == q)
            work->queue = NULL;
    }
    DL_DELETE(l->queues, q);
    free(q);
    return NULL;
}

void loader_group_init(struct loader_group *g, struct loader *l, struct loader_queue *queue) {
    *g = (struct loader_group){.loader = l, .queue = queue};
}

void loader_group_move(struct loader_group *g, struct loader_queue *queue) {
    struct loader_work *work;
    g->queue = queue;
    DL_FOREACH2 (g->works, work, group_next) {
        if (work->state != WORK_WAITING)
            continue;
        work_unwait(work);
        work_wait(work, queue);
    }
}

void loader_group_cancel(struct loader_group *g) {
    struct loader *l = g->loader;
    struct loader_work *work;
    DL_FOREACH2 (g->works, work, group_next) {
        if (work->state == WORK_WAITING)
            work_cancel(l, work);
    }
    if (l->cancelled)
        l->options.wake(l->options.ctx);
}

/* --- the schedule --- */

static bool queue_is_ready(const struct loader_queue *q) {
    return q->works && (q->max_running == 0 || q->n_running < q->max_running);
}

static struct loader_work *work_next(struct loader *l) {
    struct loader_queue *q;
    if (queue_is_ready(&l->demand))
        return l->demand.works;
    DL_FOREACH (l->queues, q) {
        if (!queue_is_ready(q))
            continue;
        DL_DELETE(l->queues, q);
        DL_APPEND(l->queues, q);
        return q->works;
    }
    return NULL;
}

static void works_start(struct loader *l) {
    struct loader_work *work;
    while (pool_n_idle(l->pool) > 0 && (work = work_next(l)))
        work_run(l, work);
}

int loader_submit(struct loader_group *g, const struct job *job, loader_done_fn *done, void *ctx) {
    size_t n_job_bytes = offsetof(struct job, path) + strnlen(job->path, sizeof(job->path));
    if (g->loader->is_stopping)
        return -ECANCELED;
    assert(g->queue);
    struct loader_work *work = malloc(sizeof(*work) + n_job_bytes);
    if (!work)
        return -ENOMEM;
    *work = (struct loader_work){.group = g, .done = done, .ctx = ctx, .n_job_bytes = n_job_bytes};
    memcpy(work->job, job, n_job_bytes);
    DL_APPEND2(g->works, work, group_prev, group_next);
    g->n_works++;
    work_wait(work, g->queue);
    works_start(g->loader);
    return 0;
}

static void works_collect(struct loader *l) {
    struct job_result result;
    void *token;
    while (pool_next(l->pool, &token, &result)) {
        struct job job = work_job(token);
        if (result.status == -ETIMEDOUT) /* from a network file system; ours means: given up */
            result.status = -EIO;
        work_finish(l, token, &job, &result);
    }
    while (l->cancelled) {
        struct job job = work_job(l->cancelled);
        result = (struct job_result){.status = JOB_E_CANCELLED};
        work_finish(l, l->cancelled, &job, &result);
    }
}

/* Not when it has just finished: its result comes the usual way. */
static void work_give_up(struct loader *l, struct loader_work *work) {
    struct job job = work_job(work);
    struct job_result result = {.status = -ETIMEDOUT};
    strcpy(result.error, "the read hangs; it was given up");
    if (pool_abandon(l->pool, work))
        return;
    job.fd = -1;
    work_finish(l, work, &job, &result);
}

/* The first of the running works that has been so for longer than max_ms. */
static struct loader_work *work_overdue(struct loader *l, uint64_t now_ms, uint64_t max_ms) {
    struct loader_work *work;
    DL_FOREACH (l->running, work) {
        if (!work->is_timed)
            work->started_ms = now_ms;
        work->is_timed = true;
        if (now_ms - work->started_ms > max_ms) {
            work->started_ms = now_ms; /* the next try, should it have just finished */
            return work;
        }
    }
    return NULL;
}

void loader_dispatch(struct loader *l, uint64_t now_ms) {
    struct loader_work *work;
    works_collect(l);
    while ((work = work_overdue(l, now_ms, l->options.stuck_ms)))
        work_give_up(l, work);
    works_start(l);
}

/* --- life --- */

int loader_new(struct loader **lp, const struct loader_options *options) {
    struct loader *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->options = *options;
    l->options.stuck_ms = options->stuck_ms ? options->stuck_ms : STUCK_MS;
    l->demand.loader = l;
    int r = pool_new(&l->pool, options->n_workers, options->tables, options->wake, options->ctx);
    if (r)
        free(l);
    else
        *lp = l;
    return r;
}

struct loader *loader_free(struct loader *l) {
    struct loader_queue *q;
    if (!l)
        return NULL;
    l->is_stopping = true;
    queue_cancel(&l->demand);
    DL_FOREACH (l->queues, q) {
        queue_cancel(q);
    }
    works_collect(l);
    for (int ms = 0; l->running && ms < GRACE_MS;) {
        ms += pool_wait(l->pool, WAIT_MS) ? 0 : WAIT_MS;
        works_collect(l);
    }
    while (l->running) {
        work_give_up(l, l->running);
        works_collect(l);
    }
    assert(!l->queues && !l->cancelled);
    pool_free(l->pool, 0);
    free(l);
    return NULL;
}

void loader_get_stats(const struct loader *l, struct loader_stats *out) {
    *out = (struct loader_stats){
        .n_workers = l->options.n_workers,
        .n_running = l->n_running,
        .n_waiting = l->n_waiting,
        .n_stuck = pool_n_stuck(l->pool),
    };
}
