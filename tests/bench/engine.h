/* The daemon's inside without sessions: one domain, its arena and its loader, driven by the caller's
 * thread in place of the event loop. */
#ifndef BUFFERD_ENGINE_H
#define BUFFERD_ENGINE_H

#include "../../daemon/domain.h"
#include "../../daemon/metrics.h"

struct engine {
    struct arena *arena;   /* owned */
    struct loader *loader; /* owned */
    struct job_tables tables;
    struct metrics metrics;
    struct domain *domain; /* owned */
    struct sources_file *file;
    struct sources_tree *tree;
    struct engine_want *wants; /* owned; one for each key */
    uint32_t n_wants;
    unsigned n_due, n_failed;
    int wake; /* owned; an eventfd */
    char text[256];
};

/* `backing` is taken over; make it before the first thread. All take a zeroed engine.
 * Return: 0, or negative errno with a text. */
int engine_open(struct engine *e, struct backing *backing, unsigned n_workers, const char *path,
                const char *tree);
/* The keys of a column over all entries, and of the offsets of a counter. */
int engine_add(struct engine *e, const char *column, enum key_verb verb);
/* Make all of them ready, and keep them. */
int engine_load(struct engine *e);
/* Give them up; with trim, the pages as well. */
void engine_evict(struct engine *e, bool trim);
void engine_close(struct engine *e);

#endif
