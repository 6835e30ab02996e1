/* Files that the daemon hands out: those that a client must not map, then those that it may.
 *
 * The test is the daemon: its reply and its descriptor are in the socket before they are asked for.
 */
#include "../../client/maps.h"
#include "../../proto/fdpass.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#define N_BYTES (8ull << 20)

enum { SEALED = F_SEAL_SHRINK | F_SEAL_GROW };

static int memfd(uint64_t n_bytes, int seals) {
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_eq(ftruncate(fd, (off_t)n_bytes), 0);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* An unnamed file. */
static int file_in(const char *dir, uint64_t n_bytes) {
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        cr_skip_test("%s takes no unnamed files", dir);
    cr_assert_eq(ftruncate(fd, (off_t)n_bytes), 0);
    return fd;
}

struct answer {
    int fd; /* -1: none */
    uint64_t what, n_bytes;
};

static int fetch(struct mapping *mp, unsigned what, struct answer a, bool trusts_owner,
                 struct bufferd_error *error) {
    struct socket_trust trust = {.uids = {trusts_owner ? geteuid() : geteuid() + 1}, .n_uids = 1};
    struct msg_map_reply reply = {.what = a.what, .bytes = a.n_bytes};
    struct frame_bytes f;
    struct line *l;
    int s[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    cr_assert_eq(line_new(&l, s[0]), 0);
    cr_assert_eq(message_encode_response(&f, 1, WIRE_OP_MAP, &reply), 0);
    cr_assert_eq(fdpass_send(s[1], f.data, f.n_bytes, a.fd), (ssize_t)f.n_bytes);
    frame_bytes_deinit(&f);
    int rc = map_fetch(mp, NULL, l, &trust, what, N_BYTES, deadline_after(1000), error);
    line_free(l);
    close(s[1]);
    if (a.fd >= 0)
        close(a.fd);
    return rc;
}

static void check_refused(unsigned what, struct answer a, bool trusts_owner, int code) {
    struct mapping m = {0};
    struct bufferd_error error = {0};
    cr_expect_eq(fetch(&m, what, a, trusts_owner, &error), code, "%d: %s", error.code, error.text);
    cr_expect_null(m.base);
    cr_expect(strlen(error.text) > 0);
}

Test(maps, files_that_may_shrink) {
    static const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL};
    for (unsigned what = WIRE_MAP_RECORDS; what <= WIRE_MAP_STAGING; what++)
        for (size_t i = 0; i < ARRAY_LEN(seals); i++)
            check_refused(what, (struct answer){memfd(N_BYTES, seals[i]), what, N_BYTES},
                          what != WIRE_MAP_ARENA, BUFFERD_E_UNTRUSTED);
}

Test(maps, files_that_are_too_short) {
    int fd = memfd(N_BYTES - 1, SEALED);
    check_refused(WIRE_MAP_ARENA, (struct answer){fd, WIRE_MAP_ARENA, N_BYTES}, true,
                  BUFFERD_E_UNTRUSTED);
    check_refused(WIRE_MAP_ARENA, (struct answer){memfd(N_BYTES, SEALED), WIRE_MAP_ARENA, 1}, true,
                  BUFFERD_E_PROTOCOL);
}

Test(maps, replies_that_do_not_fit) {
    check_refused(WIRE_MAP_PINS, (struct answer){-1, WIRE_MAP_PINS, N_BYTES}, true,
                  BUFFERD_E_PROTOCOL);
    int fd = memfd(N_BYTES, SEALED);
    check_refused(WIRE_MAP_PINS, (struct answer){fd, WIRE_MAP_ARENA, N_BYTES}, true,
                  BUFFERD_E_PROTOCOL);
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    check_refused(WIRE_MAP_PINS, (struct answer){fd, WIRE_MAP_PINS, N_BYTES}, true,
                  BUFFERD_E_UNTRUSTED);
}

Test(maps, arena_on_tmpfs) {
    struct mapping m = {0};
    int fd = file_in("/dev/shm", N_BYTES);
    check_refused(WIRE_MAP_ARENA, (struct answer){fd, WIRE_MAP_ARENA, N_BYTES}, false,
                  BUFFERD_E_UNTRUSTED); /* somebody else's */
    fd = file_in("/dev/shm", N_BYTES + 4096);
    check_refused(WIRE_MAP_ARENA, (struct answer){fd, WIRE_MAP_ARENA, N_BYTES}, true,
                  BUFFERD_E_UNTRUSTED);
    fd = file_in("/dev/shm", N_BYTES);
    check_refused(WIRE_MAP_PINS, (struct answer){fd, WIRE_MAP_PINS, N_BYTES}, true,
                  BUFFERD_E_UNTRUSTED); /* only the arena may */
    fd = file_in("/dev/shm", N_BYTES);
    struct answer a = {fd, WIRE_MAP_ARENA, N_BYTES};
    cr_assert_eq(fetch(&m, WIRE_MAP_ARENA, a, true, NULL), 0);
    map_drop(&m);
}

Test(maps, arena_on_a_disk) {
    struct statfs fs;
    if (statfs("/var/tmp", &fs) || fs.f_type == TMPFS_MAGIC)
        cr_skip_test("/var/tmp is on tmpfs");
    int fd = file_in("/var/tmp", N_BYTES);
    check_refused(WIRE_MAP_ARENA, (struct answer){fd, WIRE_MAP_ARENA, N_BYTES}, true,
                  BUFFERD_E_UNTRUSTED);
}

Test(maps, sealed_files_are_mapped) {
    for (unsigned what = WIRE_MAP_RECORDS; what <= WIRE_MAP_STAGING; what++) {
        struct mapping m = {0};
        int fd = memfd(N_BYTES, SEALED | F_SEAL_SEAL);
        cr_assert_eq(pwrite(fd, "x", 1, N_BYTES - 1), 1);
        struct answer a = {fd, what, N_BYTES};
        cr_assert_eq(fetch(&m, what, a, false, NULL), 0);
        cr_assert_eq(((char *)m.base)[N_BYTES - 1], 'x');
        if (what == WIRE_MAP_ARENA)
            cr_assert_eq((uintptr_t)m.base % (2 << 20), 0);
        if (what == WIRE_MAP_PINS || what == WIRE_MAP_STAGING)
            ((volatile char *)m.base)[0] = 1;
        map_drop(&m);
    }
}
