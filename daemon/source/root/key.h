/* A key: the record in front of everything that a ROOT file stores. */
#ifndef BUFFERD_ROOT_KEY_H
#define BUFFERD_ROOT_KEY_H

#include "cursor.h"

#define ROOT_KEY_MIN_BYTES 26 /* small, with three empty strings, less one for old writers */

struct root_key {
    uint32_t n_bytes;   /* key and stored data (fNbytes) */
    uint32_t obj_bytes; /* of the data, uncompressed (fObjlen) */
    uint16_t key_bytes; /* fKeylen */
    uint16_t cycle;
    uint64_t seek; /* where it says it is (fSeekKey) */
    struct str class_name, name, title;
};

/* Read the key at the cursor; its sizes agree with each other. */
void root_key_read(struct cursor *c, struct root_key *k);

#endif
