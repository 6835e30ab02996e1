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

/* A batch of n such jobs, whose tokens are its tasks' addresses in `tokens`. */
static struct pool_batch *start(struct pool *p, unsigned n, const struct job *jobs,
                                bool is_demand) {
    struct pool_batch *batch = pool_batch(p);
    cr_assert_not_null(batch);
    for (unsigned i = 0; i < n; i++) {
        batch->tasks[i].job = jobs[i];
        batch->tasks[i].token = (void *)(uintptr_t)(i + 1);
    }
    batch->n = n;
    pool_start(p, batch, is_demand);
    return batch;
}

static struct pool_batch *start_one(struct pool *p, struct job job) {
    return start(p, 1, &job, true);
}

static struct pool_batch *next(struct pool *p) {
    cr_assert(pool_wait(p, 5000));
    struct pool_batch *batch = pool_next(p);
    cr_assert_not_null(batch);
    return batch;
}

static void wait_for_runs(unsigned n) {
    for (int i = 0; i < 5000 && fake_n_runs() < n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    cr_assert_eq(fake_n_runs(), n);
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

Test(pool, results_come_back_with_their_tokens) {
    atomic_uint n_wakes = 0;
    struct pool *p = pool_of(2, &n_wakes);
    const struct job jobs[3] = {{.file_off = 123, .max_bytes = EIO}, {.file_off = 4}, {0}};
    cr_assert_null(pool_next(p));
    cr_assert(!pool_wait(p, 1));
    cr_assert_eq(pool_room(p), 4);
    start(p, 3, jobs, true);
    cr_assert_eq(pool_room(p), 3);
    cr_assert(pool_wait(p, 5000));
    cr_assert_eq(pool_room(p), 3, "room before the result was taken");
    struct pool_batch *batch = pool_next(p);
    cr_assert_eq(batch->n_done, 3);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(batch->tasks[i].token, (void *)(uintptr_t)(i + 1));
    cr_assert_eq(batch->tasks[0].result.n_read_bytes, 123);
    cr_assert_eq(batch->tasks[0].result.status, -EIO);
    cr_assert_eq(batch->tasks[1].result.n_read_bytes, 4);
    cr_assert_eq(atomic_load(&n_wakes), 1, "one for all of them");
    cr_assert_eq(pool_room(p), 4);
    cr_assert_null(pool_next(p));
    pool_give_back(p, batch);
    pool_free(p, 0);
    cr_assert_eq(fake_n_workers(), 0);
}

/* --- what has not begun --- */

Test(pool, a_demand_goes_before_what_is_none) {
    atomic_uint n_wakes = 0;
    struct pool *p = pool_of(1, &n_wakes);
    start_one(p, (struct job){.source = 9, .in_bytes = 1});
    cr_assert(gate_wait(1));
    for (unsigned i = 0; i < 4; i++)
        start(p, 1, &(struct job){.source = i}, i % 2);
    gate_open();
    wait_for_runs(5);
    static const unsigned expected[] = {9, 1, 3, 0, 2};
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++)
        cr_assert_eq(fake_run(i), expected[i], "%u: %u", i, fake_run(i));
    pool_free(p, 1000);
}

Test(pool, what_has_not_begun_can_be_taken_back) {
    atomic_uint n_wakes = 0;
    struct pool *p = pool_of(1, &n_wakes);
    struct pool_batch *running = start_one(p, (struct job){.in_bytes = 1});
    cr_assert(gate_wait(1));
    struct pool_batch *demand = start_one(p, (struct job){0});
    cr_assert_eq(pool_room(p), 0);
    cr_assert_null(pool_take_back(p, NULL), "a demand");
    cr_assert_null(pool_take_back(p, running), "it runs");
    cr_assert_eq(pool_take_back(p, demand), demand);
    cr_assert_null(pool_take_back(p, demand));
    cr_assert_eq(pool_room(p), 1);
    pool_give_back(p, demand);
    struct pool_batch *other = start(p, 1, &(struct job){0}, false);
    cr_assert_eq(pool_take_back(p, NULL), other);
    pool_give_back(p, other);
    gate_open();
    cr_assert_eq(next(p), running);
    pool_give_back(p, running);
    cr_assert_eq(fake_n_runs(), 1);
    pool_free(p, 0);
}

/* --- threads that hang --- */

Test(pool, a_hanging_thread_is_replaced) {
    atomic_uint n_wakes = 0;
    struct pool *p = pool_of(1, &n_wakes);
    const struct job jobs[4] = {{.file_off = 5, .out_bytes = 1},
                                {.in_bytes = 1, .out_bytes = 1},
                                {.file_off = 8},
                                {.file_off = 9}};
    unsigned n_done;
    struct pool_batch *batch = start(p, 4, jobs, true);
    cr_assert(gate_wait(1));
    cr_assert(pool_progress(p, batch, &n_done));
    cr_assert_eq(n_done, 1);
    struct pool_batch *copy = pool_abandon(p, batch);
    cr_assert_not_null(copy);
    cr_assert_null(pool_abandon(p, batch));
    cr_assert(!pool_progress(p, copy, &n_done));
    cr_assert_eq(copy->n, 4);
    cr_assert_eq(copy->n_done, 1);
    cr_assert_eq(copy->tasks[0].result.n_read_bytes, 5);
    free(copy->tasks[0].result.blob);
    cr_assert_eq(copy->tasks[3].job.file_off, 9, "to be run by another one");
    cr_assert_eq(copy->tasks[3].token, (void *)4);
    pool_give_back(p, copy);
    cr_assert_eq(pool_n_stuck(p), 1);
    cr_assert_eq(pool_room(p), 2);
    start_one(p, (struct job){.file_off = 7});
    batch = next(p);
    cr_assert_eq(batch->tasks[0].result.n_read_bytes, 7);
    pool_give_back(p, batch);
    gate_open();
    cr_assert(wait_for_workers(1));
    cr_assert_eq(pool_n_stuck(p), 0);
    cr_assert_null(pool_next(p), "the results of a thread that was given up");
    cr_assert_eq(fake_n_runs(), 3, "it went on");
    cr_assert_eq(atomic_load(&n_wakes), 1);
    pool_free(p, 0);
}

Test(pool, a_finished_job_cannot_be_given_up) {
    atomic_uint n_wakes = 0;
    unsigned n_done;
    struct pool *p = pool_of(1, &n_wakes);
    struct pool_batch *batch = start_one(p, (struct job){0});
    cr_assert(pool_wait(p, 5000));
    cr_assert(!pool_progress(p, batch, &n_done));
    cr_assert_null(pool_abandon(p, batch));
    cr_assert_eq(pool_next(p), batch);
    pool_give_back(p, batch);
    pool_free(p, 0);
}

/* The machine had no thread to spare when one was given up: later it has. */
Test(pool, a_replacement_that_fails_is_tried_again) {
    atomic_uint n_wakes = 0;
    struct pool *p = pool_of(1, &n_wakes);
    struct pool_batch *batch = start_one(p, (struct job){.in_bytes = 1});
    cr_assert(gate_wait(1));
    fake_fail_worker_init(1);
    struct pool_batch *copy = pool_abandon(p, batch);
    cr_assert_not_null(copy);
    pool_give_back(p, copy);
    cr_assert_eq(pool_room(p), 0);
    cr_assert_null(pool_next(p));
    cr_assert_eq(pool_room(p), 2);
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
    int fd = open("/dev/null", O_RDONLY), fd2 = open("/dev/null", O_RDONLY);
    struct pool *p = pool_of(3, &n_wakes);
    start_one(p, (struct job){.in_bytes = 1, .out_bytes = 1, .kind = JOB_LIST, .fd = fd2});
    start_one(p, (struct job){.in_bytes = 1, .kind = JOB_OPEN, .fd = fd});
    start_one(p, (struct job){.in_bytes = 1, .out_bytes = 2, .kind = JOB_OPEN, .fd = fd2});
    cr_assert(gate_wait(3));
    start_one(p, (struct job){.source = 1}); /* never begins */
    pool_free(p, 20);
    cr_assert_eq(fake_n_workers(), 3);
    cr_assert(is_open(fd));
    gate_open();
    cr_assert(wait_for_workers(0));
    cr_assert(!is_open(fd), "nobody closed the descriptor");
    cr_assert(is_open(fd2), "the source, not the thread, owns this one");
    cr_assert_eq(fake_n_sources_freed(), 1);
    cr_assert_eq(fake_n_runs(), 3);
    cr_assert_eq(atomic_load(&n_wakes), 0);
}

Test(pool, free_waits_for_a_short_job) {
    atomic_uint n_wakes = 0;
    struct pool *p = pool_of(2, &n_wakes);
    start_one(p, (struct job){.in_off = 50000, .out_bytes = 1});
    pool_free(p, 5000);
    cr_assert_eq(fake_n_workers(), 0);
}
