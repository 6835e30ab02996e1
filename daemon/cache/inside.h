/* The inside of the cache, for cache.c and room.c only. */
#ifndef BUFFERD_CACHE_INSIDE_H
#define BUFFERD_CACHE_INSIDE_H

#include "cache.h"

#define REFUSAL_BYTES 256 /* of a text */

struct cache {
    struct arena *arena;         /* borrowed */
    struct pin_records *records; /* borrowed */
    struct policy *policy;       /* owned */
    struct cache_entry *table;   /* listed entries, by key */
    struct cache_entry *first; /* ready entries that go before those of the policy, in this order */
    struct cache_entry *last;  /* and those that go only when nothing else is left */
    struct cache_entry **by_record;
    uint64_t n_by_record; /* capacity of by_record */
    uint32_t *ends; /* owned; by page of the arena: record + 1 of the entry whose range begins or
                             ends there */
    uint32_t n_searches;
    struct family *families;            /* owned */
    uint64_t refused_bytes, refused_ms; /* the last time that no victim was found */
    uint64_t refused_room;              /* then: free, and unused */
    char refused_why[REFUSAL_BYTES];    /* then: what was in the way */
    uint64_t now_ms;
    struct cache_stats stats;
};

static inline uint32_t cache_tick(const struct cache *c) {
    return (uint32_t)(c->now_ms / 1000);
}

/* ---- cache.c ---- */

/* ready -> absent, when nobody holds or pins it. is_victim: for its memory. */
bool entry_try_free(struct cache_entry *e, bool is_victim, struct pin_scan *scan);

/* ---- room.c ---- */

/* The order of victims: an entry is in it while it is ready. */
void order_add(struct cache_entry *e);
void order_remove(struct cache_entry *e, bool is_victim);
void order_use(struct cache_entry *e, uint64_t used_ms);
void order_demote(struct cache_entry *e); /* to the first victim of its group */

/* Which entry has which pages. */
void range_mark(struct cache_entry *e);
void range_unmark(struct cache_entry *e);

/* A range of the arena for the entry; evicts what has to go. Return: as arena_alloc(). */
int room_make(struct cache_entry *e, uint64_t n_bytes, arena_ready_fn *on_ready);

#endif
