/* The record table and the pin tables: who pins what, and what no client can make the daemon
 * believe. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../daemon/cache/pin.h"

#define N_RECORDS (1u << 16)

static struct pin_records records;

static void setup(void) {
    cr_assert_eq(pin_records_init(&records, N_RECORDS), 0);
}

static void teardown(void) {
    pin_records_deinit(&records);
}

TestSuite(pin, .init = setup, .fini = teardown);

static uint64_t publish(uint32_t number, const char *key) {
    uint64_t version;
    const struct pin_record_info info = {.key = {key, (uint32_t)strlen(key)}, .n_bytes = 8};
    cr_assert_eq(pin_record_publish(&records, number, &info, &version), 0);
    return version;
}

Test(pin, numbers_are_given_out_lowest_first_and_end) {
    uint32_t a, b, n;
    cr_assert_eq(pin_record_take(&records, &a), 0);
    cr_assert_eq(pin_record_take(&records, &b), 0);
    cr_assert_eq(a, 0);
    cr_assert_eq(b, 1);
    pin_record_drop(&records, a);
    cr_assert_eq(pin_record_take(&records, &n), 0);
    cr_assert_eq(n, 0);
    for (uint32_t i = 2; i < N_RECORDS; i++)
        cr_assert_eq(pin_record_take(&records, &n), 0);
    cr_assert_eq(n, N_RECORDS - 1);
    cr_assert_eq(pin_record_take(&records, &n), PIN_E_FULL);
}

Test(pin, versions_are_never_reused) {
    uint32_t n;
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(pin_record_take(&records, &n), 0);
        uint64_t version = publish(n, "named/x");
        cr_assert_gt(version, last);
        cr_assert(version & VERSION_READY);
        last = version;
        struct pin_scan scan;
        cr_assert(pin_record_try_retire(&records, n, version, &scan));
        pin_record_drop(&records, n);
    }
}

Test(pin, a_pinned_record_is_not_retired) {
    uint32_t n;
    struct pin_table *t;
    struct pin_scan scan;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    cr_assert_eq(pin_record_take(&records, &n), 0);
    uint64_t version = publish(n, "named/x");
    struct shm_record *r = &records.records[n];
    cr_assert(pin_take(t->pins, r, n, version, 7));
    cr_assert_not(pin_record_try_retire(&records, n, version, &scan));
    cr_assert_eq(scan.n_pins, 1);
    cr_assert_eq(scan.n_sessions, 1);
    cr_assert_eq(scan.tick, 7);
    cr_assert(pin_take(t->pins, r, n, version, 7), "it is as it was");
    cr_assert_not(pin_drop(t->pins, r, n, version));
    cr_assert_not(pin_drop(t->pins, r, n, version));
    cr_assert(pin_record_try_retire(&records, n, version, &scan));
    cr_assert_not(pin_take(t->pins, r, n, version, 7));
    pin_table_free(t, &records);
}

Test(pin, the_last_drop_of_a_retired_record_says_so) {
    uint32_t n;
    struct pin_table *t;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    cr_assert_eq(pin_record_take(&records, &n), 0);
    uint64_t version = publish(n, "named/x");
    struct shm_record *r = &records.records[n];
    cr_assert(pin_take(t->pins, r, n, version, 0));
    cr_assert(pin_take(t->pins, r, n, version, 0));
    pin_record_retire(&records, n, version);
    cr_assert_not(pin_drop(t->pins, r, n, version));
    cr_assert(pin_drop(t->pins, r, n, version));
    pin_table_free(t, &records);
}

Test(pin, the_end_of_a_session_is_the_end_of_its_pins) {
    uint32_t n;
    struct pin_table *t;
    struct pin_scan scan;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    cr_assert_eq(pin_record_take(&records, &n), 0);
    uint64_t version = publish(n, "named/x");
    cr_assert(pin_take(t->pins, &records.records[n], n, version, 0));
    pin_table_free(t, &records);
    cr_assert(pin_record_try_retire(&records, n, version, &scan));
}

Test(pin, long_keys_live_in_the_heap_and_give_it_back) {
    char key[1500];
    uint64_t version;
    memset(key, 'k', sizeof(key));
    const struct pin_record_info info = {.key = {key, sizeof(key)}};
    uint64_t n_rounds = records.header->keys_bytes / sizeof(key) * 3;
    for (uint64_t i = 0; i < n_rounds; i++) {
        uint32_t n;
        cr_assert_eq(pin_record_take(&records, &n), 0);
        cr_assert_eq(pin_record_publish(&records, n, &info, &version), 0);
        const struct shm_record *r = &records.records[n];
        cr_assert_eq(memcmp(records.keys + (uint64_t)r->key_off * SHM_KEY_UNIT, key, sizeof(key)),
                     0);
        struct pin_scan scan;
        cr_assert(pin_record_try_retire(&records, n, version, &scan));
        pin_record_drop(&records, n);
    }
}

/* Whether a lookup offers the record. */
static bool is_offered(uint64_t hash, uint32_t number) {
    uint32_t found;
    for (unsigned at = 0; index_next(records.index, hash, &at, &found);)
        if (found == number)
            return true;
    return false;
}

