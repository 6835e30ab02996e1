/* The cache.
 *
 * The life of a buffer:
 *   absent    no entry. cache_begin() makes one.
 *   loading   found by its key; whoever wants it waits. It may have memory (cache_reserve), nobody
 *             reads it. cache_publish() -> ready, cache_fail() -> absent.
 *   ready     its record is ready: granted by the daemon, pinned by clients. In the order of
 *             victims (room.c). Evicted, cleared and unpinned -> absent; cleared or replaced while
 *             pinned -> retiring.
 *   retiring  found by nobody, its record is not ready; freed when no session pins it any more.
 *
 * Success and failure answer every waiter once; a failure is never kept.
 *
 * Memory is charged by taking it: a range of the arena, whole pages, before anything is written.
 */
#include "cache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "family.h"
#include "inside.h"
#include "refusal.h"

#define REFUSED_MS 50 /* so long a refusal holds for what is as large */

const char *cache_state_name(enum cache_state state) {
    static const char *const names[] = {
#define STATE(id, name, text) name,
#include "states.def"
#undef STATE
    };
    return names[state];
}

int cache_new(struct cache **cp, struct arena *arena, struct pin_records *records,
              const struct policy_kind *policy) {
    struct cache *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->arena = arena;
    c->records = records;
    c->refused_bytes = UINT64_MAX;
    c->ends = calloc(arena_bytes(arena) / ARENA_PAGE, sizeof(*c->ends));
    if (!c->ends || policy_new(&c->policy, policy, arena_bytes(arena), records->n_records)) {
        free(c->ends);
        free(c);
        return -ENOMEM;
    }
    *cp = c;
    return 0;
}

void cache_set_time(struct cache *c, uint64_t now_ms) {
    c->now_ms = c->policy->now_ms = now_ms;
}

struct cache_entry *cache_find(struct cache *c, struct str key) {
    struct cache_entry *e;
    unsigned hash = (unsigned)key_hash(key);
    HASH_FIND_BYHASHVALUE(hh, c->table, key.ptr, key.len, hash, e);
    return e;
}

static bool table_add(struct cache *c, struct cache_entry *e) {
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, c->table, e->key, e->key_bytes, (unsigned)e->key_hash, e);
    e->is_listed = hash_was_added(&e->hh);
    return e->is_listed;
}

static void table_remove(struct cache *c, struct cache_entry *e) {
    if (e->is_listed)
        HASH_DEL(c->table, e);
    e->is_listed = false;
    family_leave(&c->families, e);
}

static int by_record_grow(struct cache *c, uint32_t record) {
    if (record < c->n_by_record)
        return 0;
    uint64_t n = MAX(c->n_by_record * 2, 1024);
    while (n <= record)
        n *= 2;
    struct cache_entry **grown = realloc(c->by_record, n * sizeof(struct cache_entry *));
    if (!grown)
        return -ENOMEM;
    memset(grown + c->n_by_record, 0, (n - c->n_by_record) * sizeof(struct cache_entry *));
    c->by_record = grown;
    c->n_by_record = n;
    return 0;
}

int cache_begin(struct cache *c, struct cache_entry **ep, struct str key, enum key_kind kind,
                uint64_t source_id, bool is_listed) {
    struct cache_entry *e = calloc(1, sizeof(*e));
    if (!e || !(e->key = strndup(key.ptr, key.len))) {
        free(e);
        return -ENOMEM;
    }
    e->key_bytes = key.len;
    e->key_hash = key_hash(key);
    e->kind = kind;
    e->source_id = source_id;
    e->cache = c;
    e->used_ms = c->now_ms;
    int rc = pin_record_take(c->records, &e->record);
    if (rc) {
        free(e->key);
        free(e);
        return CACHE_E_FULL;
    }
    if (by_record_grow(c, e->record) || (is_listed && !table_add(c, e))) {
        pin_record_drop(c->records, e->record);
        free(e->key);
        free(e);
        return -ENOMEM;
    }
    c->by_record[e->record] = e;
    c->stats.n_entries++;
    *ep = e;
    return 0;
}

/* The last step of every life: nobody finds, pins, holds or waits for it. */
static void entry_free(struct cache_entry *e) {
    struct cache *c = e->cache;
    table_remove(c, e);
    if (e->has_range) {
        range_unmark(e);
        arena_give_back(c->arena, e->offset, e->n_bytes);
        c->refused_bytes = UINT64_MAX;
    }
    pin_record_drop(c->records, e->record);
    c->by_record[e->record] = NULL;
    c->stats.n_entries--;
    free(e->key);
    free(e);
}

