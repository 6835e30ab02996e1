/* A tree's index: entries, columns and baskets as one flat, position-independent blob.
 *
 * Made by a source reader, kept by the daemon, and published to clients as an ordinary buffer
 * (without the bytes of embedded baskets). All offsets are bytes from the start of the blob, all
 * numbers in host order, all tables aligned to 8. Strings are NUL-terminated UTF-8 in one table;
 * offset 0 of a string means none. tree_index_check() has to accept a blob before anybody follows
 * an offset in it.
 */
#ifndef BUFFERD_TREE_INDEX_H
#define BUFFERD_TREE_INDEX_H

#include "base.h"

#define TREE_INDEX_MAGIC 0x31786469u /* "idx1" */
#define TREE_INDEX_VERSION 1

enum tree_kind { TREE_TTREE = 1, TREE_RNTUPLE = 2 };

/* What one entry of a column looks like. */
enum column_kind {
    COLUMN_NONE = 0,   /* not read natively; `reason` says why */
    COLUMN_FLAT = 1,   /* n_per_entry items in each entry */
    COLUMN_JAGGED = 2, /* as many items as the counter column says, times n_per_entry */
};

#define COLUMN_COUNTS                                                                              \
    2                     /* a split collection's own branch: how many elements each entry has; its
                             offsets are for clients, the counts themselves are what nobody means */
#define COLUMN_HAS_DATA 1 /* false for group branches: they hold other branches only */

struct tree_index {
    uint32_t magic, version;
    uint64_t n_bytes;        /* of the whole blob */
    uint64_t n_public_bytes; /* what clients see: everything before the embedded bytes */
    uint64_t n_entries;      /* of the tree */
    uint32_t kind;           /* enum tree_kind */
    uint32_t path;           /* string: "dir/Events;1" */
    uint32_t title;          /* string */
    uint32_t n_columns;
    uint64_t n_baskets;
    uint64_t columns_off; /* struct tree_column[n_columns], in the tree's own order */
    uint64_t baskets_off; /* struct tree_basket[n_baskets] */
    uint64_t strings_off, strings_bytes;
    uint64_t embedded_off, embedded_bytes; /* uncompressed payloads of embedded baskets */
};

struct tree_column {
    uint32_t name;  /* string: full path of branch names, "Electrons/Electrons.pt"; for a leaf list
                       with a ".leaf" */
    uint32_t title; /* string: the branch's title */
    uint32_t class_name;  /* string: "TBranch", "TBranchElement" */
    uint32_t type_name;   /* string: as uproot's typename says: "float", "float[]", "int32_t" */
    uint32_t reason;      /* string: why it is unsupported; none when kind is not COLUMN_NONE */
    uint32_t counter;     /* of COLUMN_JAGGED: column number + 1 */
    uint32_t parent;      /* column number + 1; 0: top level */
    uint32_t n_per_entry; /* product of the fixed dimensions, at least 1 */
    uint64_t n_entries;   /* of the branch; may differ from the tree's */
    uint64_t first_basket,
        n_baskets;      /* its part of the basket table, ordered by entry, without gaps */
    uint64_t zip_bytes; /* sum of stored_bytes */
    uint8_t kind;       /* enum column_kind */
    uint8_t item_type;  /* enum item_type */
    uint8_t flags;      /* COLUMN_* */
    uint8_t reserved[5];
};

#define BASKET_EMBEDDED                                                                            \
    1 /* its payload lies in the index: file_off is from embedded_off, not compressed */
#define BASKET_PLANNED 2     /* raw_bytes, border_bytes, key_bytes and the flags below are known */
#define BASKET_HAS_OFFSETS 4 /* an offset table follows the values */

struct tree_basket {
    uint64_t first_entry;  /* of the branch */
    uint64_t file_off;     /* of the basket's key, or in the embedded bytes */
    uint32_t stored_bytes; /* key and stored payload (TKey's fNbytes); embedded: the payload */
    uint32_t raw_bytes;    /* uncompressed payload: values and offset table */
    uint32_t border_bytes; /* of the values at the start of the payload */
    uint32_t n_entries;
    uint16_t key_bytes; /* fKeylen; 0 when embedded */
    uint16_t flags;     /* BASKET_* */
    /* As BASKET_EMBEDDED says. The loop changes flags when a basket is planned; workers, which copy
     * baskets to plan them, look here. */
    uint32_t is_embedded;
};

/* Bounds, alignment, string ends, basket ranges, counters and parents. False: do not use the blob.
 * The bytes may end after n_public_bytes (what a client maps). */
bool tree_index_check(const struct tree_index *index, uint64_t n_bytes);

/* Inline access; the blob must have passed the check and i must be in range. */
static inline struct tree_column *tree_index_columns(const struct tree_index *x) {
    return (struct tree_column *)((char *)x + x->columns_off);
}
static inline struct tree_basket *tree_index_baskets(const struct tree_index *x) {
    return (struct tree_basket *)((char *)x + x->baskets_off);
}
static inline const char *tree_index_string(const struct tree_index *x, uint32_t off) {
    return (const char *)x + x->strings_off + off; /* the string at 0 is "" */
}

/* The column of that name: the full path first, else the first whose last component is it.
 * Return: its number, or -1. */
int64_t tree_index_find(const struct tree_index *x, struct str name);

/* Baskets [*firstp, *lastp) of the column, as numbers in the tree's basket table, that hold entries
 * of [start, stop); an empty range gives none. */
void tree_index_span(const struct tree_index *x, const struct tree_column *c, uint64_t start,
                     uint64_t stop, uint64_t *firstp, uint64_t *lastp);

#endif
