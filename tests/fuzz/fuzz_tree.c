/* A whole file: opened, its trees listed and described, every column that is read natively read. */
#include "../tools/reader.h"

#include <sys/mman.h>

#define MAX_BYTES (64u << 20)
#define ARENA_BYTES (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    struct reader r;
    uint64_t n_failed;
    if (reader_init(&r, fd, ARENA_BYTES) == 0)
        reader_scan(&r, MAX_BYTES, &n_failed);
    reader_deinit(&r);
    return 0;
}
