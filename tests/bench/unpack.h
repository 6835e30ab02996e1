/* What decompressing some columns costs at the least. */
#ifndef BUFFERD_UNPACK_H
#define BUFFERD_UNPACK_H

#include "../../daemon/source/source.h"

#include <stdatomic.h>

enum { UNPACK_MAX_THREADS = 64, UNPACK_MAX_INDEX_BYTES = 256 << 20 };

struct unpack {
    struct source *source;       /* owned */
    struct source_blob index;    /* owned */
    struct tree_basket *baskets; /* owned; of all columns, planned */
    uint64_t n_baskets;
    _Atomic uint64_t next, n_bytes, n_failed;
};

/* `error`: SOURCE_ERROR_BYTES. Return: 0, or whatever went wrong. */
int unpack_open(struct unpack *u, const char *path, const char *tree, char *error);
/* The baskets of one more column. */
int unpack_add(struct unpack *u, const char *column, char *error);
int unpack_run(struct unpack *u, int n_threads);
void unpack_deinit(struct unpack *u);

#endif
