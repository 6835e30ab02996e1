/* What a `struct bufferd` is: a line to the daemon, the shared tables, and who may use them. */
#ifndef BUFFERD_SESSION_H
#define BUFFERD_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>

#include "../proto/shm.h"
#include "api.h"
#include "call.h"
#include "deadline.h"
#include "error.h"
#include "socket.h"

/* Whose session it is (fork.c). Only the owner makes calls. */
enum session_role {
    ROLE_OWNER,        /* the process that connected */
    ROLE_CHILD,        /* a child of fork, with a connection and a pin table of its own */
    ROLE_CHILD_FROZEN, /* a child without: nothing that was held at the fork is given back */
};

struct mapping {
    void *base; /* owned; NULL: not mapped */
    uint64_t n_bytes;
};

struct bufferd {
    _Atomic uint32_t n_refs; /* users and views */
    enum session_role role;  /* changes in a new child only */
    struct line *line;       /* owned */
    char *socket;            /* owned: the path, for fork.c */
    char *client;            /* owned: name for the daemon's log */
    struct socket_trust trust;

    struct mapping records_map, pins_map, arena, staging;
    uint64_t n_records, staging_bytes;
    bool has_huge_pages;             /* the arena */
    const struct shm_header *header; /* in records_map */
    struct shm_record *records;      /* in records_map, read-only */
    struct shm_index index;          /* in records_map, read-only */
    const char *keys;                /* the key heap, in records_map */
    uint64_t keys_bytes;
    struct shm_pins pins; /* in pins_map */
    dev_t records_dev;    /* which file the record table is: which daemon this was */
    ino_t records_ino;

    /* Held for reading around every access to the pin table, for writing around fork(). */
    pthread_rwlock_t gate;
    pthread_mutex_t staging_mutex; /* one put at a time */
    pthread_mutex_t scopes_mutex;
    struct scope_parts *scopes; /* owned: prefetches that took several requests */
};

/* Return: 0, or BUFFERD_E_GONE in a child of fork, which may not use the line. */
int session_check(const struct bufferd *b, struct bufferd_error *error);
/* call_ack() of the session's line. */
uint64_t session_ack(struct bufferd *b);
/* call_run() on the session's line. */
int session_call(struct call **cp, struct bufferd *b, unsigned op, const void *body, int fd,
                 int64_t deadline, struct bufferd_error *error);

/* Say hello on a new line and check what the daemon announces; *reply has no strings left.
 * Return: 0, BUFFERD_E_*, or negative errno. */
struct msg_hello_reply;
int session_hello(struct line *l, struct msg_hello_reply *reply, const char *client,
                  int64_t deadline, struct bufferd_error *error);

/* buffers.c: pin what a reply granted. False: it is not there any more. */
bool view_pin(struct bufferd_view *vp, struct bufferd *b, uint64_t record, uint64_t version);

/* prefetch.c */
void scopes_free(struct scope_parts *scopes);

static inline struct str str_cut(const char *text, uint32_t max_bytes) {
    uint32_t n = 0;
    while (text && n < max_bytes && text[n])
        n++;
    return (struct str){text ? text : "", n};
}

/* A NUL-terminated copy. Return: owned, or NULL. */
static inline char *str_dup(struct str s) {
    return strndup(s.len ? s.ptr : "", s.len);
}

#endif
