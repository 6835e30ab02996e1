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
#define TREE_INDEX_VERSION 2

enum tree_kind { TREE_TTREE = 1, TREE_RNTUPLE = 2 };

/* What one entry of a column looks like. */
enum column_kind {
    COLUMN_NONE = 0,   /* not read natively; `reason` says why */
    COLUMN_FLAT = 1,   /* n_per_entry items in each entry */
    COLUMN_JAGGED = 2, /* as many items as the counter column says, times n_per_entry */
    COLUMN_LISTS = 3,  /* lists, or lists of lists, whose lengths stand among the values */
};

#define COLUMN_COUNTS                                                                              \
    2                     /* a split collection's own branch: how many elements each entry has; its
                             offsets are for clients, the counts themselves are what nobody means */
#define COLUMN_HAS_DATA 1 /* false for group branches: they hold other branches only */
#define COLUMN_STRINGS 4  /* the innermost lists are texts: item_type is ITEM_U1 */
#define COLUMN_MEMBER                                                                              \
    8 /* a leaf of a leaf list, or a member of the records of a list: the values
                             lie in the baskets of the column `parent` */

/* ---- how the values lie in a basket ---- */

#define COLUMN_MAX_LEVELS 3

/* The length of a list. */
enum column_level {
    LEVEL_COUNT = 1, /* i4 number of elements, then these */
    LEVEL_REST,      /* what is left of the entry; outermost only */
    LEVEL_STRING,    /* u1 number of bytes, or 255 and i4; innermost only */
};

enum column_coding {
    CODING_PLAIN = 0, /* big-endian items */
    CODING_FLOAT,     /* a float for each double */
    CODING_RANGE,     /* u4 q: the value is low + q * step */
    CODING_TRUNCATED, /* u1 exponent, u2 mantissa of n_bits and the sign */
};

#define LAYOUT_FRAMED 1    /* each unit is an object: byte count, version 0, checksum */
#define LAYOUT_LONG_TAIL 2 /* an entry may be two bytes longer than its unit (TObject's bits) */

/* All zero: nothing but the column's items. */
struct column_layout {
    uint32_t unit_bytes; /* stored bytes of a unit, which is an entry of a flat column and an
                            element of a list; 0: n_per_entry plain items */
    uint32_t member_off; /* of this column's n_per_entry items in the unit */
    uint8_t coding;      /* enum column_coding */
    uint8_t n_bits;
    uint8_t n_levels;                  /* of COLUMN_LISTS: offsets, offsets1, offsets2 */
    uint8_t levels[COLUMN_MAX_LEVELS]; /* enum column_level, the outermost first */
    uint8_t header_bytes;              /* before an entry's lists: 0; 1: a marker; 6: byte count and
                                          version */
    uint8_t flags;                     /* LAYOUT_* */
    double low, step;
};

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
    uint64_t columns_off; /* struct tree_column[n_columns]: the branches in the tree's own order,
                             then members (COLUMN_MEMBER) */
    uint64_t baskets_off; /* struct tree_basket[n_baskets] */
    uint64_t strings_off, strings_bytes;
    uint64_t embedded_off, embedded_bytes; /* uncompressed payloads of embedded baskets */
};

struct tree_column {
    uint32_t name;       /* string: full path of branch names, "Electrons/Electrons.pt"; of a member
                       with a ".leaf" */
    uint32_t title;      /* string: the branch's title */
    uint32_t class_name; /* string: "TBranch", "TBranchElement" */
    uint32_t type_name;  /* string: as uproot's typename says: "float", "float[]", "int32_t" */
    uint32_t reason;     /* string: why it is unsupported; none when kind is not COLUMN_NONE */
    uint32_t counter;    /* of COLUMN_JAGGED: column number + 1 */
    uint32_t parent;     /* column number + 1; 0: top level */
    uint32_t n_per_entry; /* product of the fixed dimensions, at least 1 */
    uint64_t n_entries;   /* of the branch; may differ from the tree's */
    uint64_t first_basket,
        n_baskets;      /* its part of the basket table, ordered by entry, without gaps */
    uint64_t zip_bytes; /* sum of stored_bytes */
    uint8_t kind;       /* enum column_kind */
    uint8_t item_type;  /* enum item_type */
    uint8_t flags;      /* COLUMN_* */
    uint8_t reserved[5];
    struct column_layout layout;
};

#define BASKET_EMBEDDED                                                                            \
    1 /* its payload lies in the index: file_off is from embedded_off, not compressed */
#define BASKET_PLANNED 2     /* raw_bytes, border_bytes, key_bytes and the flags below are known */
#define BASKET_HAS_OFFSETS 4 /* an offset table follows the values */
#define BASKET_HAS_EDGE 8    /* the daemon's own: there may be an edge buffer of it */

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

/* Part of the check: levels are in order, the items of a unit lie inside of it, those of a coded
 * column are of the type it makes. Everything else of the column is in range. */
bool tree_column_check_layout(const struct tree_column *c);

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
