/* Our own threads, because libuv's pool knows no priorities, cannot give up a thread that hangs in
 * the kernel (a silent FUSE server, a dead NFS one), and joins it at exit.
 *
 * The loop fills a batch and puts it into the waiting ones; a free thread takes the first, runs its
 * tasks one by one and appends the batch to the finished ones, where the loop takes it. Each list is
 * under the lock, and so is the step from task to task, because the loop may give a thread up
 * between two of them. A task belongs to the thread from its beginning to its end, so job and result
 * need no lock. The loop is woken when the first result waits, not for each.
 *
 * An abandoned slot is the thread's own: it frees itself, its batch, and the result and descriptor
 * of the task that hung when it comes back, if ever. What it needs of the pool (the lock) lives as
 * long as the last of them: the pool counts its users. A thread never calls `wake` after it was
 * abandoned or joined, because it does so under the lock.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

/* One thread. */
struct slot {
    struct pool *pool; /* ref */
    struct worker worker;
    pthread_t thread;
    struct pool_batch *batch; /* owned while it runs */
    bool is_abandoned;
    struct slot *prev, *next; /* in pool.slots */
};

struct pool {
    const struct job_tables *tables; /* borrowed */
    void (*wake)(void *ctx);
    void *ctx;            /* borrowed */
    pthread_mutex_t lock; /* guards what follows, and n_done and is_begun of batches */
    pthread_cond_t fill, finish;
    struct slot *slots; /* owned; abandoned ones are not among them */
    struct pool_batch *waiting, *finished;
    bool is_stopping;
    unsigned n_stuck;
    unsigned n_refs;    /* the owner and every thread */
    unsigned n_threads; /* wanted; loop only, like those that follow */
    unsigned n_slots;
    unsigned n_batches;       /* started and not taken */
    struct pool_batch *spare; /* owned */
};

static void pool_unref(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    unsigned n = --p->n_refs;
    pthread_mutex_unlock(&p->lock);
    if (n > 0)
        return;
    pthread_cond_destroy(&p->fill);
    pthread_cond_destroy(&p->finish);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* Results that nobody will ever see. */
static void results_discard(struct pool_batch *batch, unsigned first, unsigned last) {
    for (unsigned i = first; i < last; i++) {
        struct pool_task *task = &batch->tasks[i];
        free(task->result.blob);
        if (task->result.source)
            source_free(task->result.source);
        else if (task->job.kind == JOB_OPEN)
            close(task->job.fd);
    }
}

static void slot_free(struct slot *slot) {
    worker_deinit(&slot->worker);
    free(slot);
}

/* ---- on the threads ---- */

/* Under the lock. NULL: the end. */
static struct pool_batch *batch_begin(struct slot *slot) {
    struct pool *p = slot->pool;
    while (!p->waiting && !p->is_stopping)
        pthread_cond_wait(&p->fill, &p->lock);
    if (p->is_stopping)
        return NULL;
    struct pool_batch *batch = slot->batch = p->waiting;
    DL_DELETE(p->waiting, batch);
    batch->is_begun = true;
    return batch;
}

/* Under the lock, which is given up meanwhile. False: the thread was abandoned. */
static bool batch_run(struct slot *slot, struct pool_batch *batch) {
    struct pool *p = slot->pool;
    for (unsigned i = 0; i < batch->n; i++) {
        pthread_mutex_unlock(&p->lock);
        job_run(&slot->worker, &batch->tasks[i].job, &batch->tasks[i].result);
        pthread_mutex_lock(&p->lock);
        if (slot->is_abandoned)
            return false;
        batch->n_done = i + 1;
    }
    return true;
}

/* Under the lock. */
static void batch_finish(struct slot *slot, struct pool_batch *batch) {
    struct pool *p = slot->pool;
    bool is_first = !p->finished;
    slot->batch = NULL;
    DL_APPEND(p->finished, batch);
    if (!is_first)
        return;
    pthread_cond_signal(&p->finish);
    p->wake(p->ctx);
}

static void *slot_main(void *arg) {
    struct slot *slot = arg;
    struct pool *p = slot->pool;
    struct pool_batch *batch;
    bool is_owned = true;
    pthread_setname_np(pthread_self(), "bufferd-worker");
    pthread_mutex_lock(&p->lock);
    while (is_owned && (batch = batch_begin(slot))) {
        is_owned = batch_run(slot, batch);
        if (is_owned)
            batch_finish(slot, batch);
    }
    p->n_stuck -= !is_owned;
    pthread_mutex_unlock(&p->lock);
    if (!is_owned) {
        results_discard(slot->batch, slot->batch->n_done, slot->batch->n_done + 1);
        free(slot->batch);
        slot_free(slot);
    }
    pool_unref(p);
    return NULL;
}

/* ---- life ---- */

/* Signals are the loop's. */
static int thread_start(struct slot *slot) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&slot->thread, NULL, slot_main, slot);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

