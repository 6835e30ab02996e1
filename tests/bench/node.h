/* The daemon's cache and arena without files and sockets, and one client that hits by pins: what the
 * traces of the benchmarks run on. Whatever goes wrong ends the program. */
#ifndef BUFFERD_BENCH_NODE_H
#define BUFFERD_BENCH_NODE_H

#include "../../daemon/cache/cache.h"

struct node {
    struct arena *arena;
    struct pin_records records;
    struct cache *cache;
    struct pin_table *client;
    uint64_t now_ms; /* of the trace, not of the wall */
    bool has_room;
    int room_status;
};

void node_init(struct node *n, uint64_t arena_bytes, const struct policy_kind *policy);
void node_deinit(struct node *n);
void node_set_time(struct node *n, uint64_t now_ms);

/* The buffer of a key that is ready; NULL: a miss. */
struct cache_entry *node_find(struct node *n, uint64_t key);
/* As clients do: no request tells the cache of it. */
void node_pin(struct node *n, struct cache_entry *e);
void node_unpin(struct node *n, struct cache_entry *e);
void node_hit(struct node *n, struct cache_entry *e);
/* Memory for the buffer of a key; NULL: full. Fill it, then publish. */
struct cache_entry *node_reserve(struct node *n, uint64_t key, uint64_t n_bytes, uint64_t cost_ns);
void node_publish(struct cache_entry *e);

double node_seconds(void); /* of a monotonic clock */
uint64_t node_random(uint64_t *seed);
double node_uniform(uint64_t *seed); /* in [0, 1) */

#endif
