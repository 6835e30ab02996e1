/* The wire's version, limits, operations and errors: all that a frame may hold, as named constants.
 */
#ifndef BUFFERD_WIRE_H
#define BUFFERD_WIRE_H

#include <stdint.h>

#define WIRE_VERSION 1

/* Frames: u32 little-endian payload length, then one MessagePack-RPC message. */
#define WIRE_HEADER_BYTES 4
#define WIRE_MAX_REQUEST_BYTES (64 * 1024)
#define WIRE_MAX_REPLY_BYTES (1024 * 1024)
#define WIRE_MAX_DEPTH 4
#define WIRE_MAX_ITEMS 4096 /* elements of all arrays of one request, summed */
#define WIRE_MAX_REPLY_ITEMS (64 * 1024)
#define WIRE_PAGE_ITEMS 256 /* rows of one page of a paged reply, at most */

#define WIRE_MAX_KEY_BYTES 2048   /* a buffer key as text */
#define WIRE_MAX_NAME_BYTES 1024  /* a tree path, a branch name, a label, a pattern */
#define WIRE_MAX_MATERIALIZE 1024 /* buffers of one materialize, get, prefetch or clear */

/* Time, in milliseconds. */
#define WIRE_PROGRESS_MS 1000 /* the daemon's silence on a pending request, at most */
#define WIRE_SILENCE_MS 5000  /* after this much silence a client gives up */
#define WIRE_GRANT_MS 5000    /* a grant is held this long without an acknowledgement */
#define WIRE_HALF_FRAME_MS 10000
#define WIRE_UNREAD_MS 10000

/* Output of one session: stop reading requests above the first, close above the second. */
#define WIRE_OUT_PAUSE_BYTES (256 * 1024)
#define WIRE_OUT_CLOSE_BYTES (4 * 1024 * 1024)

#define WIRE_MAX_SESSIONS_UID 1024
#define WIRE_MAX_SESSIONS 4096
#define WIRE_MAX_PENDING                                                                           \
    64                     /* requests of one session in the works; then the daemon stops reading */
#define WIRE_MAX_SCOPES 64 /* prefetch scopes of one session that still load */

/* What `map` can hand out. */
enum wire_map {
    WIRE_MAP_RECORDS = 0, /* the record table and its key heap, read-only */
    WIRE_MAP_PINS = 1,    /* this session's pin table, read-write */
    WIRE_MAP_ARENA = 2,   /* the arena, read-only */
    WIRE_MAP_STAGING = 3, /* this session's staging file, read-write */
};

#define WIRE_MATERIALIZE_WAIT 1 /* flag: wait for memory instead of answering `full` */

enum wire_scope_action { WIRE_SCOPE_STATUS = 0, WIRE_SCOPE_WAIT = 1, WIRE_SCOPE_CANCEL = 2 };

enum wire_clear { /* outcome of a clear, one per key */
                  WIRE_CLEAR_FREED = 0,
                  WIRE_CLEAR_HELD_BY_YOU = 1,
                  WIRE_CLEAR_HELD_BY_OTHERS = 2,
                  WIRE_CLEAR_KEPT = 3,
                  WIRE_CLEAR_ABSENT = 4,
};

#define WIRE_PUT_REPLACE 1 /* flag: a named array replaces its former version */

#define OP(id, name, request, reply, text) WIRE_OP_##id,
enum wire_op {
#include "ops.def"
    WIRE_N_OPS
};
#undef OP

#define ERROR(id, name, text) WIRE_E_##id,
enum wire_error {
    WIRE_OK = 0,
#include "errors.def"
    WIRE_N_ERRORS
};
#undef ERROR

#define ITEM(id, name, typestr, bytes) ITEM_##id,
enum item_type {
#include "items.def"
    N_ITEM_TYPES
};
#undef ITEM

/* Static strings; "?" for a number out of range. */
const char *wire_op_name(unsigned op);
const char *wire_error_name(unsigned error);  /* "no-tree" */
const char *wire_error_text(unsigned error);  /* "the file has no such tree" */
const char *item_name(unsigned item_type);    /* "int32" */
const char *item_typestr(unsigned item_type); /* NumPy's, native byte order: "<i4" */
unsigned item_bytes(unsigned item_type);      /* 0 for a number out of range */

#endif
