/* A fresh 4 KiB page of shared memory costs more than unpacking LZ4 into it; a 2 MiB page a tenth
 * of that. A memfd gets those only where the admin said so (shmem_enabled=advise), but anyone may
 * mount a tmpfs with huge=always in a mount namespace of its own. So a child makes such namespaces,
 * one unnamed file in such a tmpfs, sends its descriptors and exits; the file lives on with them,
 * and its `size=` turns a full arena into a clean ENOSPC. The child must come from a process
 * without threads (unshare) that is dumpable (/proc/self/uid_map belongs to root otherwise).
 *
 * Whatever the kind: mode 0 and a second descriptor opened read-only through /proc/self/fd before,
 * so that no other user can reopen it for writing. A memfd is sealed too, but not FUTURE_WRITE,
 * which would forbid to punch holes; a tmpfs file takes no seals. Pages are called huge only after
 * one was populated and /proc/self/smaps showed it mapped as one.
 */
#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define HUGE_BYTES (2ull << 20)
#define SMALL_UNIT_BYTES (64ull << 10)
#define MAX_BYTES (1ull << 46)
#define CHILD_SECONDS 5

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

#define ADVICE                                                                                     \
    "for huge pages mount a tmpfs with huge=always and name it with --arena-dir, allow user "      \
    "namespaces, or set /sys/kernel/mm/transparent_hugepage/shmem_enabled to advise"

const char *backing_kind_name(enum backing_kind kind) {
    static const char *const names[] = {"directory", "namespace", "memfd"};
    return (unsigned)kind < ARRAY_LEN(names) ? names[kind] : "?";
}

/* Size it, open it once more read-only, close it to everybody else. */
static int file_prepare(int fd, uint64_t n_bytes, int *client_fdp) {
    char path[32];
    if (ftruncate(fd, (off_t)n_bytes))
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CLEANUP(cleanup_close) int client_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (client_fd < 0 || fchmod(fd, 0))
        return -errno;
    *client_fdp = TAKE_FD(client_fd);
    return 0;
}

/* An unnamed file in a tmpfs, of which `dir` is a path. */
static int tmpfs_open(struct backing *b, const char *dir) {
    CLEANUP(cleanup_close) int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = file_prepare(fd, b->n_bytes, &b->client_fd);
    if (!r)
        b->fd = TAKE_FD(fd);
    return r;
}

/* --- the arena directory --- */

