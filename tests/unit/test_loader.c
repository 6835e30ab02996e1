/* The schedule: order, bounds, cancel, move, and jobs that hang. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "../../daemon/loader/loader.h"
#include "fake_job.h"

#define STUCK_MS 60000

struct loop {
    struct loader *l;
    int event;
    uint64_t now_ms;
};

/* What the callbacks of one test have seen. */
struct seen {
    unsigned n, n_cancelled, n_failed;
    int status, fd; /* of the last */
    unsigned sources[1000];
};

static void on_wake(void *ctx) {
    eventfd_write(((struct loop *)ctx)->event, 1);
}

static void on_done(void *ctx, const struct job *job, struct job_result *result) {
    struct seen *seen = ctx;
    seen->sources[seen->n++ % ARRAY_LEN(seen->sources)] = job->source;
    seen->n_cancelled += result->status == JOB_E_CANCELLED;
    seen->n_failed += result->status < 0;
    seen->status = result->status;
    seen->fd = job->fd;
    free(result->blob);
}

static void loop_open(struct loop *loop, unsigned n_workers) {
    static const struct job_tables tables;
    *loop = (struct loop){.event = eventfd(0, EFD_NONBLOCK), .now_ms = 5000000};
    struct loader_options options = {.n_workers = n_workers,
                                     .tables = &tables,
                                     .wake = on_wake,
                                     .ctx = loop,
                                     .stuck_ms = STUCK_MS};
    cr_assert_eq(loader_new(&loop->l, &options), 0);
}

static void loop_close(struct loop *loop) {
    loop->l = loader_free(loop->l);
    close(loop->event);
}

static bool loop_turn(struct loop *loop, int timeout_ms) {
    eventfd_t value;
    bool has_event = poll(&(struct pollfd){.fd = loop->event, .events = POLLIN}, 1, timeout_ms) > 0;
    if (has_event)
        eventfd_read(loop->event, &value);
    loader_dispatch(loop->l, loop->now_ms);
    return has_event;
}

/* Until n callbacks have run. */
static void loop_wait(struct loop *loop, const struct seen *seen, unsigned n) {
    for (int i = 0; i < 5000 && seen->n < n; i++)
        loop_turn(loop, 100);
    cr_assert_eq(seen->n, n);
}

static void submit(struct loader_group *g, unsigned name, struct seen *seen) {
    cr_assert_eq(loader_submit(g, &(struct job){.source = name}, on_done, seen), 0);
}

/* Occupy every worker until gate_open(). */
static void block(struct loop *loop, struct loader_group *g, unsigned n, struct seen *seen) {
    loader_group_init(g, loop->l, loader_demand(loop->l));
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(loader_submit(g, &(struct job){.source = 999, .in_bytes = 1}, on_done, seen),
                     0);
    cr_assert(gate_wait(n));
}

static struct loader_stats stats_of(const struct loop *loop) {
    struct loader_stats s;
    loader_get_stats(loop->l, &s);
    return s;
}

/* --- results --- */

Test(loader, new_fails_without_threads) {
    struct loader *l = NULL;
    static const struct job_tables tables;
    struct loader_options options = {.n_workers = 2, .tables = &tables, .wake = on_wake};
    fake_fail_worker_init(2);
    cr_assert_eq(loader_new(&l, &options), -ENOMEM);
    cr_assert_null(l);
    cr_assert_null(loader_free(NULL));
}

static void on_path(void *ctx, const struct job *job, struct job_result *result) {
    *(bool *)ctx = !strcmp(job->path, "dir/Events;1") && job->kind == JOB_DESCRIBE &&
                   job->n_per_entry == 3 && result->n_read_bytes == 55;
}

Test(loader, the_job_comes_back_whole) {
    struct loop loop;
    struct loader_group g;
    bool is_whole = false;
    struct job job = {
        .kind = JOB_DESCRIBE, .n_per_entry = 3, .file_off = 55, .path = "dir/Events;1"};
    loop_open(&loop, 1);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    cr_assert_eq(loader_submit(&g, &job, on_path, &is_whole), 0);
    memset(&job, 0xff, sizeof(job)); /* it was copied */
    cr_assert_eq(g.n_works, 1);
    while (g.n_works > 0)
        loop_turn(&loop, 100);
    cr_assert(is_whole);
    cr_assert_null(g.works);
    loop_close(&loop);
}

