/* Stands in for assemble.c, so that tests decide how long a job takes. */
#include "fake_job.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define MAX_RUNS 65536

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned runs[MAX_RUNS];
    unsigned n_runs, n_running, most_running, n_at_gate, n_workers, n_sources_freed, fail_after;
    bool is_open;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static unsigned fake_read(const unsigned *field) {
    pthread_mutex_lock(&fake.lock);
    unsigned value = *field;
    pthread_mutex_unlock(&fake.lock);
    return value;
}

unsigned fake_n_runs(void) {
    return fake_read(&fake.n_runs);
}

unsigned fake_run(unsigned i) {
    return fake_read(&fake.runs[i]);
}

unsigned fake_n_running(void) {
    return fake_read(&fake.n_running);
}

unsigned fake_most_running(void) {
    return fake_read(&fake.most_running);
}

unsigned fake_n_workers(void) {
    return fake_read(&fake.n_workers);
}

unsigned fake_n_sources_freed(void) {
    return fake_read(&fake.n_sources_freed);
}

void fake_reset(void) {
    pthread_mutex_lock(&fake.lock);
    fake.n_runs = fake.most_running = 0;
    fake.is_open = false;
    pthread_mutex_unlock(&fake.lock);
}

void fake_fail_worker_init(unsigned after) {
    pthread_mutex_lock(&fake.lock);
    fake.fail_after = after;
    pthread_mutex_unlock(&fake.lock);
}

void gate_open(void) {
    pthread_mutex_lock(&fake.lock);
    fake.is_open = true;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

bool gate_wait(unsigned n) {
    struct timespec until;
    int r = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_lock(&fake.lock);
    while (fake.n_at_gate < n && !r)
        r = pthread_cond_timedwait(&fake.changed, &fake.lock, &until);
    pthread_mutex_unlock(&fake.lock);
    return !r;
}

int worker_init(struct worker *w, const struct job_tables *tables) {
    pthread_mutex_lock(&fake.lock);
    bool is_failing = fake.fail_after > 0 && --fake.fail_after == 0;
    fake.n_workers += !is_failing;
    pthread_mutex_unlock(&fake.lock);
    *w = (struct worker){.tables = tables};
    return is_failing ? -ENOMEM : 0;
}

void worker_deinit(struct worker *w) {
    pthread_mutex_lock(&fake.lock);
    fake.n_workers--;
    pthread_mutex_unlock(&fake.lock);
}

struct source *source_free(struct source *s) {
    pthread_mutex_lock(&fake.lock);
    fake.n_sources_freed++;
    pthread_mutex_unlock(&fake.lock);
    free(s);
    return NULL;
}

static void gate_pass(void) {
    fake.n_at_gate++;
    pthread_cond_broadcast(&fake.changed);
    while (!fake.is_open)
        pthread_cond_wait(&fake.changed, &fake.lock);
    fake.n_at_gate--;
}

void job_run(struct worker *w, const struct job *job, struct job_result *result) {
    memset(result, 0, sizeof(*result));
    pthread_mutex_lock(&fake.lock);
    fake.runs[fake.n_runs++ % MAX_RUNS] = job->source;
    fake.n_running++;
    fake.most_running = MAX(fake.most_running, fake.n_running);
    if (job->in_bytes)
        gate_pass();
    pthread_mutex_unlock(&fake.lock);
    if (job->in_off)
        nanosleep(&(struct timespec){.tv_nsec = (long)job->in_off * 1000}, NULL);
    result->status = -(int)job->max_bytes;
    result->n_read_bytes = job->file_off;
    if (job->out_bytes == 1) {
        result->blob = malloc(100);
        result->n_blob_bytes = 100;
    } else if (job->out_bytes == 2) {
        result->source = calloc(1, sizeof(struct source));
    }
    pthread_mutex_lock(&fake.lock);
    fake.n_running--;
    pthread_mutex_unlock(&fake.lock);
}
