/* A basket's uncompressed payload: where its entries are, and whether it is sound. */
#ifndef BUFFERD_PAYLOAD_H
#define BUFFERD_PAYLOAD_H

#include "../../proto/tree_index.h"
#include "items.h"
#include "job.h"

struct payload {
    struct tree_basket basket; /* complete */
    const uint8_t *bytes;      /* borrowed: raw_bytes; may be NULL while only sizes are looked at */
    struct items items;
    uint64_t entry_bytes; /* stored bytes of a unit: an entry of a flat column; 1 for lists, whose
                             entries have any length */
    uint8_t kind;         /* enum column_kind */
    char *error;          /* borrowed: SOURCE_ERROR_BYTES */
};

struct payload payload_of(const struct job *job, const struct tree_basket *basket,
                          const uint8_t *bytes, char *error);

/* Do the sizes belong to this column? Return: 0 or JOB_E_CORRUPT. */
int payload_check(const struct payload *p);

/* The bytes among the values where entries start and stop begin; JOB_NO_CUT inside a jagged basket
 * without offset table. A table is checked whole before it is believed.
 * Return: 0 or JOB_E_CORRUPT. */
int payload_cut(const struct payload *p, uint64_t start, uint64_t stop, uint64_t cut[2]);

/* The stored bytes of the job's slice, which make exactly out_bytes. Return: 0 or JOB_E_CORRUPT. */
int payload_slice(const struct payload *p, const struct job *job, uint64_t value[2]);

/* For lists.c: is there a table, is it right, and where entry i of it starts (n_entries: ends). */
bool payload_has_table(const struct payload *p);
int payload_table_check(const struct payload *p);
uint32_t payload_table_at(const struct payload *p, uint64_t i);
int payload_corrupt(const struct payload *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