Test(loader, a_failing_job_is_reported) {
    struct loop loop;
    struct loader_group g;
    struct seen seen = {0};
    loop_open(&loop, 1);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    cr_assert_eq(loader_submit(&g, &(struct job){.max_bytes = EACCES}, on_done, &seen), 0);
    loop_wait(&loop, &seen, 1);
    cr_assert_eq(seen.status, -EACCES);
    cr_assert_eq(loader_submit(&g, &(struct job){.max_bytes = ETIMEDOUT}, on_done, &seen), 0);
    loop_wait(&loop, &seen, 2);
    cr_assert_eq(seen.status, -EIO, "would mean: given up");
    loop_close(&loop);
}

/* --- order --- */

Test(loader, never_more_jobs_than_workers) {
    struct loop loop;
    struct loader_group g;
    struct seen seen = {0};
    loop_open(&loop, 3);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    for (unsigned i = 0; i < 200; i++)
        cr_assert_eq(loader_submit(&g, &(struct job){.source = i, .in_off = 200}, on_done, &seen),
                     0);
    cr_assert_eq(stats_of(&loop).n_running, 6, "three run, three stand ready");
    cr_assert_eq(stats_of(&loop).n_waiting, 194);
    loop_wait(&loop, &seen, 200);
    cr_assert_eq(fake_most_running(), 3);
    cr_assert_eq(stats_of(&loop).n_running + stats_of(&loop).n_waiting, 0);
    loop_close(&loop);
}

Test(loader, demand_overtakes_background) {
    struct loop loop;
    struct loader_queue *q;
    struct loader_group blocker, background, demand;
    struct seen seen = {0};
    loop_open(&loop, 1);
    cr_assert_eq(loader_queue_new(&q, loop.l, 0), 0);
    block(&loop, &blocker, 1, &seen);
    loader_group_init(&background, loop.l, q);
    loader_group_init(&demand, loop.l, loader_demand(loop.l));
    for (unsigned i = 0; i < 5; i++)
        submit(&background, 100 + i, &seen);
    for (unsigned i = 0; i < 5; i++)
        submit(&demand, i, &seen);
    gate_open();
    loop_wait(&loop, &seen, 11);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(fake_run(1 + i), i);
        cr_assert_eq(fake_run(6 + i), 100 + i);
    }
    loader_queue_free(q);
    loop_close(&loop);
}

Test(loader, background_queues_take_turns) {
    struct loop loop;
    struct loader_queue *q[3];
    struct loader_group blocker, g[3];
    struct seen seen = {0};
    loop_open(&loop, 1);
    block(&loop, &blocker, 1, &seen);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(loader_queue_new(&q[i], loop.l, 0), 0);
    for (unsigned i = 0; i < 3; i++) {
        loader_group_init(&g[i], loop.l, q[i]);
        for (unsigned k = 0; k < (i == 1 ? 2 : 4); k++) /* the second has less to do */
            submit(&g[i], 10 * i + k, &seen);
    }
    gate_open();
    loop_wait(&loop, &seen, 11);
    static const unsigned expected[] = {999, 0, 10, 20, 1, 11, 21, 2, 22, 3, 23};
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++)
        cr_assert_eq(fake_run(i), expected[i], "%u: %u", i, fake_run(i));
    for (unsigned i = 0; i < 3; i++)
        loader_queue_free(q[i]);
    loop_close(&loop);
}

Test(loader, a_bound_holds_and_is_not_wasted) {
    struct loop loop;
    struct loader_queue *narrow, *wide;
    struct loader_group g, other;
    struct seen seen = {0}, seen_other = {0};
    loop_open(&loop, 4);
    cr_assert_eq(loader_queue_new(&narrow, loop.l, 2), 0);
    cr_assert_eq(loader_queue_new(&wide, loop.l, 0), 0);
    loader_group_init(&g, loop.l, narrow);
    loader_group_init(&other, loop.l, wide);
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(loader_submit(&g, &(struct job){.in_bytes = 1}, on_done, &seen), 0);
    cr_assert(gate_wait(2));
    cr_assert_eq(stats_of(&loop).n_running, 2);
    for (unsigned i = 0; i < 4; i++) /* the other workers are free for the other queue */
        submit(&other, 50 + i, &seen_other);
    loop_wait(&loop, &seen_other, 4);
    cr_assert_eq(fake_n_running(), 2);
    cr_assert_eq(seen.n, 0);
    gate_open();
    loop_wait(&loop, &seen, 6);
    loader_queue_free(narrow);
    loader_queue_free(wide);
    loop_close(&loop);
}

