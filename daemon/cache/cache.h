/* The cache: a table of entries, the life of each, its waiters, and the budget that they share.
 *
 * Loop thread only. The cache knows keys, bytes and pins; it knows neither files nor jobs.
 */
#ifndef BUFFERD_CACHE_H
#define BUFFERD_CACHE_H

#include "../../proto/key.h"
#include "../arena/arena.h"
#include "../util/table.h"
#include "pin.h"
#include "policy.h"

struct cache;

enum cache_state {
#define STATE(id, name, text) CACHE_##id,
#include "states.def"
#undef STATE
};
const char *cache_state_name(enum cache_state state);

enum {
    CACHE_E_FULL = 1,      /* what is pinned, granted or loading leaves no room */
    CACHE_E_TOO_LARGE = 2, /* larger than the arena */
    CACHE_E_COLD = 3,      /* reserved; the callback says when its pages are there */
};

/* Someone who wants an entry. Embedded in its owner; linked while the entry loads. */
struct cache_waiter {
    struct cache_waiter *prev, *next;
    struct cache_entry *entry; /* borrowed; NULL while not waiting */
    /* Once: status 0 (the entry is ready; hold it before returning to keep it), or a wire error
     * with its text. */
    void (*on_done)(struct cache_waiter *w, struct cache_entry *entry, int status,
                    const char *text);
};

/* One buffer. Read-only outside of the cache, but for `maker` and `cost_ns`. */
struct cache_entry {
    UT_hash_handle hh;               /* by key, while listed */
    struct cache_entry *prev, *next; /* in one of the cache's lists of victims */
    struct policy_item item;         /* in the policy's order, when it is not in a list */
    struct cache_waiter *waiters;    /* borrowed list */
    char *key;                       /* owned, NUL-terminated */
    uint32_t key_bytes;
    uint64_t key_hash;
    enum key_kind kind;
    enum cache_state state;
    bool is_listed;     /* found under its key */
    bool has_range;     /* owns [offset, offset + n_bytes) of the arena */
    bool is_populating; /* the arena's callback is due */
    bool has_failed;    /* freed as soon as that callback has come */
    bool is_taken;      /* from the policy, while room is searched */
    bool may_go;        /* as the search with the number `search` has found */
    uint8_t group;      /* of victims (room.c) */
    uint8_t item_type;
    uint32_t record;
    uint64_t version;
    uint64_t offset, n_bytes;
    uint64_t source_id;
    unsigned n_holds; /* grants, and jobs that read it: not a victim */
    uint32_t tick;    /* of the last use that the order of victims knows */
    uint32_t search,
        stuck;        /* the last search for room that looked at it, that began here in vain */
    uint64_t cost_ns; /* of the jobs that made it */
    uint64_t n_hits, made_ms, used_ms;
    void *maker;           /* borrowed: who loads it */
    uint64_t start, stop;  /* of a member of a family: its range */
    struct family *family; /* borrowed; NULL: none */
    struct cache_entry *family_prev, *family_next;
    void (*on_room)(struct cache_entry *e, int status);
    struct cache *cache;
};

/* Return: 0 or -ENOMEM. */
int cache_new(struct cache **cp, struct arena *arena, struct pin_records *records,
              const struct policy_kind *policy);
/* Every entry must be idle; the rest is freed. */
struct cache *cache_free(struct cache *c);
/* Once a second, and before anything else in a loop turn. */
void cache_set_time(struct cache *c, uint64_t now_ms);

/* The listed entry of a key, in any state; NULL when absent. */
struct cache_entry *cache_find(struct cache *c, struct str key);

/* absent -> loading. An entry that is not listed is found by nobody until it is published.
 * Return: 0, CACHE_E_FULL (no record number), or -ENOMEM. */
int cache_begin(struct cache *c, struct cache_entry **ep, struct str key, enum key_kind kind,
                uint64_t source_id, bool is_listed);
/* Memory for a loading entry, once; evicts what nobody needs. n_bytes may be 0. `why` (256 bytes)
 * explains a refusal: free, in pieces, or pinned, and by whom. On CACHE_E_COLD on_room(entry, 0 or negative errno) follows. Return: 0,
 * CACHE_E_*, or negative errno. */
int cache_reserve(struct cache_entry *e, uint64_t n_bytes, uint8_t item_type,
                  void (*on_room)(struct cache_entry *e, int status), char *why);
/* loading -> ready; replaces a listed entry of the same key; answers all waiters. Return: 0 or
 * CACHE_E_FULL (then the entry is still loading: fail it). */
int cache_publish(struct cache_entry *e);
/* loading -> absent: answers all waiters; a failure is never cached. The entry is freed, unless its
 * pages are still being populated: then that happens first. */
void cache_fail(struct cache_entry *e, int status, const char *text);
/* A thread that was given up may still write to a loading entry's memory, so that is never handed out
 * again. */
void cache_strand(struct cache_entry *e);
/* Nobody finds a loading entry any more; whoever asks for its key starts anew. */
void cache_unlist(struct cache_entry *e);

/* The entry is one of several ranges of the same thing, until it is not listed any more. Return: 0 or
 * -ENOMEM. */
int cache_join_family(struct cache_entry *e, struct str text, uint64_t start, uint64_t stop);
/* The newest of its family, loading or ready; NULL: it has none. The next is entry->family_next. */
struct cache_entry *cache_family_of(const struct cache_entry *e);

void cache_wait(struct cache_entry *e, struct cache_waiter *w);
void cache_unwait(struct cache_waiter *w);

/* Keep a ready entry from eviction (n_holds); a hold is also a use. */
void cache_hold(struct cache_entry *e);
void cache_unhold(struct cache_entry *e);

/* A client is done with a ready entry; `own` is its pin table (may be NULL). is_wanted: another
 * session has its source open, so that it is kept unless force. Return: enum wire_clear. */
int cache_clear(struct cache_entry *e, const struct pin_table *own, bool is_wanted, bool force);
/* The operator's word: free it if nobody holds it. */
bool cache_evict(struct cache_entry *e);
/* Evict what nobody uses, up to so many bytes. Return: how many. */
uint64_t cache_shrink(struct cache *c, uint64_t n_bytes);
/* A client says that its last pin on a retired record is gone; or once a second, for all of them.
 */
void cache_released(struct cache *c, uint32_t record);
void cache_sweep(struct cache *c);

/* The entry of a record number, or NULL; numbers are below cache_n_records(). */
struct cache_entry *cache_at(struct cache *c, uint32_t record);
uint64_t cache_n_records(const struct cache *c);

struct cache_stats {
    uint64_t n_entries, n_ready, n_loading, n_retiring, n_evicted, bytes_evicted, n_cleared;
    uint64_t bytes_stranded;
    uint64_t bytes_ready; /* of the buffers, without padding */
};
void cache_get_stats(const struct cache *c, struct cache_stats *out);
struct arena *cache_arena(struct cache *c);

#endif
