/* A client of the pin stress: the accesses of proto/shm.h and proto/index.h as the client library
 * makes them, in a process of its own with read-only mappings.
 *
 * Each hit reads every word of its buffer at once. One of eight is kept for a while, and read again
 * before it is given back, so that a client which is killed dies with pins held.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../unit/check.h"
#include "stress_pin.h"

#define N_HELD 4

struct held {
    bool is_held;
    uint32_t record;
    unsigned key;
    uint64_t version;
};

struct client {
    const struct client_args *args;
    const struct shm_header *header;
    struct shm_record *records;
    struct shm_index index;
    struct shm_pins pins;
    const uint64_t *arena;
    struct held held[N_HELD];
};

static void *map(int fd, uint64_t n_bytes, int protection) {
    void *p = mmap(NULL, n_bytes, protection, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static void client_init(struct client *c, const struct client_args *args) {
    char *base = map(args->records_fd, args->records_bytes, PROT_READ);
    *c = (struct client){.args = args, .header = (const struct shm_header *)base};
    c->records = (struct shm_record *)(base + c->header->records_off);
    c->index = (struct shm_index){(_Atomic uint64_t *)(base + c->header->index_off),
                                  c->header->index_lines};
    c->pins =
        shm_pins_at(map(args->pins_fd, shm_pins_bytes(args->n_records), PROT_READ | PROT_WRITE),
                    args->n_records);
    c->arena = map(args->arena_fd, args->arena_bytes, PROT_READ);
}

static void add(_Atomic uint64_t *figure, uint64_t n) {
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Every word of a pinned buffer. */
static void check(struct client *c, const struct held *h) {
    const struct shm_record *r = &c->records[h->record];
    uint64_t n_words = stress_n_words(h->key), n_wrong = 0;
    const uint64_t *words = c->arena + r->offset / sizeof(uint64_t);
    if (r->n_bytes != n_words * sizeof(uint64_t) ||
        !range_is_inside(r->offset, r->n_bytes, c->args->arena_bytes))
        n_wrong = n_words;
    for (uint64_t i = 0; !n_wrong && i < n_words; i++)
        n_wrong += words[i] != stress_word(h->key, h->version, i);
    add(&c->args->tally->n_words, n_words);
    if (n_wrong)
        add(&c->args->tally->n_wrong, n_wrong);
}

static void give_back(struct client *c, struct held *h) {
    if (pin_drop(c->pins, &c->records[h->record], h->record, h->version) &&
        write(c->args->released_fd, &h->record, sizeof(h->record)) < 0)
        CHECK(c->args->released_fd >= 0); /* the pipe is full: a sweep will find it */
    h->is_held = false;
}

static bool pin_key(struct client *c, struct held *h, unsigned key) {
    char text[32];
    struct str name = stress_key(text, key);
    uint64_t hash = key_hash(name);
    uint32_t tick = atomic_load_explicit(&c->header->tick, memory_order_relaxed), i;
    for (unsigned at = 0; index_next(c->index, hash, &at, &i);) {
        struct shm_record *r = &c->records[i];
        uint64_t version = atomic_load_explicit(&r->version, memory_order_acquire);
        if (!pin_take(c->pins, r, i, version, tick))
            continue;
        *h = (struct held){true, i, key, version};
        if (r->key_bytes == name.len && memcmp(r->key, name.ptr, name.len) == 0)
            return true;
        give_back(c, h);
    }
    return false;
}

_Noreturn void client_main(const struct client_args *args) {
    struct client c;
    uint64_t seed = args->seed;
    client_init(&c, args);
    for (;;) {
        uint64_t random = stress_random(&seed);
        struct held hit;
        if (!pin_key(&c, &hit, (unsigned)(random >> 8) % N_KEYS)) {
            add(&args->tally->n_misses, 1);
            continue;
        }
        check(&c, &hit);
        add(&args->tally->n_hits, 1);
        struct held *kept = &c.held[(random >> 32) % N_HELD];
        if (random % 8) {
            give_back(&c, &hit);
            continue;
        }
        if (kept->is_held) {
            check(&c, kept);
            give_back(&c, kept);
        }
        *kept = hit;
    }
}
