/* Framing: bad lengths, then streams cut at every place. */
#include "../../proto/frame.h"
#include "../../proto/wire.h"

#include <criterion/criterion.h>
#include <string.h>

#define MAX_BYTES 65536

/* Give the reader n bytes, as much at a time as it has room for, at most `step`. */
static void feed(struct frame_reader *r, const uint8_t *data, size_t n, size_t step) {
    while (n) {
        uint8_t *room;
        size_t n_room;
        cr_assert_eq(frame_reader_room(r, &room, &n_room), 0);
        cr_assert_geq(n_room, 1);
        size_t now = MIN(MIN(n, n_room), step);
        memcpy(room, data, now);
        frame_reader_commit(r, now);
        data += now;
        n -= now;
    }
}

static size_t put_frame(uint8_t *at, uint32_t n_bytes, uint8_t value) {
    memcpy(at, &n_bytes, 4);
    memset(at + 4, value, n_bytes);
    return 4 + (size_t)n_bytes;
}

Test(frame, bad_lengths_lose_the_stream) {
    static const uint32_t bad[] = {0, MAX_BYTES + 1, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct frame_reader r;
        const uint8_t *payload;
        size_t n;
        frame_reader_init(&r, MAX_BYTES);
        feed(&r, (const uint8_t *)&bad[i], 3, 1);
        cr_assert_eq(frame_reader_next(&r, &payload, &n), FRAME_E_PARTIAL);
        feed(&r, (const uint8_t *)&bad[i] + 3, 1, 1);
        cr_assert_eq(frame_reader_next(&r, &payload, &n), FRAME_E_LIMIT);
        cr_assert_leq(r.capacity, 4096);
        frame_reader_deinit(&r);
    }
}

Test(frame, memory_follows_the_checked_length) {
    struct frame_reader r;
    uint8_t *room;
    size_t n_room;
    uint32_t n = MAX_BYTES;
    frame_reader_init(&r, MAX_BYTES);
    feed(&r, (const uint8_t *)&n, 4, 4);
    cr_assert_leq(r.capacity, 4096);
    cr_assert_eq(frame_reader_room(&r, &room, &n_room), 0);
    cr_assert_eq(n_room, MAX_BYTES);
    cr_assert_eq(r.capacity, MAX_BYTES + 4);
    frame_reader_deinit(&r);
}

Test(frame, partial_is_told_apart) {
    struct frame_reader r;
    const uint8_t *payload;
    size_t n;
    uint8_t stream[16];
    size_t n_stream = put_frame(stream, 3, 'x');
    frame_reader_init(&r, MAX_BYTES);
    cr_assert_not(frame_reader_has_partial(&r));
    for (size_t i = 0; i + 1 < n_stream; i++) {
        feed(&r, stream + i, 1, 1);
        cr_assert_eq(frame_reader_next(&r, &payload, &n), FRAME_E_PARTIAL);
        cr_assert(frame_reader_has_partial(&r));
    }
    feed(&r, stream + n_stream - 1, 1, 1);
    cr_assert_not(frame_reader_has_partial(&r));
    cr_assert_eq(frame_reader_next(&r, &payload, &n), 0);
    cr_assert_not(frame_reader_has_partial(&r));
    cr_assert_eq(n, 3);
    cr_assert_eq(frame_reader_next(&r, &payload, &n), FRAME_E_PARTIAL);
    frame_reader_deinit(&r);
}

/* A stream of frames of many sizes, taken as they become whole or only at the end of each read. */
static void check_stream(size_t step) {
    static const uint32_t sizes[] = {1, 2, 5, 4090, 4092, 4096, 1, 65536, 7, 30000, 1, 1, 4088};
    static uint8_t stream[200000];
    size_t n_stream = 0, sent = 0, i = 0;
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++)
        n_stream += put_frame(stream + n_stream, sizes[k], (uint8_t)k);
    struct frame_reader r;
    frame_reader_init(&r, MAX_BYTES);
    while (sent < n_stream) {
        size_t now = MIN(step, n_stream - sent);
        feed(&r, stream + sent, now, step);
        sent += now;
        const uint8_t *payload;
        size_t n;
        while (frame_reader_next(&r, &payload, &n) == 0) {
            cr_assert_eq(n, sizes[i]);
            cr_assert(payload[0] == i && payload[n - 1] == i);
            i++;
        }
    }
    cr_assert_eq(i, ARRAY_LEN(sizes));
    frame_reader_deinit(&r);
}

Test(frame, any_cut_gives_the_same_frames) {
    static const size_t steps[] = {1, 2, 3, 5, 7, 64, 1000, 4095, 4096, 4097, 65536, 200000};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        check_stream(steps[i]);
}

Test(frame, deinit_twice_is_fine) {
    struct frame_reader r;
    frame_reader_init(&r, MAX_BYTES);
    feed(&r, (const uint8_t *)"\1\0\0\0x", 5, 5);
    frame_reader_deinit(&r);
    frame_reader_deinit(&r);
}