/* ready -> retiring: nobody finds it; its memory stays until the last pin goes. */
static void entry_retire(struct cache_entry *e) {
    struct cache *c = e->cache;
    pin_record_retire(c->records, e->record, e->version);
    table_remove(c, e);
    order_remove(e, false);
    c->stats.bytes_ready -= e->n_bytes;
    e->state = CACHE_RETIRING;
}

bool entry_try_free(struct cache_entry *e, bool is_victim, struct pin_scan *scan) {
    struct cache *c = e->cache;
    *scan = (struct pin_scan){0};
    if (e->n_holds || !pin_record_try_retire(c->records, e->record, e->version, scan))
        return false;
    order_remove(e, is_victim);
    c->stats.bytes_ready -= e->n_bytes;
    entry_free(e);
    return true;
}

static void on_populated(void *ctx, int status) {
    struct cache_entry *e = ctx;
    e->is_populating = false;
    if (e->has_failed)
        entry_free(e);
    else
        e->on_room(e, status);
}

/* Looking for victims in vain costs a look at every pin; a request of many keys does it once. */
static int entry_allocate(struct cache_entry *e, uint64_t n_bytes) {
    struct cache *c = e->cache;
    if (n_bytes >= c->refused_bytes && c->now_ms - c->refused_ms < REFUSED_MS)
        return arena_alloc(c->arena, &e->offset, n_bytes, on_populated, e);
    int rc = room_make(e, n_bytes, on_populated);
    if (rc == ARENA_E_FULL) {
        c->refused_bytes = n_bytes;
        c->refused_ms = c->now_ms;
        refusal_note(c);
    }
    return rc;
}

int cache_reserve(struct cache_entry *e, uint64_t n_bytes, uint8_t item_type,
                  void (*on_room)(struct cache_entry *e, int status), char *why) {
    struct cache *c = e->cache;
    e->item_type = item_type;
    e->n_bytes = 0;
    e->on_room = on_room;
    if (n_bytes == 0)
        return 0;
    if (n_bytes > arena_bytes(c->arena)) {
        snprintf(why, 256, "it needs %llu bytes, the whole arena has %llu",
                 (unsigned long long)n_bytes, (unsigned long long)arena_bytes(c->arena));
        return CACHE_E_TOO_LARGE;
    }
    int rc = entry_allocate(e, n_bytes);
    if (rc == ARENA_E_FULL) {
        refusal_explain(c, n_bytes, why);
        return CACHE_E_FULL;
    }
    if (rc < 0)
        return rc;
    e->has_range = true;
    e->n_bytes = n_bytes;
    range_mark(e);
    e->is_populating = rc == ARENA_E_COLD;
    return e->is_populating ? CACHE_E_COLD : 0;
}

static void answer_waiters(struct cache_entry *e, int status, const char *text) {
    struct cache_waiter *w;
    while ((w = e->waiters)) {
        DL_DELETE(e->waiters, w);
        w->entry = NULL;
        w->on_done(w, status ? NULL : e, status, text);
    }
}

/* The name is needed for a new version of it. */
static void make_place(struct cache_entry *e) {
    struct cache_entry *old = cache_find(e->cache, (struct str){e->key, e->key_bytes});
    struct pin_scan scan;
    if (!old || old == e)
        return;
    if (old->state == CACHE_LOADING)
        table_remove(e->cache, old);
    else if (!entry_try_free(old, false, &scan))
        entry_retire(old);
}

int cache_publish(struct cache_entry *e) {
    struct cache *c = e->cache;
    const struct pin_record_info info = {
        .key = {e->key, e->key_bytes},
        .key_hash = e->key_hash,
        .source_id = e->source_id,
        .offset = e->offset,
        .n_bytes = e->n_bytes,
        .item_type = e->item_type,
    };
    make_place(e);
    if (!e->is_listed && !table_add(c, e))
        return CACHE_E_FULL;
    if (pin_record_publish(c->records, e->record, &info, &e->version))
        return CACHE_E_FULL;
    e->state = CACHE_READY;
    e->made_ms = e->used_ms = c->now_ms;
    order_add(e);
    c->stats.bytes_ready += e->n_bytes;
    e->n_holds++; /* while its waiters are answered */
    answer_waiters(e, 0, NULL);
    e->n_holds--;
    return 0;
}

void cache_fail(struct cache_entry *e, int status, const char *text) {
    table_remove(e->cache, e);
    e->has_failed = true;
    answer_waiters(e, status, text);
    if (!e->is_populating)
        entry_free(e);
}

void cache_strand(struct cache_entry *e) {
    if (!e->has_range)
        return;
    e->cache->stats.bytes_stranded += round_up(e->n_bytes, ARENA_PAGE);
    range_unmark(e);
    e->has_range = false;
}

