/* The arena: one shared-memory file that holds every buffer's bytes, in page-granular ranges.
 *
 * Loop thread only, but for one helper thread inside that populates pages and punches holes; it
 * calls `wake` when it has something to say and the loop calls arena_dispatch(). Nobody but the
 * helper ever meets a hole: a range is handed out populated, whether from the stock at once or
 * later through the callback.
 */
#ifndef BUFFERD_ARENA_H
#define BUFFERD_ARENA_H

#include "backing.h"

#define ARENA_PAGE 4096

enum {
    ARENA_E_FULL = 1, /* no free range of that size */
    ARENA_E_COLD = 2, /* a range is reserved; the callback says when it is populated */
};

struct arena_options {
    uint64_t stock_bytes; /* populated free pages to keep */
    uint64_t decay_ms;    /* what is free above the stock for so long is punched */
    /* On the helper thread, which holds a lock: it may only wake the loop. */
    void (*wake)(void *ctx);
    void *ctx; /* borrowed */
    /* Borrowed; where /proc and /sys are read (memory.h); NULL: the machine itself. */
    const char *system_root;
};

struct arena;

/* Takes the backing over on success (by value: the caller's struct is empty then). Return: 0 or
 * negative errno. */
int arena_new(struct arena **ap, struct backing *backing, const struct arena_options *options);
/* Callbacks that are still due do not run. */
struct arena *arena_free(struct arena *a);

/* A populated range of n_bytes (> 0), rounded up to pages. On ARENA_E_COLD *offp is reserved
 * already and `on_ready(ctx, status)` runs once in a later arena_dispatch: 0, or negative errno
 * (-ENOMEM: no headroom; -ENOSPC: the file system is full). The range is the caller's to give back
 * then, whatever the status; never before. Return: 0, ARENA_E_FULL, ARENA_E_COLD, or negative
 * errno. */
typedef void arena_ready_fn(void *ctx, int status);
int arena_alloc(struct arena *a, uint64_t *offp, uint64_t n_bytes, arena_ready_fn *on_ready,
                void *ctx);
/* Give a range back; the same n_bytes as at arena_alloc. */
void arena_give_back(struct arena *a, uint64_t off, uint64_t n_bytes);

/* The first free range, populated or not, that ends after `from`. False: none. */
bool arena_next_free(const struct arena *a, uint64_t from, uint64_t *offp, uint64_t *n_bytesp);

/* Punch everything that is free (whole units), stock included. The stock is not filled again before
 * an allocation finds no populated range. `on_done(ctx, bytes given to the system)` runs in a later
 * arena_dispatch. Return: 0 or -ENOMEM. */
typedef void arena_trim_fn(void *ctx, uint64_t n_bytes);
int arena_trim(struct arena *a, arena_trim_fn *on_done, void *ctx);

/* On the loop, after a wake and once a second (decay). now_ms: monotonic. */
void arena_dispatch(struct arena *a, uint64_t now_ms);

uint8_t *arena_base(const struct arena *a);
uint64_t arena_bytes(const struct arena *a); /* of the file */
const struct backing *arena_backing(const struct arena *a);

struct arena_stats {
    uint64_t live_bytes;      /* handed out, in whole pages */
    uint64_t stock_bytes;     /* free and populated */
    uint64_t hole_bytes;      /* free and not populated */
    uint64_t largest_bytes;   /* largest free range */
    uint64_t file_bytes;      /* blocks of the file, as the kernel counts them (fstat) */
    uint64_t populated_bytes; /* ever populated: fresh pages */
    uint64_t punched_bytes;   /* ever given back */
    uint64_t n_ranges;        /* free ranges */
};
void arena_get_stats(const struct arena *a, struct arena_stats *out);

#endif
