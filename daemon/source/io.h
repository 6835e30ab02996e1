/* Byte ranges of one source. Worker-safe: reads share nothing but the descriptor. */
#ifndef BUFFERD_IO_H
#define BUFFERD_IO_H

#include "../../proto/base.h"

/* What tells one state of one file from another: a changed stat is another source. */
struct io_identity {
    uint64_t dev, ino, n_bytes;
    int64_t btime_ns, mtime_ns, ctime_ns;
};

enum {
    IO_E_SHORT = 1,   /* the range ends after the file does */
    IO_E_CHANGED = 2, /* the file is not what it was when it was opened */
    IO_E_BAD_DESCRIPTOR =
        3, /* O_PATH, not readable, not a regular file, procfs or sysfs, or empty */
};

struct io {
    int fd; /* owned */
    struct io_identity identity;
};

/* Look at a descriptor from a client. Return: 0, IO_E_BAD_DESCRIPTOR, or negative errno. */
int io_identify(struct io_identity *out, int fd);
bool io_identity_is_same(const struct io_identity *a, const struct io_identity *b);

/* Take the descriptor over. */
void io_init(struct io *io, int fd, const struct io_identity *identity);
void io_deinit(struct io *io);

/* Read exactly n bytes at `off` with pread, and make sure that the file is still the same one after
 * that. Return: 0, IO_E_*, or negative errno. */
int io_read(const struct io *io, void *dst, uint64_t n, uint64_t off);

#endif
