/* Reads and unpacks the baskets of some columns, and nothing else: no cache, no shared memory, no
 * arrays. Each thread takes the next basket until none is left, and unpacks it into its own buffer,
 * which is reused.
 */
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

int unpack_open(struct unpack *u, const char *path, const char *tree, char *error) {
    struct io_identity identity;
    struct codec *codec = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -1 : io_identify(&identity, fd);
    if (r == 0)
        r = source_open(&u->source, fd, &identity, error);
    if (r) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    r = codec_new(&codec);
    if (r == 0)
        r = source_describe(u->source, codec, tree, &u->index, UNPACK_MAX_INDEX_BYTES, error);
    codec_free(codec);
    return r;
}

int unpack_add(struct unpack *u, const char *name, char *error) {
    struct tree_index *x = u->index.data;
    int64_t i = tree_index_find(x, (struct str){name, (uint32_t)strlen(name)});
    if (i < 0) {
        snprintf(error, SOURCE_ERROR_BYTES, "no column %s", name);
        return -1;
    }
    const struct tree_column *c = &tree_index_columns(x)[i];
    struct tree_basket *more =
        realloc(u->baskets, (u->n_baskets + c->n_baskets + 1) * sizeof(*u->baskets));
    if (!more)
        return -1;
    u->baskets = more;
    memcpy(u->baskets + u->n_baskets, tree_index_baskets(x) + c->first_basket,
           c->n_baskets * sizeof(*u->baskets));
    int r = source_plan(u->source, u->baskets + u->n_baskets, c->n_baskets, error);
    u->n_baskets += c->n_baskets;
    return r;
}

static uint64_t largest_raw(const struct unpack *u) {
    uint64_t n = 1;
    for (uint64_t i = 0; i < u->n_baskets; i++)
        n = MAX(n, u->baskets[i].raw_bytes);
    return n;
}

/* Return: 0, or whatever went wrong. */
static int unpack_one(struct unpack *u, struct codec *codec, struct source_bounce *packed,
                      struct tree_basket *basket, uint8_t *dst) {
    char error[SOURCE_ERROR_BYTES];
    uint64_t n_read;
    int r = source_fetch_basket(u->source, packed, basket, &n_read, error);
    return r ? r : source_unpack_basket(codec, packed, basket, dst, error);
}

static void *unpack_baskets(void *ctx) {
    struct unpack *u = ctx;
    struct codec *codec = NULL;
    struct source_bounce packed = {0};
    uint8_t *dst = malloc(largest_raw(u));
    if (!dst || codec_new(&codec))
        u->n_failed++;
    for (uint64_t i; codec && dst && (i = u->next++) < u->n_baskets;) {
        if (u->baskets[i].flags & BASKET_EMBEDDED)
            continue;
        if (unpack_one(u, codec, &packed, &u->baskets[i], dst))
            u->n_failed++;
        else
            u->n_bytes += u->baskets[i].raw_bytes;
    }
    free(dst);
    source_bounce_deinit(&packed);
    codec_free(codec);
    return NULL;
}

int unpack_run(struct unpack *u, int n_threads) {
    pthread_t threads[UNPACK_MAX_THREADS];
    int n = 0;
    u->next = u->n_bytes = u->n_failed = 0;
    while (n < n_threads && pthread_create(&threads[n], NULL, unpack_baskets, u) == 0)
        n++;
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return n == n_threads && u->n_failed == 0 ? 0 : -1;
}

void unpack_deinit(struct unpack *u) {
    free(u->baskets);
    free(u->index.data);
    source_free(u->source);
}