void cache_unlist(struct cache_entry *e) {
    table_remove(e->cache, e);
}

int cache_join_family(struct cache_entry *e, struct str text, uint64_t start, uint64_t stop) {
    e->start = start;
    e->stop = stop;
    return family_join(&e->cache->families, e, text);
}

struct cache_entry *cache_family_of(const struct cache_entry *e) {
    return e->family ? e->family->entries : NULL;
}

void cache_wait(struct cache_entry *e, struct cache_waiter *w) {
    w->entry = e;
    DL_APPEND(e->waiters, w);
}

void cache_unwait(struct cache_waiter *w) {
    if (w->entry)
        DL_DELETE(w->entry->waiters, w);
    w->entry = NULL;
}

void cache_hold(struct cache_entry *e) {
    struct cache *c = e->cache;
    e->n_holds++;
    e->used_ms = c->now_ms;
    if (e->state == CACHE_READY)
        order_use(e, c->now_ms);
}

void cache_unhold(struct cache_entry *e) {
    e->n_holds--;
    e->cache->refused_bytes = UINT64_MAX;
    if (e->state == CACHE_RETIRING)
        cache_released(e->cache, e->record);
}

int cache_clear(struct cache_entry *e, const struct pin_table *own, bool is_wanted, bool force) {
    struct cache *c = e->cache;
    struct pin_scan scan;
    pin_record_scan(c->records, e->record, own, &scan);
    uint64_t n_own = scan.n_own;
    if (e->n_holds || scan.n_pins > scan.n_own)
        return WIRE_CLEAR_HELD_BY_OTHERS;
    if (is_wanted && !force) {
        order_demote(e);
        e->tick = MAX(e->tick, MIN(scan.tick, cache_tick(c)));
        return WIRE_CLEAR_KEPT;
    }
    if (entry_try_free(e, false, &scan)) {
        c->stats.n_cleared++;
        return WIRE_CLEAR_FREED;
    }
    if (scan.n_sessions > (n_own > 0)) /* somebody came between the two scans */
        return WIRE_CLEAR_HELD_BY_OTHERS;
    entry_retire(e);
    c->stats.n_cleared++;
    return WIRE_CLEAR_HELD_BY_YOU;
}

bool cache_evict(struct cache_entry *e) {
    struct pin_scan scan;
    return entry_try_free(e, false, &scan);
}

void cache_released(struct cache *c, uint32_t record) {
    struct cache_entry *e = cache_at(c, record);
    struct pin_scan scan;
    if (!e || e->state != CACHE_RETIRING || e->n_holds)
        return;
    pin_record_scan(c->records, record, NULL, &scan);
    if (scan.n_pins == 0)
        entry_free(e);
}

void cache_sweep(struct cache *c) {
    for (uint64_t i = 0; i < c->n_by_record; i++)
        if (c->by_record[i] && c->by_record[i]->state == CACHE_RETIRING)
            cache_released(c, (uint32_t)i);
}

struct cache_entry *cache_at(struct cache *c, uint32_t record) {
    return record < c->n_by_record ? c->by_record[record] : NULL;
}

uint64_t cache_n_records(const struct cache *c) {
    return c->n_by_record;
}

void cache_get_stats(const struct cache *c, struct cache_stats *out) {
    *out = c->stats;
    for (uint64_t i = 0; i < c->n_by_record; i++) {
        const struct cache_entry *e = c->by_record[i];
        if (!e)
            continue;
        out->n_ready += e->state == CACHE_READY;
        out->n_loading += e->state == CACHE_LOADING;
        out->n_retiring += e->state == CACHE_RETIRING;
    }
}

struct arena *cache_arena(struct cache *c) {
    return c->arena;
}

/* What failed while its pages were being made is freed when the arena has told so. */
static bool has_populating(const struct cache *c) {
    for (uint64_t i = 0; i < c->n_by_record; i++)
        if (c->by_record[i] && c->by_record[i]->is_populating)
            return true;
    return false;
}

struct cache *cache_free(struct cache *c) {
    if (!c)
        return NULL;
    while (has_populating(c)) {
        usleep(1000);
        arena_dispatch(c->arena, c->now_ms);
    }
    for (uint64_t i = 0; i < c->n_by_record; i++) {
        struct cache_entry *e = c->by_record[i];
        if (!e)
            continue;
        if (e->state == CACHE_READY)
            entry_retire(e);
        entry_free(e);
    }
    policy_free(c->policy);
    free(c->ends);
    free(c->by_record);
    free(c);
    return NULL;
}