static int slot_add(struct pool *p) {
    struct slot *slot = calloc(1, sizeof(*slot));
    if (!slot)
        return -ENOMEM;
    int r = worker_init(&slot->worker, p->tables);
    if (r) {
        free(slot);
        return r;
    }
    slot->pool = p;
    pthread_mutex_lock(&p->lock);
    r = thread_start(slot);
    if (!r) {
        p->n_refs++;
        p->n_slots++;
        DL_APPEND(p->slots, slot);
    }
    pthread_mutex_unlock(&p->lock);
    if (r)
        slot_free(slot);
    return r;
}

/* As many threads as are wanted, or as can be had. */
static int slots_fill(struct pool *p) {
    int r = 0;
    while (!r && p->n_slots < p->n_threads)
        r = slot_add(p);
    return r;
}

int pool_new(struct pool **pp, unsigned n_threads, const struct job_tables *tables,
             void (*wake)(void *ctx), void *ctx) {
    struct pool *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    *p = (struct pool){
        .tables = tables, .wake = wake, .ctx = ctx, .n_threads = n_threads, .n_refs = 1};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->fill, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->finish, &attr);
    pthread_condattr_destroy(&attr);
    int r = slots_fill(p);
    if (r)
        pool_free(p, 0);
    else
        *pp = p;
    return r;
}

/* ---- batches ---- */

struct pool_batch *pool_batch(struct pool *p) {
    struct pool_batch *batch = p->spare;
    if (batch)
        DL_DELETE(p->spare, batch);
    else
        batch = malloc(sizeof(*batch));
    if (batch)
        memset(batch, 0, offsetof(struct pool_batch, tasks));
    return batch;
}

void pool_give_back(struct pool *p, struct pool_batch *batch) {
    DL_APPEND(p->spare, batch);
}

unsigned pool_room(const struct pool *p) {
    return 2 * p->n_slots - MIN(2 * p->n_slots, p->n_batches);
}

void pool_start(struct pool *p, struct pool_batch *batch, bool is_demand) {
    batch->is_demand = is_demand;
    p->n_batches++;
    pthread_mutex_lock(&p->lock);
    struct pool_batch *at = p->waiting;
    while (at && (at->is_demand || !is_demand))
        at = at->next;
    if (at)
        DL_PREPEND_ELEM(p->waiting, at, batch);
    else
        DL_APPEND(p->waiting, batch);
    pthread_cond_signal(&p->fill);
    pthread_mutex_unlock(&p->lock);
}

struct pool_batch *pool_take_back(struct pool *p, struct pool_batch *batch) {
    struct pool_batch *at, *found = NULL;
    pthread_mutex_lock(&p->lock);
    DL_FOREACH (p->waiting, at) {
        if (batch ? at == batch : !at->is_demand)
            found = at;
    }
    if (found)
        DL_DELETE(p->waiting, found);
    pthread_mutex_unlock(&p->lock);
    p->n_batches -= found != NULL;
    return found;
}

struct pool_batch *pool_next(struct pool *p) {
    slots_fill(p); /* a thread that could not be replaced before */
    pthread_mutex_lock(&p->lock);
    struct pool_batch *batch = p->finished;
    if (batch)
        DL_DELETE(p->finished, batch);
    pthread_mutex_unlock(&p->lock);
    p->n_batches -= batch != NULL;
    return batch;
}

