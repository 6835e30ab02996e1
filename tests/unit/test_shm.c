/* The pin protocol: what each access answers, the table's layout, and a race of both sides.
 *
 * The race runs clients as threads with tables of their own over one record whose bytes the
 * "daemon" rewrites only after a retirement that found no pin. A client that reads another pattern
 * than the version it pinned says has seen bytes being reused under it.
 */
#include "../../proto/shm.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#define N_RECORDS 2000

struct table {
    void *memory;
    struct shm_pins pins;
    struct shm_record *records;
};

static struct table table_new(void) {
    struct table t = {.memory = aligned_alloc(SHM_PAGE, shm_pins_bytes(N_RECORDS)),
                      .records = calloc(N_RECORDS, sizeof(struct shm_record))};
    memset(t.memory, 0, shm_pins_bytes(N_RECORDS));
    t.pins = shm_pins_at(t.memory, N_RECORDS);
    return t;
}

static void table_free(struct table *t) {
    free(t->memory);
    free(t->records);
}

Test(shm, layout) {
    cr_assert_eq(shm_pins_bitmap_bytes(1), SHM_PAGE);
    cr_assert_eq(shm_pins_bytes(1), 2 * SHM_PAGE);
    uint64_t covered = (uint64_t)SHM_PAGE * 8 * SHM_PINS_PER_PAGE; /* by one page of bits */
    cr_assert_eq(shm_pins_bitmap_bytes(covered), SHM_PAGE);
    cr_assert_eq(shm_pins_bitmap_bytes(covered + 1), 2 * SHM_PAGE);
    cr_assert_eq((uintptr_t)shm_pins_at((void *)0x10000, 1).pins % SHM_PAGE, 0);
}

Test(shm, misses_hold_nothing) {
    CLEANUP(table_free) struct table t = table_new();
    struct shm_record *r = &t.records[3];
    atomic_store(&r->version, 7 << 1);
    cr_assert_not(pin_take(t.pins, r, 3, 7 << 1, 1), "not ready");
    atomic_store(&r->version, 7 << 1 | VERSION_READY);
    cr_assert_not(pin_take(t.pins, r, 3, 6 << 1 | VERSION_READY, 1), "another version");
    cr_assert_eq(pin_count(t.pins, 3, NULL), 0);
}

Test(shm, counts_and_releases) {
    CLEANUP(table_free) struct table t = table_new();
    uint64_t i = SHM_PINS_PER_PAGE + 5, version = 9 << 1 | VERSION_READY;
    struct shm_record *r = &t.records[i];
    uint32_t tick = 0;
    atomic_store(&r->version, version);
    cr_assert(pin_take(t.pins, r, i, version, 41));
    cr_assert(pin_take(t.pins, r, i, version, 42));
    cr_assert_eq(pin_count(t.pins, i, &tick), 2);
    cr_assert_eq(tick, 42);
    cr_assert_eq(t.pins.bitmap[0], 2, "the second page is flagged, and no other");
    cr_assert_eq(pin_count(t.pins, 0, NULL), 0);
    cr_assert_not(pin_drop(t.pins, r, i, version));
    pin_retire(r, version);
    cr_assert_not(pin_take(t.pins, r, i, version, 43), "retired");
    cr_assert_eq(pin_count(t.pins, i, NULL), 1);
    cr_assert(pin_drop(t.pins, r, i, version), "the last one on a retired record tells");
    cr_assert_eq(pin_count(t.pins, i, NULL), 0);
}

Test(shm, last_drop_on_a_ready_record_is_silent) {
    CLEANUP(table_free) struct table t = table_new();
    uint64_t version = 1 << 1 | VERSION_READY;
    atomic_store(&t.records[0].version, version);
    cr_assert(pin_take(t.pins, &t.records[0], 0, version, 1));
    cr_assert_not(pin_drop(t.pins, &t.records[0], 0, version));
}

Test(shm, a_page_without_flag_is_not_touched) {
    CLEANUP(table_free) struct table t = table_new();
    t.pins.pins = NULL; /* would crash */
    cr_assert_eq(pin_count(t.pins, N_RECORDS - 1, NULL), 0);
}

/* ---- the race ---- */

#define N_CLIENTS 3
#define N_REUSES 20000
#define N_HITS 50000 /* at least */
#define N_WORDS 64

struct race {
    struct table tables[N_CLIENTS];
    struct shm_record record;
    _Atomic uint64_t words[N_WORDS]; /* relaxed: plain memory that TSan may look at */
    _Atomic bool is_over;
    _Atomic uint64_t n_hits, n_wrong;
};

struct race_client {
    struct race *race;
    unsigned number;
};

static void *run_client(void *arg) {
    struct race_client *c = arg;
    struct race *race = c->race;
    struct shm_pins pins = race->tables[c->number].pins;
    while (!atomic_load(&race->is_over)) {
        uint64_t version = atomic_load(&race->record.version);
        if (!pin_take(pins, &race->record, 0, version, 0))
            continue;
        for (unsigned i = 0; i < N_WORDS; i++)
            if (atomic_load_explicit(&race->words[i], memory_order_relaxed) != version)
                atomic_fetch_add(&race->n_wrong, 1);
        atomic_fetch_add(&race->n_hits, 1);
        pin_drop(pins, &race->record, 0, version);
    }
    return NULL;
}

static bool anybody_pins(struct race *race) {
    for (unsigned i = 0; i < N_CLIENTS; i++)
        if (pin_count(race->tables[i].pins, 0, NULL))
            return true;
    return false;
}

static void publish(struct race *race, uint64_t number) {
    uint64_t version = number << 1 | VERSION_READY;
    for (unsigned i = 0; i < N_WORDS; i++)
        atomic_store_explicit(&race->words[i], version, memory_order_relaxed);
    atomic_store(&race->record.version, version);
}

Test(shm, bytes_are_never_reused_under_a_pin, .timeout = 120) {
    static struct race race;
    pthread_t threads[N_CLIENTS];
    struct race_client clients[N_CLIENTS];
    publish(&race, 1);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        race.tables[i] = table_new();
        clients[i] = (struct race_client){&race, i};
        pthread_create(&threads[i], NULL, run_client, &clients[i]);
    }
    for (uint64_t number = 1; number < N_REUSES || race.n_hits < N_HITS; number++) {
        uint64_t version = number << 1 | VERSION_READY;
        pin_retire(&race.record, version);
        while (anybody_pins(&race))
            ;
        publish(&race, number + 1);
    }
    atomic_store(&race.is_over, true);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(pin_count(race.tables[i].pins, 0, NULL), 0);
        table_free(&race.tables[i]);
    }
    cr_assert_eq(race.n_wrong, 0);
}
