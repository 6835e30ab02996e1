/* The arena's file: every kind that this machine can make, who can do what to it, and how it falls
 * through where namespaces are forbidden. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <linux/magic.h>

#include "../../daemon/arena/backing.h"
#include "forbid.h"
#include "namespace.h"

#define HUGE (2ull << 20)
#define N_BYTES (16ull << 20)
#define OTHER_UID 65534
#define CANNOT 77 /* exit status: not on this machine */

static struct backing opened(const char *dir) {
    struct backing b;
    int r = backing_open(&b, N_BYTES, dir);
    cr_assert_eq(r, 0, "%d: %s", r, b.why);
    return b;
}

/* Run in a child as another user (only root can); 1: it could open the descriptor's file. */
static int other_user_can_open(int fd, int flags) {
    pid_t pid = fork();
    if (pid == 0) {
        char path[32];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (setresgid(OTHER_UID, OTHER_UID, OTHER_UID) ||
            setresuid(OTHER_UID, OTHER_UID, OTHER_UID))
            _exit(2);
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else /proc/self is root's, and all opens fail */
        _exit(open(path, flags) >= 0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_access(const struct backing *b) {
    struct stat st;
    cr_assert_eq(fstat(b->fd, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0);
    cr_assert_eq(st.st_uid, geteuid());
    cr_assert_eq((uint64_t)st.st_size, b->n_bytes);
    cr_assert_eq(mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, b->client_fd, 0), MAP_FAILED);
    cr_assert_eq(errno, EACCES);
    uint8_t *view = mmap(NULL, HUGE, PROT_READ, MAP_SHARED, b->client_fd, 0);
    cr_assert_neq(view, MAP_FAILED);
    cr_assert_eq(mprotect(view, HUGE, PROT_READ | PROT_WRITE), -1);
    cr_assert_eq(madvise(view, HUGE, MADV_REMOVE), -1);
    b->base[4097] = 42;
    cr_assert_eq(view[4097], 42);
    munmap(view, HUGE);
    cr_assert_eq(ftruncate(b->client_fd, 0), -1);
    cr_assert_eq(fallocate(b->client_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE), -1);
    cr_assert_eq(write(b->client_fd, "x", 1), -1);
    cr_assert(fcntl(b->fd, F_GETFD) & FD_CLOEXEC);
    cr_assert(fcntl(b->client_fd, F_GETFD) & FD_CLOEXEC);
    if (geteuid() != 0) {
        cr_log_warn("not root: reopening as another user is not tried");
        return;
    }
    int open_file = memfd_create("control", MFD_CLOEXEC);
    cr_assert_eq(other_user_can_open(open_file, O_RDWR), 1, "the attack does not work at all");
    close(open_file);
    cr_assert_eq(other_user_can_open(b->client_fd, O_RDWR), 0);
    cr_assert_eq(other_user_can_open(b->client_fd, O_RDONLY), 0);
    cr_assert_eq(other_user_can_open(b->fd, O_RDWR), 0);
}

static void check_mapping(const struct backing *b) {
    struct stat st;
    cr_assert_eq((uintptr_t)b->base % HUGE, 0);
    cr_assert_eq(b->unit_bytes, b->has_huge_pages ? HUGE : 64 * 1024);
    cr_assert_eq(fstat(b->fd, &st), 0);
    cr_assert_eq(st.st_blocks, 0, "the probe left pages");
    cr_assert_eq(madvise(b->base, b->n_bytes, MADV_POPULATE_WRITE), 0);
    b->base[b->n_bytes - 1] = 1;
    cr_assert_eq(fstat(b->fd, &st), 0);
    cr_assert_eq((uint64_t)st.st_blocks * 512, b->n_bytes);
    cr_assert_eq(
        fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)b->unit_bytes), 0);
    cr_assert_eq(fstat(b->fd, &st), 0);
    cr_assert_eq((uint64_t)st.st_blocks * 512, b->n_bytes - b->unit_bytes);
}

static unsigned n_descriptors(void) {
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* The number of the step that failed; 0: none. */
static int huge_directory_try(void) {
    struct backing b;
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !ids_map(uid, gid) ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("arena", "/tmp", "tmpfs", 0, "huge=always,size=32m"))
        return CANNOT;
    if (backing_open(&b, N_BYTES, "/tmp"))
        return 1;
    if (!b.has_huge_pages || b.unit_bytes != HUGE || b.kind != BACKING_DIRECTORY)
        return 2;
    if (madvise(b.base, b.n_bytes, MADV_POPULATE_WRITE))
        return 3;
    backing_close(&b);
    return backing_open(&b, 64ull << 20, "/tmp") == -ENOSPC ? 0 : 4;
}

/* By a child, because the test has threads. */
static int huge_directory_status(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(huge_directory_try());
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The last line of a file that has this text in it has that one too. */
static bool file_says(const char *path, const char *text, const char *that) {
    FILE *f = fopen(path, "r");
    char line[1024];
    bool is_said = false;
    while (f && fgets(line, sizeof(line), f))
        if (strstr(line, text))
            is_said = strstr(line, that) != NULL;
    if (f)
        fclose(f);
    return is_said;
}

/* --- what is refused --- */

Test(backing, sizes_that_make_no_sense) {
    struct backing b;
    cr_assert_eq(backing_open(&b, 0, NULL), -EINVAL);
    cr_assert_eq(backing_open(&b, UINT64_MAX, NULL), -EINVAL);
    cr_assert_not_null(strstr(b.why, "18446744073709551615"));
    backing_close(&b);
}

Test(backing, a_bad_directory_is_an_error_and_says_why) {
    struct backing b;
    unsigned before = n_descriptors();
    cr_assert_eq(backing_open(&b, N_BYTES, "/no/such/directory"), -ENOENT);
    cr_assert_not_null(strstr(b.why, "/no/such/directory"));
    cr_assert_eq(backing_open(&b, N_BYTES, "/proc"), -EMEDIUMTYPE);
    cr_assert_not_null(strstr(b.why, "not a tmpfs"), "%s", b.why);
    cr_assert_eq(n_descriptors(), before);
}

Test(backing, a_directory_that_is_too_small) {
    struct backing b;
    struct statfs fs;
    if (statfs("/dev/shm", &fs) || fs.f_type != TMPFS_MAGIC || fs.f_blocks == 0)
        cr_skip_test("no bounded tmpfs at /dev/shm");
    cr_assert_eq(backing_open(&b, 1ull << 45, "/dev/shm"), -ENOSPC);
}

/* --- every kind --- */

Test(backing, the_best_kind_here) {
    unsigned before = n_descriptors();
    struct backing b = opened(NULL);
    cr_log_info("%s: %s", backing_kind_name(b.kind), b.why);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
    cr_assert_eq(n_descriptors(), before + 2);
    check_mapping(&b);
    check_access(&b);
    cr_assert(b.kind == BACKING_NAMESPACE || huge_directory_status() == CANNOT,
              "namespaces work here: %s", b.why);
    if (b.kind == BACKING_NAMESPACE)
        cr_assert(b.has_huge_pages && !b.is_sealed);
    backing_close(&b);
    backing_close(&b);
    cr_assert_eq(n_descriptors(), before);
}

Test(backing, rounds_up_to_huge_pages) {
    struct backing b;
    cr_assert_eq(backing_open(&b, HUGE + 1, NULL), 0);
    cr_assert_eq(b.n_bytes, 2 * HUGE);
    backing_close(&b);
}

Test(backing, a_sealed_memfd_where_namespaces_are_forbidden) {
    cr_assert(unshare_forbid());
    struct backing b = opened(NULL);
    cr_log_info("%s: %s", backing_kind_name(b.kind), b.why);
    cr_assert_eq(b.kind, BACKING_MEMFD);
    cr_assert(b.is_sealed);
    if (file_says("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "never", "[never]"))
        cr_assert(!b.has_huge_pages);
    int seals = fcntl(b.fd, F_GET_SEALS), wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    cr_assert_eq(seals & wanted, wanted);
    cr_assert_eq(ftruncate(b.fd, 0), -1);
    cr_assert_eq(errno, EPERM);
    cr_assert_eq(ftruncate(b.fd, (off_t)(2 * N_BYTES)), -1);
    cr_assert_eq(fcntl(b.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1, "a seal could be added");
    check_mapping(&b);
    check_access(&b);
    if (!b.has_huge_pages) {
        cr_assert_not_null(strstr(b.why, "--arena-dir"), "%s", b.why);
        cr_assert_not_null(strstr(b.why, "shmem_enabled"), "%s", b.why);
        cr_assert_not_null(strstr(b.why, strerror(EPERM)), "%s", b.why);
    }
    backing_close(&b);
}

Test(backing, a_directory) {
    struct statfs fs;
    if (statfs("/dev/shm", &fs) || fs.f_type != TMPFS_MAGIC)
        cr_skip_test("no tmpfs at /dev/shm");
    struct backing b = opened("/dev/shm");
    cr_log_info("%s: %s", backing_kind_name(b.kind), b.why);
    cr_assert_eq(b.kind, BACKING_DIRECTORY);
    if (!file_says("/proc/self/mountinfo", " /dev/shm ", "huge="))
        cr_assert(!b.has_huge_pages);
    check_mapping(&b);
    check_access(&b);
    backing_close(&b);
}

/* What a site would mount; here in namespaces of the test's own. */
Test(backing, a_directory_with_huge_pages) {
    int status = huge_directory_status();
    if (status == CANNOT)
        cr_skip_test("no namespaces or no huge pages in tmpfs");
    cr_assert_eq(status, 0, "step %d", status);
}
