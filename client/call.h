/* Requests and their answers over a line that all threads share. */
#ifndef BUFFERD_CALL_H
#define BUFFERD_CALL_H

#include "../proto/message.h"
#include "line.h"

struct bufferd_error;

/* A call that was answered. As long as it exists, the grant in its reply is not acknowledged: free
 * it only after the granted records are pinned. */
struct call;

/* Send a request and wait for its answer. `fd` (-1: none) goes with it and stays the caller's.
 * Return: 0 with *cp, what the daemon answered (1..99), BUFFERD_E_GONE, BUFFERD_E_TIMEOUT, or
 * negative errno. */
int call_run(struct call **cp, struct line *l, unsigned op, const void *body, int fd,
             int64_t deadline, struct bufferd_error *error);
struct call *call_free(struct call *c);

/* Before the line is freed, when no thread uses it any more: calls that were never answered. */
void call_free_abandoned(struct line *l);

static inline void cleanup_call(struct call **cp) {
    *cp = call_free(*cp);
}

/* The struct msg_<reply> of the operation; strings in it live as long as the call. */
const void *call_reply(const struct call *c);
/* The descriptor that came with a `map` reply, or -1; the caller's from here on. */
int call_take_fd(struct call *c);

/* For the `ack` of the next request: every grant up to it was received and its call freed. */
uint64_t call_ack(struct line *l);

/* Wait until no put that was given up can still be reading the staging file.
 * Return: 0, BUFFERD_E_TIMEOUT, BUFFERD_E_GONE, or the daemon's refusal. */
int call_wait_staging(struct line *l, int64_t deadline, struct bufferd_error *error);

#endif
