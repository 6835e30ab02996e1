/* Connections: bytes in and out, framing, descriptors, back-pressure. Knows no operation. */
#ifndef BUFFERD_SESSION_H
#define BUFFERD_SESSION_H

#include <uv.h>

#include "log.h"
#include "metrics.h"
#include "request.h"

struct session;

/* All sessions of a server and what they share. Fill the borrowed members, zero the others. */
struct session_host {
    uv_loop_t *loop;                 /* borrowed */
    struct log *log;                 /* borrowed */
    struct metrics *metrics;         /* borrowed */
    struct request_context *context; /* borrowed */
    struct session *sessions;        /* owned list */
    unsigned n_sessions;
};

/* Serve a connection; the host owns the session. The descriptor, a non-blocking stream socket, is
 * taken over on success only. Return: 0 or negative errno. */
int session_new(struct session_host *host, int fd, const struct client_peer *peer);

/* Once a second: deadlines, and each client's own tick. now_ms: uv_now(). */
void session_tick_all(struct session_host *host, uint64_t now_ms);
/* Clients, descriptors and queues go now, memory when the loop has closed the handles. `why` is one
 * word for the log. Never from inside of a client_* call. */
void session_end_all(struct session_host *host, const char *why);

#endif
