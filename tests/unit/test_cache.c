/* The cache on a real arena: the life of an entry, victims, clear, and the accounts at the end. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../daemon/cache/cache.h"

#define ARENA_BYTES (8ull << 20)
#define MIB (1ull << 20)

static struct arena *arena;
static struct pin_records records;
static struct cache *cache;

static void no_wake(void *ctx) {
}

static void setup_policy(const char *policy) {
    static struct backing backing;
    const struct arena_options options = {.wake = no_wake};
    cr_assert_eq(backing_open(&backing, ARENA_BYTES, NULL), 0);
    cr_assert_eq(arena_new(&arena, &backing, &options), 0);
    cr_assert_eq(pin_records_init(&records, 1 << 14), 0);
    cr_assert_eq(cache_new(&cache, arena, &records, policy_find(policy)), 0);
    cache_set_time(cache, 1000000);
}

static void setup(void) {
    setup_policy("lru");
}

static void teardown(void) {
    struct arena_stats s;
    cache_free(cache);
    arena_get_stats(arena, &s);
    cr_assert_eq(s.live_bytes, 0, "every byte has come back");
    pin_records_deinit(&records);
    arena_free(arena);
}

TestSuite(cache, .init = setup, .fini = teardown, .timeout = 30);

static struct str str(const char *text) {
    return (struct str){text, (uint32_t)strlen(text)};
}

static int room_status;
static bool room_came;

static void on_room(struct cache_entry *e, int status) {
    room_status = status;
    room_came = true;
}

/* Reserve, and wait for the arena's helper where it has to make pages. */
static int reserve(struct cache_entry *e, uint64_t n_bytes) {
    char why[256];
    room_came = false;
    int rc = cache_reserve(e, n_bytes, ITEM_U1, on_room, why);
    if (rc != CACHE_E_COLD)
        return rc;
    while (!room_came) {
        usleep(200);
        arena_dispatch(arena, 1000000);
    }
    return room_status;
}

static struct cache_entry *make(const char *key, enum key_kind kind, uint64_t n_bytes) {
    struct cache_entry *e;
    cr_assert_eq(cache_begin(cache, &e, str(key), kind, 1, true), 0);
    cr_assert_eq(reserve(e, n_bytes), 0);
    cr_assert_eq(cache_publish(e), 0);
    return e;
}

struct answer {
    struct cache_waiter waiter;
    unsigned n;
    int status;
    struct cache_entry *entry;
};

static void on_done(struct cache_waiter *w, struct cache_entry *e, int status, const char *text) {
    struct answer *a = CONTAINER_OF(w, struct answer, waiter);
    a->n++;
    a->status = status;
    a->entry = e;
}

Test(cache, a_failure_answers_all_and_leaves_nothing) {
    struct cache_entry *e;
    struct answer a = {.waiter.on_done = on_done}, b = {.waiter.on_done = on_done};
    cr_assert_eq(cache_begin(cache, &e, str("named/x"), KEY_NAMED, 0, true), 0);
    cr_assert_eq(cache_find(cache, str("named/x")), e);
    cache_wait(e, &a.waiter);
    cache_wait(e, &b.waiter);
    cr_assert_eq(reserve(e, MIB), 0);
    cache_fail(e, WIRE_E_IO, "gone");
    cr_assert_eq(a.n, 1);
    cr_assert_eq(b.n, 1);
    cr_assert_eq(a.status, WIRE_E_IO);
    cr_assert_null(cache_find(cache, str("named/x")));
}

Test(cache, a_failure_while_pages_are_made_is_freed_later) {
    struct cache_entry *e;
    char why[256];
    cr_assert_eq(cache_begin(cache, &e, str("named/x"), KEY_NAMED, 0, true), 0);
    int rc = cache_reserve(e, 6 * MIB, ITEM_U1, on_room, why);
    cr_assert(rc == 0 || rc == CACHE_E_COLD);
    cache_fail(e, WIRE_E_CANCELLED, NULL);
    cr_assert_null(cache_find(cache, str("named/x")));
}

