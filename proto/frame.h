/* Incremental framing: bytes come in as they come, whole payloads go out. */
#ifndef BUFFERD_FRAME_H
#define BUFFERD_FRAME_H

#include "base.h"

enum {
    FRAME_E_PARTIAL = 1, /* not an error: more bytes are needed */
    FRAME_E_LIMIT = 2,   /* the announced length is 0 or over the limit; the stream is lost */
};

/* A reader's buffer, grown to the announced length of one frame at most, after that length was
 * checked. */
struct frame_reader {
    uint8_t *data; /* owned */
    size_t n_bytes, start, capacity;
    size_t max_bytes; /* of one payload */
};

void frame_reader_init(struct frame_reader *r, size_t max_bytes);
void frame_reader_deinit(struct frame_reader *r);

/* Room for the next read: at least one byte, at most what is left of the current frame or 64 KiB.
 * Return: 0 or -ENOMEM. */
int frame_reader_room(struct frame_reader *r, uint8_t **roomp, size_t *n_bytesp);
/* `n` bytes were written to that room. */
void frame_reader_commit(struct frame_reader *r, size_t n);
/* The next whole payload; valid until the next call on the reader.
 * Return: 0, FRAME_E_PARTIAL or FRAME_E_LIMIT. */
int frame_reader_next(struct frame_reader *r, const uint8_t **payloadp, size_t *n_bytesp);
/* True when a frame has begun and is not complete. */
bool frame_reader_has_partial(const struct frame_reader *r);

#endif
