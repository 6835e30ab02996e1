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
    cr_assert_eq(stats_of(&loop).n_running, 3);
    cr_assert_eq(stats_of(&loop).n_waiting, 197);
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
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(loader_queue_new(&q[i], loop.l, 0), 0);
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

/* --- move and cancel --- */

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