Test(cache, waiters_can_leave) {
    struct cache_entry *e;
    struct answer a = {.waiter.on_done = on_done}, b = {.waiter.on_done = on_done};
    cr_assert_eq(cache_begin(cache, &e, str("named/x"), KEY_NAMED, 0, true), 0);
    cache_wait(e, &a.waiter);
    cache_wait(e, &b.waiter);
    cache_unwait(&a.waiter);
    cr_assert_eq(reserve(e, 0), 0);
    cr_assert_eq(cache_publish(e), 0);
    cr_assert_eq(a.n, 0);
    cr_assert_eq(b.n, 1);
    cr_assert_eq(b.entry, e);
}

Test(cache, larger_than_the_arena_is_refused_at_once) {
    struct cache_entry *e;
    char why[256] = "";
    cr_assert_eq(cache_begin(cache, &e, str("named/x"), KEY_NAMED, 0, true), 0);
    cr_assert_eq(cache_reserve(e, ARENA_BYTES + 1, ITEM_U1, on_room, why), CACHE_E_TOO_LARGE);
    cr_assert(strlen(why) > 0);
    cr_assert_eq(cache_reserve(e, UINT64_MAX, ITEM_U1, on_room, why), CACHE_E_TOO_LARGE);
    cache_fail(e, WIRE_E_TOO_LARGE, why);
}

Test(cache, the_oldest_goes_first) {
    make("named/a", KEY_NAMED, 3 * MIB);
    struct cache_entry *b = make("named/b", KEY_NAMED, 3 * MIB);
    cache_hold(cache_find(cache, str("named/a"))); /* a use: now b is older */
    cache_unhold(cache_find(cache, str("named/a")));
    cr_assert_eq(cache_find(cache, str("named/b")), b);
    make("named/c", KEY_NAMED, 3 * MIB);
    cr_assert_not_null(cache_find(cache, str("named/a")));
    cr_assert_null(cache_find(cache, str("named/b")));
}

Test(cache, edges_go_before_columns_and_indexes_last) {
    make("index/0000000000000001/t", KEY_INDEX, 2 * MIB);
    make("named/a", KEY_NAMED, 2 * MIB);
    make("edge/0000000000000001/t/x/0", KEY_EDGE, 2 * MIB);
    make("named/b", KEY_NAMED, 2 * MIB);
    make("named/c", KEY_NAMED, 2 * MIB);
    cr_assert_null(cache_find(cache, str("edge/0000000000000001/t/x/0")));
    cr_assert_not_null(cache_find(cache, str("named/a")));
    make("named/d", KEY_NAMED, 6 * MIB);
    cr_assert_not_null(cache_find(cache, str("index/0000000000000001/t")));
    make("named/e", KEY_NAMED, 8 * MIB);
    cr_assert_null(cache_find(cache, str("index/0000000000000001/t")));
}

Test(cache, what_is_pinned_or_held_stays) {
    struct pin_table *t;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    struct cache_entry *a = make("named/a", KEY_NAMED, 3 * MIB),
                       *b = make("named/b", KEY_NAMED, 3 * MIB);
    cr_assert(pin_take(t->pins, &records.records[a->record], a->record, a->version, 0));
    cache_hold(b);
    struct cache_entry *e;
    cr_assert_eq(cache_begin(cache, &e, str("named/c"), KEY_NAMED, 0, true), 0);
    cr_assert_eq(reserve(e, 3 * MIB), CACHE_E_FULL);
    cache_unhold(b);
    cr_assert_eq(reserve(e, 3 * MIB), 0, "b can go now");
    cr_assert_eq(cache_find(cache, str("named/a")), a);
    cache_fail(e, WIRE_E_CANCELLED, NULL);
    pin_table_free(t, &records);
}

Test(cache, a_pin_that_no_request_told_of_is_a_use) {
    struct pin_table *t;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    struct cache_entry *a = make("named/a", KEY_NAMED, 3 * MIB);
    make("named/b", KEY_NAMED, 3 * MIB);
    cache_set_time(cache, 1500000);
    cr_assert(pin_take(t->pins, &records.records[a->record], a->record, a->version, 1200));
    cr_assert_not(pin_drop(t->pins, &records.records[a->record], a->record, a->version));
    make("named/c", KEY_NAMED, 3 * MIB);
    cr_assert_eq(cache_find(cache, str("named/a")), a);
    cr_assert_null(cache_find(cache, str("named/b")));
    pin_table_free(t, &records);
}

