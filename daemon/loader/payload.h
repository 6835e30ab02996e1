/* A basket's uncompressed payload: where its entries are, and whether it is sound. */
#ifndef BUFFERD_PAYLOAD_H
#define BUFFERD_PAYLOAD_H

#include "../../proto/tree_index.h"
#include "job.h"

struct payload {
    struct tree_basket basket; /* complete */
    const uint8_t *bytes;      /* borrowed: raw_bytes; may be NULL while only sizes are looked at */
    unsigned item_bytes;
    uint64_t entry_bytes; /* n_per_entry items: an entry of a flat column */
    bool is_jagged;
    char *error; /* borrowed: SOURCE_ERROR_BYTES */
};

unsigned payload_item_bytes(unsigned item_type);
struct payload payload_of(const struct job *job, const struct tree_basket *basket,
                          const uint8_t *bytes, char *error);

/* Do the sizes belong to this column? Return: 0 or JOB_E_CORRUPT. */
int payload_check(const struct payload *p);

/* The bytes among the values where entries start and stop begin; JOB_NO_CUT inside a jagged basket
 * without offset table. A table is checked whole before it is believed.
 * Return: 0 or JOB_E_CORRUPT. */
int payload_cut(const struct payload *p, uint64_t start, uint64_t stop, uint64_t cut[2]);

/* The bytes of the job's slice, which are exactly out_bytes. Return: 0 or JOB_E_CORRUPT. */
int payload_slice(const struct payload *p, const struct job *job, uint64_t value[2]);

#endif