bool pool_wait(struct pool *p, unsigned timeout_ms) {
    struct timespec until;
    int r = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + timeout_ms % 1000 * 1000000ull;
    until.tv_sec += (time_t)(timeout_ms / 1000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&p->lock);
    while (!p->finished && r == 0)
        r = pthread_cond_timedwait(&p->finish, &p->lock, &until);
    bool has_result = p->finished != NULL;
    pthread_mutex_unlock(&p->lock);
    return has_result;
}

/* ---- threads that hang ---- */

/* Under the lock. */
static struct slot *slot_of(struct pool *p, const struct pool_batch *batch) {
    struct slot *slot;
    DL_FOREACH (p->slots, slot) {
        if (slot->batch == batch)
            return slot;
    }
    return NULL;
}

bool pool_progress(struct pool *p, const struct pool_batch *batch, unsigned *n_donep) {
    pthread_mutex_lock(&p->lock);
    bool is_running = slot_of(p, batch) != NULL;
    *n_donep = batch->n_done;
    pthread_mutex_unlock(&p->lock);
    return is_running;
}

/* Under the lock. */
static void slot_abandon(struct pool *p, struct slot *slot) {
    DL_DELETE(p->slots, slot);
    p->n_slots--;
    slot->is_abandoned = true;
    p->n_stuck++;
    pthread_detach(slot->thread);
}

struct pool_batch *pool_abandon(struct pool *p, struct pool_batch *batch) {
    struct pool_batch *copy = malloc(sizeof(*copy));
    if (!copy)
        return NULL;
    pthread_mutex_lock(&p->lock);
    struct slot *slot = slot_of(p, batch);
    if (slot) {
        memcpy(copy, batch, offsetof(struct pool_batch, tasks));
        memcpy(copy->tasks, batch->tasks, batch->n_done * sizeof(*copy->tasks));
        for (unsigned i = batch->n_done; i < batch->n; i++) {
            copy->tasks[i].job = batch->tasks[i].job;
            copy->tasks[i].token = batch->tasks[i].token;
        }
        slot_abandon(p, slot);
    }
    pthread_mutex_unlock(&p->lock);
    slots_fill(p);
    if (slot)
        p->n_batches--;
    else
        free(copy);
    return slot ? copy : NULL;
}

unsigned pool_n_stuck(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    unsigned n = p->n_stuck;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* ---- the end ---- */

static bool slots_are_running(struct pool *p) {
    bool is_running = false;
    struct slot *slot;
    pthread_mutex_lock(&p->lock);
    DL_FOREACH (p->slots, slot) {
        is_running = is_running || slot->batch;
    }
    pthread_mutex_unlock(&p->lock);
    return is_running;
}

static void batches_free(struct pool_batch *list, bool with_results) {
    struct pool_batch *batch, *next;
    DL_FOREACH_SAFE (list, batch, next) {
        if (with_results)
            results_discard(batch, 0, batch->n);
        free(batch);
    }
}

/* Under the lock, which is given up to join. */
static void slot_join(struct pool *p, struct slot *slot) {
    DL_DELETE(p->slots, slot);
    pthread_mutex_unlock(&p->lock);
    pthread_join(slot->thread, NULL);
    slot_free(slot);
    pthread_mutex_lock(&p->lock);
}

struct pool *pool_free(struct pool *p, unsigned grace_ms) {
    if (!p)
        return NULL;
    pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    pthread_cond_broadcast(&p->fill);
    pthread_mutex_unlock(&p->lock);
    for (unsigned ms = 0; ms < grace_ms && slots_are_running(p); ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pthread_mutex_lock(&p->lock);
    while (p->slots) {
        if (p->slots->batch)
            slot_abandon(p, p->slots);
        else
            slot_join(p, p->slots);
    }
    pthread_mutex_unlock(&p->lock);
    batches_free(p->waiting, false);
    batches_free(p->finished, true);
    batches_free(p->spare, false);
    pool_unref(p);
    return NULL;
}
