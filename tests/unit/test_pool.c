/* The worker threads: results come back, hanging ones are given up, nothing leaks. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "../../daemon/loader/pool.h"
#include "fake_job.h"

static void on_wake(void *ctx) {
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

static struct pool *pool_of(unsigned n, atomic_uint *n_wakes) {
    static const struct job_tables tables;
    struct pool *p = NULL;
    cr_assert_eq(pool_new(&p, n, &tables, on_wake, n_wakes), 0);
    return p;
}

/* A thread that was given up ends by itself. */
static bool wait_for_workers(unsigned n) {
    for (int i = 0; i < 5000 && fake_n_workers() != n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return fake_n_workers() == n;
}

Test(pool, failure_to_start_leaves_nothing) {
    atomic_uint n_wakes = 0;
    static const struct job_tables tables;
    struct pool *p = NULL;
    fake_fail_worker_init(3);
    cr_assert_eq(pool_new(&p, 4, &tables, on_wake, &n_wakes), -ENOMEM);
    cr_assert_null(p);
    cr_assert_eq(fake_n_workers(), 0);
    cr_assert_null(pool_free(NULL, 0));
}

Test(pool, a_result_comes_back_with_its_token) {
    atomic_uint n_wakes = 0;
    struct pool *p = pool_of(2, &n_wakes);
    struct job_result result;
    void *token = &result;
    cr_assert(!pool_next(p, &token, &result));
    cr_assert(!pool_wait(p, 1));
    cr_assert_eq(pool_n_idle(p), 2);
    pool_start(p, &(struct job){.file_off = 123, .max_bytes = EIO}, &n_wakes);
    cr_assert_eq(pool_n_idle(p), 1);
    cr_assert(pool_wait(p, 5000));
    cr_assert_eq(pool_n_idle(p), 1, "idle before its result was taken");
    cr_assert(pool_next(p, &token, &result));
    cr_assert_eq(token, &n_wakes);
    cr_assert_eq(result.n_read_bytes, 123);
    cr_assert_eq(result.status, -EIO);
    cr_assert_eq(atomic_load(&n_wakes), 1);
    cr_assert_eq(pool_n_idle(p), 2);
    cr_assert(!pool_next(p, &token, &result));
    pool_free(p, 0);
    cr_assert_eq(fake_n_workers(), 0);
}

Test(pool, a_hanging_thread_is_replaced) {
    atomic_uint n_wakes = 0;
    int tokens[2];
    struct pool *p = pool_of(1, &n_wakes);
    struct job_result result;
    void *token;
    pool_start(p, &(struct job){.in_bytes = 1, .out_bytes = 1}, &tokens[0]);
    cr_assert(gate_wait(1));
    cr_assert_eq(pool_abandon(p, &tokens[1]), -ENOENT);
    cr_assert_eq(pool_abandon(p, &tokens[0]), 0);
    cr_assert_eq(pool_abandon(p, &tokens[0]), -ENOENT);
    cr_assert_eq(pool_n_stuck(p), 1);
    cr_assert_eq(pool_n_idle(p), 1);
    pool_start(p, &(struct job){.file_off = 7}, &tokens[1]);
    cr_assert(pool_wait(p, 5000) && pool_next(p, &token, &result));
    cr_assert_eq(token, &tokens[1]);
    gate_open();
    cr_assert(wait_for_workers(1));
    cr_assert_eq(pool_n_stuck(p), 0);
    cr_assert(!pool_next(p, &token, &result), "the result of a job that was given up");
    cr_assert_eq(atomic_load(&n_wakes), 1);
    pool_free(p, 0);
}

Test(pool, a_finished_job_cannot_be_given_up) {
    atomic_uint n_wakes = 0;
    int tokens[1];
    struct pool *p = pool_of(1, &n_wakes);
    struct job_result result;
    void *token;
    pool_start(p, &(struct job){0}, &tokens[0]);
    cr_assert(pool_wait(p, 5000));
    cr_assert_eq(pool_abandon(p, &tokens[0]), -ENOENT);
    cr_assert(pool_next(p, &token, &result));
    pool_free(p, 0);
}

/* The machine had no thread to spare when one was given up: later it has. */
Test(pool, a_replacement_that_fails_is_tried_again) {
    atomic_uint n_wakes = 0;
    int tokens[1];
    struct pool *p = pool_of(1, &n_wakes);
    struct job_result result;
    void *token;
    pool_start(p, &(struct job){.in_bytes = 1}, &tokens[0]);
    cr_assert(gate_wait(1));
    fake_fail_worker_init(1);
    cr_assert_eq(pool_abandon(p, &tokens[0]), 0);
    cr_assert_eq(pool_n_idle(p), 0);
    cr_assert(!pool_next(p, &token, &result));
    cr_assert_eq(pool_n_idle(p), 1);
    gate_open();
    pool_free(p, 0);
    cr_assert(wait_for_workers(0));
}

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

/* The thread outlives the pool, and takes its result, source or descriptor with it. */
Test(pool, free_leaves_a_hanging_thread_behind) {
    atomic_uint n_wakes = 0;
    int tokens[3], fd = open("/dev/null", O_RDONLY), fd2 = open("/dev/null", O_RDONLY);
    struct pool *p = pool_of(3, &n_wakes);
    pool_start(p, &(struct job){.in_bytes = 1, .out_bytes = 1, .kind = JOB_LIST, .fd = fd2},
               &tokens[0]);
    pool_start(p, &(struct job){.in_bytes = 1, .kind = JOB_OPEN, .fd = fd}, &tokens[1]);
    pool_start(p, &(struct job){.in_bytes = 1, .out_bytes = 2, .kind = JOB_OPEN, .fd = fd2},
               &tokens[2]);
    cr_assert(gate_wait(3));
    pool_free(p, 20);
    cr_assert_eq(fake_n_workers(), 3);
    cr_assert(is_open(fd));
    gate_open();
    cr_assert(wait_for_workers(0));
    cr_assert(!is_open(fd), "nobody closed the descriptor");
    cr_assert(is_open(fd2), "the source, not the thread, owns this one");
    cr_assert_eq(fake_n_sources_freed(), 1);
    cr_assert_eq(atomic_load(&n_wakes), 0);
}

Test(pool, free_waits_for_a_short_job) {
    atomic_uint n_wakes = 0;
    int tokens[1];
    struct pool *p = pool_of(2, &n_wakes);
    pool_start(p, &(struct job){.in_off = 50000, .out_bytes = 1}, &tokens[0]);
    pool_free(p, 5000);
    cr_assert_eq(fake_n_workers(), 0);
}