Test(cache, a_tick_from_the_future_is_one_of_now) {
    struct pin_table *t;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    struct cache_entry *a = make("named/a", KEY_NAMED, 6 * MIB);
    cr_assert(pin_take(t->pins, &records.records[a->record], a->record, a->version, UINT32_MAX));
    cr_assert_not(pin_drop(t->pins, &records.records[a->record], a->record, a->version));
    make("named/b", KEY_NAMED, 6 * MIB);
    cr_assert_null(cache_find(cache, str("named/a")));
    pin_table_free(t, &records);
}

Test(cache, clear_says_what_became_of_it) {
    struct pin_table *own, *other;
    cr_assert_eq(pin_table_new(&own, &records), 0);
    cr_assert_eq(pin_table_new(&other, &records), 0);
    struct cache_entry *a = make("named/a", KEY_NAMED, MIB);
    struct shm_record *r = &records.records[a->record];
    uint32_t record = a->record;
    uint64_t version = a->version;

    cr_assert(pin_take(other->pins, r, record, version, 0));
    cr_assert_eq(cache_clear(a, own, false, false), WIRE_CLEAR_HELD_BY_OTHERS);
    cr_assert_eq(cache_find(cache, str("named/a")), a);
    cr_assert_not(pin_drop(other->pins, r, record, version));

    cr_assert_eq(cache_clear(a, own, true, false), WIRE_CLEAR_KEPT);
    cr_assert_eq(cache_find(cache, str("named/a")), a);

    cr_assert(pin_take(own->pins, r, record, version, 0));
    cr_assert_eq(cache_clear(a, own, false, false), WIRE_CLEAR_HELD_BY_YOU);
    cr_assert_null(cache_find(cache, str("named/a")));
    cr_assert_not_null(cache_at(cache, record), "its bytes are still there");
    cr_assert(pin_drop(own->pins, r, record, version), "the client has to say `released`");
    cache_released(cache, record);
    cr_assert_null(cache_at(cache, record));

    make("named/a", KEY_NAMED, MIB);
    cr_assert_eq(cache_clear(cache_find(cache, str("named/a")), own, true, true), WIRE_CLEAR_FREED);
    pin_table_free(own, &records);
    pin_table_free(other, &records);
}

Test(cache, a_retired_entry_goes_when_its_session_ends) {
    struct pin_table *t;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    struct cache_entry *a = make("named/a", KEY_NAMED, MIB);
    uint32_t record = a->record;
    cr_assert(pin_take(t->pins, &records.records[record], record, a->version, 0));
    cr_assert_eq(cache_clear(a, t, false, false), WIRE_CLEAR_HELD_BY_YOU);
    cache_sweep(cache);
    cr_assert_not_null(cache_at(cache, record));
    pin_table_free(t, &records);
    cache_sweep(cache);
    cr_assert_null(cache_at(cache, record));
}

Test(cache, a_new_version_takes_the_name_over) {
    struct pin_table *t;
    struct cache_entry *b;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    struct cache_entry *a = make("named/a", KEY_NAMED, MIB);
    uint32_t record = a->record;
    uint64_t version = a->version;
    cr_assert(pin_take(t->pins, &records.records[record], record, version, 0));
    cr_assert_eq(cache_begin(cache, &b, str("named/a"), KEY_NAMED, 0, false), 0);
    cr_assert_eq(cache_find(cache, str("named/a")), a, "found by nobody until it is whole");
    cr_assert_eq(reserve(b, MIB), 0);
    cr_assert_eq(cache_publish(b), 0);
    cr_assert_eq(cache_find(cache, str("named/a")), b);
    cr_assert_neq(b->record, record);
    cr_assert_not(pin_take(t->pins, &records.records[record], record, version, 0));
    cr_assert(pin_drop(t->pins, &records.records[record], record, version));
    cache_released(cache, record);
    cr_assert_null(cache_at(cache, record));
    pin_table_free(t, &records);
}