/* --- batches --- */

/* A job on a basket, as the loader sees it. */
static struct job basket_job(unsigned name, uint64_t off, uint32_t n_stored, uint64_t n_out) {
    return (struct job){.kind = JOB_DECODE,
                        .source = name,
                        .file_off = off,
                        .stored_bytes = n_stored,
                        .out_bytes = n_out};
}

/* What the jobs were told to read, in the order of their completion. */
struct reads {
    struct seen seen;
    uint32_t read_bytes[100], n_merged;
    uint64_t offs[100];
};

static void on_read(void *ctx, const struct job *job, struct job_result *result) {
    struct reads *r = ctx;
    r->read_bytes[r->seen.n] = job->read_bytes;
    r->offs[r->seen.n] = job->file_off;
    r->n_merged += job->is_read_ahead;
    on_done(&r->seen, job, result);
}

/* The second batch of one worker that is blocked: n jobs at these places of one file, in this
 * order. */
static void run_baskets(struct reads *r, const struct job *jobs, unsigned n) {
    struct loop loop;
    struct loader_group blocker, ready, g;
    struct seen seen = {0};
    *r = (struct reads){0};
    loop_open(&loop, 1);
    block(&loop, &blocker, 1, &seen);
    loader_group_init(&ready, loop.l, loader_demand(loop.l));
    submit(&ready, 998, &seen); /* stands ready, so that the others gather behind it */
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(loader_submit(&g, &jobs[i], on_read, r), 0);
    cr_assert_eq(stats_of(&loop).n_waiting, n);
    gate_open();
    for (int i = 0; i < 5000 && r->seen.n < n; i++)
        loop_turn(&loop, 100);
    cr_assert_eq(r->seen.n, n);
    loop_close(&loop);
}

Test(loader, neighbours_share_a_read) {
    struct reads r;
    struct job jobs[20];
    /* Ten baskets of one column with a hole of 1000 bytes behind each, then those that fill the
     * holes, of another. */
    for (unsigned i = 0; i < 20; i++)
        jobs[i] = i < 10 ? basket_job(5, 10000 + 2000 * i, 1000, 100)
                         : basket_job(5, 11000 + 2000 * (i - 10), 1000, 100);
    run_baskets(&r, jobs, 20);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(r.offs[i], 10000 + 1000 * i, "in the file's order: %u", i);
    cr_assert_eq(r.read_bytes[0], 10000, "half of what waits");
    cr_assert_eq(r.read_bytes[1], 0);
    cr_assert_gt(r.n_merged, 12);
}

Test(loader, what_is_far_apart_is_read_alone) {
    struct reads r;
    struct job jobs[40];
    for (unsigned i = 0; i < 20; i++) /* two files, and more than a gap between any two */
        jobs[i] = basket_job(i % 2, 1000 + 70000 * i, 1000, 100);
    for (unsigned i = 20; i < 40; i++)
        jobs[i] = basket_job(3, 1000 + 66537 * i, 1000, 100);
    run_baskets(&r, jobs, 40);
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(r.read_bytes[i], 0);
    cr_assert_eq(r.n_merged, 0);
}

Test(loader, reads_are_bounded) {
    struct reads r;
    struct job jobs[20];
    for (unsigned i = 0; i < 20; i++)
        jobs[i] = basket_job(1, 1500000 * i, 1500000, 100);
    run_baskets(&r, jobs, 20);
    for (unsigned i = 0; i < 20; i++)
        cr_assert_leq(r.read_bytes[i], 4 << 20);
    cr_assert_eq(r.read_bytes[0], 3000000);
}

