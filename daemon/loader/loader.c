/* Waiting jobs sit here and not in the pool, so that order can still change: the demand queue goes
 * first, background queues take turns (who was served goes to the end of the line), each within its
 * bound of batches in the pool.
 *
 * A work is one submitted job. It is in its group's list until its callback, and in exactly one
 * other place: a queue (waiting), a batch (running), or `cancelled` (its callback is due). Callbacks
 * run only in loader_dispatch and loader_free, one at a time, after the work has left all lists, so
 * a callback may submit, cancel, move, or free the group's owner.
 *
 * The pool keeps a few batches ready, for workers that are done. Those have not begun, so they are
 * taken back when a demand comes that finds no room, and when one of their jobs is moved or
 * cancelled.
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

#include "works.h"

#define STUCK_MS 60000
#define GRACE_MS 3000 /* for running jobs at the end */
#define WAIT_MS 50

/* --- from list to list --- */

static void work_enter(struct loader_work *work, struct loader_queue *queue) {
    work->state = WORK_WAITING;
    work->queue = queue;
    work->batch = NULL;
    queue->n_waiting++;
    queue->loader->n_waiting++;
    if (work->near.n_bytes > 0)
        neighbours_add(&queue->near, &work->near);
}

static void work_wait(struct loader_work *work, struct loader_queue *queue) {
    DL_APPEND(queue->works, work);
    work_enter(work, queue);
}

/* It waited there before. */
static void work_wait_again(struct loader_work *work, struct loader_queue *queue) {
    DL_PREPEND(queue->works, work);
    work_enter(work, queue);
}

static void work_unwait(struct loader_work *work) {
    struct loader_queue *q = work->queue;
    DL_DELETE(q->works, work);
    neighbours_remove(&q->near, &work->near);
    q->n_waiting--;
    q->loader->n_waiting--;
    work->queue = NULL;
}

void work_take(struct loader_work *work, struct pool_batch *batch) {
    work->queue->loader->n_running++;
    work_unwait(work);
    work->state = WORK_RUNNING;
    work->batch = batch;
}

static void work_cancel(struct loader *l, struct loader_work *work) {
    work_unwait(work);
    work->state = WORK_CANCELLED;
    DL_APPEND(l->cancelled, work);
}

/* It has left every list and is gone when its callback runs. */
static void work_finish(struct loader *l, struct loader_work *work, struct job *job,
                        struct job_result *result) {
    loader_done_fn *done = work->done;
    void *ctx = work->ctx;
    if (work->state == WORK_RUNNING)
        l->n_running--;
    else
        DL_DELETE(l->cancelled, work);
    DL_DELETE2(work->group->works, work, group_prev, group_next);
    work->group->n_works--;
    free(work);
    done(ctx, job, result);
}

/* --- batches --- */

static void batch_leave(struct loader *l, struct pool_batch *batch) {
    struct loader_queue *q = batch->account;
    DL_DELETE2(l->batches, batch, all_prev, all_next);
    if (q)
        q->n_running--;
}

/* Works that have not begun wait again, before those that came later. Without a queue (it was freed
 * meanwhile) they are cancelled. */
static void tasks_wait_again(struct loader *l, struct pool_batch *batch, unsigned first) {
    for (unsigned i = batch->n; i > first; i--) {
        struct loader_work *work = batch->tasks[i - 1].token;
        struct loader_queue *q = work->group->queue;
        l->n_running--;
        work_wait_again(work, q ? q : &l->demand);
        if (!q || l->is_stopping)
            work_cancel(l, work);
    }
}

/* Take back what has not begun: this batch, or NULL: the last of the background ones. */
static bool batch_recall(struct loader *l, struct pool_batch *batch) {
    batch = pool_take_back(l->pool, batch);
    if (!batch)
        return false;
    batch_leave(l, batch);
    tasks_wait_again(l, batch, 0);
    pool_give_back(l->pool, batch);
    return true;
}

