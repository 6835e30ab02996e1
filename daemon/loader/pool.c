/* Our own threads, because libuv's pool knows no priorities, cannot give up a thread that hangs in
 * the kernel (a silent FUSE server, a dead NFS one), and joins it at exit.
 *
 * A slot is one thread and the one job that it has: the loop fills an idle slot, the thread runs it
 * and appends the slot to the finished ones, the loop takes the result and the slot is idle again.
 * Between these steps nobody else touches job or result, so only the states are under the lock.
 *
 * An abandoned slot is the thread's own: it frees itself, its result and the descriptor of its
 * JOB_OPEN when it comes back, if ever. What it needs of the pool (the lock) lives as long as the
 * last of them: the pool counts its users. A thread never calls `wake` after it was abandoned or
 * joined, because it does so under the lock.
 */
#include "pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <utlist.h>

enum slot_state { SLOT_IDLE, SLOT_RUNNING, SLOT_FINISHED, SLOT_ABANDONED, SLOT_STOPPING };

struct slot {
    struct pool *pool; /* ref */
    struct worker worker;
    pthread_t thread;
    pthread_cond_t changed; /* of the state, for the thread */
    enum slot_state state;
    struct job job;
    struct job_result result;
    void *token;                 /* borrowed */
    struct slot *prev, *next;    /* in pool.slots */
    struct slot *before, *after; /* in pool.finished */
};

struct pool {
    const struct job_tables *tables; /* borrowed */
    void (*wake)(void *ctx);
    void *ctx;            /* borrowed */
    pthread_mutex_t lock; /* guards what follows and the slots' states */
    pthread_cond_t finish;
    struct slot *slots;    /* owned; abandoned ones are not among them */
    struct slot *finished; /* results in their order */
    unsigned n_threads;    /* wanted; loop only, like the next two */
    unsigned n_slots, n_idle;
    unsigned n_stuck;
    unsigned n_refs; /* the owner and every thread */
};

static void pool_unref(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    unsigned n = --p->n_refs;
    pthread_mutex_unlock(&p->lock);
    if (n > 0)
        return;
    pthread_cond_destroy(&p->finish);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void slot_free(struct slot *slot) {
    worker_deinit(&slot->worker);
    pthread_cond_destroy(&slot->changed);
    free(slot);
}

/* On an abandoned thread: nobody else will ever see this result. */
static void slot_discard(struct slot *slot) {
    free(slot->result.blob);
    if (slot->result.source)
        source_free(slot->result.source);
    else if (slot->job.kind == JOB_OPEN)
        close(slot->job.fd);
    slot_free(slot);
}

/* Under the lock. Wait for a job: true, or for the end: false. */
static bool slot_wait(struct slot *slot) {
    while (slot->state == SLOT_IDLE || slot->state == SLOT_FINISHED)
        pthread_cond_wait(&slot->changed, &slot->pool->lock);
    return slot->state != SLOT_STOPPING;
}

/* Under the lock. True: the result has an owner. */
static bool slot_finish(struct slot *slot) {
    struct pool *p = slot->pool;
    if (slot->state == SLOT_ABANDONED) {
        p->n_stuck--;
        return false;
    }
    slot->state = SLOT_FINISHED;
    DL_APPEND2(p->finished, slot, before, after);
    pthread_cond_signal(&p->finish);
    p->wake(p->ctx);
    return true;
}

static void *slot_main(void *arg) {
    struct slot *slot = arg;
    struct pool *p = slot->pool;
    bool is_owned = true;
    pthread_setname_np(pthread_self(), "bufferd-worker");
    pthread_mutex_lock(&p->lock);
    while (is_owned && slot_wait(slot)) {
        pthread_mutex_unlock(&p->lock);
        job_run(&slot->worker, &slot->job, &slot->result);
        pthread_mutex_lock(&p->lock);
        is_owned = slot_finish(slot);
    }
    pthread_mutex_unlock(&p->lock);
    if (!is_owned)
        slot_discard(slot);
    pool_unref(p);
    return NULL;
}

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
    pthread_cond_init(&slot->changed, NULL);
    pthread_mutex_lock(&p->lock);
    r = thread_start(slot);
    if (!r) {
        p->n_refs++;
        p->n_slots++;
        p->n_idle++;
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

void pool_start(struct pool *p, const struct job *job, void *token) {
    pthread_mutex_lock(&p->lock);
    struct slot *slot = p->slots;
    while (slot && slot->state != SLOT_IDLE)
        slot = slot->next;
    assert(slot);
    slot->job = *job;
    slot->token = token;
    slot->state = SLOT_RUNNING;
    p->n_idle--;
    pthread_cond_signal(&slot->changed);
    pthread_mutex_unlock(&p->lock);
}

unsigned pool_n_idle(const struct pool *p) {
    return p->n_idle; /* changed on the loop only */
}

bool pool_next(struct pool *p, void **tokenp, struct job_result *out) {
    slots_fill(p); /* a thread that could not be replaced before */
    pthread_mutex_lock(&p->lock);
    struct slot *slot = p->finished;
    if (slot) {
        DL_DELETE2(p->finished, slot, before, after);
        *tokenp = slot->token;
        *out = slot->result;
        slot->state = SLOT_IDLE;
        p->n_idle++;
    }
    pthread_mutex_unlock(&p->lock);
    return slot != NULL;
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

/* Under the lock. */
static void slot_abandon(struct pool *p, struct slot *slot) {
    DL_DELETE(p->slots, slot);
    p->n_slots--;
    slot->state = SLOT_ABANDONED;
    p->n_stuck++;
    pthread_detach(slot->thread);
}

int pool_abandon(struct pool *p, void *token) {
    pthread_mutex_lock(&p->lock);
    struct slot *slot = p->slots;
    while (slot && (slot->state != SLOT_RUNNING || slot->token != token))
        slot = slot->next;
    if (slot)
        slot_abandon(p, slot);
    pthread_mutex_unlock(&p->lock);
    slots_fill(p);
    return slot ? 0 : -ENOENT;
}

unsigned pool_n_stuck(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    unsigned n = p->n_stuck;
    pthread_mutex_unlock(&p->lock);
    return n;
}

static bool slots_are_running(struct pool *p) {
    bool is_running = false;
    struct slot *slot;
    pthread_mutex_lock(&p->lock);
    DL_FOREACH (p->slots, slot) {
        is_running = is_running || slot->state == SLOT_RUNNING;
    }
    pthread_mutex_unlock(&p->lock);
    return is_running;
}

/* Under the lock, which is given up to join. */
static void slot_join(struct pool *p, struct slot *slot) {
    DL_DELETE(p->slots, slot);
    bool has_result = slot->state == SLOT_FINISHED;
    slot->state = SLOT_STOPPING;
    pthread_cond_signal(&slot->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(slot->thread, NULL);
    if (has_result)
        slot_discard(slot);
    else
        slot_free(slot);
    pthread_mutex_lock(&p->lock);
}

struct pool *pool_free(struct pool *p, unsigned grace_ms) {
    if (!p)
        return NULL;
    for (unsigned ms = 0; ms < grace_ms && slots_are_running(p); ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pthread_mutex_lock(&p->lock);
    while (p->slots) {
        if (p->slots->state == SLOT_RUNNING)
            slot_abandon(p, p->slots);
        else
            slot_join(p, p->slots);
    }
    pthread_mutex_unlock(&p->lock);
    pool_unref(p);
    return NULL;
}
