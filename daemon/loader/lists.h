/* Entries that are lists: their lengths stand among the values. */
#ifndef BUFFERD_LISTS_H
#define BUFFERD_LISTS_H

#include "payload.h"

/* How many entries, lists of each level, and at last units, the slice has.
 * Return: 0, JOB_E_CORRUPT, JOB_E_UNSUPPORTED. */
int lists_count(const struct payload *p, const struct job *job,
                uint64_t n_lists[COLUMN_MAX_LEVELS + 1]);

/* The slice's items, or where its lists of one level end: exactly out_bytes.
 * Return: 0, JOB_E_CORRUPT, JOB_E_UNSUPPORTED. */
int lists_write(const struct payload *p, const struct job *job, uint8_t *out);

#endif
