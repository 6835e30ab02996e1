/* Reads ROOT's big-endian bytes with every bound checked. */
#ifndef BUFFERD_CURSOR_H
#define BUFFERD_CURSOR_H

#include "../../../proto/base.h"

/* The first failure is kept and everything after it reads as zero, so a parser may read a whole
 * record and look once; loops have to look in each turn. */
struct cursor {
    const uint8_t *data; /* borrowed */
    uint64_t n_bytes;    /* readable; objects narrow it while they are read */
    uint64_t pos;
    const char *what; /* borrowed: names the bytes in error texts: "the TTree at byte 1234" */
    uint64_t origin;  /* added to pos in error texts */
    char *error;      /* borrowed: SOURCE_ERROR_BYTES */
    bool has_failed;
};

void cursor_fail(struct cursor *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next n bytes; NULL after a failure (also when n is 0 then). */
const uint8_t *cursor_bytes(struct cursor *c, uint64_t n);
void cursor_skip(struct cursor *c, uint64_t n);
void cursor_seek(struct cursor *c, uint64_t pos);

uint8_t cursor_u1(struct cursor *c);
uint16_t cursor_u2(struct cursor *c);
uint32_t cursor_u4(struct cursor *c);
uint64_t cursor_u8(struct cursor *c);
double cursor_f8(struct cursor *c);

static inline int16_t cursor_i2(struct cursor *c) {
    return (int16_t)cursor_u2(c);
}
static inline int32_t cursor_i4(struct cursor *c) {
    return (int32_t)cursor_u4(c);
}
static inline int64_t cursor_i8(struct cursor *c) {
    return (int64_t)cursor_u8(c);
}

/* A TString: its length in one byte, or 255 and four. */
struct str cursor_str(struct cursor *c);
/* A NUL-terminated class name. */
struct str cursor_class_name(struct cursor *c);

static inline uint32_t be4(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t be8(const uint8_t *p) {
    return (uint64_t)be4(p) << 32 | be4(p + 4);
}

#endif
