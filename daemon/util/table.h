/* uthash and utlist, set up so that a failing malloc is an error and not the end of the process.
 *
 * After HASH_ADD the caller looks at hash_was_added(): without memory the object is not in the
 * table.
 */
#ifndef BUFFERD_TABLE_H
#define BUFFERD_TABLE_H

#include <stdbool.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

static inline bool hash_was_added(const UT_hash_handle *hh) {
    return hh->tbl != NULL;
}

#endif
