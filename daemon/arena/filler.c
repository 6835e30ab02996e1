/* Why a thread: a fresh 4 KiB page costs more than unpacking LZ4 into it, and giving pages back
 * stops whoever does it, so neither a decode worker nor the loop should.
 *
 * Populating must never kill. A store into a hole of a full file system is SIGBUS, one over the
 * cgroup's limit is SIGKILL. So the headroom is asked before every chunk (the limit, less what is
 * used, plus what page cache would give way), a reserve is kept below it, and pages come from
 * MADV_POPULATE_WRITE, which answers EFAULT where a store would be SIGBUS. It is preferred to
 * fallocate because it also zeroes and maps the pages, and because only a fault sees MADV_HUGEPAGE;
 * fallocate serves kernels before 5.14. Chunks are short, so that a stop need not wait.
 */
#include "filler.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <utlist.h>

#include "../util/memory.h"

#define CHUNK_BYTES (32ull << 20)
#define RESERVE_BYTES (64ull << 20) /* of headroom that is never used up */

struct filler {
    const struct backing *backing; /* borrowed */
    const char *system_root;       /* borrowed */
    void (*wake)(void *ctx);
    void *ctx; /* borrowed */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct filler_task *waiting, *done; /* borrowed from the arena */
    bool is_stopping;
};

static bool filler_is_stopping(struct filler *f) {
    pthread_mutex_lock(&f->lock);
    bool is_stopping = f->is_stopping;
    pthread_mutex_unlock(&f->lock);
    return is_stopping;
}

static int range_punch(const struct backing *b, uint64_t off, uint64_t n_bytes) {
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    int r;
    do
        r = fallocate(b->fd, mode, (off_t)off, (off_t)n_bytes);
    while (r && errno == EINTR);
    return r ? -errno : 0;
}

static int chunk_populate(const struct backing *b, uint64_t off, uint64_t n_bytes) {
    int r;
    do
        r = madvise(b->base + off, n_bytes, MADV_POPULATE_WRITE);
    while (r && (errno == EINTR || errno == EAGAIN));
    if (r && errno == EINVAL) /* an older kernel */
        do
            r = fallocate(b->fd, 0, (off_t)off, (off_t)n_bytes);
        while (r && errno == EINTR);
    if (!r)
        return 0;
    return errno == EFAULT ? -ENOSPC : -errno;
}

static int range_populate(struct filler *f, uint64_t off, uint64_t n_bytes) {
    for (uint64_t at = 0; at < n_bytes;) {
        uint64_t chunk = MIN(CHUNK_BYTES, n_bytes - at), headroom;
        if (filler_is_stopping(f))
            return -ECANCELED;
        int r = memory_headroom(f->system_root, &headroom);
        if (!r && headroom < n_bytes - at + RESERVE_BYTES)
            r = -ENOMEM;
        if (!r)
            r = chunk_populate(f->backing, off + at, chunk);
        if (r)
            return r;
        at += chunk;
    }
    return 0;
}

static void task_run(struct filler *f, struct filler_task *task) {
    task->status = 0;
    if (task->kind == FILLER_POPULATE) {
        task->status = range_populate(f, task->off, task->n_bytes);
        if (task->status)
            range_punch(f->backing, task->off, task->n_bytes);
    } else if (task->kind == FILLER_PUNCH) {
        task->status = range_punch(f->backing, task->off, task->n_bytes);
    }
}

static void *filler_main(void *arg) {
    struct filler *f = arg;
    pthread_setname_np(pthread_self(), "bufferd-arena");
    pthread_mutex_lock(&f->lock);
    while (!f->is_stopping) {
        struct filler_task *task = f->waiting;
        if (!task) {
            pthread_cond_wait(&f->changed, &f->lock);
            continue;
        }
        DL_DELETE(f->waiting, task);
        pthread_mutex_unlock(&f->lock);
        task_run(f, task);
        pthread_mutex_lock(&f->lock);
        DL_APPEND(f->done, task);
        f->wake(f->ctx);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Signals are the loop's. */
static int thread_start(struct filler *f) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&f->thread, NULL, filler_main, f);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

static struct filler *filler_destroy(struct filler *f) {
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
    return NULL;
}

int filler_new(struct filler **fp, const struct backing *backing, const char *system_root,
               void (*wake)(void *ctx), void *ctx) {
    struct filler *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    *f = (struct filler){.backing = backing, .system_root = system_root, .wake = wake, .ctx = ctx};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    int r = thread_start(f);
    if (r)
        filler_destroy(f);
    else
        *fp = f;
    return r;
}

static void tasks_drop(struct filler_task *tasks, void (*drop)(struct filler_task *task)) {
    struct filler_task *task, *next;
    DL_FOREACH_SAFE (tasks, task, next) {
        DL_DELETE(tasks, task);
        drop(task);
    }
}

struct filler *filler_free(struct filler *f, void (*drop)(struct filler_task *task)) {
    if (!f)
        return NULL;
    pthread_mutex_lock(&f->lock);
    f->is_stopping = true;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    tasks_drop(f->done, drop);
    tasks_drop(f->waiting, drop);
    return filler_destroy(f);
}

void filler_put(struct filler *f, struct filler_task *task) {
    pthread_mutex_lock(&f->lock);
    DL_APPEND(f->waiting, task);
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

struct filler_task *filler_take(struct filler *f) {
    pthread_mutex_lock(&f->lock);
    struct filler_task *task = f->done;
    if (task)
        DL_DELETE(f->done, task);
    pthread_mutex_unlock(&f->lock);
    return task;
}
