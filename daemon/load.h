/* One load: the jobs that fill one entry of the cache. */
#ifndef BUFFERD_LOAD_H
#define BUFFERD_LOAD_H

#include "materialize.h"

/* An entry for the column at `place`, or for a tree's public index, and its load. Nothing happens
 * before load_run(), so that the caller can wait for the entry first; then the load lives until it
 * is published or has failed. Return: 0, or a negative wire error with `text` (256 bytes). */
int load_begin(struct cache_entry **ep, struct materialize *m, const struct column_place *place,
               struct loader_queue *queue, bool waits_for_memory, char *text);
int load_begin_index(struct cache_entry **ep, struct materialize *m, struct sources_tree *tree,
                     struct str key, char *text);
void load_run(struct load *load);
/* The load of an entry that is loading; NULL when it is ready, or a client makes it. */
struct load *load_of(const struct cache_entry *entry);
/* Somebody wants it now: its waiting jobs move to the queue of demands. */
void load_promote(struct load *load, bool waits_for_memory);
/* Somebody who would have its jobs in `queue` waits for the entry no longer. Without a waiter its load
 * is cancelled; with one it may not depend on a queue that may go: it becomes a demand. */
void load_abandon(struct cache_entry *entry, struct loader_queue *queue);
/* A load that waits for memory tries again. */
void load_retry(struct load *load);

#endif
