/* Shared files that the daemon hands out.
 *
 * A mapping is only as safe as its file: one that somebody can make shorter is a SIGBUS in waiting.
 * So a file must be a memfd sealed against shrinking and growing. The arena alone may instead be a
 * regular file on tmpfs (huge pages; such files take no seals) that belongs to a user who is trusted
 * anyway, and has exactly the announced size.
 *
 * The arena is mapped read-only at a 2 MiB boundary, so that its huge pages can be huge in this
 * process too, and left out of core dumps.
 */
#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#define HUGE_PAGE (2ull << 20)

static const struct map_kind {
    const char *name;
    int protection;
    bool may_be_tmpfs;
    uint64_t unit_bytes; /* alignment */
} kinds[] = {
    [WIRE_MAP_RECORDS] = {"record table", PROT_READ, false, SHM_PAGE},
    [WIRE_MAP_PINS] = {"pin table", PROT_READ | PROT_WRITE, false, SHM_PAGE},
    [WIRE_MAP_ARENA] = {"arena", PROT_READ, true, HUGE_PAGE},
    [WIRE_MAP_STAGING] = {"staging file", PROT_READ | PROT_WRITE, false, SHM_PAGE},
};

static bool file_is_sealed(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) == (F_SEAL_SHRINK | F_SEAL_GROW);
}

static bool file_is_on_tmpfs(int fd) {
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static int check_file(int fd, struct stat *st, const struct map_kind *kind,
                      const struct socket_trust *trust, uint64_t n_bytes,
                      struct bufferd_error *error) {
    if (fstat(fd, st))
        return fail(error, -errno, "cannot look at the daemon's %s", kind->name);
    if (!S_ISREG(st->st_mode) || (uint64_t)st->st_size < n_bytes)
        return fail(error, BUFFERD_E_UNTRUSTED,
                    "the daemon's %s has %llu bytes, not the announced %llu; restart the daemon",
                    kind->name, (unsigned long long)st->st_size, (unsigned long long)n_bytes);
    if (file_is_sealed(fd))
        return 0;
    if (kind->may_be_tmpfs && file_is_on_tmpfs(fd) && socket_trusts(trust, st->st_uid) &&
        (uint64_t)st->st_size == n_bytes)
        return 0;
    return fail(error, BUFFERD_E_UNTRUSTED,
                "the daemon's %s is neither sealed nor a file of a trusted user on tmpfs; do not "
                "use this daemon",
                kind->name);
}

/* mmap at a multiple of unit_bytes: reserve more, place inside, give the rest back. */
static int map_aligned(struct mapping *mp, int fd, const struct map_kind *kind, uint64_t n_bytes) {
    if (n_bytes == 0 || n_bytes > SIZE_MAX - HUGE_PAGE - SHM_PAGE)
        return -EINVAL;
    size_t n_mapped = round_up(n_bytes, SHM_PAGE);
    size_t n_reserved = n_mapped + kind->unit_bytes - SHM_PAGE;
    char *reserved =
        mmap(NULL, n_reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return -errno;
    size_t before = -(uintptr_t)reserved & (kind->unit_bytes - 1);
    size_t after = n_reserved - before - n_mapped;
    if (mmap(reserved + before, n_mapped, kind->protection, MAP_SHARED | MAP_FIXED, fd, 0) ==
        MAP_FAILED) {
        int rc = -errno;
        munmap(reserved, n_reserved);
        return rc;
    }
    if (before)
        munmap(reserved, before);
    if (after)
        munmap(reserved + before + n_mapped, after);
    madvise(reserved + before, n_mapped, MADV_DONTDUMP);
    *mp = (struct mapping){reserved + before, n_mapped};
    return 0;
}

void map_drop(struct mapping *m) {
    if (m->base)
        munmap(m->base, m->n_bytes);
    *m = (struct mapping){0};
}

int map_fetch(struct mapping *mp, struct stat *st, struct line *l, const struct socket_trust *trust,
              unsigned what, uint64_t n_bytes, int64_t deadline, struct bufferd_error *error) {
    const struct map_kind *kind = &kinds[what];
    struct msg_map request = {.ack = call_ack(l), .what = what};
    struct stat local;
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = call_run(&c, l, WIRE_OP_MAP, &request, -1, deadline, error);
    if (rc)
        return rc;
    const struct msg_map_reply *reply = call_reply(c);
    CLEANUP(cleanup_close) int fd = call_take_fd(c);
    if (fd < 0 || reply->what != what || reply->bytes < n_bytes)
        return fail(error, BUFFERD_E_PROTOCOL, "the daemon did not hand out its %s as announced",
                    kind->name);
    rc = check_file(fd, st ? st : &local, kind, trust, n_bytes, error);
    if (rc)
        return rc;
    rc = map_aligned(mp, fd, kind, n_bytes);
    return rc ? fail(error, rc, "cannot map the daemon's %s; raise `ulimit -v`", kind->name) : 0;
}