static int directory_open(struct backing *b, const char *dir) {
    struct statfs fs;
    b->kind = BACKING_DIRECTORY;
    if (statfs(dir, &fs))
        return -errno;
    if (fs.f_type != TMPFS_MAGIC)
        return -EMEDIUMTYPE;
    if (fs.f_blocks && (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize < b->n_bytes)
        return -ENOSPC;
    return tmpfs_open(b, dir);
}

/* --- the namespace child --- */

struct child_report {
    int status;    /* 0 or negative errno */
    char step[24]; /* that failed */
};

static int text_write(const char *path, const char *text) {
    CLEANUP(cleanup_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

/* Map the own ids to themselves: the file shall belong to the daemon's uid outside too. */
static int ids_map(uid_t uid, gid_t gid) {
    char text[64];
    snprintf(text, sizeof(text), "%u %u 1", uid, uid);
    int r = text_write("/proc/self/uid_map", text);
    if (r)
        return r;
    text_write("/proc/self/setgroups", "deny"); /* not there before Linux 3.19 */
    snprintf(text, sizeof(text), "%u %u 1", gid, gid);
    return text_write("/proc/self/gid_map", text);
}

static int namespaces_make(void) {
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (!unshare(CLONE_NEWUSER | CLONE_NEWNS))
        return ids_map(uid, gid);
    if (uid == 0 && !unshare(CLONE_NEWNS)) /* root needs no user namespace */
        return 0;
    return -errno;
}

static int tmpfs_mount(const char *dir, uint64_t n_bytes) {
    char options[96];
    snprintf(options, sizeof(options), "huge=always,size=%" PRIu64 ",mode=0700", n_bytes);
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("bufferd", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options))
        return -errno;
    return 0;
}

static void child_make(struct backing *b, struct child_report *report) {
    static const char dir[] = "/tmp";
    const char *step = "unshare";
    report->status = namespaces_make();
    if (!report->status) {
        step = "mount";
        report->status = tmpfs_mount(dir, b->n_bytes);
    }
    if (!report->status) {
        step = "O_TMPFILE";
        report->status = tmpfs_open(b, dir);
    }
    snprintf(report->step, sizeof(report->step), "%s", step);
}

union two_fds {
    char bytes[CMSG_SPACE(2 * sizeof(int))];
    struct cmsghdr align;
};

static void child_main(int sock, uint64_t n_bytes) {
    struct backing b = {.fd = -1, .client_fd = -1, .n_bytes = n_bytes};
    struct child_report report = {0};
    union two_fds control = {.align = {.cmsg_len = CMSG_LEN(2 * sizeof(int)),
                                       .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {.iov_base = &report, .iov_len = sizeof(report)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    child_make(&b, &report);
    if (!report.status) {
        memcpy(CMSG_DATA(&control.align), (int[]){b.fd, b.client_fd}, 2 * sizeof(int));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    _exit(sendmsg(sock, &msg, MSG_NOSIGNAL) < 0);
}

/* What the child sent is checked: it decides what is mapped and handed to clients. */
static int child_receive(struct backing *b, int sock, struct child_report *report) {
    union two_fds control = {0};
    struct iovec iov = {.iov_base = report, .iov_len = sizeof(*report)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    if (n != sizeof(*report))
        return n < 0 ? -errno : -ECHILD;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (report->status || !c || c->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return report->status ? report->status : -ECHILD;
    int fds[2];
    memcpy(fds, CMSG_DATA(c), sizeof(fds));
    b->fd = fds[0];
    b->client_fd = fds[1];
    struct stat st;
    struct statfs fs;
    if (fstat(b->fd, &st) || fstatfs(b->fd, &fs))
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || fs.f_type != TMPFS_MAGIC ||
        (uint64_t)st.st_size != b->n_bytes ||
        (fcntl(b->client_fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
        return -ECHILD;
    return 0;
}

static int namespace_open(struct backing *b, struct child_report *report) {
    int socks[2];
    b->kind = BACKING_NAMESPACE;
    snprintf(report->step, sizeof(report->step), "fork");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
        return -errno;
    CLEANUP(cleanup_close) int mine = socks[0];
    pid_t pid = fork();
    if (pid == 0)
        child_main(socks[1], b->n_bytes);
    close(socks[1]);
    if (pid < 0)
        return -errno;
    struct timeval limit = {.tv_sec = CHILD_SECONDS};
    setsockopt(mine, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int r = child_receive(b, mine, report);
    kill(pid, SIGKILL); /* it has nothing left to do, or hangs */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}

/* --- the memfd --- */

static int memfd_open(struct backing *b) {
    b->kind = BACKING_MEMFD;
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    CLEANUP(cleanup_close) int fd = memfd_create("bufferd-arena", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create("bufferd-arena", flags);
    if (fd < 0)
        return -errno;
    int r = file_prepare(fd, b->n_bytes, &b->client_fd);
    if (r)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return -errno;
    b->is_sealed = true;
    b->fd = TAKE_FD(fd);
    return 0;
}

/* --- the mapping --- */

static int file_map(struct backing *b) {
    uint64_t n_bytes = b->n_bytes + HUGE_BYTES;
    uint8_t *all =
        mmap(NULL, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return -errno;
    uint8_t *base = all + (round_up((uintptr_t)all, HUGE_BYTES) - (uintptr_t)all);
    if (mmap(base, b->n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, b->fd, 0) ==
        MAP_FAILED) {
        int r = -errno;
        munmap(all, n_bytes);
        return r;
    }
    if (base > all)
        munmap(all, (size_t)(base - all));
    munmap(base + b->n_bytes, (size_t)(all + n_bytes - base - b->n_bytes));
    madvise(base, b->n_bytes, MADV_HUGEPAGE); /* advice: what came of it is looked up below */
    madvise(base, b->n_bytes, MADV_DONTDUMP);
    b->base = base;
    return 0;
}

/* Kilobytes of the mapping at base that are mapped by huge entries. */
static uint64_t smaps_huge_kb(const uint8_t *base) {
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    uint64_t kb, n = 0, start, stop;
    bool is_ours = false;
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &stop) == 2)
            is_ours = start == (uintptr_t)base;
        else if (is_ours && (sscanf(line, "ShmemPmdMapped: %" SCNu64, &kb) == 1 ||
                             sscanf(line, "FilePmdMapped: %" SCNu64, &kb) == 1))
            n += kb;
    }
    if (f)
        fclose(f);
    return n;
}

/* Populate one huge page, look, and give it back. */
static bool huge_pages_are_real(const struct backing *b) {
    bool is_real = !madvise(b->base, HUGE_BYTES, MADV_POPULATE_WRITE) &&
                   smaps_huge_kb(b->base) >= HUGE_BYTES / 1024;
    fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE_BYTES);
    return is_real;
}

static int file_finish(struct backing *b) {
    int r = file_map(b);
    if (r)
        return r;
    b->has_huge_pages = huge_pages_are_real(b);
    b->unit_bytes = b->has_huge_pages ? HUGE_BYTES : SMALL_UNIT_BYTES;
    return 0;
}

void backing_close(struct backing *b) {
    if (b->base)
        munmap(b->base, b->n_bytes);
    if (b->fd >= 0)
        close(b->fd);
    if (b->client_fd >= 0)
        close(b->client_fd);
    b->base = NULL;
    b->fd = b->client_fd = -1;
}

/* What is left after a kind that did not work. */
static void backing_reset(struct backing *b) {
    backing_close(b);
    b->has_huge_pages = b->is_sealed = false;
}

static int open_directory(struct backing *b, const char *dir) {
    int r = directory_open(b, dir);
    r = r ? r : file_finish(b);
    if (r)
        snprintf(b->why, sizeof(b->why), "arena directory %.100s: %s", dir,
                 r == -EMEDIUMTYPE ? "not a tmpfs" : strerror(-r));
    else if (b->has_huge_pages)
        snprintf(b->why, sizeof(b->why), "huge pages in %.100s", dir);
    else
        snprintf(b->why, sizeof(b->why), "4 KiB pages in %.100s; mount it with huge=always", dir);
    return r;
}

static bool open_namespace(struct backing *b) {
    struct child_report report = {0};
    int r = namespace_open(b, &report);
    if (!r) {
        snprintf(report.step, sizeof(report.step), "mmap");
        r = file_finish(b);
    }
    if (!r && b->has_huge_pages) {
        snprintf(b->why, sizeof(b->why), "huge pages in a private tmpfs");
        return true;
    }
    snprintf(b->why, sizeof(b->why), "private tmpfs: %.23s: %.40s", report.step,
             r ? strerror(-r) : "its pages are not huge");
    backing_reset(b);
    return false;
}

static int open_memfd(struct backing *b) {
    char former[sizeof(b->why)];
    int r = memfd_open(b);
    r = r ? r : file_finish(b);
    memcpy(former, b->why, sizeof(former));
    if (r)
        snprintf(b->why, sizeof(b->why), "memfd: %s", strerror(-r));
    else if (b->has_huge_pages)
        snprintf(b->why, sizeof(b->why), "huge pages in a memfd");
    else /* the advice is the longer part, and of more use */
        snprintf(b->why, sizeof(b->why), "4 KiB pages (%.60s); " ADVICE, former);
    return r;
}

int backing_open(struct backing *b, uint64_t n_bytes, const char *dir) {
    struct backing local = {.fd = -1, .client_fd = -1};
    int r = 0;
    if (n_bytes > 0 && n_bytes <= MAX_BYTES)
        local.n_bytes = round_up(n_bytes, HUGE_BYTES);
    if (local.n_bytes == 0) {
        snprintf(local.why, sizeof(local.why), "an arena of %" PRIu64 " bytes", n_bytes);
        r = -EINVAL;
    } else if (dir) {
        r = open_directory(&local, dir);
    } else if (!open_namespace(&local)) {
        r = open_memfd(&local);
    }
    if (r)
        backing_close(&local);
    *b = local;
    return r;
}
