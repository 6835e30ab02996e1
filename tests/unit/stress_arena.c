/* The arena under load, as a plain program so that it runs under TSan: allocate, let other threads
 * write, check, give back, while the helper fills, punches and trims. No hole may be handed out, no
 * live byte may be lost, and at the end the kernel's count of blocks is the arena's. Arguments:
 * seconds (2), and "small" to forbid huge pages. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "../../daemon/arena/arena.h"
#include "check.h"
#include "forbid.h"

#define N_BYTES (64ull << 20)
#define DECAY_MS 60000
#define N_LIVE 48
#define N_WRITERS 2
#define STEP 64 /* words between two that are written */

enum live_state { LIVE_NONE, LIVE_COLD, LIVE_WRITING, LIVE_READY };

struct live {
    _Atomic int state; /* WRITING to READY by a writer, all else by the loop */
    uint64_t off, n_bytes, pattern;
    struct stress *stress;
};

struct stress {
    struct arena *arena;
    int event;
    uint64_t now_ms;
    struct live live[N_LIVE];
    atomic_bool is_over;
    unsigned n_ops, n_cold, n_full, n_trims, n_trims_done;
};

static void on_wake(void *ctx) {
    eventfd_write(((struct stress *)ctx)->event, 1);
}

static void check_populated(const struct live *l) {
    int fd = arena_backing(l->stress->arena)->fd;
    CHECK((uint64_t)lseek(fd, (off_t)l->off, SEEK_HOLE) >= l->off + l->n_bytes);
}

static uint64_t *live_words(const struct live *l) {
    return (uint64_t *)(arena_base(l->stress->arena) + l->off);
}

static void on_ready(void *ctx, int status) {
    struct live *l = ctx;
    CHECK(status == 0);
    check_populated(l);
    l->stress->n_cold++;
    atomic_store(&l->state, LIVE_WRITING);
}

static void on_trimmed(void *ctx, uint64_t n_bytes) {
    ((struct stress *)ctx)->n_trims_done++;
}

static void live_start(struct stress *s, struct live *l) {
    l->stress = s;
    l->n_bytes = ARENA_PAGE * (1 + (uint64_t)random() % (random() % 6 ? 40 : 3000));
    l->pattern = (uint64_t)random() << 20;
    int r = arena_alloc(s->arena, &l->off, l->n_bytes, on_ready, l);
    CHECK(r >= 0);
    if (r == 0)
        check_populated(l);
    if (r == ARENA_E_FULL)
        s->n_full++;
    else
        atomic_store(&l->state, r == ARENA_E_COLD ? LIVE_COLD : LIVE_WRITING);
}

static void live_stop(struct stress *s, struct live *l) {
    const uint64_t *words = live_words(l);
    check_populated(l);
    for (uint64_t i = 0; i < l->n_bytes / 8; i += STEP)
        CHECK(words[i] == l->pattern + i);
    arena_give_back(s->arena, l->off, l->n_bytes);
    atomic_store(&l->state, LIVE_NONE);
}

static void *writer_main(void *arg) {
    struct stress *s = ((struct stress **)arg)[0];
    uintptr_t me = (uintptr_t)((struct stress **)arg)[1];
    while (!atomic_load(&s->is_over))
        for (unsigned i = (unsigned)me; i < N_LIVE; i += N_WRITERS) {
            struct live *l = &s->live[i];
            if (atomic_load(&l->state) != LIVE_WRITING)
                continue;
            for (uint64_t k = 0; k < l->n_bytes / 8; k += STEP)
                live_words(l)[k] = l->pattern + k;
            atomic_store(&l->state, LIVE_READY);
        }
    return NULL;
}

static void turn(struct stress *s, int timeout_ms) {
    eventfd_t value;
    if (poll(&(struct pollfd){.fd = s->event, .events = POLLIN}, 1, timeout_ms) > 0)
        eventfd_read(s->event, &value);
    arena_dispatch(s->arena, s->now_ms);
}

static void act(struct stress *s) {
    struct live *l = &s->live[random() % N_LIVE];
    int state = atomic_load(&l->state);
    bool is_ebb = s->n_ops / 500 % 2; /* else hardly a huge page would ever be free */
    if (state == LIVE_NONE && !is_ebb)
        live_start(s, l);
    else if (state == LIVE_READY)
        live_stop(s, l);
    if (random() % 200 == 0) {
        CHECK(!arena_trim(s->arena, on_trimmed, s));
        s->n_trims++;
    }
    s->now_ms += random() % 1000 ? 0 : DECAY_MS;
    s->n_ops++;
}

/* A busy machine does little in the time given. */
static bool has_done_enough(const struct stress *s) {
    struct arena_stats stats;
    arena_get_stats(s->arena, &stats);
    return s->n_cold > 10 && stats.punched_bytes > N_BYTES;
}

static uint64_t seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec;
}

static void stress_open(struct stress *s, bool forbids_huge) {
    struct backing b;
    CHECK(!forbids_huge || unshare_forbid());
    CHECK(!backing_open(&b, N_BYTES, NULL));
    s->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct arena_options options = {
        .stock_bytes = N_BYTES / 8, .decay_ms = DECAY_MS, .wake = on_wake, .ctx = s};
    CHECK(!arena_new(&s->arena, &b, &options));
}

/* Everything is given back and the helper is idle: the books must balance. */
static void stress_close(struct stress *s) {
    struct arena_stats stats;
    for (int i = 0; i < N_LIVE; i++) {
        while (atomic_load(&s->live[i].state) == LIVE_COLD)
            turn(s, 10);
        while (atomic_load(&s->live[i].state) == LIVE_WRITING)
            poll(NULL, 0, 1);
        if (atomic_load(&s->live[i].state) == LIVE_READY)
            live_stop(s, &s->live[i]);
    }
    for (int i = 0; i < 50 || s->n_trims_done < s->n_trims; i++)
        turn(s, 10);
    arena_get_stats(s->arena, &stats);
    printf("%s: %u operations, %u cold, %u full, %u trims\n",
           backing_kind_name(arena_backing(s->arena)->kind), s->n_ops, s->n_cold, s->n_full,
           s->n_trims);
    CHECK(stats.live_bytes == 0 && stats.largest_bytes == N_BYTES && stats.n_ranges == 1);
    CHECK(stats.file_bytes == stats.stock_bytes);
    CHECK(stats.file_bytes == stats.populated_bytes - stats.punched_bytes);
    s->arena = arena_free(s->arena);
    close(s->event);
}

int main(int argc, char **argv) {
    static struct stress s = {.now_ms = 1000000};
    pthread_t writers[N_WRITERS];
    void *args[N_WRITERS][2];
    stress_open(&s, argc > 2 && !strcmp(argv[2], "small"));
    for (uintptr_t i = 0; i < N_WRITERS; i++) {
        args[i][0] = &s;
        args[i][1] = (void *)i;
        CHECK(!pthread_create(&writers[i], NULL, writer_main, args[i]));
    }
    for (uint64_t stop = seconds() + (argc > 1 ? strtoull(argv[1], NULL, 10) : 2);
         seconds() < stop || !has_done_enough(&s);) {
        act(&s);
        turn(&s, 0);
    }
    stress_close(&s);
    atomic_store(&s.is_over, true);
    for (int i = 0; i < N_WRITERS; i++)
        pthread_join(writers[i], NULL);
    return 0;
}
