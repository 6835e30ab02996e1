#include "node.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define N_RECORDS (1u << 17)

static void check(bool is_right, const char *what) {
    if (is_right)
        return;
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static void no_wake(void *ctx) {
}

void node_init(struct node *n, uint64_t arena_bytes, const struct policy_kind *policy) {
    struct backing backing;
    const struct arena_options options = {.decay_ms = INT32_MAX, .wake = no_wake};
    *n = (struct node){.now_ms = 1000000};
    check(backing_open(&backing, arena_bytes, NULL) == 0, "no memory for the arena");
    check(arena_new(&n->arena, &backing, &options) == 0, "no arena");
    check(pin_records_init(&n->records, N_RECORDS) == 0, "no records");
    check(pin_table_new(&n->client, &n->records) == 0, "no pin table");
    check(cache_new(&n->cache, n->arena, &n->records, policy) == 0, "no cache");
    node_set_time(n, n->now_ms);
}

void node_deinit(struct node *n) {
    struct arena_stats s;
    cache_free(n->cache);
    arena_get_stats(n->arena, &s);
    check(s.live_bytes == 0, "bytes have been lost");
    pin_table_free(n->client, &n->records);
    pin_records_deinit(&n->records);
    arena_free(n->arena);
}

void node_set_time(struct node *n, uint64_t now_ms) {
    n->now_ms = now_ms;
    cache_set_time(n->cache, now_ms);
    pin_records_set_tick(&n->records, (uint32_t)(now_ms / 1000));
}

static struct str key_text(char *text, uint64_t key) {
    int n = snprintf(text, 64, "named/%llu", (unsigned long long)key);
    return (struct str){text, (uint32_t)n};
}

struct cache_entry *node_find(struct node *n, uint64_t key) {
    char text[64];
    return cache_find(n->cache, key_text(text, key));
}

void node_pin(struct node *n, struct cache_entry *e) {
    check(pin_take(n->client->pins, &n->records.records[e->record], e->record, e->version,
                   (uint32_t)(n->now_ms / 1000)),
          "a ready buffer cannot be pinned");
}

void node_unpin(struct node *n, struct cache_entry *e) {
    check(!pin_drop(n->client->pins, &n->records.records[e->record], e->record, e->version),
          "a pinned buffer was retired");
}

void node_hit(struct node *n, struct cache_entry *e) {
    node_pin(n, e);
    node_unpin(n, e);
}

static void on_room(struct cache_entry *e, int status) {
    struct node *n = e->maker;
    n->has_room = true;
    n->room_status = status;
}

struct cache_entry *node_reserve(struct node *n, uint64_t key, uint64_t n_bytes, uint64_t cost_ns) {
    struct cache_entry *e;
    char text[64], why[256] = "";
    check(cache_begin(n->cache, &e, key_text(text, key), KEY_NAMED, 0, true) == 0, "no record");
    e->maker = n;
    e->cost_ns = cost_ns;
    n->has_room = false;
    n->room_status = 0;
    int rc = cache_reserve(e, n_bytes, ITEM_U1, on_room, why);
    while (rc == CACHE_E_COLD && !n->has_room) {
        usleep(100);
        arena_dispatch(n->arena, n->now_ms);
    }
    check(n->room_status == 0, "the system has no memory left");
    if (rc == 0 || rc == CACHE_E_COLD)
        return e;
    cache_fail(e, WIRE_E_FULL, why);
    return NULL;
}

void node_publish(struct cache_entry *e) {
    check(cache_publish(e) == 0, "cannot publish");
}

double node_seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

uint64_t node_random(uint64_t *seed) { /* splitmix64, Steele 2014 */
    uint64_t z = (*seed += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

double node_uniform(uint64_t *seed) {
    return (double)(node_random(seed) >> 11) / 9007199254740992.0;
}
