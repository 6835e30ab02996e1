/* The outbox: a peer that does not read, one that is gone, and descriptors that wait their turn. */
#include "../../daemon/outbox.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "../../proto/fdpass.h"

struct pair {
    int ours, theirs;
    struct outbox out;
};

static struct pair pair(void) {
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    struct pair p = {.ours = fds[0], .theirs = fds[1]};
    outbox_init(&p.out, p.ours);
    return p;
}

static void pair_close(struct pair *p) {
    outbox_deinit(&p->out);
    cr_assert_eq(p->out.n_bytes, 0);
    close(p->ours);
    close(p->theirs);
}

static struct frame_bytes frame(size_t n, uint8_t fill) {
    struct frame_bytes f = {.data = malloc(n), .n_bytes = n};
    memset(f.data, fill, n);
    return f;
}

static unsigned count_fds(void) {
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

Test(outbox, a_peer_that_is_gone_is_an_error_and_the_frame_is_freed) {
    struct pair p = pair();
    close(p.theirs);
    struct frame_bytes f = frame(10, 1);
    cr_assert_eq(outbox_put(&p.out, &f, -1), -EPIPE);
    cr_assert_null(f.data);
    p.theirs = -1;
    pair_close(&p);
}

Test(outbox, what_does_not_fit_waits_and_keeps_its_order) {
    struct pair p = pair();
    size_t n_put = 0, n_got = 0;
    for (unsigned i = 0; i < 200; i++) {
        struct frame_bytes f = frame(10000 + i, (uint8_t)i);
        n_put += f.n_bytes;
        cr_assert_eq(outbox_put(&p.out, &f, -1), 0);
    }
    cr_assert_gt(p.out.n_bytes, 1000000);
    cr_assert_eq(p.out.n_bytes + p.out.n_sent_bytes, n_put);
    static uint8_t got[4 << 20];
    while (n_got < n_put) {
        int fd;
        ssize_t n = fdpass_recv(p.theirs, got + n_got, sizeof(got) - n_got, &fd);
        cr_assert(n > 0);
        n_got += (size_t)n;
        cr_assert_eq(outbox_flush(&p.out), 0);
    }
    cr_assert_eq(p.out.n_bytes, 0);
    size_t at = 0;
    for (unsigned i = 0; i < 200; i++)
        for (size_t j = 0; j < 10000 + i; j++)
            cr_assert_eq(got[at++], (uint8_t)i);
    pair_close(&p);
}

Test(outbox, a_descriptor_that_waits_is_a_duplicate_and_is_sent_once_with_its_frame) {
    struct pair p = pair();
    struct frame_bytes f = frame(8 << 20, 1);
    cr_assert_eq(outbox_put(&p.out, &f, -1), 0);
    int pipe_fds[2];
    cr_assert_eq(pipe(pipe_fds), 0);
    f = frame(100000, 2);
    cr_assert_eq(outbox_put(&p.out, &f, pipe_fds[1]), 0);
    close(pipe_fds[1]);
    f = frame(10, 3);
    cr_assert_eq(outbox_put(&p.out, &f, -1), 0);

    static uint8_t got[1 << 16];
    unsigned n_fds = 0;
    size_t n_got = 0, total = (8 << 20) + 100000 + 10;
    while (n_got < total) {
        int fd;
        ssize_t n = fdpass_recv(p.theirs, got, sizeof(got), &fd);
        cr_assert(n > 0, "at %zu", n_got);
        n_got += (size_t)n;
        if (fd >= 0) {
            n_fds++;
            cr_assert(n_got > 8 << 20 && n_got <= (8 << 20) + 100000);
            cr_assert_eq(write(fd, "x", 1), 1);
            close(fd);
        }
        cr_assert_eq(outbox_flush(&p.out), 0);
    }
    cr_assert_eq(n_fds, 1);
    cr_assert_eq(read(pipe_fds[0], got, 2), 1);
    cr_assert_eq(read(pipe_fds[0], got, 2), 0, "all write ends are closed");
    close(pipe_fds[0]);
    pair_close(&p);
}

Test(outbox, a_descriptor_of_a_frame_sent_in_part_does_not_go_again) {
    struct pair p = pair();
    struct frame_bytes f = frame(4 << 20, 1);
    cr_assert_eq(outbox_put(&p.out, &f, STDIN_FILENO), 0);
    cr_assert_gt(p.out.n_bytes, 0);
    static uint8_t got[1 << 16];
    unsigned n_fds = 0;
    for (size_t n_got = 0; n_got < 4 << 20;) {
        int fd;
        ssize_t n = fdpass_recv(p.theirs, got, sizeof(got), &fd);
        cr_assert(n > 0);
        n_fds += fd >= 0;
        cleanup_close(&fd);
        n_got += (size_t)n;
        cr_assert_eq(outbox_flush(&p.out), 0);
    }
    cr_assert_eq(n_fds, 1);
    pair_close(&p);
}

Test(outbox, deinit_closes_the_descriptors_that_wait) {
    unsigned before = count_fds();
    struct pair p = pair();
    struct frame_bytes f = frame(8 << 20, 1);
    cr_assert_eq(outbox_put(&p.out, &f, -1), 0);
    for (int i = 0; i < 10; i++) {
        f = frame(10, 2);
        cr_assert_eq(outbox_put(&p.out, &f, STDIN_FILENO), 0);
    }
    cr_assert_eq(count_fds(), before + 12);
    pair_close(&p);
    cr_assert_eq(count_fds(), before);
}

Test(outbox, a_descriptor_that_cannot_wait_is_an_error) {
    struct pair p = pair();
    struct frame_bytes f = frame(8 << 20, 1);
    cr_assert_eq(outbox_put(&p.out, &f, -1), 0);
    f = frame(10, 2);
    cr_assert_eq(outbox_put(&p.out, &f, 9999), -EBADF);
    cr_assert_null(f.data);
    pair_close(&p);
}
