/* Room for a buffer: which others go.
 *
 * Victims come in three groups. First what is known to be spare: edge buffers, and what was cleared
 * but kept. Then what the policy offers. Last, tree indexes: they are small and cost much to make.
 * What is loading, held, pinned or retired is never a victim. The order knows requests only; hits
 * that no request told of are known by the ticks in the pin tables, so an entry that was pinned
 * since its last known use counts as used when it is looked at.
 *
 * One victim seldom leaves a hole that fits, and victims here and there leave many that do not. So a
 * victim is only where a search begins: its hole (the free pages at both sides belong to it) is grown
 * by whichever neighbour is worth less, until it is large enough or something that must stay stands
 * at both sides. Several such windows are compared, and the entries of the cheapest go. Nothing
 * is evicted for a request that cannot be met: windows are planned first.
 *
 * Neighbours are found by a boundary tag: one number for each page of the arena, set at the first and
 * the last page of each entry's range.
 */
#include "inside.h"

#define MAX_WINDOWS 4           /* that are compared, */
#define MAX_LOOKS 2048          /* unless that many entries have been looked at for fewer */
#define MAX_RACES 8             /* evictions that a pin came before */
#define SHRINK_BYTES (2u << 20) /* whole units can be punched */

enum group { GROUP_NONE, GROUP_FIRST, GROUP_POLICY, GROUP_LAST };

/* Pages [start, stop) of the arena, in bytes: entries that may go, and free ranges. */
struct window {
    uint64_t start, stop;
    double loss; /* what the entries are worth */
};

struct search {
    struct cache *cache;
    uint64_t n_bytes;
    bool with_indexes;
    struct cache_entry *aside; /* taken from the policy: list by `next` */
    struct window best;
    unsigned n_windows, n_looks;
};

/* ---- the order ---- */

static void order_put(struct cache_entry *e, enum group group) {
    struct cache *c = e->cache;
    e->group = (uint8_t)group;
    if (group == GROUP_FIRST)
        DL_APPEND(c->first, e);
    else if (group == GROUP_LAST)
        DL_APPEND(c->last, e);
    else
        policy_add(c->policy, &e->item);
}

void order_add(struct cache_entry *e) {
    e->item.id = e->key_hash;
    e->item.n_bytes = MAX(round_up(e->n_bytes, ARENA_PAGE), ARENA_PAGE);
    e->item.cost_ns = e->cost_ns;
    e->item.used_ms = e->cache->now_ms;
    e->tick = cache_tick(e->cache);
    order_put(e, e->kind == KEY_EDGE    ? GROUP_FIRST
                 : e->kind == KEY_INDEX ? GROUP_LAST
                                        : GROUP_POLICY);
}

void order_remove(struct cache_entry *e, bool is_victim) {
    struct cache *c = e->cache;
    if (e->group == GROUP_FIRST)
        DL_DELETE(c->first, e);
    else if (e->group == GROUP_LAST)
        DL_DELETE(c->last, e);
    else
        policy_remove(c->policy, &e->item, is_victim);
    e->group = GROUP_NONE;
}

/* A victim that the policy has offered goes back to its place. */
static void taken_put_back(struct cache_entry *e) {
    if (e->is_taken)
        policy_put_back(e->cache->policy, &e->item);
    e->is_taken = false;
}

void order_use(struct cache_entry *e, uint64_t used_ms) {
    e->tick = MAX(e->tick, (uint32_t)(used_ms / 1000));
    taken_put_back(e);
    if (e->group == GROUP_POLICY) {
        policy_use(e->cache->policy, &e->item, used_ms);
        return;
    }
    enum group group = e->kind == KEY_EDGE    ? GROUP_FIRST
                       : e->kind == KEY_INDEX ? GROUP_LAST
                                              : GROUP_POLICY; /* was kept, and is wanted again */
    order_remove(e, false);
    e->item.used_ms = used_ms;
    order_put(e, group);
}

void order_demote(struct cache_entry *e) {
    order_remove(e, false);
    e->group = e->kind == KEY_INDEX ? GROUP_LAST : GROUP_FIRST;
    if (e->group == GROUP_LAST)
        DL_PREPEND(e->cache->last, e);
    else
        DL_PREPEND(e->cache->first, e);
}

