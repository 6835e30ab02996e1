/* A job: plain data without pointers that a worker (a thread now, perhaps a process later) can run
 * alone.
 *
 * Arena offsets name bytes of the arena's mapping, numbers name sources, trees and staging files in
 * the tables that the worker was given. The ranges a job writes belong to it alone until its
 * completion has run.
 */
#ifndef BUFFERD_JOB_H
#define BUFFERD_JOB_H

#include "../../proto/tree_index.h"
#include "../../proto/wire.h"

enum job_kind {
    JOB_OPEN,     /* header of a file: descriptor `fd` -> result.source */
    JOB_LIST,     /* trees of a source -> result.blob */
    JOB_DESCRIBE, /* index of tree `path` -> result.blob */
    JOB_PLAN,     /* keys of baskets [first_basket, first_basket + n_baskets) -> result.blob: struct
                     tree_basket[] */
    JOB_EDGE,     /* decompress one planned basket whole -> out (raw_bytes); then cut it */
    JOB_CUT,      /* the payload is at `in` (or embedded in the index): cut it only */
    JOB_DECODE,   /* decompress one basket into the bounce buffer, write values of [slice_start,
                     slice_stop) -> out */
    JOB_COPY,     /* the payload is at `in`: write values of [slice_start, slice_stop) -> out */
    JOB_TRANSFORM, /* a verb over whole columns: `in` -> out */
    JOB_STAGE,     /* bytes of a staging file -> out */
};

#define JOB_DERIVE UINT64_MAX /* value_start, value_stop: find them */
#define JOB_NO_CUT UINT64_MAX /* cut[]: the basket has no offset table to say it */

enum job_verb {
    JOB_VERB_NONE,
    JOB_VERB_COUNTS_TO_OFFSETS, /* n items of item_type -> n + 1 int64, from 0; negative counts are
                                   CORRUPT */
    JOB_VERB_SAME,              /* the bytes as they are */
    JOB_VERB_LIST_ENDS, /* COPY of lists: where each list of `level` ends, int64, plus `base` */
};

enum job_status { /* result.status; 0 is done, negative is errno */
                  JOB_E_NOT_ROOT = 1,
                  JOB_E_CORRUPT,
                  JOB_E_UNSUPPORTED,
                  JOB_E_NO_TREE,
                  JOB_E_CHANGED,
                  JOB_E_TOO_LARGE,
                  JOB_E_CANCELLED,
};

struct job {
    uint8_t kind;        /* enum job_kind */
    uint8_t verb;        /* enum job_verb */
    uint8_t item_type;   /* of the column (input of a verb) */
    uint8_t column_kind; /* enum column_kind, but not NONE */
    uint8_t level;       /* JOB_VERB_LIST_ENDS */
    int32_t fd; /* JOB_OPEN: borrowed; the completion closes it unless it became the source's */
    uint32_t source; /* number in the source table */
    uint32_t tree;   /* number in the source's tree table */
    uint32_t n_per_entry;
    struct column_layout layout;
    uint32_t staging; /* number in the staging table */
    uint64_t first_basket,
        n_baskets; /* in the tree index's basket table; n is 1 for EDGE, CUT, DECODE, COPY */

    /* The basket as planned (struct tree_basket), so that no worker reads what the loop may write.
     * DECODE of a flat basket needs no plan: without BASKET_PLANNED its key is read with it. */
    uint64_t file_off, basket_entries;
    uint32_t stored_bytes, raw_bytes, border_bytes, key_bytes;
    uint32_t basket_flags;
    /* DECODE, EDGE: one read for several jobs that one worker runs one after the other. The first
     * has read_bytes, from file_off on (0: only the basket), the others are is_read_ahead. */
    uint32_t read_bytes;
    uint8_t is_read_ahead;

    /* Entries relative to the basket: what DECODE and COPY write, where EDGE and CUT look. */
    uint64_t slice_start, slice_stop;
    /* DECODE and COPY: the bytes of the slice among the values, when the loop knows them (from an
     * earlier cut, or from the counter's offsets); both JOB_DERIVE: from the slice. A jagged basket
     * without an offset table can only be derived whole. */
    uint64_t value_start, value_stop;

    int64_t base;                /* JOB_VERB_LIST_ENDS */
    uint64_t in_off, in_bytes;   /* arena (JOB_STAGE: staging file) */
    uint64_t out_off, out_bytes; /* arena; exact size of what is written */
    uint64_t max_bytes;          /* memory LIST, DESCRIBE and PLAN may use */
    char path[WIRE_MAX_NAME_BYTES];
};

struct source;

struct job_result {
    int status;                /* 0, enum job_status, negative errno */
    uint64_t n_read_bytes;     /* from the file */
    uint64_t n_reads;          /* of baskets: calls */
    uint64_t n_reads_merged;   /* baskets that came with another one's read */
    uint64_t n_unpacked_bytes; /* decompressed (raw) bytes */
    uint64_t n_baskets_decoded;
    uint64_t run_ns;
    uint64_t cut[2]; /* EDGE, CUT: byte positions of entries slice_start and slice_stop among the
                        values; JOB_NO_CUT inside a jagged basket without offset table */
    uint64_t n_lists[COLUMN_MAX_LEVELS + 1]; /* CUT of lists: entries of the slice, lists of each
                                                level in them, at last units */
    void *blob;                              /* owned by the completion */
    uint64_t n_blob_bytes;
    struct source *source; /* JOB_OPEN: owned by the completion */
    char error[256];       /* for people: what, where in the file */
};

#endif
