/* What decompressing the given columns costs at the least.
 *
 *     floor FILE TREE THREADS COLUMN...
 *
 * Describes the tree, plans the baskets, and then reads and unpacks each of them. Only that last
 * step is timed. Prints one line of JSON. The counter columns of jagged ones are to be named by the
 * caller, as the daemon would load them too.
 */
#include "clock.h"
#include "unpack.h"

#include <inttypes.h>
#include <stdio.h>

static int fail(const char *what, const char *error) {
    fprintf(stderr, "floor: %s: %s\n", what, error);
    return 1;
}

int main(int argc, char **argv) {
    struct unpack u = {0};
    char error[SOURCE_ERROR_BYTES] = "";
    int n_threads = argc > 4 ? atoi(argv[3]) : 0;
    if (n_threads < 1 || n_threads > UNPACK_MAX_THREADS)
        return fail("usage", "floor FILE TREE THREADS COLUMN...");
    int r = unpack_open(&u, argv[1], argv[2], error);
    for (int i = 4; i < argc && r == 0; i++)
        r = unpack_add(&u, argv[i], error);
    struct clock started = clock_now();
    if (r == 0)
        r = unpack_run(&u, n_threads);
    struct clock took = clock_since(&started);
    if (r)
        fail(argv[1], error);
    else
        printf("{\"seconds\": %.6f, \"baskets\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", took.wall,
               u.n_baskets, (uint64_t)u.n_bytes);
    unpack_deinit(&u);
    return r ? 1 : 0;
}
