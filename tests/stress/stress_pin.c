/* The pin protocol under load, with real processes and the daemon's own cache, records and arena.
 *
 * usage: stress_pin HITS SECONDS [wrong]
 *
 * This process is the daemon: it publishes buffers for which there is no room, so that each one
 * evicts another, replaces some, clears some, and sweeps. N_CLIENTS processes find them in the
 * index, pin them and check every word (stress_client.c). Every 50 ms one of them, chosen at random, is
 * killed with its pins and another one takes its place. Memory that is given back is overwritten at once
 * (arena_give_back is wrapped by the linker), so that a buffer which is freed under a pin is seen.
 *
 * It ends well after HITS hits, all right, with clean books; not if SECONDS pass before. With
 * `wrong`, for mutants of the protocol, it ends well as soon as one word was wrong.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "../../daemon/cache/cache.h"
#include "../unit/check.h"
#include "stress_pin.h"

#define N_RECORDS 4096
#define ARENA_BYTES (2ull << 20)
#define KILL_MS 50
#define POISON 0xa5

struct client_process {
    pid_t pid;
    struct pin_table *table;
};

struct stress {
    struct pin_records records;
    struct arena *arena;
    struct cache *cache;
    uint64_t ballast_off, ballast_bytes; /* what is left of the arena is scarce */
    struct client_process clients[N_CLIENTS];
    struct tally *tallies; /* shared with the clients */
    int released[2];
    uint64_t seed, n_kills, n_published, n_full, n_cleared;
    bool has_room;
};

void __real_arena_give_back(struct arena *a, uint64_t off, uint64_t n_bytes);
void __wrap_arena_give_back(struct arena *a, uint64_t off, uint64_t n_bytes);

void __wrap_arena_give_back(struct arena *a, uint64_t off, uint64_t n_bytes) {
    memset(arena_base(a) + off, POISON, n_bytes);
    __real_arena_give_back(a, off, n_bytes);
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- clients ---- */

static void client_start(struct stress *s, unsigned i) {
    struct client_process *c = &s->clients[i];
    CHECK(pin_table_new(&c->table, &s->records) == 0);
    struct client_args args = {
        .records_fd = s->records.client_fd,
        .pins_fd = c->table->fd,
        .arena_fd = arena_backing(s->arena)->client_fd,
        .released_fd = s->released[1],
        .n_records = N_RECORDS,
        .records_bytes = s->records.n_bytes,
        .arena_bytes = arena_bytes(s->arena),
        .seed = stress_random(&s->seed),
        .tally = &s->tallies[i],
    };
    pid_t daemon = getpid();
    c->pid = fork();
    CHECK(c->pid >= 0);
    if (c->pid)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != daemon)
        _exit(1);
    client_main(&args);
}

