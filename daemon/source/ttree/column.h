/* Decides what a branch is as columns: flat, jagged, lists, a record, or not read natively. */
#ifndef BUFFERD_TTREE_COLUMN_H
#define BUFFERD_TTREE_COLUMN_H

#include "model.h"
#include "typename.h"

#define COLUMN_TEXT_BYTES 160

struct column {
    uint8_t kind;            /* enum column_kind */
    bool is_counts;          /* COLUMN_COUNTS */
    bool has_strings;        /* COLUMN_STRINGS */
    bool is_record;          /* no column itself: its members are */
    uint8_t item_type;       /* enum item_type */
    uint32_t n_per_entry;    /* >= 1 */
    uint32_t counter_branch; /* of a jagged one: number */
    struct column_layout layout;
    struct str record; /* class of a record in lists; empty: a leaf list */
    char type_name[COLUMN_TEXT_BYTES];
    char reason[COLUMN_TEXT_BYTES]; /* empty unless the kind is COLUMN_NONE */
};

/* By the branch's and its leaf's description alone: what the counter branch is, and whether the
 * baskets are sound, is for the caller. */
void column_describe(struct column *out, const struct model *m, const struct branch *b);

/* Member i of a record. False: it has no more. */
bool column_member(struct column *out, struct str *namep, const struct model *m,
                   const struct branch *b, const struct column *record, uint32_t i);

/* Make it COLUMN_NONE. */
void column_refuse(struct column *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- between column.c, which decides by leaves, and column_class.c, which does so by classes ---- */

/* A branch whose leaf is no number. */
void column_describe_class(struct column *c, const struct model *m, const struct branch *b,
                           const struct leaf *l);
/* Several leaves in one branch. */
void column_describe_leaves(struct column *c, const struct model *m, const struct branch *b);
/* The member of a class that the branch is; NULL: unknown. */
const struct streamer_element *column_streamer(const struct model *m, const struct branch *b);

const struct numeric *numeric_of_leaf(const struct leaf *l);
/* TStreamerInfo's number of a basic type, or of a fixed array of it; NULL: none that is read. */
const struct numeric *numeric_of_element(int32_t type);

#define TYPE_ARRAY 20 /* TStreamerInfo::kOffsetL: a fixed array of the type */
#define TYPE_POINTER 40
#define TYPE_CHARS 7
#define TYPE_DOUBLE32 9
#define TYPE_BITS 15
#define TYPE_FLOAT16 19
#define TYPE_STRING 65 /* TString */

enum { ELEMENT_OBJECT = -1, ELEMENT_PLAIN = 0, ELEMENT_CLONES = 3, ELEMENT_STL = 4 };
enum { ELEMENT_IN_CLONES = 31, ELEMENT_IN_STL = 41 };

static inline int text_width(struct str s) {
    return (int)(s.len < 64 ? s.len : 64);
}
static inline bool branch_is_in_collection(const struct branch *b) {
    return b->element_type == ELEMENT_IN_CLONES || b->element_type == ELEMENT_IN_STL;
}

#endif
