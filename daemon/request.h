/* Operations: one decoded request -> handler -> reply. The only map from outcomes to wire errors.
 *
 * A `struct client` is what the daemon holds for one connection: its pin table, grants, scopes,
 * staging and open sources. It never sees a socket: whole frames go out through `send`.
 */
#ifndef BUFFERD_REQUEST_H
#define BUFFERD_REQUEST_H

#include <sys/types.h>

#include "../proto/message.h"

struct arena;
struct client;
struct config;
struct domain;
struct job_tables;
struct loader;
struct log;
struct metrics;
struct policy_kind;

/* What all handlers share. The server fills the borrowed members. */
struct request_context {
    struct arena *arena;              /* borrowed */
    struct loader *loader;            /* borrowed */
    struct job_tables *tables;        /* borrowed; what the loader's workers see */
    struct metrics *metrics;          /* borrowed */
    struct log *log;                  /* borrowed */
    const struct policy_kind *policy; /* which buffers go first */
    const struct config *config;      /* borrowed */
    struct domain *domain;            /* owned */
    uint64_t started_ms, now_ms;      /* monotonic; now: of this loop turn */
    unsigned n_clients;
};

/* Return: 0 or negative errno. */
int request_context_init(struct request_context *c);
/* All clients are gone, and so is the loader. Return: bytes of the arena that stay taken, because a
 * thread that was given up may write to them. */
uint64_t request_context_deinit(struct request_context *c);
/* At the beginning of whatever the loop does: all that has a time gets this one. */
void request_context_set_time(struct request_context *c);
/* Once a second, before the clients' ticks. Sets the time too. */
void request_context_tick(struct request_context *c);

struct client_peer {
    uid_t uid;
    pid_t pid;        /* at connect; for people only */
    uint64_t session; /* number, never reused */
};

/* Give one frame (owned by the callee from here on) and at most one descriptor (borrowed,
 * duplicated by the callee if it has to wait; -1: none) to the connection. */
typedef void client_send_fn(void *ctx, struct frame_bytes *frame, int fd);

int client_new(struct client **cp, struct request_context *context, const struct client_peer *peer,
               client_send_fn *send, void *ctx);
/* The connection is gone: pins, grants, scopes, pending requests and staging go with it. */
struct client *client_free(struct client *c);

/* One payload. The descriptor (or -1) is taken over. The reply may be sent before this returns, or
 * later. Return: 0, or -EPROTO when the connection should be closed (after an error frame, if one
 * could be made). */
int client_handle(struct client *c, const uint8_t *payload, size_t n_bytes, int fd);

/* Requests that have no reply yet: above WIRE_MAX_PENDING the session stops reading. */
unsigned client_n_pending(const struct client *c);
/* Once a second: progress frames for pending requests, grants that have expired. */
void client_tick(struct client *c, uint64_t now_ms);

#endif