/* So that the group's works which have not begun can be moved or cancelled. */
static void group_recall(struct loader_group *g) {
    struct loader_work *work;
    DL_FOREACH2 (g->works, work, group_next) {
        if (work->batch)
            batch_recall(g->loader, work->batch);
    }
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

static struct loader_group *tasks_group(const struct pool_batch *batch, unsigned i) {
    const struct loader_work *work = batch->tasks[i].token;
    return work->group;
}

/* None of its batches is in the pool on its account any more; what has not begun waits again. Nor does a
 * group of running works name it: they may run on another queue's account. */
static void queue_recall(struct loader_queue *q) {
    struct pool_batch *batch, *next;
    DL_FOREACH_SAFE2 (q->loader->batches, batch, next, all_next) {
        if (batch->account == q && batch_recall(q->loader, batch))
            continue;
        if (batch->account == q)
            batch->account = NULL;
        for (unsigned i = 0; i < batch->n; i++) {
            struct loader_group *g = tasks_group(batch, i);
            if (g->queue == q)
                g->queue = NULL;
        }
    }
}

struct loader_queue *loader_queue_free(struct loader_queue *q) {
    struct loader_work *work;
    if (!q)
        return NULL;
    struct loader *l = q->loader;
    queue_recall(q);
    if (q->works)
        l->options.wake(l->options.ctx);
    DL_FOREACH (q->works, work) {
        work->group->queue = NULL;
    }
    queue_cancel(q);
    DL_DELETE(l->queues, q);
    free(q);
    return NULL;
}

void loader_group_init(struct loader_group *g, struct loader *l, struct loader_queue *queue) {
    *g = (struct loader_group){.loader = l, .queue = queue};
}

void loader_group_move(struct loader_group *g, struct loader_queue *queue) {
    struct loader_work *work;
    group_recall(g);
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
    group_recall(g);
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

/* The queue whose turn it is; NULL: nothing may start. */
static struct loader_queue *queue_next(struct loader *l) {
    struct loader_queue *q;
    if (queue_is_ready(&l->demand))
        return &l->demand;
    DL_FOREACH (l->queues, q) {
        if (!queue_is_ready(q))
            continue;
        DL_DELETE(l->queues, q);
        DL_APPEND(l->queues, q);
        return q;
    }
    return NULL;
}

static bool batch_start(struct loader *l, struct loader_queue *q) {
    struct pool_batch *batch = pool_batch(l->pool);
    if (!batch)
        return false; /* at the next dispatch */
    gather(q, batch);
    batch->account = q;
    q->n_running++;
    DL_APPEND2(l->batches, batch, all_prev, all_next);
    pool_start(l->pool, batch, q == &l->demand);
    return true;
}

static void works_start(struct loader *l) {
    struct loader_queue *q;
    while (l->demand.works && pool_room(l->pool) == 0 && batch_recall(l, NULL))
        ;
    while (pool_room(l->pool) > 0 && (q = queue_next(l)) && batch_start(l, q))
        ;
}

/* What a job reads of its file, if it is on a basket that is there. */
static void work_set_place(struct loader_work *work, const struct job *job) {
    bool reads = job->kind == JOB_DECODE || job->kind == JOB_EDGE;
    work->is_small = reads || job->kind == JOB_COPY || job->kind == JOB_CUT;
    work->near.source = job->source;
    work->near.start = job->file_off;
    if (reads && !(job->basket_flags & BASKET_EMBEDDED))
        work->near.n_bytes = job->stored_bytes;
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
    work_set_place(work, job);
    DL_APPEND2(g->works, work, group_prev, group_next);
    g->n_works++;
    work_wait(work, g->queue);
    works_start(g->loader);
    return 0;
}

/* Callbacks of the first n tasks, which are done. */
static void tasks_finish(struct loader *l, struct pool_batch *batch, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct pool_task *task = &batch->tasks[i];
        if (task->result.status ==
            -ETIMEDOUT) /* from a network file system; ours means: given up */
            task->result.status = -EIO;
        work_finish(l, task->token, &task->job, &task->result);
    }
}

static void works_collect(struct loader *l) {
    struct pool_batch *batch;
    while ((batch = pool_next(l->pool))) {
        batch_leave(l, batch);
        works_start(l); /* before the callbacks, so that no worker waits for them */
        tasks_finish(l, batch, batch->n);
        pool_give_back(l->pool, batch);
    }
    while (l->cancelled) {
        struct job job;
        struct job_result result = {.status = JOB_E_CANCELLED};
        work_copy_job(&job, l->cancelled);
        work_finish(l, l->cancelled, &job, &result);
    }
}

/* Not when it has just finished: its result comes the usual way. The batch goes with its thread. */
static void batch_give_up(struct loader *l, struct pool_batch *batch) {
    struct pool_batch *copy = pool_abandon(l->pool, batch);
    if (!copy)
        return;
    struct loader_queue *q = copy->account;
    DL_DELETE2(l->batches, batch, all_prev, all_next);
    if (q)
        q->n_running--;
    tasks_wait_again(l, copy, copy->n_done + 1);
    tasks_finish(l, copy, copy->n_done);
    struct pool_task *task = &copy->tasks[copy->n_done];
    struct job_result result = {.status = -ETIMEDOUT};
    strcpy(result.error, "the read hangs; it was given up");
    task->job.fd = -1;
    work_finish(l, task->token, &task->job, &result);
    pool_give_back(l->pool, copy);
}

/* The first of the running batches whose job has been so for longer than max_ms. */
static struct pool_batch *batch_overdue(struct loader *l, uint64_t now_ms, uint64_t max_ms) {
    struct pool_batch *batch;
    DL_FOREACH2 (l->batches, batch, all_next) {
        unsigned n_done;
        if (!pool_progress(l->pool, batch, &n_done))
            continue;
        if (batch->seen_done != n_done + 1)
            batch->seen_ms = now_ms;
        batch->seen_done = n_done + 1;
        if (now_ms - batch->seen_ms > max_ms) {
            batch->seen_ms = now_ms; /* the next try, should it have just finished */
            return batch;
        }
    }
    return NULL;
}

void loader_dispatch(struct loader *l, uint64_t now_ms) {
    struct pool_batch *batch;
    works_collect(l);
    while ((batch = batch_overdue(l, now_ms, l->options.stuck_ms)))
        batch_give_up(l, batch);
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

static void batches_recall(struct loader *l) {
    struct pool_batch *batch, *next;
    DL_FOREACH_SAFE2 (l->batches, batch, next, all_next) {
        batch_recall(l, batch);
    }
}

struct loader *loader_free(struct loader *l) {
    struct loader_queue *q;
    if (!l)
        return NULL;
    l->is_stopping = true;
    batches_recall(l);
    queue_cancel(&l->demand);
    DL_FOREACH (l->queues, q) {
        queue_cancel(q);
    }
    works_collect(l);
    for (int ms = 0; l->batches && ms < GRACE_MS;) {
        ms += pool_wait(l->pool, WAIT_MS) ? 0 : WAIT_MS;
        works_collect(l);
    }
    while (l->batches) {
        batch_give_up(l, l->batches);
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
