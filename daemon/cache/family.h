/* Entries that are ranges of the same thing, found by what they have in common. Loop thread only. */
#ifndef BUFFERD_FAMILY_H
#define BUFFERD_FAMILY_H

#include "cache.h"

struct family {
    UT_hash_handle hh;           /* by its text */
    struct cache_entry *entries; /* borrowed list, the newest first */
    uint32_t n_text;
    char text[];
};

/* Return: 0 or -ENOMEM. */
int family_join(struct family **table, struct cache_entry *e, struct str text);
/* One that is in no family is left alone. */
void family_leave(struct family **table, struct cache_entry *e);

#endif
