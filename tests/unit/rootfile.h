/* Writes small ROOT files for tests, right ones and wrong ones. */
#ifndef BUFFERD_TEST_ROOTFILE_H
#define BUFFERD_TEST_ROOTFILE_H

#include "../../proto/base.h"

#define ROOTFILE_MAX_BYTES (1u << 20)

/* Bytes that grow, big-endian. */
struct out {
    uint8_t bytes[ROOTFILE_MAX_BYTES];
    size_t n;
};
void put(struct out *o, uint64_t value, unsigned n_bytes);
void put_bytes(struct out *o, const void *p, size_t n);
void put_string(struct out *o, const char *s);
size_t put_frame(struct out *o, uint16_t version); /* give its result to put_end() */
void put_end(struct out *o, size_t frame);
/* A pointer to a new object of a class; the object follows. Give the result to put_end(). */
size_t put_object(struct out *o, const char *class_name);
void put_named(struct out *o, const char *name, const char *title);
void put_array(struct out *o, uint32_t n, size_t *framep); /* a TObjArray, n pointers follow */

struct rootfile_basket {
    uint64_t entry, seek;
    uint32_t n_bytes;
};
struct rootfile_leaf {
    const char *class_name, *title;
    uint32_t len, is_unsigned, counter_tag; /* 0: no counter */
};
struct rootfile_branch {
    const char *name;
    struct rootfile_leaf leaves[2];
    unsigned n_leaves;
    uint64_t n_entries;
    struct rootfile_basket baskets[4];
    unsigned n_baskets;
    const struct out *embedded; /* one basket's bytes */
    uint32_t leaf_tag;          /* set when it is written */
};

struct rootfile {
    struct out all;
    struct out keys; /* of the directory that is being written */
    unsigned n_keys;
    size_t directory; /* where its record is */
};

/* The header of fVersion, and the root directory. Big: 64-bit seeks. */
void rootfile_begin(struct rootfile *f, int32_t version);
/* A basket's key and stored bytes; fills all but `entry`. */
void rootfile_basket(struct rootfile *f, struct rootfile_basket *out, const void *stored,
                     uint32_t n_stored, uint32_t raw_bytes, uint32_t border, uint32_t n_entries);
/* The bytes of an embedded basket: values, offsets (n_entries of them, from 0) or NULL. */
void rootfile_embedded(struct out *o, const void *values, uint32_t border, const uint32_t *offsets,
                       uint32_t n_entries, uint8_t flag);
/* A streamed TTree of that version for rootfile_object(). */
void rootfile_tree(struct out *o, uint16_t version, uint64_t n_entries,
                   struct rootfile_branch *branches, unsigned n_branches);
/* A key and its data, and its line in the directory; stored as it is unless obj_bytes differs. */
void rootfile_object(struct rootfile *f, const char *class_name, const char *name, uint16_t cycle,
                     const void *stored, uint32_t n_stored, uint32_t obj_bytes);
/* A subdirectory whose list of keys lies at keys_off (0: the parent's own list, a loop). */
void rootfile_subdirectory(struct rootfile *f, const char *name, uint64_t keys_off,
                           uint32_t keys_bytes);
/* Close the list of keys; returns where it is, for rootfile_subdirectory(). */
uint64_t rootfile_keys(struct rootfile *f, uint32_t *n_bytesp);
/* Close the root directory. Return: a descriptor (memfd). */
int rootfile_end(struct rootfile *f);

#define ROOTFILE_TREE_KEY_BYTES 128 /* fKeylen of objects, whatever their names */
#define ROOTFILE_BASKET_KEY_BYTES 64

#endif
