/* What decompressing the given columns costs at the least: no cache, no shared memory, no arrays.
 *
 *     floor FILE TREE THREADS COLUMN...
 *
 * Describes the tree, plans the baskets, and then reads and unpacks each of them into the thread's
 * own buffer, which is reused. Only that last step is timed. Prints one line of JSON. The counter
 * columns of jagged ones are to be named by the caller, as the daemon would load them too.
 */
#include "../../daemon/source/source.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 64, MAX_INDEX_BYTES = 256 << 20 };

struct floor {
    struct source *source;       /* owned */
    struct source_blob index;    /* owned */
    struct tree_basket *baskets; /* owned; of all columns */
    uint64_t n_baskets;
    _Atomic uint64_t next, n_bytes, n_failed;
};

static int fail(const char *what, const char *error) {
    fprintf(stderr, "floor: %s: %s\n", what, error);
    return 1;
}

static int open_tree(struct floor *f, const char *path, const char *tree, char *error) {
    struct io_identity identity;
    struct codec *codec = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -1 : io_identify(&identity, fd);
    if (r == 0)
        r = source_open(&f->source, fd, &identity, error);
    if (r) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    r = codec_new(&codec);
    if (r == 0)
        r = source_describe(f->source, codec, tree, &f->index, MAX_INDEX_BYTES, error);
    codec_free(codec);
    return r;
}

static int add_column(struct floor *f, const char *name, char *error) {
    struct tree_index *x = f->index.data;
    int64_t i = tree_index_find(x, (struct str){name, (uint32_t)strlen(name)});
    if (i < 0) {
        snprintf(error, SOURCE_ERROR_BYTES, "no column %s", name);
        return -1;
    }
    const struct tree_column *c = &tree_index_columns(x)[i];
    struct tree_basket *more =
        realloc(f->baskets, (f->n_baskets + c->n_baskets + 1) * sizeof(*f->baskets));
    if (!more)
        return -1;
    f->baskets = more;
    memcpy(f->baskets + f->n_baskets, tree_index_baskets(x) + c->first_basket,
           c->n_baskets * sizeof(*f->baskets));
    int r = source_plan(f->source, f->baskets + f->n_baskets, c->n_baskets, error);
    f->n_baskets += c->n_baskets;
    return r;
}

static uint64_t largest_raw(const struct floor *f) {
    uint64_t n = 1;
    for (uint64_t i = 0; i < f->n_baskets; i++)
        n = MAX(n, f->baskets[i].raw_bytes);
    return n;
}

/* Return: 0, or whatever went wrong. */
static int unpack_one(struct floor *f, struct codec *codec, struct source_bounce *packed,
                      struct tree_basket *basket, uint8_t *dst) {
    char error[SOURCE_ERROR_BYTES];
    uint64_t n_read;
    int r = source_fetch_basket(f->source, packed, basket, &n_read, error);
    return r ? r : source_unpack_basket(codec, packed, basket, dst, error);
}

static void *unpack_baskets(void *ctx) {
    struct floor *f = ctx;
    struct codec *codec = NULL;
    struct source_bounce packed = {0};
    uint8_t *dst = malloc(largest_raw(f));
    if (!dst || codec_new(&codec))
        f->n_failed++;
    for (uint64_t i; codec && dst && (i = f->next++) < f->n_baskets;) {
        if (f->baskets[i].flags & BASKET_EMBEDDED)
            continue;
        if (unpack_one(f, codec, &packed, &f->baskets[i], dst))
            f->n_failed++;
        else
            f->n_bytes += f->baskets[i].raw_bytes;
    }
    free(dst);
    source_bounce_deinit(&packed);
    codec_free(codec);
    return NULL;
}

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int run_threads(struct floor *f, int n_threads) {
    pthread_t threads[MAX_THREADS];
    int n = 0;
    while (n < n_threads && pthread_create(&threads[n], NULL, unpack_baskets, f) == 0)
        n++;
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return n == n_threads && f->n_failed == 0 ? 0 : -1;
}

int main(int argc, char **argv) {
    struct floor f = {0};
    char error[SOURCE_ERROR_BYTES] = "";
    int n_threads = argc > 4 ? atoi(argv[3]) : 0;
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return fail("usage", "floor FILE TREE THREADS COLUMN...");
    int r = open_tree(&f, argv[1], argv[2], error);
    for (int i = 4; i < argc && r == 0; i++)
        r = add_column(&f, argv[i], error);
    double started = now();
    if (r == 0)
        r = run_threads(&f, n_threads);
    double seconds = now() - started;
    if (r)
        fail(argv[1], error);
    else
        printf("{\"seconds\": %.6f, \"baskets\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", seconds,
               f.n_baskets, (uint64_t)f.n_bytes);
    free(f.baskets);
    free(f.index.data);
    source_free(f.source);
    return r ? 1 : 0;
}
