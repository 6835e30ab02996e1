/* Incremental framing: a u32 little-endian length, then that many bytes.
 *
 * The reader is one contiguous buffer. Consumed frames are forgotten by moving `start`; what is
 * left is moved to the front when room is asked for, so a payload is always contiguous and its
 * decoder can borrow from it. The buffer begins small (a session that says little costs little) and
 * grows only to the length that a checked header announces: nobody can make us reserve more than
 * one frame of max_bytes. Reading may take in several small frames at once.
 */
#include "frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "wire.h"

#define FIRST_CAPACITY 4096

void frame_reader_init(struct frame_reader *r, size_t max_bytes) {
    *r = (struct frame_reader){.max_bytes = max_bytes};
}

void frame_reader_deinit(struct frame_reader *r) {
    free(r->data);
    *r = (struct frame_reader){.max_bytes = r->max_bytes};
}

static size_t bytes_buffered(const struct frame_reader *r) {
    return r->n_bytes - r->start;
}

/* Length of the payload that begins at `start`; only when its header is complete. */
static uint32_t announced_bytes(const struct frame_reader *r) {
    const uint8_t *h = r->data + r->start;
    return (uint32_t)h[0] | (uint32_t)h[1] << 8 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 24;
}

static bool length_is_valid(const struct frame_reader *r, uint32_t n) {
    return n > 0 && n <= r->max_bytes;
}

static void move_to_front(struct frame_reader *r) {
    if (r->start == 0)
        return;
    memmove(r->data, r->data + r->start, bytes_buffered(r));
    r->n_bytes -= r->start;
    r->start = 0;
}

int frame_reader_room(struct frame_reader *r, uint8_t **roomp, size_t *n_bytesp) {
    size_t needed = MAX(r->capacity, FIRST_CAPACITY);
    if (r->data)
        move_to_front(r);
    if (r->n_bytes >= WIRE_HEADER_BYTES && length_is_valid(r, announced_bytes(r)))
        needed = MAX(needed, WIRE_HEADER_BYTES + (size_t)announced_bytes(r));
    if (needed == r->n_bytes) /* whole frames that nobody took yet fill the buffer */
        needed += FIRST_CAPACITY;
    if (needed > r->capacity) {
        uint8_t *data = realloc(r->data, needed);
        if (!data)
            return -ENOMEM;
        r->data = data;
        r->capacity = needed;
    }
    *roomp = r->data + r->n_bytes;
    *n_bytesp = r->capacity - r->n_bytes;
    return 0;
}

void frame_reader_commit(struct frame_reader *r, size_t n) {
    assert(n <= r->capacity - r->n_bytes);
    r->n_bytes += n;
}

int frame_reader_next(struct frame_reader *r, const uint8_t **payloadp, size_t *n_bytesp) {
    if (bytes_buffered(r) < WIRE_HEADER_BYTES)
        return FRAME_E_PARTIAL;
    uint32_t n = announced_bytes(r);
    if (!length_is_valid(r, n))
        return FRAME_E_LIMIT;
    if (bytes_buffered(r) - WIRE_HEADER_BYTES < n)
        return FRAME_E_PARTIAL;
    *payloadp = r->data + r->start + WIRE_HEADER_BYTES;
    *n_bytesp = n;
    r->start += WIRE_HEADER_BYTES + (size_t)n;
    return 0;
}

bool frame_reader_has_partial(const struct frame_reader *r) {
    size_t n = bytes_buffered(r);
    if (n < WIRE_HEADER_BYTES)
        return n > 0;
    return n - WIRE_HEADER_BYTES < announced_bytes(r);
}