Test(cache, a_hole_is_grown_by_its_neighbours_only) {
    for (int i = 0; i < 8; i++) {
        char key[32];
        snprintf(key, sizeof(key), "named/%d", i);
        make(key, KEY_NAMED, MIB);
    }
    struct cache_entry *old = cache_find(cache, str("named/3")), *young;
    for (int i = 0; i < 8; i++) {
        char key[32];
        snprintf(key, sizeof(key), "named/%d", (4 + i) % 8); /* 3 is the last to be used */
        cache_hold(cache_find(cache, str(key)));
        cache_unhold(cache_find(cache, str(key)));
    }
    young = cache_find(cache, str("named/2"));
    cr_assert_not_null(old);
    cr_assert_not_null(young);
    make("named/new", KEY_NAMED, 3 * MIB);
    struct cache_stats s;
    cache_get_stats(cache, &s);
    cr_assert_eq(s.n_evicted, 3, "neighbours, and no more than are needed");
    for (int i = 0; i < 4; i++) {
        char key[32];
        snprintf(key, sizeof(key), "named/%d", i);
        cr_assert_not_null(cache_find(cache, str(key)), "the older ones lie elsewhere");
    }
}

Test(cache, nothing_goes_for_what_cannot_fit) {
    struct pin_table *t;
    struct cache_entry *e;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    for (int i = 0; i < 8; i++) {
        char key[32];
        snprintf(key, sizeof(key), "named/%d", i);
        e = make(key, KEY_NAMED, MIB);
        if (i % 2)
            cr_assert(pin_take(t->pins, &records.records[e->record], e->record, e->version, 0));
    }
    cr_assert_eq(cache_begin(cache, &e, str("named/new"), KEY_NAMED, 0, true), 0);
    cr_assert_eq(reserve(e, 2 * MIB), CACHE_E_FULL, "4 MiB could go, but never two together");
    struct cache_stats s;
    cache_get_stats(cache, &s);
    cr_assert_eq(s.n_evicted, 0);
    cr_assert_eq(reserve(e, MIB), 0);
    cache_fail(e, WIRE_E_CANCELLED, NULL);
    pin_table_free(t, &records);
}

static const char *refuse(uint64_t n_bytes) {
    static char why[256];
    struct cache_entry *e;
    cr_assert_eq(cache_begin(cache, &e, str("named/refused"), KEY_NAMED, 0, true), 0);
    cr_assert_eq(cache_reserve(e, n_bytes, ITEM_U1, on_room, why), CACHE_E_FULL);
    cache_fail(e, WIRE_E_FULL, why);
    return why;
}

Test(cache, a_refusal_names_those_in_the_way) {
    struct pin_table *t[3];
    char name[] = "a name that is longer than anybody will ever want to read it";
    struct cache_entry *e[4];
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pin_table_new(&t[i], &records), 0);
        t[i]->pid = 100 + i;
        t[i]->name = i == 2 ? name : "analysis.py";
    }
    for (int i = 0; i < 4; i++) {
        char key[32];
        snprintf(key, sizeof(key), "named/%d", i);
        e[i] = make(key, KEY_NAMED, i < 3 ? 2 * MIB : MIB);
    }
    cr_assert(
        pin_take(t[0]->pins, &records.records[e[0]->record], e[0]->record, e[0]->version, 1000));
    for (int i = 0; i < 3; i++) {
        struct pin_table *who = t[i == 2 ? 2 : 1];
        cr_assert(pin_take(who->pins, &records.records[e[i]->record], e[i]->record, e[i]->version,
                           990 + (uint32_t)i));
    }
    cache_hold(e[3]);
    const char *why = refuse(3 * MIB);
    cr_assert_str_eq(why,
                     "full: 3.0 MiB needed; of 8 are free 1.0 (largest free range 1.0), granted or "
                     "loading 1.0, pinned 6.0: 4.0 by pid 101 (analysis.py) for 10 s, 2.0 by pid "
                     "100 (analysis.py) for 0 s; release arrays");
    cr_assert(pin_drop(t[2]->pins, &records.records[e[2]->record], e[2]->record, 0));
    cr_assert(pin_take(t[2]->pins, &records.records[e[1]->record], e[1]->record, e[1]->version, 7));
    cr_assert_not(
        pin_drop(t[1]->pins, &records.records[e[1]->record], e[1]->record, e[1]->version));
    cr_assert_not(
        pin_drop(t[1]->pins, &records.records[e[0]->record], e[0]->record, e[0]->version));
    cache_set_time(cache, 1000100); /* the first refusal holds for a moment */
    why = refuse(3 * MIB);
    cr_assert(strstr(why, "fragmented: 3.0 MiB needed"), "%s", why);
    cr_assert(strstr(why, "unused 2.0"), "%s", why);
    cr_assert(strstr(why, "(a name that is longer th) for 993 s"), "%s", why);
    cache_unhold(e[3]);
    for (int i = 0; i < 3; i++)
        pin_table_free(t[i], &records);
}