/* As when the socket of a session closes: the process is gone, then its table. */
static void client_kill(struct stress *s, unsigned i) {
    struct client_process *c = &s->clients[i];
    int status;
    CHECK(kill(c->pid, SIGKILL) == 0 && waitpid(c->pid, &status, 0) == c->pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    c->table = pin_table_free(c->table, &s->records);
    cache_sweep(s->cache);
}

static void take_released(struct stress *s) {
    uint32_t record;
    while (read(s->released[0], &record, sizeof(record)) == sizeof(record))
        cache_released(s->cache, record);
}

/* ---- the daemon's work ---- */

static void on_room(struct cache_entry *e, int status) {
    CHECK(status == 0);
    ((struct stress *)e->maker)->has_room = true;
}

static bool entry_reserve(struct stress *s, struct cache_entry *e, unsigned key) {
    char why[256];
    s->has_room = false;
    e->maker = s;
    int rc = cache_reserve(e, stress_n_words(key) * sizeof(uint64_t), 0, on_room, why);
    CHECK(rc == 0 || rc == CACHE_E_FULL || rc == CACHE_E_COLD);
    while (rc == CACHE_E_COLD && !s->has_room)
        arena_dispatch(s->arena, now_ms());
    return rc != CACHE_E_FULL;
}

/* A new version of the key, whether there is one or not. */
static void publish(struct stress *s, unsigned key) {
    char text[32];
    struct cache_entry *e;
    CHECK(cache_begin(s->cache, &e, stress_key(text, key), KEY_NAMED, 0, false) == 0);
    if (!entry_reserve(s, e, key)) {
        s->n_full++;
        cache_fail(e, 1, "full");
        return;
    }
    uint64_t version = s->records.next_version << 1 | VERSION_READY;
    uint64_t *words = (uint64_t *)(arena_base(s->arena) + e->offset);
    for (uint64_t i = 0; i < stress_n_words(key); i++)
        words[i] = stress_word(key, version, i);
    CHECK(cache_publish(e) == 0);
    CHECK(e->version == version);
    s->n_published++;
}

static void turn(struct stress *s) {
    char text[32];
    uint64_t random = stress_random(&s->seed);
    unsigned key = (unsigned)(random >> 16) % N_KEYS;
    struct cache_entry *e = cache_find(s->cache, stress_key(text, key));
    if (!e || random % 16 == 0)
        publish(s, key);
    else if (random % 64 == 1)
        s->n_cleared += cache_clear(e, s->clients[random >> 40 & 1].table, false, false) <=
                        WIRE_CLEAR_HELD_BY_YOU;
    take_released(s);
    if (random % 1024 == 2)
        cache_sweep(s->cache);
}

/* ---- from begin to end ---- */

/* The loop turns anyway. */
static void on_wake(void *ctx) {
}

static void on_ballast(void *ctx, int status) {
    ((struct stress *)ctx)->has_room = status == 0;
}

static void stress_open(struct stress *s) {
    struct backing b;
    CHECK(backing_open(&b, ARENA_BYTES, NULL) == 0);
    CHECK(arena_new(&s->arena, &b, &(struct arena_options){.decay_ms = 60000, .wake = on_wake}) ==
          0);
    CHECK(pin_records_init(&s->records, N_RECORDS) == 0);
    CHECK(cache_new(&s->cache, s->arena, &s->records, policy_find(NULL)) == 0);
    CHECK(pipe2(s->released, O_NONBLOCK | O_CLOEXEC) == 0);
    s->tallies = mmap(NULL, N_CLIENTS * sizeof(*s->tallies), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(s->tallies != MAP_FAILED);
    s->ballast_bytes = ARENA_BYTES - N_ROOM * ARENA_PAGE;
    int rc = arena_alloc(s->arena, &s->ballast_off, s->ballast_bytes, on_ballast, s);
    CHECK(rc == 0 || rc == ARENA_E_COLD);
    while (rc && !s->has_room)
        arena_dispatch(s->arena, now_ms());
    for (unsigned i = 0; i < N_CLIENTS; i++)
        client_start(s, i);
}

static uint64_t total(const struct stress *s, size_t member) {
    uint64_t n = 0;
    for (unsigned i = 0; i < N_CLIENTS; i++)
        n += atomic_load((_Atomic uint64_t *)((char *)&s->tallies[i] + member));
    return n;
}

#define TOTAL(s, member) total(s, offsetof(struct tally, member))

/* Nobody pins any more: nothing may be left behind. */
static void stress_close(struct stress *s) {
    struct cache_stats stats;
    struct arena_stats arena;
    for (unsigned i = 0; i < N_CLIENTS; i++)
        client_kill(s, i);
    cache_get_stats(s->cache, &stats);
    CHECK(stats.n_retiring == 0 && stats.n_loading == 0);
    CHECK(s->records.n_indexed == stats.n_ready);
    arena_get_stats(s->arena, &arena);
    CHECK(arena.live_bytes == s->ballast_bytes + stats.n_ready * ARENA_PAGE);
    printf("%llu hits, %llu misses, %llu words; %llu published, %llu evicted, %llu cleared, "
           "%llu refused; %llu clients killed\n",
           (unsigned long long)TOTAL(s, n_hits), (unsigned long long)TOTAL(s, n_misses),
           (unsigned long long)TOTAL(s, n_words), (unsigned long long)s->n_published,
           (unsigned long long)stats.n_evicted, (unsigned long long)s->n_cleared,
           (unsigned long long)s->n_full, (unsigned long long)s->n_kills);
    cache_free(s->cache);
    CHECK(s->records.n_indexed == 0);
    arena_get_stats(s->arena, &arena);
    CHECK(arena.live_bytes == s->ballast_bytes);
    pin_records_deinit(&s->records);
    arena_free(s->arena);
}

int main(int argc, char **argv) {
    static struct stress s = {.seed = 88172645463325252ull};
    CHECK(argc >= 3);
    uint64_t n_hits = strtoull(argv[1], NULL, 10), started = now_ms(), now = started;
    uint64_t stop = started + strtoull(argv[2], NULL, 10) * 1000, kill_at = started + KILL_MS;
    bool wants_wrong = argc > 3 && strcmp(argv[3], "wrong") == 0;
    s.seed ^= started << 20;
    stress_open(&s);
    while (now < stop && !TOTAL(&s, n_wrong) && (wants_wrong || TOTAL(&s, n_hits) < n_hits)) {
        for (unsigned i = 0; i < 100; i++)
            turn(&s);
        now = now_ms();
        cache_set_time(s.cache, now);
        pin_records_set_tick(&s.records, (uint32_t)(now / 1000));
        if (now < kill_at)
            continue;
        unsigned i = (unsigned)(stress_random(&s.seed) >> 20) % N_CLIENTS;
        client_kill(&s, i);
        client_start(&s, i);
        s.n_kills++;
        kill_at = now + KILL_MS;
    }
    uint64_t n_wrong = TOTAL(&s, n_wrong);
    printf("%llu words wrong after %llu ms\n", (unsigned long long)n_wrong,
           (unsigned long long)(now - started));
    if (wants_wrong)
        return n_wrong == 0;
    bool is_done = TOTAL(&s, n_hits) >= n_hits;
    stress_close(&s);
    CHECK(n_wrong == 0);
    CHECK(is_done);
    return 0;
}