Test(loader, a_file_of_the_same_offsets_is_no_neighbour) {
    struct reads r;
    struct job jobs[20];
    for (unsigned i = 0; i < 20; i++)
        jobs[i] = basket_job(i, 1000 * i, 1000, 100);
    run_baskets(&r, jobs, 20);
    cr_assert_eq(r.n_merged, 0);
}

/* Two workers, and jobs that all wait when they become free: none gets more than a few of them. */
Test(loader, a_batch_leaves_work_for_others) {
    struct loop loop;
    struct loader_group blocker, g;
    struct seen seen = {0}, blocked = {0};
    loop_open(&loop, 2);
    block(&loop, &blocker, 2, &blocked);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    for (unsigned i = 0; i < 8; i++) {
        struct job job = basket_job(1, 1000 * i, 1000, 100);
        job.in_off = 20000; /* us */
        cr_assert_eq(loader_submit(&g, &job, on_done, &seen), 0);
    }
    fake_reset();
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    gate_open();
    loop_wait(&loop, &seen, 8);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double s = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
    cr_assert_eq(fake_most_running(), 2);
    cr_assert_lt(s, 0.13, "one worker alone takes 0.16 s, two 0.08 s: %f", s);
    loop_close(&loop);
}

/* --- move and cancel --- */

Test(loader, a_demand_finds_a_batch_that_stands_ready) {
    struct loop loop;
    struct loader_queue *q;
    struct loader_group blocker, background, demand;
    struct seen seen = {0};
    loop_open(&loop, 1);
    cr_assert_eq(loader_queue_new(&q, loop.l, 0), 0);
    block(&loop, &blocker, 1, &seen);
    loader_group_init(&background, loop.l, q);
    loader_group_init(&demand, loop.l, loader_demand(loop.l));
    submit(&background, 100, &seen);
    cr_assert_eq(stats_of(&loop).n_waiting, 0);
    submit(&demand, 1, &seen);
    cr_assert_eq(stats_of(&loop).n_waiting, 1, "it made room");
    gate_open();
    loop_wait(&loop, &seen, 3);
    cr_assert_eq(fake_run(1), 1);
    cr_assert_eq(fake_run(2), 100);
    loader_queue_free(q);
    loop_close(&loop);
}

Test(loader, a_batch_goes_on_without_the_thread_that_hangs) {
    struct loop loop;
    struct loader_group first, g;
    struct seen seen = {0}, slept = {0};
    loop_open(&loop, 1);
    loader_group_init(&first, loop.l, loader_demand(loop.l));
    for (unsigned i = 0; i < 2; i++) /* runs, stands ready */
        cr_assert_eq(loader_submit(&first, &(struct job){.in_off = 30000}, on_done, &slept), 0);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    for (unsigned i = 0; i < 12; i++) {
        struct job job = basket_job(i, 0, 1000, 100);
        job.in_bytes = i == 2; /* hangs at the gate */
        cr_assert_eq(loader_submit(&g, &job, on_done, &seen), 0);
    }
    for (int i = 0; i < 5000 && fake_n_runs() < 5; i++)
        loop_turn(&loop, 1);
    cr_assert(gate_wait(1));
    loop_turn(&loop, 0);
    loop.now_ms += STUCK_MS + 1;
    loop_turn(&loop, 0);
    loop_wait(&loop, &seen, 12);
    cr_assert_eq(seen.n_failed, 1);
    cr_assert_eq(seen.sources[2], 2, "it is answered where it stood");
    cr_assert_eq(fake_n_runs(), 14, "and no job ran twice");
    gate_open();
    loop_close(&loop);
}

Test(loader, a_moved_group_keeps_its_order_and_its_future) {
    struct loop loop;
    struct loader_queue *q;
    struct loader_group blocker, first, second;
    struct seen seen = {0};
    loop_open(&loop, 1);
    cr_assert_eq(loader_queue_new(&q, loop.l, 0), 0);
    block(&loop, &blocker, 1, &seen);
    loader_group_init(&first, loop.l, q);
    loader_group_init(&second, loop.l, q);
    for (unsigned i = 0; i < 3; i++) {
        submit(&first, i, &seen);
        submit(&second, 10 + i, &seen);
    }
    loader_group_move(&second, loader_demand(loop.l));
    submit(&second, 13, &seen);
    gate_open();
    loop_wait(&loop, &seen, 8);
    static const unsigned expected[] = {999, 10, 11, 12, 13, 0, 1, 2};
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++)
        cr_assert_eq(fake_run(i), expected[i]);
    loader_queue_free(q);
    loop_close(&loop);
}

