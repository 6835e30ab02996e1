/* What the daemon holds for one connection, and how handlers answer it. Shared by request.c and the
 * handlers only. */
#ifndef BUFFERD_CLIENT_H
#define BUFFERD_CLIENT_H

#include "domain.h"
#include "metrics.h"
#include "request.h"

struct prefetch_scope;
struct put;

/* A request that has no reply yet. Embedded in a struct of its operation. */
struct pending {
    struct pending *prev, *next; /* in client.pending */
    struct client *client; /* borrowed; NULL when the client has gone while a job still runs */
    uint64_t id;
    unsigned op;
    uint64_t told_ms; /* when the client last heard of it */
    uint64_t n_done, n_total;
    /* The client has gone: stop, and free it (or let it end by itself, without a client). */
    void (*drop)(struct pending *p);
};

/* Records of one reply, held until it is acknowledged. */
struct grant {
    struct grant *prev, *next;
    uint64_t number, expires_ms;
    uint32_t n_entries, capacity;
    struct cache_entry *entries[]; /* held */
};

/* A file that this session has open. */
struct client_file {
    UT_hash_handle hh; /* by file */
    struct sources_file *file;
};

struct client {
    struct request_context *context; /* borrowed */
    struct client_peer peer;
    client_send_fn *send;
    void *send_ctx; /* borrowed */
    char name[64];  /* as it said in hello; printable */
    bool has_greeted;
    struct pin_table *pins;  /* owned */
    struct staging *staging; /* a use; NULL until the first put */
    struct grant *grants;    /* owned list, oldest first */
    uint64_t next_grant;
    struct client_file *files; /* owned table */
    struct pending *pending;   /* owned list */
    unsigned n_pending;
    struct prefetch_scope *scopes; /* owned list */
    uint64_t next_scope;
    unsigned n_scopes;
    struct put *puts; /* owned list: arrays of which more pieces will come */
};

/* ---- answers (request.c) ---- */

void client_reply(struct client *c, uint64_t id, unsigned op, const void *body);
void client_reply_fd(struct client *c, uint64_t id, unsigned op, const void *body, int fd);
void client_fail(struct client *c, uint64_t id, int status, const char *text);

/* Link a request that will be answered later; `n_total` is what its progress counts to. */
void pending_begin(struct pending *p, struct client *c, uint64_t id, unsigned op, uint64_t n_total,
                   void (*drop)(struct pending *p));
void pending_end(struct pending *p);

/* A grant with room for n entries; NULL without memory. Nothing is granted before grant_close(). */
struct grant *grant_new(struct client *c, uint32_t n);
void grant_add(struct grant *g, struct cache_entry *e); /* holds it */
/* From here on the client has to acknowledge it. An empty one is freed. Return: its number. */
uint64_t grant_close(struct grant *g, struct client *c);
void grant_free(struct grant *g);
void grants_acknowledge(struct client *c, uint64_t number);

/* ---- handlers: one per operation; `body` is the request's struct msg_<name>, `fd` borrowed or -1
 * ---- */

/* Return: 0, or -EPROTO when the connection should be closed. */
typedef int handler_fn(struct client *c, uint64_t id, const void *body, int fd);

handler_fn handle_open, handle_trees, handle_describe;                    /* request_file.c */
handler_fn handle_materialize, handle_get, handle_clear, handle_released; /* request_buffer.c */
handler_fn handle_prefetch, handle_scope;                                 /* prefetch.c */
handler_fn handle_put;                                                    /* put.c */
handler_fn handle_ls, handle_status, handle_evict, handle_trim;           /* request_look.c */

void client_close_files(struct client *c);
void prefetch_drop_all(struct client *c);
/* Arrays whose next piece does not come. */
void put_tick(struct client *c, uint64_t now_ms);
void put_drop_all(struct client *c);

#endif
