/* Views over tables that lie: a record is believed only as far as the mapping of the arena goes. */
#include "../../client/session.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>

#define N_RECORDS 1000
#define ARENA_BYTES 65536

struct fake {
    struct bufferd b;
    struct shm_header header;
    void *pins;
    int peer;
};

static void fake_init(struct fake *f) {
    int s[2];
    memset(f, 0, sizeof(*f));
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    f->peer = s[1];
    cr_assert_eq(line_new(&f->b.line, s[0]), 0);
    f->b.n_refs = 1;
    f->b.n_records = N_RECORDS;
    f->b.header = &f->header;
    f->b.records = calloc(N_RECORDS, sizeof(*f->b.records));
    f->pins = calloc(1, shm_pins_bytes(N_RECORDS));
    f->b.pins = shm_pins_at(f->pins, N_RECORDS);
    f->b.arena = (struct mapping){malloc(ARENA_BYTES), ARENA_BYTES};
    pthread_rwlock_init(&f->b.gate, NULL);
}

static void fake_deinit(struct fake *f) {
    cr_expect_eq(f->b.n_refs, 1, "a view was not released");
    line_free(f->b.line);
    close(f->peer);
    free(f->b.records);
    free(f->pins);
    free(f->b.arena.base);
}

#define FAKE CLEANUP(fake_deinit) struct fake

static void publish(struct fake *f, uint32_t i, uint64_t version, uint64_t offset, uint64_t n_bytes,
                    uint8_t item_type) {
    struct shm_record *r = &f->b.records[i];
    r->offset = offset;
    r->n_bytes = n_bytes;
    r->item_type = item_type;
    atomic_store(&r->version, version);
}

static uint32_t count(struct fake *f, uint32_t i) {
    return pin_count(f->b.pins, i, NULL);
}

Test(view, records_that_lie_are_absent) {
    static const struct {
        uint64_t offset, n_bytes;
        uint8_t item_type;
    } lies[] = {
        {0, ARENA_BYTES + 1, 0},
        {ARENA_BYTES + 1, 0, 0},
        {ARENA_BYTES, 1, 0},
        {UINT64_MAX, 2, 0},
        {2, UINT64_MAX, 0},
        {UINT64_MAX - 1, UINT64_MAX, 0},
        {0, 8, (uint8_t)N_ITEM_TYPES},
        {0, 8, 255},
    };
    FAKE f;
    fake_init(&f);
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct bufferd_view v = {0};
        publish(&f, 5, 11, lies[i].offset, lies[i].n_bytes, lies[i].item_type);
        cr_expect_eq(bufferd_pin(&v, &f.b, 5, 11), BUFFERD_E_ABSENT, "%zu", i);
        cr_expect_null(v.session);
        cr_expect_eq(count(&f, 5), 0);
    }
}

Test(view, numbers_out_of_range_are_absent) {
    FAKE f;
    struct bufferd_view v;
    fake_init(&f);
    publish(&f, N_RECORDS - 1, 11, 0, 8, 0);
    cr_assert_eq(bufferd_pin(&v, &f.b, N_RECORDS, 11), BUFFERD_E_ABSENT);
    cr_assert_eq(bufferd_pin(&v, &f.b, UINT32_MAX, 11), BUFFERD_E_ABSENT);
    cr_assert_not(view_pin(&v, &f.b, 1ull << 32, 11), "no number is cut");
    cr_assert_eq(bufferd_pin(&v, &f.b, N_RECORDS - 1, 10), BUFFERD_E_ABSENT);
    cr_assert_eq(bufferd_pin(&v, &f.b, N_RECORDS - 1, 13), BUFFERD_E_ABSENT);
}

Test(view, pins_are_counted) {
    FAKE f;
    struct bufferd_view v, w;
    fake_init(&f);
    publish(&f, 7, 11, 4096, ARENA_BYTES - 4096, ITEM_F4);
    cr_assert_eq(bufferd_pin(&v, &f.b, 7, 11), 0);
    cr_assert_eq((const char *)v.data - (const char *)f.b.arena.base, 4096);
    cr_assert_eq(bufferd_view_offset(&v), 4096);
    cr_assert_eq(v.item_type, BUFFERD_FLOAT32);
    cr_assert_eq(f.b.n_refs, 2);
    bufferd_view_copy(&w, &v);
    cr_assert_eq(count(&f, 7), 2);
    bufferd_release(&v);
    bufferd_release(&v); /* does nothing */
    cr_assert_eq(count(&f, 7), 1);
    bufferd_release(&w);
    cr_assert_eq(count(&f, 7), 0);
}

Test(view, empty_buffer_at_the_end_has_an_address) {
    FAKE f;
    struct bufferd_view v;
    fake_init(&f);
    publish(&f, 7, 11, ARENA_BYTES, 0, ITEM_I8);
    cr_assert_eq(bufferd_pin(&v, &f.b, 7, 11), 0);
    cr_assert_not_null(v.data);
    bufferd_release(&v);
}

Test(view, last_release_of_a_retired_record_tells_the_daemon) {
    FAKE f;
    struct bufferd_view v, w;
    uint8_t bytes[64];
    fake_init(&f);
    publish(&f, 7, 11, 0, 8, 0);
    cr_assert_eq(bufferd_pin(&v, &f.b, 7, 11), 0);
    bufferd_view_copy(&w, &v);
    pin_retire(&f.b.records[7], 11);
    bufferd_release(&v);
    cr_assert_lt(recv(f.peer, bytes, sizeof(bytes), MSG_DONTWAIT), 0);
    bufferd_release(&w);
    ssize_t n = recv(f.peer, bytes, sizeof(bytes), MSG_DONTWAIT);
    cr_assert_gt(n, 4);
    CLEANUP(message_deinit) struct message m = {0};
    cr_assert_eq(message_decode(&m, bytes + 4, (size_t)n - 4, false, NULL), 0);
    cr_assert_eq(m.op, WIRE_OP_RELEASED);
    const struct msg_released *released = m.body;
    cr_assert(released->record == 7 && released->version == 11);
}