Test(pin, records_are_found_from_publication_to_retirement_and_full_lines_counted) {
    enum { N = 2 * INDEX_LINE_WORDS + 1 };
    const struct pin_record_info info = {.key = {"named/x", 7}, .key_hash = 0x123456789abcdef0};
    uint32_t n[N];
    uint64_t versions[N];
    struct pin_scan scan;
    for (unsigned i = 0; i < N; i++) {
        cr_assert_eq(pin_record_take(&records, &n[i]), 0);
        cr_assert_not(is_offered(info.key_hash, n[i]));
        cr_assert_eq(pin_record_publish(&records, n[i], &info, &versions[i]), 0);
    }
    cr_assert_eq(records.n_indexed, N - 1);
    cr_assert_eq(records.n_index_full, 1);
    for (unsigned i = 0; i < N; i++)
        cr_assert_eq(is_offered(info.key_hash, n[i]), i < N - 1);
    for (unsigned i = 0; i < N; i++) {
        if (i % 2)
            pin_record_retire(&records, n[i], versions[i]);
        else
            cr_assert(pin_record_try_retire(&records, n[i], versions[i], &scan));
        pin_record_drop(&records, n[i]);
        cr_assert_not(is_offered(info.key_hash, n[i]));
    }
    cr_assert_eq(records.n_indexed, 0);
}

Test(pin, a_table_costs_pages_only_where_it_pins) {
    struct pin_table *t;
    struct stat before, after;
    struct pin_scan scan;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    for (uint32_t n = 0; n < N_RECORDS; n += 100)
        pin_record_scan(&records, n, NULL, &scan);
    fstat(t->fd, &before);
    cr_assert_leq(before.st_blocks * 512, SHM_PAGE, "scanning holes must not fill them");
    uint32_t n;
    cr_assert_eq(pin_record_take(&records, &n), 0);
    cr_assert(pin_take(t->pins, &records.records[n], n, publish(n, "named/x"), 0));
    fstat(t->fd, &after);
    cr_assert_leq(after.st_blocks * 512, 2 * SHM_PAGE);
    pin_table_free(t, &records);
}

Test(pin, clients_cannot_write_the_record_table) {
    void *p = mmap(NULL, SHM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, records.client_fd, 0);
    cr_assert_eq(p, MAP_FAILED);
    p = mmap(NULL, SHM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, records.fd, 0);
    cr_assert_eq(p, MAP_FAILED, "not even through the daemon's own descriptor");
    cr_assert_neq(ftruncate(records.fd, 0), 0);
    cr_assert_eq(fcntl(records.client_fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
                 F_SEAL_SHRINK | F_SEAL_GROW);
}

Test(pin, clients_cannot_resize_their_pin_table) {
    struct pin_table *t;
    cr_assert_eq(pin_table_new(&t, &records), 0);
    cr_assert_neq(ftruncate(t->fd, 0), 0);
    cr_assert_neq(ftruncate(t->fd, 1ll << 40), 0);
    pin_table_free(t, &records);
}
