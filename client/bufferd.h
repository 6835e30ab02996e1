/* libbufferd: columns of ROOT files, decoded once per node, mapped read-only.
 *
 * One `struct bufferd` is one session with the daemon; it is safe from all threads. There is no
 * global state but a list of sessions for fork(). Buffers are views into shared memory: read-only,
 * page-aligned, valid until released, also after the daemon has gone. Times are milliseconds; a
 * negative timeout means no bound on the whole call. Whatever the timeout, a call ends with
 * BUFFERD_E_GONE after 5 s without a word from the daemon.
 *
 * Functions that can fail return 0, a positive BUFFERD_E_* outcome, or a negative errno, and fill
 * `*error` (may be NULL) with the same code and a text for people.
 */
#ifndef BUFFERD_H
#define BUFFERD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BUFFERD_VERSION "0.1.0"

enum bufferd_outcome {
    BUFFERD_OK = 0,
    /* 1..99: what the daemon answered; same numbers as its wire errors, names by
       bufferd_error_name() */
    BUFFERD_E_PROTOCOL = 1,
    BUFFERD_E_VERSION,
    BUFFERD_E_DENIED,
    BUFFERD_E_LIMIT,
    BUFFERD_E_NEED_FD,
    BUFFERD_E_NO_SOURCE,
    BUFFERD_E_NOT_ROOT,
    BUFFERD_E_NO_TREE,
    BUFFERD_E_NO_COLUMN,
    BUFFERD_E_RANGE,
    BUFFERD_E_UNSUPPORTED,
    BUFFERD_E_CORRUPT,
    BUFFERD_E_CHANGED,
    BUFFERD_E_IO,
    BUFFERD_E_FULL,
    BUFFERD_E_TOO_LARGE,
    BUFFERD_E_ABSENT,
    BUFFERD_E_CANCELLED,
    BUFFERD_E_BAD_KEY,
    BUFFERD_E_BAD_DESCRIPTOR,
    BUFFERD_E_BUSY,
    BUFFERD_E_STOPPING,
    BUFFERD_E_INTERNAL,
    /* 100 and up: what this side found */
    BUFFERD_E_GONE =
        100,           /* no daemon, or silent for 5 s, or the connection broke; read in-process */
    BUFFERD_E_TIMEOUT, /* the caller's own timeout has passed */
    BUFFERD_E_UNTRUSTED, /* the socket or the arena is not the daemon's of this user */
};

struct bufferd_error {
    int code;
    char text[512];
};

const char *bufferd_error_name(int code); /* "unsupported", "gone"; static */

enum bufferd_item_type {
    BUFFERD_BYTES,
    BUFFERD_BOOL,
    BUFFERD_INT8,
    BUFFERD_UINT8,
    BUFFERD_INT16,
    BUFFERD_UINT16,
    BUFFERD_INT32,
    BUFFERD_UINT32,
    BUFFERD_INT64,
    BUFFERD_UINT64,
    BUFFERD_FLOAT32,
    BUFFERD_FLOAT64,
};
const char *bufferd_item_name(int item_type);    /* "float32"; "?" out of range */
const char *bufferd_item_typestr(int item_type); /* NumPy's: "<f4" */
size_t bufferd_item_bytes(int item_type);        /* 0 out of range */

/* ---- session ---- */

struct bufferd;

struct bufferd_options {
    const char *socket; /* NULL: $BUFFERD_SOCKET, else this user's own daemon */
    const char *client; /* name for logs; NULL: the program's */
    bool no_autostart;  /* with no socket named, a per-user daemon is started unless this is set */
    const char *daemon; /* program to start; NULL: $BUFFERD_DAEMON, else `bufferd` beside the
                           library, else from PATH */
    const char *memory; /* its --memory, e.g. "4G"; NULL: $BUFFERD_MEMORY, else its default */
    int timeout_ms;     /* for connecting, 0: 5000 */
};

/* Connect and map the shared tables. `options` may be NULL.
 * Return: 0, BUFFERD_E_GONE, _VERSION, _DENIED, _LIMIT (too many sessions), _UNTRUSTED, what else the
 * daemon answered, or negative errno. */
int bufferd_connect(struct bufferd **bp, const struct bufferd_options *options,
                    struct bufferd_error *error);
/* The session ends when this and every view have been given up. NULL is fine. */
struct bufferd *bufferd_ref(struct bufferd *b);
struct bufferd *bufferd_unref(struct bufferd *b);
/* False once the daemon is known to be gone; views stay valid, calls answer BUFFERD_E_GONE. */
bool bufferd_is_alive(struct bufferd *b);
/* False in a child of fork(): its views stay valid, can be copied and released, but for calls and
 * pins it needs a session of its own. (A child made by _Fork(), vfork() or clone() may only exec.) */
bool bufferd_is_mine(struct bufferd *b);

/* ---- buffers ---- */