/* A job that runs on account of its old queue when its group is moved. */
Test(loader, bounds_survive_a_move) {
    struct loop loop;
    struct loader_queue *q;
    struct loader_group g, h;
    struct seen seen = {0};
    loop_open(&loop, 2);
    cr_assert_eq(loader_queue_new(&q, loop.l, 1), 0);
    loader_group_init(&g, loop.l, q);
    loader_group_init(&h, loop.l, q);
    cr_assert_eq(loader_submit(&g, &(struct job){.in_bytes = 1}, on_done, &seen), 0);
    cr_assert(gate_wait(1));
    loader_group_move(&g, loader_demand(loop.l));
    submit(&h, 1, &seen);
    cr_assert_eq(stats_of(&loop).n_waiting, 1, "the running one still counts");
    gate_open();
    loop_wait(&loop, &seen, 2);
    submit(&h, 2, &seen);
    cr_assert_eq(stats_of(&loop).n_running, 1);
    loop_wait(&loop, &seen, 3);
    loader_queue_free(q);
    loop_close(&loop);
}

Test(loader, cancelled_jobs_do_not_run_and_answer_once) {
    struct loop loop;
    struct loader_group blocker, g;
    struct seen seen = {0}, blocked = {0};
    loop_open(&loop, 1);
    block(&loop, &blocker, 1, &blocked);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    for (unsigned i = 0; i < 100; i++)
        submit(&g, i, &seen);
    loader_group_cancel(&g);
    loader_group_cancel(&g);
    cr_assert_eq(seen.n, 0, "callbacks run in the next dispatch");
    cr_assert_eq(g.n_works, 100);
    cr_assert_eq(stats_of(&loop).n_waiting, 0);
    cr_assert(loop_turn(&loop, 1000), "nobody woke the loop");
    cr_assert_eq(seen.n, 100);
    cr_assert_eq(seen.n_cancelled, 100);
    cr_assert_eq(g.n_works, 0);
    loader_group_cancel(&blocker); /* it runs: ends as it does */
    gate_open();
    loop_wait(&loop, &blocked, 1);
    cr_assert_eq(blocked.n_cancelled, 0);
    cr_assert_eq(fake_n_runs(), 1);
    loop_close(&loop);
}

Test(loader, a_freed_queue_cancels_what_waits) {
    struct loop loop;
    struct loader_queue *q;
    struct loader_group g;
    struct seen seen = {0};
    loop_open(&loop, 1);
    cr_assert_eq(loader_queue_new(&q, loop.l, 0), 0);
    loader_group_init(&g, loop.l, q);
    cr_assert_eq(loader_submit(&g, &(struct job){.in_bytes = 1}, on_done, &seen), 0);
    submit(&g, 1, &seen);
    cr_assert(gate_wait(1));
    cr_assert_null(loader_queue_free(q));
    cr_assert_null(loader_queue_free(NULL));
    cr_assert_null(g.queue);
    loop_turn(&loop, 1000);
    cr_assert_eq(seen.n_cancelled, 1);
    gate_open();
    loop_wait(&loop, &seen, 2);
    loader_group_move(&g, loader_demand(loop.l));
    submit(&g, 2, &seen);
    loop_wait(&loop, &seen, 3);
    loop_close(&loop);
}

/* --- callbacks that act --- */

struct chain {
    struct loader_group group;
    unsigned n_left;
};

static void on_link(void *ctx, const struct job *job, struct job_result *result) {
    struct chain *chain = ctx;
    if (chain->n_left-- > 1)
        cr_assert_eq(loader_submit(&chain->group, job, on_link, chain), 0);
    else
        free(chain); /* the group is in it */
}

