/* The arena's file: where it comes from, how it is sized, sealed and mapped.
 *
 * In order: --arena-dir (a tmpfs that the admin mounted), a private tmpfs with huge pages made by a
 * child in its own user and mount namespaces, a memfd with MADV_HUGEPAGE. backing_open() forks that
 * child, so main() calls it before threads, libuv and PR_SET_DUMPABLE 0 exist.
 */
#ifndef BUFFERD_BACKING_H
#define BUFFERD_BACKING_H

#include "../../proto/base.h"

enum backing_kind { BACKING_DIRECTORY, BACKING_NAMESPACE, BACKING_MEMFD };

struct backing {
    enum backing_kind kind;
    int fd;        /* owned, read-write */
    int client_fd; /* owned, opened read-only */
    uint64_t n_bytes;
    uint64_t unit_bytes; /* populate and punch whole units: 2 MiB with huge pages, else 64 KiB */
    bool has_huge_pages;
    bool is_sealed;
    uint8_t *base; /* mapping, read-write, 2 MiB aligned */
    char why[256]; /* which kind and, when not the best, why and what the site could change */
};

/* n_bytes is rounded up to 2 MiB. dir may be NULL. Only a bad `dir` is an error, everything else
 * falls through. On error only `why` is set. Return: 0 or negative errno. */
int backing_open(struct backing *b, uint64_t n_bytes, const char *dir);
void backing_close(struct backing *b);
const char *backing_kind_name(enum backing_kind kind);

#endif