/* ---- random lives against a plain reference ---- */

#define MODEL_KEYS 200
#define MODEL_PAGES (ARENA_BYTES / ARENA_PAGE)
#define MODEL_PINS 12

/* What the cache should say, kept without any of its structures. */
struct model {
    struct pin_table *table;
    uint32_t pinned[MODEL_PINS]; /* record + 1 */
    uint64_t pinned_version[MODEL_PINS];
    uint64_t n_full;
    uint8_t pages[MODEL_PAGES];
};

static uint64_t *words_of(const struct cache_entry *e) {
    return (uint64_t *)(arena_base(arena) + e->offset);
}

/* Every page belongs to one entry or to one free range; free ranges never touch; the sums are right. */
static void model_check(struct model *m) {
    uint64_t n_live = 0, n_ready = 0, n_entries = 0, free_bytes = 0, n_ranges = 0, last_stop = 0,
             off, n;
    memset(m->pages, 0, sizeof(m->pages));
    for (uint64_t i = 0; i < cache_n_records(cache); i++) {
        const struct cache_entry *e = cache_at(cache, (uint32_t)i);
        if (!e)
            continue;
        n_entries++;
        n_ready += e->state == CACHE_READY ? e->n_bytes : 0;
        for (uint64_t at = 0; at < e->n_bytes; at += ARENA_PAGE)
            cr_assert_eq(m->pages[(e->offset + at) / ARENA_PAGE]++, 0, "two entries share a page");
        n_live += round_up(e->n_bytes, ARENA_PAGE);
        if (e->n_bytes >= 8)
            cr_assert_eq(words_of(e)[0], e->version, "somebody else's bytes");
    }
    for (uint64_t at = 0; arena_next_free(arena, at, &off, &n); at = off + n) {
        cr_assert(n_ranges == 0 || off > last_stop, "free neighbours are joined");
        for (uint64_t p = off; p < off + n; p += ARENA_PAGE)
            cr_assert_eq(m->pages[p / ARENA_PAGE]++, 0, "a page is free and in use");
        last_stop = off + n;
        free_bytes += n;
        n_ranges++;
    }
    struct arena_stats a;
    struct cache_stats s;
    arena_get_stats(arena, &a);
    cache_get_stats(cache, &s);
    cr_assert_eq(n_live + free_bytes, ARENA_BYTES, "every page is one or the other");
    cr_assert_eq(a.live_bytes, n_live);
    cr_assert_eq(a.n_ranges, n_ranges);
    cr_assert_eq(s.n_entries, n_entries);
    cr_assert_eq(s.bytes_ready, n_ready);
    for (unsigned i = 0; i < MODEL_PINS; i++) {
        struct cache_entry *e = m->pinned[i] ? cache_at(cache, m->pinned[i] - 1) : NULL;
        cr_assert(!m->pinned[i] || (e && e->version == m->pinned_version[i]), "it was pinned");
    }
}

