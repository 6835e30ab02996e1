/* Small helpers that every part may use: cleanup attributes, container_of, checked arithmetic. */
#ifndef BUFFERD_BASE_H
#define BUFFERD_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#ifndef MIN /* sys/param.h, which libuv includes, has the same */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

#define CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free(void *p) {
    free(*(void **)p);
}

static inline void cleanup_close(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

/* Hand over what a cleanup attribute would otherwise destroy. */
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) take_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        take_;                                                                                     \
    })
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int take_ = (fd);                                                                          \
        (fd) = -1;                                                                                 \
        take_;                                                                                     \
    })

/* Checked arithmetic: true on overflow; *out is the wrapped value then. */
#define ADD_OVERFLOW(a, b, out) __builtin_add_overflow((a), (b), (out))
#define MUL_OVERFLOW(a, b, out) __builtin_mul_overflow((a), (b), (out))

/* True when [off, off + len) lies inside [0, size). */
static inline bool range_is_inside(uint64_t off, uint64_t len, uint64_t size) {
    return off <= size && len <= size - off;
}

/* Round up to a power of two `unit`; the caller has bounded `n` (no overflow check). */
static inline uint64_t round_up(uint64_t n, uint64_t unit) {
    return (n + unit - 1) & ~(unit - 1);
}

/* A piece of text or bytes that somebody else owns; not NUL-terminated. */
struct str {
    const char *ptr;
    uint32_t len;
};

#endif
