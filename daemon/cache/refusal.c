/* What is full, or in pieces, and who is in the way.
 *
 * A refusal that only says "full" leaves its reader with nobody to ask. So this one tells what is free,
 * what loads or was granted a moment ago, what is pinned, and which sessions pin the most: process, name,
 * bytes, and how long at least. How long is known from the tick of the last pin only, and that is what the
 * client wrote: a hint, like the name. What is in reach of eviction but lies between pins is told too.
 *
 * Bytes that two sessions pin are counted for each of them, and once in the sum.
 */
#include "refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAMED 2

struct owner {
    struct cache *cache;
    const struct pin_table *table;
    uint64_t n_bytes;
    uint32_t oldest; /* tick */
};

struct blame {
    uint64_t pinned_bytes;
    uint64_t busy_bytes;           /* loading, granted */
    uint64_t loose_bytes;          /* nobody needs them */
    struct owner worst[MAX_NAMED]; /* most bytes first */
};

struct text {
    char *at;
    size_t n_left;
};

static void text_add(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->at, t->n_left, format, args);
    va_end(args);
    size_t n_added = n < 0 ? 0 : MIN((size_t)n, t->n_left - 1);
    t->at += n_added;
    t->n_left -= n_added;
}

static double mib(uint64_t n_bytes) {
    return (double)n_bytes / (1 << 20);
}

static void owner_add(void *ctx, uint32_t record, uint32_t tick) {
    struct owner *o = ctx;
    struct cache_entry *e = cache_at(o->cache, record);
    if (!e || !e->has_range)
        return;
    e->search = o->cache->n_searches;
    e->may_go = false;
    o->n_bytes += round_up(e->n_bytes, ARENA_PAGE);
    o->oldest = MIN(o->oldest, tick);
}

static void blame_owner(struct blame *b, const struct owner *o) {
    unsigned i = MAX_NAMED;
    while (i > 0 && o->n_bytes > b->worst[i - 1].n_bytes)
        i--;
    if (i == MAX_NAMED)
        return;
    memmove(&b->worst[i + 1], &b->worst[i], (MAX_NAMED - 1 - i) * sizeof(*o));
    b->worst[i] = *o;
}

/* What a session pins is marked as if a search had looked at it. */
static void blame_all(struct blame *b, struct cache *c) {
    struct pin_table *t;
    c->n_searches++;
    DL_FOREACH (c->records->tables, t) {
        struct owner o = {.cache = c, .table = t, .oldest = UINT32_MAX};
        pin_table_walk(t, c->records, owner_add, &o);
        blame_owner(b, &o);
    }
    for (uint64_t i = 0; i < c->n_by_record; i++) {
        const struct cache_entry *e = c->by_record[i];
        if (!e || !e->has_range)
            continue;
        uint64_t n_bytes = round_up(e->n_bytes, ARENA_PAGE);
        if (e->search == c->n_searches)
            b->pinned_bytes += n_bytes;
        else if (e->n_holds || e->state == CACHE_LOADING)
            b->busy_bytes += n_bytes;
        else
            b->loose_bytes += n_bytes;
    }
}

void refusal_note(struct cache *c) {
    struct text t = {c->refused_why, sizeof(c->refused_why)};
    struct blame b = {0};
    struct arena_stats a;
    arena_get_stats(c->arena, &a);
    blame_all(&b, c);
    uint64_t free_bytes = arena_bytes(c->arena) - a.live_bytes;
    c->refused_room = free_bytes + b.loose_bytes;
    text_add(&t, "of %.0f are free %.1f (largest free range %.1f)", mib(arena_bytes(c->arena)),
             mib(free_bytes), mib(a.largest_bytes));
    if (b.loose_bytes)
        text_add(&t, ", unused %.1f", mib(b.loose_bytes));
    text_add(&t, ", granted or loading %.1f, pinned %.1f", mib(b.busy_bytes), mib(b.pinned_bytes));
    for (unsigned i = 0; i < MAX_NAMED && b.worst[i].n_bytes; i++) {
        const struct owner *o = &b.worst[i];
        text_add(&t, "%s %.1f by pid %d (%.24s) for %u s", i ? "," : ":", mib(o->n_bytes),
                 o->table->pid, o->table->name ? o->table->name : "",
                 cache_tick(c) - MIN(o->oldest, cache_tick(c)));
    }
}

void refusal_explain(const struct cache *c, uint64_t n_bytes, char why[REFUSAL_BYTES]) {
    struct text t = {why, REFUSAL_BYTES};
    text_add(&t, "%s: %.1f MiB needed; %s; release arrays",
             c->refused_room >= n_bytes ? "fragmented" : "full", mib(n_bytes), c->refused_why);
}
