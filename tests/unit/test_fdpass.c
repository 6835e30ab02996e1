/* Descriptors over a socket pair: too many, lost ones, none, one. */
#include "../../proto/fdpass.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int count_descriptors(void) {
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

struct pair {
    int a, b;
};

static struct pair pair_new(void) {
    int s[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    return (struct pair){s[0], s[1]};
}

static void pair_close(struct pair *p) {
    close(p->a);
    close(p->b);
}

/* One byte with n descriptors, in n_messages control messages each. */
static void send_many(int sock, int fd, unsigned n) {
    char control[CMSG_SPACE(16 * sizeof(int))] = {0};
    struct iovec iov = {"x", 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
    msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    *c = (struct cmsghdr){CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    for (unsigned i = 0; i < n; i++)
        memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
    cr_assert_eq(sendmsg(sock, &msg, 0), 1);
}

Test(fdpass, extra_descriptors_are_closed) {
    for (unsigned n = 2; n <= 16; n++) {
        CLEANUP(pair_close) struct pair p = pair_new();
        int fd = 77, before = count_descriptors();
        char c;
        send_many(p.a, 0, n);
        cr_assert_eq(fdpass_recv(p.b, &c, 1, &fd), -EBADMSG);
        cr_assert_eq(fd, 77, "written on failure");
        cr_assert_eq(count_descriptors(), before, "%u sent", n);
    }
}

Test(fdpass, full_table_loses_the_descriptor) {
    CLEANUP(pair_close) struct pair p = pair_new();
    int fd = -1;
    char c;
    cr_assert_eq(fdpass_send(p.a, "x", 1, 0), 1);
    struct rlimit old, none;
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    ssize_t rc = fdpass_recv(p.b, &c, 1, &fd);
    setrlimit(RLIMIT_NOFILE, &old);
    cr_assert_eq(rc, -EBADMSG);
    cr_assert_eq(fd, -1);
}

Test(fdpass, never_blocks_and_never_kills) {
    CLEANUP(pair_close) struct pair p = pair_new();
    static char block[1 << 16];
    int fd = 5;
    cr_assert_eq(fdpass_recv(p.b, block, 1, &fd), -EAGAIN);
    ssize_t n;
    do
        n = fdpass_send(p.a, block, sizeof(block), -1);
    while (n > 0);
    cr_assert_eq(n, -EAGAIN);
    cr_assert_eq(fdpass_send(p.a, block, 0, -1), -EINVAL);
    close(p.b);
    cr_assert_eq(fdpass_send(p.a, block, 1, -1), -EPIPE);
    p.b = -1;
}

Test(fdpass, end_of_stream) {
    CLEANUP(pair_close) struct pair p = pair_new();
    char c;
    int fd = 5;
    shutdown(p.a, SHUT_WR);
    cr_assert_eq(fdpass_recv(p.b, &c, 1, &fd), 0);
    cr_assert_eq(fd, -1);
}

Test(fdpass, one_descriptor_with_the_first_bytes) {
    CLEANUP(pair_close) struct pair p = pair_new();
    CLEANUP(cleanup_close) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CLEANUP(cleanup_close) int got = -1;
    char text[8];
    int none;
    cr_assert_eq(fdpass_send(p.a, "ab", 2, -1), 2);
    cr_assert_eq(fdpass_send(p.a, "cd", 2, null), 2);
    cr_assert_eq(fdpass_send(p.a, "ef", 2, -1), 2);
    /* The kernel ends a receive at the message that carried a descriptor. */
    cr_assert_eq(fdpass_recv(p.b, text, sizeof(text), &got), 4);
    cr_assert_geq(got, 0);
    cr_assert_neq(got, null);
    cr_assert(fcntl(got, F_GETFD) & FD_CLOEXEC);
    struct stat x, y;
    fstat(got, &x);
    fstat(null, &y);
    cr_assert_eq(x.st_rdev, y.st_rdev);
    cr_assert_eq(fdpass_recv(p.b, text, sizeof(text), &none), 2);
    cr_assert_eq(none, -1);
}
