/* The files of a domain: which file a descriptor is, its source_id, its trees. Loop thread only.
 *
 * A file stays known (its id and its buffers stay good) when its descriptor has been closed; then
 * it needs a new descriptor before anything can be read from it.
 */
#ifndef BUFFERD_SOURCES_H
#define BUFFERD_SOURCES_H

#include "loader/loader.h"
#include "util/table.h"

#define SOURCES_MAX_OPEN 4096   /* descriptors */
#define SOURCES_MAX_FILES 16384 /* that are known */
#define SOURCES_MAX_TREES 1024  /* of one file that were asked for */

struct metrics;
struct sources;

/* One answer, once: a wire error (0: done) with its text. Embedded in its owner; linked until then.
 */
struct sources_waiter {
    struct sources_waiter *prev, *next;
    struct sources_waiter *
        *list; /* borrowed: the list that it is in; NULL while it does not wait */
    void (*on_done)(struct sources_waiter *w, int status, const char *text);
};

struct sources_tree {
    struct sources_tree *prev, *next;
    struct sources_file *file;      /* borrowed */
    struct sources_waiter *waiters; /* borrowed list; while the index is being made */
    char *path;                     /* owned; as asked for, with or without the cycle */
    uint32_t number;                /* in job_tables.trees[file number] */
    struct tree_index
        *index; /* owned; NULL while it is being made; another path's for an alias of it */
    struct sources_tree *same; /* borrowed: the tree under its canonical path, perhaps itself */
    unsigned n_uses;           /* loads that follow the index */
    struct loader_group group;
};

struct sources_file {
    UT_hash_handle hh;                /* by source_id */
    struct sources_file *prev, *next; /* all files, least recently opened first */
    struct sources *sources;
    uint64_t source_id;
    uint32_t number;       /* in job_tables */
    struct source *source; /* owned; NULL while opening and after its descriptor was closed */
    struct io_identity identity;
    bool is_opening;
    bool is_young; /* written so shortly before we opened it that a later write may look the same */
    char *label;   /* owned; for people */
    unsigned n_sessions;            /* that opened it */
    unsigned n_uses;                /* loads and jobs that need the descriptor */
    struct sources_waiter *waiters; /* borrowed list; while opening */
    struct sources_tree *trees;     /* owned list */
    struct loader_group group;
};

int sources_new(struct sources **sp, struct loader *loader, struct job_tables *tables,
                struct metrics *metrics, uint64_t max_index_bytes);
/* No load may be left. */
struct sources *sources_free(struct sources *s);

/* Which file is this? The descriptor is taken over. The file is found or begun at once; when it is
 * still opening the waiter is called later. A session that opens a file has a use of it until
 * sources_close(). Return: 0 (*filep is ready), 1 (the waiter will be called, the file is known),
 * or a negative wire error with `text` (256 bytes). */
int sources_open(struct sources *s, struct sources_file **filep, int fd, const char *label,
                 struct sources_waiter *w, char *text);
void sources_close(struct sources_file *file);

/* NULL: no such source was ever given out, or it has been forgotten. */
struct sources_file *sources_find(struct sources *s, uint64_t source_id);
/* True for an id that was given out once: the client has to open the file again. */
bool sources_was_known(const struct sources *s, uint64_t source_id);

/* Can it be read? Return: 0, 1 (it is opening: the waiter will be called), or -WIRE_E_NEED_FD with
 * `text`. */
int sources_wait(struct sources_file *file, struct sources_waiter *w, char *text);

/* The index of a tree. Return: 0 (*treep has its index), 1 (the waiter will be called; ask again
 * then), or a negative wire error with `text`. */
int sources_describe(struct sources_file *file, struct sources_tree **treep, struct str path,
                     struct sources_waiter *w, char *text);
void sources_unwait(struct sources_waiter *w);

/* Keep file and index for a load. */
void sources_use(struct sources_tree *tree);
void sources_unuse(struct sources_tree *tree);

/* A job's outcome as a wire error. */
int sources_job_error(int status);
/* What every completed job counts. */
void sources_count_job(struct sources *s, const struct job_result *result);
/* Ids of files that no session has open and no load reads, least recently opened first. Return: how
 * many. */
uint32_t sources_oldest_unused(struct sources *s, uint64_t *ids, uint32_t n_max);
/* Forget such a file; the cache holds nothing of it. */
void sources_forget(struct sources *s, uint64_t source_id);
uint64_t sources_n_files(const struct sources *s);
uint64_t sources_index_bytes(const struct sources *s);

#endif