static double entry_loss(const struct cache_entry *e) {
    if (e->group == GROUP_FIRST)
        return 0;
    /* An index among others goes only when it has to; the ones that it lies between do not matter. */
    double score = e->group == GROUP_LAST ? 1e30 : policy_score(e->cache->policy, &e->item);
    return score * (double)e->item.n_bytes;
}

/* ---- ranges ---- */

static uint64_t entry_stop(const struct cache_entry *e) {
    return e->offset + round_up(e->n_bytes, ARENA_PAGE);
}

static void ends_set(struct cache_entry *e, uint32_t value) {
    e->cache->ends[e->offset / ARENA_PAGE] = value;
    e->cache->ends[entry_stop(e) / ARENA_PAGE - 1] = value;
}

void range_mark(struct cache_entry *e) {
    ends_set(e, e->record + 1);
}

void range_unmark(struct cache_entry *e) {
    ends_set(e, 0);
}

/* The entry whose range begins or ends with the page at `off`; NULL: none. */
static struct cache_entry *entry_at_page(const struct cache *c, uint64_t off) {
    uint32_t end = c->ends[off / ARENA_PAGE];
    return end ? c->by_record[end - 1] : NULL;
}

/* ---- windows ---- */

/* Whether nobody needs it; looked at once in a search. */
static bool entry_may_go(struct search *s, struct cache_entry *e) {
    const struct cache *c = s->cache;
    struct pin_scan scan;
    if (e->kind == KEY_INDEX && !s->with_indexes)
        return false;
    if (e->search == c->n_searches)
        return e->may_go;
    e->search = c->n_searches;
    e->may_go = false;
    s->n_looks++;
    if (e->state != CACHE_READY || e->n_holds)
        return false;
    pin_record_scan(c->records, e->record, NULL, &scan);
    uint32_t tick = MIN(scan.tick, cache_tick(c)); /* a client may have written anything */
    if (tick > e->tick)
        order_use(e, tick * 1000ull);
    e->may_go = scan.n_pins == 0;
    return e->may_go;
}

/* Free pages at both sides belong to the window. */
static void window_absorb(struct window *w, const struct cache *c) {
    uint64_t off, n;
    if (w->start > 0 && arena_next_free(c->arena, w->start - 1, &off, &n) && off < w->start)
        w->start = off;
    if (arena_next_free(c->arena, w->stop, &off, &n) && off == w->stop)
        w->stop += n;
}

static void window_add(struct window *w, const struct cache_entry *e) {
    w->start = MIN(w->start, e->offset);
    w->stop = MAX(w->stop, entry_stop(e));
    w->loss += entry_loss(e);
    window_absorb(w, e->cache);
}

static bool worth_less(const struct cache_entry *a, const struct cache_entry *b) {
    return entry_loss(a) * (double)b->item.n_bytes < entry_loss(b) * (double)a->item.n_bytes;
}

/* False: what must stay stands at both sides. */
static bool window_grow(struct window *w, struct search *s) {
    struct cache *c = s->cache;
    while (w->stop - w->start < s->n_bytes) {
        struct cache_entry *left = w->start > 0 ? entry_at_page(c, w->start - ARENA_PAGE) : NULL;
        struct cache_entry *right =
            w->stop < arena_bytes(c->arena) ? entry_at_page(c, w->stop) : NULL;
        if (left && !entry_may_go(s, left))
            left = NULL;
        if (right && !entry_may_go(s, right))
            right = NULL;
        if (!left && !right)
            return false;
        window_add(w, !right || (left && worth_less(left, right)) ? left : right);
    }
    return true;
}

/* The entry that begins at *atp, or (NULL) a free range is there; *atp moves behind it. */
static struct cache_entry *window_next(const struct cache *c, uint64_t *atp) {
    struct cache_entry *e = entry_at_page(c, *atp);
    uint64_t off, n;
    if (e) {
        *atp = entry_stop(e);
        return e;
    }
    bool is_free = arena_next_free(c->arena, *atp, &off, &n);
    *atp = is_free ? off + n : arena_bytes(c->arena);
    return NULL;
}