/* Could `n_bytes` be had if all went that nobody needs? By the pages alone. */
static bool model_has_room(struct model *m, uint64_t n_bytes) {
    memset(m->pages, 0, sizeof(m->pages));
    for (uint64_t i = 0; i < cache_n_records(cache); i++) {
        const struct cache_entry *e = cache_at(cache, (uint32_t)i);
        struct pin_scan scan;
        if (!e || !e->has_range)
            continue;
        pin_record_scan(&records, e->record, NULL, &scan);
        if (e->state == CACHE_READY && !e->n_holds && !scan.n_pins)
            continue;
        memset(&m->pages[e->offset / ARENA_PAGE], 1, round_up(e->n_bytes, ARENA_PAGE) / ARENA_PAGE);
    }
    uint64_t run = 0, needed = round_up(n_bytes, ARENA_PAGE) / ARENA_PAGE;
    for (uint64_t p = 0; p < MODEL_PAGES && run < needed; p++)
        run = m->pages[p] ? 0 : run + 1;
    return run >= needed;
}

static void model_make(struct model *m, const char *key, enum key_kind kind) {
    struct cache_entry *e;
    uint64_t n_bytes = (uint64_t)(rand() % 16 ? rand() % 400000 : rand() % 3000000);
    cr_assert_eq(cache_begin(cache, &e, str(key), kind, 0, true), 0);
    e->cost_ns = (uint64_t)(rand() % 3 * 1000000);
    bool has_room = model_has_room(m, n_bytes);
    int rc = reserve(e, n_bytes);
    m->n_full += rc == CACHE_E_FULL;
    cr_assert_eq(rc, n_bytes == 0 || has_room ? 0 : CACHE_E_FULL, "%d for %llu bytes", rc,
                 (unsigned long long)n_bytes);
    if (rc) {
        cache_fail(e, WIRE_E_FULL, NULL);
        return;
    }
    cr_assert_eq(cache_publish(e), 0);
    if (n_bytes >= 8)
        words_of(e)[0] = e->version;
}

static void model_pin(struct model *m, struct cache_entry *e) {
    unsigned i = (unsigned)rand() % MODEL_PINS;
    if (m->pinned[i]) {
        uint32_t record = m->pinned[i] - 1;
        m->pinned[i] = 0;
        if (pin_drop(m->table->pins, &records.records[record], record, m->pinned_version[i]))
            cache_released(cache, record);
        return;
    }
    cr_assert(pin_take(m->table->pins, &records.records[e->record], e->record, e->version,
                       1000 + (uint32_t)rand() % 100));
    m->pinned[i] = e->record + 1;
    m->pinned_version[i] = e->version;
}

static void model_step(struct model *m, uint64_t i) {
    static const enum key_kind kinds[] = {KEY_NAMED, KEY_NAMED, KEY_NAMED, KEY_EDGE, KEY_INDEX};
    char key[32];
    int number = rand() % MODEL_KEYS, what = rand() % 16;
    snprintf(key, sizeof(key), "named/%d", number);
    cache_set_time(cache, 1000000 + i * 60); /* no refusal holds until the next step */
    struct cache_entry *e = cache_find(cache, str(key));
    if (!e) {
        model_make(m, key, kinds[number % 5]);
    } else if (what < 1) {
        cache_clear(e, m->table, what % 2, false);
    } else if (what < 2) {
        cache_evict(e);
    } else if (what < 6) {
        cache_hold(e);
        cache_unhold(e);
    } else if (what < 10) {
        model_pin(m, e);
    } else if (what < 11) {
        cache_clear(e, m->table, true, false);
    }
}

static void random_lives(const char *policy) {
    static struct model m;
    setup_policy(policy);
    memset(&m, 0, sizeof(m));
    cr_assert_eq(pin_table_new(&m.table, &records), 0);
    srand(1);
    for (uint64_t i = 0; i < 100000; i++) {
        model_step(&m, i);
        if (i % 50 == 0)
            model_check(&m);
    }
    struct cache_stats s;
    cache_get_stats(cache, &s);
    cr_assert_gt(s.n_evicted, 10000);
    cr_assert_gt(m.n_full, 10);
    pin_table_free(m.table, &records);
    cache_sweep(cache);
    model_check(&(struct model){.table = NULL});
    teardown();
}

Test(cache_lives, lru, .timeout = 60) {
    random_lives("lru");
}

Test(cache_lives, s3fifo, .timeout = 60) {
    random_lives("s3fifo");
}

Test(cache_lives, cost, .timeout = 60) {
    random_lives("cost");
}
