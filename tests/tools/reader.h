/* Reads columns with the daemon's worker code, one job after the other in the calling thread. */
#ifndef BUFFERD_TEST_READER_H
#define BUFFERD_TEST_READER_H

#include "../../daemon/loader/assemble.h"

struct reader {
    struct worker worker;
    struct job_tables tables;
    struct source *source;     /* owned */
    struct tree_index *index;  /* owned; the tree that was described last */
    struct tree_index **trees; /* tables.trees[0] */
    struct tree_index **trees_of[1];
    struct source *sources[1];
    uint64_t n_arena_used;
    struct job_result last; /* of the job that failed */
};

/* Open a file; the descriptor is taken over. Return: 0 or a job status, text in last.error. */
int reader_init(struct reader *r, int fd, uint64_t n_arena_bytes);
void reader_deinit(struct reader *r);

/* The trees, as source_list() gives them; freed by the caller. */
int reader_list(struct reader *r, struct source_blob *out, uint64_t max_bytes);
/* Describe a tree; it becomes r->index. */
int reader_describe(struct reader *r, const char *tree, uint64_t max_bytes);

/* A column's values, or the offsets that a counter column's values make, of entries [start, stop),
 * in the arena: valid until the next read. */
int reader_values(struct reader *r, uint32_t column, uint64_t start, uint64_t stop, void **datap,
                  uint64_t *n_bytesp);
int reader_offsets(struct reader *r, uint32_t column, uint64_t start, uint64_t stop, void **datap,
                   uint64_t *n_bytesp);
/* Of COLUMN_LISTS: the offsets of the lists of one level. */
int reader_list_offsets(struct reader *r, uint32_t column, unsigned level, uint64_t start,
                        uint64_t stop, void **datap, uint64_t *n_bytesp);

/* List, describe and read every column of every tree. Return: how many columns were read. */
uint64_t reader_scan(struct reader *r, uint64_t max_bytes, uint64_t *n_failedp);

#endif