/* A window that cannot grow: no search need begin in it again. */
static void window_give_up(const struct window *w, struct cache *c) {
    for (uint64_t at = w->start; at < w->stop;) {
        struct cache_entry *e = window_next(c, &at);
        if (e)
            e->stuck = c->n_searches;
    }
}

static bool search_is_over(const struct search *s) {
    return s->n_windows >= MAX_WINDOWS || (s->n_windows > 0 && s->n_looks >= MAX_LOOKS);
}

static void search_from(struct search *s, struct cache_entry *e) {
    struct cache *c = s->cache;
    uint32_t tick = e->tick;
    if (e->n_bytes == 0 || e->stuck == c->n_searches || !entry_may_go(s, e))
        return;
    if (e->tick != tick) /* it has been used: others first */
        return;
    struct window w = {.start = e->offset, .stop = e->offset};
    window_add(&w, e);
    if (!window_grow(&w, s)) {
        window_give_up(&w, c);
        return;
    }
    if (s->n_windows == 0 || w.loss < s->best.loss)
        s->best = w;
    s->n_windows++;
}

/* Looking at an entry may move it, or the next one, to the end: it is then found by the second walk, in
 * which nothing moves. */
static void search_list(struct search *s, struct cache_entry **list) {
    struct cache_entry *e, *next;
    for (int walk = 0; walk < 2; walk++)
        for (e = *list; e && !search_is_over(s); e = next) {
            next = e->next;
            search_from(s, e);
        }
}

static void search_policy(struct search *s) {
    struct policy *p = s->cache->policy;
    struct policy_item *item;
    while (!search_is_over(s) && (item = policy_take(p))) {
        struct cache_entry *e = CONTAINER_OF(item, struct cache_entry, item);
        e->is_taken = true;
        search_from(s, e);
        if (e->is_taken)
            LL_PREPEND(s->aside, e);
    }
}

/* What was looked at stays where it was; what is in use counts as used now, so that it is not looked at
 * again and again. */
static void search_end(struct search *s) {
    struct cache_entry *e, *next;
    LL_FOREACH_SAFE (s->aside, e, next) {
        taken_put_back(e);
        if (e->search == s->cache->n_searches && !e->may_go)
            order_use(e, s->cache->now_ms);
    }
    s->aside = NULL;
}

/* False: a pin came before. */
static bool window_evict(const struct window *w, struct cache *c) {
    for (uint64_t at = w->start; at < w->stop;) {
        struct cache_entry *e = window_next(c, &at);
        struct pin_scan scan;
        uint64_t n_bytes = e ? e->n_bytes : 0;
        if (!e)
            continue;
        if (!entry_try_free(e, true, &scan))
            return false;
        c->stats.n_evicted++;
        c->stats.bytes_evicted += n_bytes;
    }
    return true;
}

/* The cheapest window that was found. False: there is none. */
static bool search_run(struct search *s) {
    struct cache *c = s->cache;
    c->n_searches++;
    search_list(s, &c->first);
    search_policy(s);
    search_end(s);
    if (s->n_windows == 0) {
        s->with_indexes = true;
        search_list(s, &c->last);
    }
    return s->n_windows > 0;
}

int room_make(struct cache_entry *e, uint64_t n_bytes, arena_ready_fn *on_ready) {
    struct cache *c = e->cache;
    for (unsigned n_races = 0; n_races < MAX_RACES;) {
        int rc = arena_alloc(c->arena, &e->offset, n_bytes, on_ready, e);
        if (rc != ARENA_E_FULL)
            return rc;
        struct search s = {.cache = c, .n_bytes = round_up(n_bytes, ARENA_PAGE)};
        if (!search_run(&s))
            return ARENA_E_FULL;
        n_races += !window_evict(&s.best, c);
    }
    return ARENA_E_FULL;
}

uint64_t cache_shrink(struct cache *c, uint64_t n_bytes) {
    uint64_t before = c->stats.bytes_evicted;
    while (c->stats.bytes_evicted - before < n_bytes) {
        struct search s = {.cache = c, .n_bytes = SHRINK_BYTES};
        if (!search_run(&s) || !window_evict(&s.best, c))
            break;
    }
    return c->stats.bytes_evicted - before;
}
