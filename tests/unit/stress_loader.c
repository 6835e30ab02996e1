/* Loader and pool under load, as a plain program so that it runs under TSan: several groups and
 * queues, random cancels, moves and queues that come and go, and jobs that hang now and then. Every
 * job must be answered once, and every thread must end. Argument: seconds (2). */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "../../daemon/loader/loader.h"
#include "check.h"
#include "fake_job.h"

#define N_GROUPS 8
#define STUCK_MS 30

struct stress {
    struct loader *loader;
    int event;
    struct loader_queue *queues[3];
    struct loader_group groups[N_GROUPS];
    unsigned n_submitted, n_done, n_cancelled, n_stuck;
};

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_wake(void *ctx) {
    eventfd_write(((struct stress *)ctx)->event, 1);
}

static void on_done(void *ctx, const struct job *job, struct job_result *result) {
    struct stress *s = ctx;
    s->n_done++;
    s->n_cancelled += result->status == JOB_E_CANCELLED;
    s->n_stuck += result->status == -ETIMEDOUT;
    CHECK(result->status != 0 || result->n_read_bytes == job->file_off);
    free(result->blob);
}

static struct loader_queue *queue_any(struct stress *s) {
    long i = random() % 4;
    return i == 3 ? loader_demand(s->loader) : s->queues[i];
}

static void submit_some(struct stress *s, struct loader_group *g) {
    for (long n = random() % 30; n > 0; n--) {
        struct job job = {.kind = random() % 2 ? JOB_DECODE : JOB_LIST,
                          .source = (uint32_t)(random() % 2),
                          .file_off = (uint64_t)random() % 1000000,
                          .stored_bytes = 1000,
                          .in_off = (uint64_t)(random() % 200),
                          .in_bytes = random() % 4000 == 0,
                          .out_bytes = random() % 3 == 0};
        s->n_submitted++;
        CHECK(!loader_submit(g, &job, on_done, s));
    }
}

/* Replace one of the queues; its groups go elsewhere or are cancelled with it. */
static void queue_replace(struct stress *s) {
    long i = random() % 3;
    loader_queue_free(s->queues[i]);
    CHECK(!loader_queue_new(&s->queues[i], s->loader, (unsigned)(random() % 3)));
    for (int g = 0; g < N_GROUPS; g++)
        loader_group_move(&s->groups[g], queue_any(s));
}

static void act(struct stress *s) {
    struct loader_group *g = &s->groups[random() % N_GROUPS];
    long what = random() % 100;
    if (what < 60 && g->n_works < 200)
        submit_some(s, g);
    else if (what < 70)
        loader_group_cancel(g);
    else if (what < 80)
        loader_group_move(g, queue_any(s));
    else if (what < 82)
        queue_replace(s);
}

static void turn(struct stress *s) {
    eventfd_t value;
    if (poll(&(struct pollfd){.fd = s->event, .events = POLLIN}, 1, 10) > 0)
        eventfd_read(s->event, &value);
    loader_dispatch(s->loader, now_ms());
}

static void stress_open(struct stress *s) {
    static const struct job_tables tables;
    s->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct loader_options options = {
        .n_workers = 4, .tables = &tables, .wake = on_wake, .ctx = s, .stuck_ms = STUCK_MS};
    CHECK(!loader_new(&s->loader, &options));
    for (unsigned i = 0; i < 3; i++)
        CHECK(!loader_queue_new(&s->queues[i], s->loader, i));
    for (int g = 0; g < N_GROUPS; g++)
        loader_group_init(&s->groups[g], s->loader, queue_any(s));
}

int main(int argc, char **argv) {
    static struct stress s;
    uint64_t stop = now_ms() + 1000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : 2);
    stress_open(&s);
    while (now_ms() < stop) {
        act(&s);
        turn(&s);
    }
    for (int i = 0; i < 3; i++)
        loader_queue_free(s.queues[i]);
    loader_free(s.loader);
    CHECK(s.n_done == s.n_submitted);
    gate_open();
    for (int i = 0; i < 5000 && fake_n_workers() > 0; i++)
        poll(NULL, 0, 1);
    CHECK(fake_n_workers() == 0);
    printf("%u jobs, %u cancelled, %u given up\n", s.n_done, s.n_cancelled, s.n_stuck);
    CHECK(s.n_stuck > 0 && s.n_cancelled > 0);
    return 0;
}
