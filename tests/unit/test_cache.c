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

static void setup(void) {
    static struct backing backing;
    const struct arena_options options = {.wake = no_wake};
    cr_assert_eq(backing_open(&backing, ARENA_BYTES, NULL), 0);
    cr_assert_eq(arena_new(&arena, &backing, &options), 0);
    cr_assert_eq(pin_records_init(&records, 1 << 14), 0);
    cr_assert_eq(cache_new(&cache, arena, &records), 0);
    cache_set_time(cache, 1000000);
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
    cache_set_time(cache, 2000000);
    cr_assert(pin_take(t->pins, &records.records[a->record], a->record, a->version, 1500));
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

Test(cache, random_lives_against_the_accounts) {
    struct pin_table *t;
    char key[32];
    uint64_t n_full = 0;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    srand(1);
    for (int i = 0; i < 20000; i++) {
        struct cache_entry *e;
        snprintf(key, sizeof(key), "named/%d", rand() % 200);
        e = cache_find(cache, str(key));
        int what = rand() % 4;
        if (!e && what < 3) {
            cr_assert_eq(cache_begin(cache, &e, str(key), KEY_NAMED, 0, true), 0);
            int rc = reserve(e, (uint64_t)(rand() % 600000));
            n_full += rc == CACHE_E_FULL;
            if (rc == 0)
                cr_assert_eq(cache_publish(e), 0);
            else
                cache_fail(e, WIRE_E_FULL, NULL);
        } else if (e && what == 0) {
            cache_clear(e, t, false, false);
        } else if (e && what == 1 && e->n_holds == 0) {
            cache_evict(e);
        } else if (e && what == 2) {
            cache_hold(e);
            cache_unhold(e);
        }
    }
    cr_assert_eq(n_full, 0, "nothing is held, so there is always a victim");
    struct cache_stats s;
    cache_get_stats(cache, &s);
    cr_assert_gt(s.n_evicted, 100);
    uint64_t n = 0, n_bytes = 0, n_pages = 0;
    for (uint64_t i = 0; i < cache_n_records(cache); i++) {
        const struct cache_entry *e = cache_at(cache, (uint32_t)i);
        if (!e)
            continue;
        n++;
        n_bytes += e->n_bytes;
        n_pages += round_up(e->n_bytes, ARENA_PAGE);
    }
    struct arena_stats a;
    arena_get_stats(arena, &a);
    cr_assert_eq(s.n_entries, n);
    cr_assert_eq(s.bytes_ready, n_bytes);
    cr_assert_eq(a.live_bytes, n_pages);
    pin_table_free(t, &records);
}
