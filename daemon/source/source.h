/* Sources: files that clients opened, and the readers of their formats.
 *
 * A source is immutable once opened, so workers share it without locks; only the loop thread adds
 * trees to it and frees it, after the last job on it has ended. Every function here runs on workers
 * unless it says loop. Errors: `error` is text for people (what, where in the file), at least 256
 * bytes.
 */
#ifndef BUFFERD_SOURCE_H
#define BUFFERD_SOURCE_H

#include "../../proto/tree_index.h"
#include "../../proto/wire.h"
#include "../codec/codec.h"
#include "io.h"

#define SOURCE_ERROR_BYTES 256
#define SOURCE_MAX_BASKET_BYTES (256u << 20)

enum {
    SOURCE_E_NOT_ROOT = 1,
    SOURCE_E_CORRUPT = 2,
    SOURCE_E_UNSUPPORTED = 3,
    SOURCE_E_NO_TREE = 4,
    SOURCE_E_CHANGED = 5,
    SOURCE_E_TOO_LARGE = 6, /* needs more than max_bytes of memory */
};

struct source {
    struct io io;
    uint8_t uuid[16];
    uint64_t directory_off; /* of the root directory's record */
    uint64_t streamers_off; /* fSeekInfo; 0: none */
    bool is_big;            /* 64-bit header */
};

/* Memory that a reader made and the caller owns. */
struct source_blob {
    void *data;
    uint64_t n_bytes;
};

/* Read the file's header. The descriptor is taken over on success only.
 * Return: 0, SOURCE_E_*, or negative errno. */
int source_open(struct source **sp, int fd, const struct io_identity *identity, char *error);
struct source *source_free(struct source *s);

/* One tree of a file, in the listing blob of source_list: an array of these, then the strings. */
struct source_tree {
    uint64_t path, class_name, title; /* offsets of NUL-terminated strings in the blob */
    uint64_t is_newest;
};

/* Every tree of the file in file order, subdirectories included ("dir/sub/Events;3").
 * The blob is u64 n, struct source_tree[n], strings. At most max_bytes of memory are used.
 * Return: 0, SOURCE_E_*, or negative errno. */
int source_list(const struct source *s, struct codec *codec, struct source_blob *out,
                uint64_t max_bytes, char *error);

/* A tree's index (proto/tree_index.h). Path with or without cycle; without: the highest.
 * Return: 0, SOURCE_E_*, or negative errno. */
int source_describe(const struct source *s, struct codec *codec, const char *tree,
                    struct source_blob *out, uint64_t max_bytes, char *error);

/* Read the keys of n baskets and complete them (raw_bytes, border_bytes, key_bytes, flags); nothing
 * else of them changes. Sizes are checked against the file and SOURCE_MAX_BASKET_BYTES, entries
 * against n_entries. Return: 0, SOURCE_E_*, or negative errno. */
int source_plan(const struct source *s, struct tree_basket *baskets, uint64_t n, char *error);

/* Memory of a worker that grows and is kept from job to job; what was in it is lost when it grows.
 */
struct source_bounce {
    uint8_t *data; /* owned */
    size_t n_bytes;
    uint64_t off, n_held; /* of stored bytes: which ones of the file it holds */
};
int source_bounce_reserve(struct source_bounce *b, size_t n_bytes);
void source_bounce_deinit(struct source_bounce *b);

/* Read the stored bytes of one basket on disk, key included, and complete `basket` as a plan does.
 * One that was planned has to be the same still (else SOURCE_E_CHANGED). *n_readp: bytes read.
 * Return: 0, SOURCE_E_*, or negative errno. */
int source_fetch_basket(const struct source *s, struct source_bounce *packed,
                        struct tree_basket *basket, uint64_t *n_readp, char *error);

/* Read n stored bytes at `off`, of one basket or of several and what lies between them. When it fails
 * `packed` holds nothing. Return: 0, SOURCE_E_*, or negative errno. */
int source_read_ahead(const struct source *s, struct source_bounce *packed, uint64_t off,
                      uint64_t n, char *error);
/* As source_fetch_basket() for a basket whose bytes `packed` holds (source_bounce_holds()): they
 * are not read again. */
int source_find_basket(const struct source_bounce *packed, struct tree_basket *basket, char *error);
static inline bool source_bounce_holds(const struct source_bounce *b, uint64_t off, uint64_t n) {
    return off >= b->off && range_is_inside(off - b->off, n, b->n_held);
}

/* Decompress the whole payload of a basket that was fetched or found: raw_bytes of dst.
 * Return: 0, SOURCE_E_*, or negative errno. */
int source_unpack_basket(struct codec *codec, const struct source_bounce *packed,
                         const struct tree_basket *basket, uint8_t *dst, char *error);

#endif
