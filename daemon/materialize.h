/* From a key to a ready buffer: find it, join its load, or begin one.
 *
 * Whoever wants a buffer embeds a `struct want`. A request wants to grant, a prefetch scope wants
 * it to be there, a load may want the column that it depends on. Loop thread only.
 */
#ifndef BUFFERD_MATERIALIZE_H
#define BUFFERD_MATERIALIZE_H

#include "cache/cache.h"
#include "sources.h"

struct load;

/* What all loads share. */
struct materialize {
    struct cache *cache;     /* borrowed */
    struct sources *sources; /* borrowed */
    struct loader *loader;   /* borrowed */
    struct metrics *metrics; /* borrowed */
    struct load *hungry;     /* loads that wait for memory */
    unsigned n_hungry;
    struct load *planning; /* loads whose plan runs, or waits for another's of the column */
    uint64_t n_begun;      /* ever: their numbers */
};

struct want {
    struct want *prev, *next; /* for the owner's lists */
    struct materialize *m;    /* borrowed */
    struct cache_waiter cache_waiter;
    struct sources_waiter sources_waiter;
    struct loader_queue *queue; /* borrowed; where the jobs of a load wait that this want begins */
    char *key;                  /* owned, until the entry is found */
    bool waits_for_memory;      /* else no memory is an error */
    bool has_begun;             /* it began the load itself */
    bool has_joined;            /* it waited for another's */
    /* Once, maybe before want_start() returns: status 0 and a ready entry (hold it to keep it), or
     * a wire error. */
    void (*on_done)(struct want *w, struct cache_entry *entry, int status, const char *text);
};

/* The key is copied. `on_done`, `queue` and `waits_for_memory` are set by the caller. */
void want_start(struct want *w, struct materialize *m, struct str key);
/* Not wanted any more: on_done will not run. A load that nobody else wants is cancelled. */
void want_cancel(struct want *w);

/* What a column key means in its tree. */
struct column_place {
    struct sources_tree *tree;
    const struct tree_column *column;
    uint64_t start, stop;
    enum key_verb verb;
    char key[WIRE_MAX_KEY_BYTES + 1]; /* canonical: offsets belong to the counter */
};

/* Resolve the text of a key. `w` may be NULL: then an index that has to be made first is
 * WIRE_E_ABSENT. Return: 0, 1 (w will be called; ask again then), or a negative wire error with
 * `text` (256 bytes). */
int materialize_resolve(struct materialize *m, struct column_place *out, struct str key,
                        struct sources_waiter *w, char *text);

/* Publish a tree's index for clients. Return: 0 (*ep is ready), 1 (the waiter will be called), or a
 * negative wire error with `text`. */
int materialize_index(struct materialize *m, struct cache_entry **ep, struct sources_tree *tree,
                      struct cache_waiter *w, char *text);

/* Once a second, and when memory was given back: loads that wait for it. */
void materialize_tick(struct materialize *m);

#endif
