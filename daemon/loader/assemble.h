/* Runs one job on a worker: a basket becomes (a part of) a buffer.
 *
 * Worker code: no loop, no cache, no log. It reads the tables that it was given and writes its
 * job's own destination, nothing else.
 */
#ifndef BUFFERD_ASSEMBLE_H
#define BUFFERD_ASSEMBLE_H

#include "../source/source.h"
#include "job.h"

/* The tables. The loop writes a place before it submits the first job that names it and clears it
 * after the last one. */
struct job_tables {
    uint8_t *arena; /* the daemon's mapping, borrowed */
    uint64_t n_arena_bytes;
    struct source **sources; /* by source number */
    uint32_t n_sources;
    struct tree_index ***trees; /* trees[source][tree] */
    uint8_t **stagings;         /* by staging number */
    uint64_t n_staging_bytes;   /* of each */
};

/* One per thread. */
struct worker {
    const struct job_tables *tables; /* borrowed */
    struct codec *codec;             /* owned */
    struct source_bounce packed;     /* stored bytes */
    struct source_bounce raw;        /* one uncompressed basket */
};

int worker_init(struct worker *w, const struct job_tables *tables);
void worker_deinit(struct worker *w);

/* transform.c: a verb over n_in_bytes of items of item_type. Return: 0, JOB_E_CORRUPT,
 * JOB_E_UNSUPPORTED. */
int transform_run(uint8_t verb, uint8_t item_type, uint8_t *out, uint64_t n_out_bytes,
                  const uint8_t *in, uint64_t n_in_bytes, char *error);

/* Run it; every outcome is in the result, which is zeroed first. */
void job_run(struct worker *w, const struct job *job, struct job_result *result);

#endif