struct bufferd_view {
    const void *data; /* n_bytes of read-only memory; never NULL for n_bytes 0 */
    uint64_t n_bytes;
    int item_type;
    uint32_t record; /* with version: names this buffer for bufferd_pin() */
    uint64_t version;
    struct bufferd *session; /* a reference */
};

/* A hit: pin a buffer that this session was granted before, without any system call.
 * Return: 0, or BUFFERD_E_ABSENT when it was evicted since (no error text is made). */
int bufferd_pin(struct bufferd_view *vp, struct bufferd *b, uint32_t record, uint64_t version);
/* The same by key, whoever made the buffer. The key must be canonical: for the offsets of a jagged
 * branch that is `<its counter>/offsets` (bufferd_column.counter). BUFFERD_E_ABSENT does not say
 * that the daemon has no such buffer: bufferd_get() does. */
int bufferd_pin_key(struct bufferd_view *vp, struct bufferd *b, const char *key);
/* The same for who keeps the hash of the key: a miss does not even look at the text. */
int bufferd_pin_hashed(struct bufferd_view *vp, struct bufferd *b, const char *key, uint64_t hash);
uint64_t bufferd_key_hash(const char *key);
/* Another pin on a view's buffer. */
void bufferd_view_copy(struct bufferd_view *vp, const struct bufferd_view *v);
/* Give the pin back. */
void bufferd_release(struct bufferd_view *v);
/* Where the view's bytes lie in the arena file: equal in every process. */
uint64_t bufferd_view_offset(const struct bufferd_view *v);

/* ---- keys: see PROTOCOL.md ---- */

#define BUFFERD_KEY_BYTES 2049

/* A jagged column has BUFFERD_OFFSETS, which are its counter's; a column of n_levels nested lists has
 * as many of them, the outermost first, each counted in lists or items of the next. */
enum bufferd_verb { BUFFERD_DATA, BUFFERD_OFFSETS, BUFFERD_OFFSETS1, BUFFERD_OFFSETS2 };

/* Print a key, NUL-terminated, into `key` of BUFFERD_KEY_BYTES. `tree` is the canonical path with
 * the cycle, as bufferd_tree_path() says. Return: 0 or -ENAMETOOLONG. */
int bufferd_key_column(char *key, uint64_t source_id, const char *tree, uint64_t start,
                       uint64_t stop, const char *branch, int verb);
int bufferd_key_derived(char *key, uint64_t source_id, const char *name);
int bufferd_key_named(char *key, const char *name);

/* ---- files and trees ---- */

struct bufferd_source {
    uint64_t source_id; /* never 0, never reused */
    uint64_t file_bytes;
    uint8_t uuid[16]; /* the TFile's own */
};

/* Show the daemon a file that this process may read. The descriptor stays the caller's; `label`
 * (its path) is for people only. */
int bufferd_open(struct bufferd *b, struct bufferd_source *out, int fd, const char *label,
                 int timeout_ms, struct bufferd_error *error);

struct bufferd_tree_name {
    char *path, *class_name, *title; /* owned by the list */
    bool is_newest;                  /* the highest cycle of its name */
};
/* Every tree of the file. The list is freed with bufferd_tree_names_free(). */
int bufferd_trees(struct bufferd *b, struct bufferd_tree_name **listp, size_t *n_listp,
                  uint64_t source_id, int timeout_ms, struct bufferd_error *error);
void bufferd_tree_names_free(struct bufferd_tree_name *list, size_t n_list);

struct bufferd_tree; /* a pinned tree index */

/* Describe a tree; `tree` with or without the cycle. */
int bufferd_describe(struct bufferd *b, struct bufferd_tree **tp, uint64_t source_id,
                     const char *tree, int timeout_ms, struct bufferd_error *error);
struct bufferd_tree *bufferd_tree_free(struct bufferd_tree *t);
const char *bufferd_tree_path(const struct bufferd_tree *t); /* canonical: "dir/Events;1" */
const char *bufferd_tree_title(const struct bufferd_tree *t);
const char *bufferd_tree_kind(const struct bufferd_tree *t); /* "TTree" */
uint64_t bufferd_tree_n_entries(const struct bufferd_tree *t);
size_t bufferd_tree_n_columns(const struct bufferd_tree *t);

struct bufferd_column { /* strings belong to the tree */
    const char *name, *title, *class_name, *type_name;
    const char *reason;  /* why it is unsupported; NULL when it is supported */
    const char *counter; /* the counter branch of a jagged column; NULL for a flat one */
    bool has_data;       /* false: a group branch or a record, it only holds others */
    bool is_member;      /* of a record: "branch.member" */
    bool is_string;      /* the innermost lists are texts, of uint8 */
    int item_type;
    unsigned n_per_entry; /* items of an entry, or of an element of the innermost list */
    unsigned n_levels;    /* of lists of its own; 0: flat, or jagged by its counter */
    uint64_t n_entries, n_baskets, zip_bytes;
};
int bufferd_tree_column(const struct bufferd_tree *t, size_t i, struct bufferd_column *out);
/* The column of that full path, else the first whose last component it is. Return: its number, or
 * -1. */