Test(loader, a_callback_may_submit_and_free_its_group) {
    struct loop loop;
    struct chain *chain = calloc(1, sizeof(*chain));
    chain->n_left = 50;
    loop_open(&loop, 2);
    loader_group_init(&chain->group, loop.l, loader_demand(loop.l));
    cr_assert_eq(loader_submit(&chain->group, &(struct job){0}, on_link, chain), 0);
    for (int i = 0; i < 1000 && fake_n_runs() < 50; i++)
        loop_turn(&loop, 100);
    cr_assert_eq(fake_n_runs(), 50);
    loop_turn(&loop, 100);
    loop_close(&loop);
}

/* --- jobs that hang --- */

static void wait_for_threads(unsigned n) {
    for (int i = 0; i < 5000 && fake_n_workers() != n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    cr_assert_eq(fake_n_workers(), n);
}

Test(loader, a_hanging_job_is_given_up) {
    struct loop loop;
    struct loader_group g;
    struct seen seen = {0};
    int fd = open("/dev/null", O_RDONLY);
    loop_open(&loop, 1);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    struct job job = {.kind = JOB_OPEN, .fd = fd, .in_bytes = 1, .out_bytes = 1};
    cr_assert_eq(loader_submit(&g, &job, on_done, &seen), 0);
    cr_assert(gate_wait(1));
    loop_turn(&loop, 0); /* timed from here, though it started long "before" */
    cr_assert_eq(seen.n, 0);
    loop.now_ms += STUCK_MS;
    loop_turn(&loop, 0);
    cr_assert_eq(seen.n, 0, "given up too early");
    loop.now_ms += 1;
    loop_turn(&loop, 0);
    cr_assert_eq(seen.n, 1);
    cr_assert_eq(seen.status, -ETIMEDOUT);
    cr_assert_eq(seen.fd, -1);
    cr_assert_eq(stats_of(&loop).n_stuck, 1);
    cr_assert_eq(stats_of(&loop).n_running, 0);
    cr_assert_eq(g.n_works, 0);
    submit(&g, 5, &seen); /* by the new thread */
    loop_wait(&loop, &seen, 2);
    cr_assert_eq(seen.status, 0);
    cr_assert(fcntl(fd, F_GETFD) >= 0, "closed under the thread");
    gate_open();
    wait_for_threads(1);
    cr_assert_lt(fcntl(fd, F_GETFD), 0, "nobody closed the descriptor");
    cr_assert_eq(stats_of(&loop).n_stuck, 0);
    loop_turn(&loop, 50);
    cr_assert_eq(seen.n, 2);
    loop_close(&loop);
}

/* --- the end --- */

static void on_late(void *ctx, const struct job *job, struct job_result *result) {
    struct chain *chain = ctx;
    cr_assert_eq(loader_submit(&chain->group, job, on_late, ctx), -ECANCELED);
    chain->n_left--;
}

Test(loader, free_answers_everybody) {
    struct loop loop;
    struct loader_group running;
    struct chain chain = {.n_left = 20};
    struct seen seen = {0};
    loop_open(&loop, 1);
    loader_group_init(&running, loop.l, loader_demand(loop.l));
    loader_group_init(&chain.group, loop.l, loader_demand(loop.l));
    cr_assert_eq(
        loader_submit(&running, &(struct job){.in_off = 100000, .out_bytes = 1}, on_done, &seen),
        0);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(loader_submit(&chain.group, &(struct job){0}, on_late, &chain), 0);
    for (int i = 0; i < 5000 && fake_n_running() == 0; i++)
        loop_turn(&loop, 1);
    loop_close(&loop);
    cr_assert_eq(seen.n, 1);
    cr_assert_eq(seen.status, 0, "a running job ends as it does");
    cr_assert_eq(chain.n_left, 0);
    cr_assert_eq(fake_n_workers(), 0);
}

Test(loader, free_does_not_wait_for_ever) {
    struct loop loop;
    struct loader_group g;
    struct seen seen = {0};
    loop_open(&loop, 2);
    loader_group_init(&g, loop.l, loader_demand(loop.l));
    cr_assert_eq(loader_submit(&g, &(struct job){.in_bytes = 1, .out_bytes = 1}, on_done, &seen),
                 0);
    cr_assert(gate_wait(1));
    loop_close(&loop);
    cr_assert_eq(seen.n, 1);
    cr_assert_eq(seen.status, -ETIMEDOUT);
    gate_open();
    wait_for_threads(0);
}
