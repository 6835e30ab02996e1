/* A TTree as it was streamed: branches and leaves with what the index needs of them. Between
 * tree.c, branch.c, leaf.c, which fill it, and column.c, baskets.c, index.c, which read it. */
#ifndef BUFFERD_TTREE_MODEL_H
#define BUFFERD_TTREE_MODEL_H

#include "../root/object.h"
#include "../root/streamer.h"

#define MODEL_NONE UINT32_MAX

struct leaf {
    struct str name, title, class_name;
    int32_t len; /* product of the fixed dimensions (fLen) */
    bool is_unsigned;
    int32_t element_type;  /* of a TLeafElement: TStreamerInfo's type number */
    bool has_counter;      /* fLeafCount is not null */
    uint32_t counter_leaf; /* number, or MODEL_NONE: it was not found */
    uint32_t branch;       /* number of the branch that lists it, or MODEL_NONE */
};

/* One of a branch's arrays of fMaxBaskets numbers, in the streamed bytes. */
struct numbers {
    const uint8_t *bytes; /* borrowed; NULL: absent */
    unsigned width;       /* 4 or 8 bytes each */
};

struct branch {
    struct str name, title, class_name, file_name;
    struct str element_class; /* of a TBranchElement or TBranchObject */
    struct str parent_class;  /* of which it is a member; empty at top level */
    struct str clones_class;  /* of a collection's elements */
    uint32_t parent;          /* number, or MODEL_NONE */
    uint16_t version;         /* of the class; 0: it was skipped as unknown */
    int32_t element_type;     /* fType: 0 plain, 3 and 4 collections, 31 and 41 their members */
    int32_t streamer_type;
    bool is_element, has_counter2;
    uint32_t first_leaf, n_leaves; /* in model.leaf_lists */
    uint32_t n_branches;
    int64_t n_entries;
    int32_t write_basket;
    uint32_t max_baskets;
    struct numbers basket_bytes, basket_entry, basket_seek;
    uint64_t embedded_pos, embedded_end; /* of the TObjArray fBaskets in the streamed bytes */
};

struct model {
    struct memory *memory; /* borrowed */
    struct cursor cursor;  /* the uncompressed object */
    struct references references;
    int status; /* why the cursor failed in an allocation: 0, SOURCE_E_TOO_LARGE, -ENOMEM */
    unsigned depth;
    struct named named;
    const struct source *source; /* borrowed */
    struct codec *codec;         /* borrowed */
    struct streamers streamers;  /* owned; see model_streamers() */
    bool has_streamers;
    int64_t n_entries;
    struct branch *branches; /* owned; in the tree's order, parents first */
    uint64_t n_branches, branches_capacity;
    struct leaf *leaves; /* owned */
    uint64_t n_leaves, leaves_capacity;
    uint32_t *leaf_lists; /* owned; leaf numbers, per branch */
    uint64_t n_leaf_lists, leaf_lists_capacity;
};

/* Read the streamed tree `data` of class `class_name`; all strings point into data.
 * Return: 0, SOURCE_E_*, or negative errno. */
int model_read(struct model *m, const struct source *s, struct codec *codec, struct memory *memory,
               struct str class_name, const uint8_t *data, uint64_t n_bytes, uint16_t key_bytes,
               const char *what, char *error);
void model_deinit(struct model *m);

/* The file's streamer info, read when it is first asked for; empty when it cannot be read. */
const struct streamers *model_streamers(struct model *m);
/* Is there a branch of objects, whose class has to be looked up? */
bool model_needs_streamers(const struct model *m);

/* Make room for one more item. False: the cursor has failed. */
bool model_grow(struct model *m, void **pp, uint64_t *capacityp, uint64_t n, size_t item_bytes);
/* One level deeper into objects in objects. False: too deep, the cursor has failed. */
bool model_descend(struct model *m);

/* Read a TObjArray of branches. */
void branches_read(struct model *m, uint32_t parent);
/* Read a TBranch, of branch number `number`. */
void branch_base_read(struct model *m, uint32_t number);
/* Read a TObjArray of leaves, those of branch number `branch`. */
void leaves_read(struct model *m, uint32_t branch);

static inline uint64_t numbers_at(const struct numbers *n, uint64_t i) {
    return n->width == 8 ? be8(n->bytes + 8 * i) : be4(n->bytes + 4 * i);
}

#endif