int64_t bufferd_tree_find(const struct bufferd_tree *t, const char *name);

/* ---- making, storing, giving back ---- */

struct bufferd_result { /* one per key */
    int code;           /* 0: the view is pinned; else BUFFERD_E_* */
    char text[256];
    struct bufferd_view view;
};

#define BUFFERD_WAIT_MEMORY 1 /* wait for memory instead of answering BUFFERD_E_FULL */

/* Make buffers ready and pin them: all that can be, in one call; the others say why. Any number of
 * keys: the library splits. *n_madep (may be NULL): how many this call caused to be made. Return: 0
 * when every item has its own outcome, else why the call as a whole failed. */
int bufferd_materialize(struct bufferd *b, struct bufferd_result *results, const char *const *keys,
                        size_t n_keys, int flags, uint64_t *n_madep, int timeout_ms,
                        struct bufferd_error *error);
/* The same for what is ready already; anything else is BUFFERD_E_ABSENT. */
int bufferd_get(struct bufferd *b, struct bufferd_result *results, const char *const *keys,
                size_t n_keys, int timeout_ms, struct bufferd_error *error);

#define BUFFERD_REPLACE 1 /* named arrays: a new version in place of the old one */

/* Store an array under a derived or named key. When the key is there already, the first put wins,
 * the view is that one's, and *was_presentp (may be NULL) is true. `vp` may be NULL. */
int bufferd_put(struct bufferd *b, struct bufferd_view *vp, bool *was_presentp, const char *key,
                int item_type, const void *data, uint64_t n_bytes, int flags, int timeout_ms,
                struct bufferd_error *error);

enum bufferd_cleared {
    BUFFERD_FREED,
    BUFFERD_HELD_BY_YOU, /* freed at your last release */
    BUFFERD_HELD_BY_OTHERS,
    BUFFERD_KEPT, /* others have this file open; a first victim now */
    BUFFERD_NOT_THERE,
};
struct bufferd_clear_result {
    int outcome; /* enum bufferd_cleared */
    uint64_t n_bytes;
};
int bufferd_clear(struct bufferd *b, struct bufferd_clear_result *results, const char *const *keys,
                  size_t n_keys, bool force, int timeout_ms, struct bufferd_error *error);

/* ---- prefetch ---- */

/* Load keys in the background, in order, holding at most nthreads workers (0: all). Any number of
 * keys; of those that do not fit into one request (1024 keys, 64 KiB) each part is bounded for
 * itself. */
int bufferd_prefetch(struct bufferd *b, uint64_t *scopep, const char *const *keys, size_t n_keys,
                     unsigned nthreads, int timeout_ms, struct bufferd_error *error);

struct bufferd_scope {
    uint64_t n_total, n_ready, n_failed, bytes_ready;
    struct bufferd_scope_failure {
        uint64_t index; /* of the key */
        int code;
        char text[256];
    } * failures; /* owned: free with bufferd_scope_deinit(); at most 256 */
    size_t n_failures;
};
int bufferd_scope_status(struct bufferd *b, struct bufferd_scope *out, uint64_t scope,
                         int timeout_ms, struct bufferd_error *error);
int bufferd_scope_wait(struct bufferd *b, struct bufferd_scope *out, uint64_t scope, int timeout_ms,
                       struct bufferd_error *error);
int bufferd_scope_cancel(struct bufferd *b, struct bufferd_scope *out, uint64_t scope,
                         int timeout_ms, struct bufferd_error *error);
void bufferd_scope_deinit(struct bufferd_scope *s);

/* ---- looking in, taking back ---- */

struct bufferd_entry {
    char *key, *label, *state; /* owned by the list */
    int item_type;
    uint64_t n_bytes, n_pins, n_sessions, n_hits, age_ms, idle_ms;
};
/* `pattern`: a glob over key or label, NULL for all. */
int bufferd_ls(struct bufferd *b, struct bufferd_entry **listp, size_t *n_listp,
               const char *pattern, int timeout_ms, struct bufferd_error *error);
void bufferd_entries_free(struct bufferd_entry *list, size_t n_list);

struct bufferd_figure {
    char *name, *text, *unit; /* owned by the list; text is "" when `value` counts */
    uint64_t value;
};
int bufferd_status(struct bufferd *b, struct bufferd_figure **listp, size_t *n_listp,
                   int timeout_ms, struct bufferd_error *error);
void bufferd_figures_free(struct bufferd_figure *list, size_t n_list);

struct bufferd_evicted {
    uint64_t n_freed, bytes_freed, n_held, bytes_held;
};
int bufferd_evict(struct bufferd *b, struct bufferd_evicted *out, const char *pattern,
                  int timeout_ms, struct bufferd_error *error);
/* Give every free page to the system. */
int bufferd_trim(struct bufferd *b, uint64_t *n_bytesp, int timeout_ms,
                 struct bufferd_error *error);

#ifdef __cplusplus
}
#endif

#endif
