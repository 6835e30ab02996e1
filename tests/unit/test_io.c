/* Descriptors that are refused, files that change, ranges that end. */
#include "../../daemon/source/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static struct io_identity identity;

static void refuses(int fd) {
    cr_assert_eq(io_identify(&identity, fd), IO_E_BAD_DESCRIPTOR);
    if (fd >= 0)
        close(fd);
}

Test(io, refuses_what_is_no_readable_file) {
    int ends[2];
    refuses(-1);
    refuses(open("/", O_RDONLY));
    refuses(open("/proc/self/status", O_RDONLY));
    refuses(open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY));
    refuses(memfd_create("empty", 0));
    cr_assert_eq(pipe(ends), 0);
    refuses(ends[0]);
    close(ends[1]);
    char name[] = "/tmp/test_io-XXXXXX";
    int fd = mkstemp(name);
    cr_assert_eq(write(fd, "x", 1), 1);
    refuses(open(name, O_PATH));
    refuses(open(name, O_WRONLY));
    cr_assert_eq(io_identify(&identity, fd), 0);
    close(fd);
    unlink(name);
}

static struct io make(const char *text) {
    struct io io;
    int fd = memfd_create("file", 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    cr_assert_eq(io_identify(&identity, fd), 0);
    io_init(&io, fd, &identity);
    return io;
}

Test(io, reads_ranges_and_refuses_those_outside) {
    struct io io = make("0123456789");
    char bytes[16];
    cr_assert_eq(io_read(&io, bytes, 4, 3), 0);
    cr_assert_eq(memcmp(bytes, "3456", 4), 0);
    cr_assert_eq(io_read(&io, bytes, 10, 0), 0);
    cr_assert_eq(io_read(&io, bytes, 0, 10), 0);
    cr_assert_eq(io_read(&io, bytes, 2, 9), IO_E_SHORT);
    cr_assert_eq(io_read(&io, bytes, 1, UINT64_MAX), IO_E_SHORT);
    cr_assert_eq(io_read(&io, bytes, UINT64_MAX, 1), IO_E_SHORT);
    io_deinit(&io);
    cr_assert_eq(io.fd, -1);
    io_deinit(&io);
}

Test(io, notices_a_changed_file) {
    struct io io = make("0123456789");
    char bytes[16];
    /* The clock of files moves in ticks: wait until a write must show. */
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    cr_assert_eq(pwrite(io.fd, "x", 1, 0), 1);
    cr_assert_eq(io_read(&io, bytes, 4, 3), IO_E_CHANGED);
    io_deinit(&io);
    io = make("0123456789");
    cr_assert_eq(ftruncate(io.fd, 5), 0);
    cr_assert_eq(io_read(&io, bytes, 8, 0), IO_E_CHANGED);
    io_deinit(&io);
}

Test(io, tells_states_apart_by_every_field) {
    struct io_identity a = {1, 2, 3, 4, 5, 6}, b = a;
    cr_assert(io_identity_is_same(&a, &b));
    for (size_t i = 0; i < sizeof(a) / 8; i++) {
        b = a;
        ((uint64_t *)&b)[i]++;
        cr_assert_not(io_identity_is_same(&a, &b), "field %zu", i);
    }
}
