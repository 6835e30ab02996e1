/* Byte ranges of a local file that a client opened.
 *
 * Only pread: it moves no shared offset and never faults, where a mapping of a file that somebody
 * truncates kills the process. A descriptor is trusted only after it was looked at: an O_PATH one
 * proves no right to read, procfs and sysfs files look regular, and a pipe never ends.
 *
 * A file that is rewritten while it is read would mix two states. Every read is therefore followed
 * by a look at the file's identity; ctime moves with every write and cannot be set back.
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static int64_t nanoseconds(const struct statx_timestamp *t) {
    return (int64_t)((uint64_t)t->tv_sec * 1000000000u + t->tv_nsec);
}

static int identity_read(struct io_identity *out, int fd, bool *is_regularp) {
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
        return -errno;
    *is_regularp = S_ISREG(st.stx_mode);
    *out = (struct io_identity){
        .dev = makedev(st.stx_dev_major, st.stx_dev_minor),
        .ino = st.stx_ino,
        .n_bytes = st.stx_size,
        .btime_ns = st.stx_mask & STATX_BTIME ? nanoseconds(&st.stx_btime) : 0,
        .mtime_ns = nanoseconds(&st.stx_mtime),
        .ctime_ns = nanoseconds(&st.stx_ctime),
    };
    return 0;
}

int io_identify(struct io_identity *out, int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return errno == EBADF ? IO_E_BAD_DESCRIPTOR : -errno;
    if (flags & O_PATH || (flags & O_ACCMODE) == O_WRONLY)
        return IO_E_BAD_DESCRIPTOR;
    struct io_identity identity;
    bool is_regular;
    int r = identity_read(&identity, fd, &is_regular);
    if (r)
        return r;
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return -errno;
    if (!is_regular || identity.n_bytes == 0 || fs.f_type == PROC_SUPER_MAGIC ||
        fs.f_type == SYSFS_MAGIC)
        return IO_E_BAD_DESCRIPTOR;
    *out = identity;
    return 0;
}

bool io_identity_is_same(const struct io_identity *a, const struct io_identity *b) {
    return a->dev == b->dev && a->ino == b->ino && a->n_bytes == b->n_bytes &&
           a->btime_ns == b->btime_ns && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

void io_init(struct io *io, int fd, const struct io_identity *identity) {
    *io = (struct io){.fd = fd, .identity = *identity};
}

void io_deinit(struct io *io) {
    cleanup_close(&io->fd);
    io->fd = -1;
}

static int read_all(const struct io *io, uint8_t *dst, uint64_t n, uint64_t off) {
    while (n > 0) {
        ssize_t got = pread(io->fd, dst, MIN(n, 1u << 30), (off_t)off);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return IO_E_SHORT;
        dst += got;
        off += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return 0;
}

int io_read(const struct io *io, void *dst, uint64_t n, uint64_t off) {
    if (!range_is_inside(off, n, io->identity.n_bytes) || off > INT64_MAX)
        return IO_E_SHORT;
    int r = read_all(io, dst, n, off);
    if (r < 0)
        return r;
    struct io_identity now;
    bool is_regular;
    int failed = identity_read(&now, io->fd, &is_regular);
    if (failed)
        return failed;
    if (!io_identity_is_same(&now, &io->identity))
        return IO_E_CHANGED;
    return r;
}
