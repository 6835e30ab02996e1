/* Requests and their answers: many threads, one socket.
 *
 * Requests carry ids, so any number may be on their way. One waiting thread at a time is the
 * reader: it polls the socket and hands every answer to its call; the others sleep on the line's
 * condition variable until they are answered, or become the reader when that one leaves.
 *
 * Deadlines. The daemon says something about a pending request at least once a second, so silence
 * means that it is gone: WIRE_SILENCE_MS without a whole frame and the line is dead. Silence is
 * counted in slices that were really watched, not as a difference of clocks, so that a process that
 * was itself stopped for a minute does not blame the daemon. The caller's own timeout is another
 * matter: the call is abandoned, not cancelled. It stays in the list so that its late answer is
 * recognised, its grant counted as received (nobody wants it), and so that the staging file is not
 * written again while an abandoned put may still be reading it.
 *
 * Acknowledging. A grant is acknowledged only when it and all before it were received and their
 * calls freed, which callers do once the records are pinned. Answers to several threads may be
 * worked off in any order.
 */
#include "call.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <utlist.h>

#include "../proto/message_type.h"
#include "bufferd.h"
#include "deadline.h"
#include "error.h"

#define SLICE_MS 250

struct call {
    struct line *line; /* borrowed from the session, which outlives its calls */
    uint64_t id;
    unsigned op;
    bool is_done, is_abandoned;
    int status;           /* of decoding the reply */
    uint8_t *payload;     /* owned; `reply` points into it */
    struct message reply; /* owned */
    uint64_t grant;       /* in the reply; 0: none */
    int fd;               /* owned, or -1 */
    struct call *next, *prev;
};

static void call_destroy(struct call *c) {
    message_deinit(&c->reply);
    free(c->payload);
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}

struct call *call_free(struct call *c) {
    if (!c)
        return NULL;
    pthread_mutex_lock(&c->line->mutex);
    DL_DELETE(c->line->calls, c);
    pthread_mutex_unlock(&c->line->mutex);
    call_destroy(c);
    return NULL;
}

void call_free_abandoned(struct line *l) {
    struct call *c, *next;
    DL_FOREACH_SAFE (l->calls, c, next)
        call_destroy(c);
    l->calls = NULL;
}

const void *call_reply(const struct call *c) {
    return c->reply.body;
}

int call_take_fd(struct call *c) {
    return TAKE_FD(c->fd);
}

uint64_t call_ack(struct line *l) {
    struct call *c;
    pthread_mutex_lock(&l->mutex);
    uint64_t ack = l->last_grant;
    DL_FOREACH (l->calls, c)
        if (c->grant && c->grant <= ack)
            ack = c->grant - 1;
    pthread_mutex_unlock(&l->mutex);
    return ack;
}

/* ---- the reader's work ---- */

/* Replies that grant something say the number first. */
static uint64_t grant_of(const struct message *m) {
    if (m->type == &msg_grants_type)
        return ((struct msg_grants *)m->body)->grant;
    if (m->type == &msg_describe_reply_type)
        return ((struct msg_describe_reply *)m->body)->grant;
    if (m->type == &msg_put_reply_type)
        return ((struct msg_put_reply *)m->body)->grant;
    return 0;
}

/* Give a payload to the call that waits for it. Return: 0, or MESSAGE_E_* for the line's end. */
static int take_response(struct line *l, struct call *c, const uint8_t *payload, size_t n_bytes) {
    c->payload = malloc(n_bytes);
    if (c->payload) {
        memcpy(c->payload, payload, n_bytes);
        c->status = message_decode(&c->reply, c->payload, n_bytes, true, wire_op_reply(c->op));
    } else {
        c->status = -ENOMEM;
    }
    if (c->status > 0)
        return c->status;
    if (c->op == WIRE_OP_MAP)
        c->fd = TAKE_FD(l->in_fd);
    c->grant = c->status == 0 ? grant_of(&c->reply) : 0;
    l->last_grant = MAX(l->last_grant, c->grant);
    c->is_done = true;
    if (!c->is_abandoned)
        return 0;
    if (c->op == WIRE_OP_PUT)
        l->staging_is_free = true;
    DL_DELETE(l->calls, c);
    call_destroy(c);
    return 0;
}

/* An error that answers no request: the daemon ends the session, and says why. */
static int take_refusal(struct line *l, const uint8_t *payload, size_t n_bytes) {
    CLEANUP(message_deinit) struct message m = {0};
    char text[sizeof(l->why)];
    int rc = message_decode(&m, payload, n_bytes, true, NULL);
    if (rc || m.error.code == 0)
        return rc ? rc : MESSAGE_E_MALFORMED;
    l->refusal = outcome_of_wire(m.error.code);
    wire_error_describe(text, sizeof(text), (unsigned)l->refusal, m.error.text);
    line_kill(l, text);
    return 0;
}

static int take_frame(struct line *l, const uint8_t *payload, size_t n_bytes) {
    enum message_kind kind;
    uint64_t id;
    struct call *c;
    int rc = message_peek(&kind, &id, payload, n_bytes);
    if (rc)
        return rc;
    if (kind == MESSAGE_NOTIFICATION)
        return 0; /* progress: that it came is all it says to us */
    if (kind == MESSAGE_REQUEST)
        return MESSAGE_E_MALFORMED;
    if (id == 0)
        return take_refusal(l, payload, n_bytes);
    DL_FOREACH (l->calls, c)
        if (c->id == id && !c->is_done)
            return take_response(l, c, payload, n_bytes);
    return MESSAGE_E_MALFORMED;
}

/* Every whole frame that is there. Return: how many, or -1 with the line dead. */
static int take_frames(struct line *l) {
    const uint8_t *payload;
    size_t n_bytes;
    int n = 0, rc;
    while ((rc = frame_reader_next(&l->in, &payload, &n_bytes)) == 0) {
        if (take_frame(l, payload, n_bytes)) {
            line_kill(l, "it sent a frame that is not valid");
            return -1;
        }
        n++;
    }
    if (rc == FRAME_E_LIMIT) {
        line_kill(l, "it sent a frame of an impossible length");
        return -1;
    }
    if (l->in_fd >= 0 && !frame_reader_has_partial(&l->in)) {
        line_kill(l, "it sent a descriptor that nobody asked for");
        return -1;
    }
    return n;
}

/* Watch the socket for one slice; mutex held before and after. */
static void serve(struct line *l, int slice_ms) {
    struct pollfd p = {.fd = l->fd, .events = (short)(POLLIN | (l->out ? POLLOUT : 0))};
    l->has_reader = true;
    pthread_mutex_unlock(&l->mutex);
    int64_t start = now_ms();
    int n_events = poll(&p, 1, slice_ms);
    int rc = n_events > 0 && p.revents & ~POLLOUT ? line_receive(l) : 0;
    int64_t watched_ms = now_ms() - start;
    pthread_mutex_lock(&l->mutex);
    if (p.revents & POLLOUT)
        line_flush(l);
    int n_frames = take_frames(l);
    if (n_frames > 0)
        l->silent_ms = 0;
    else
        l->silent_ms += (uint64_t)MIN(watched_ms, SLICE_MS);
    if (rc) {
        l->is_closed = rc == -ECONNRESET || rc == -EPIPE;
        line_kill(l, l->is_closed ? "it has closed the connection" : "the connection broke");
    } else if (l->silent_ms >= WIRE_SILENCE_MS) {
        line_kill(l, "it was silent for 5 s");
    }
    l->has_reader = false;
    pthread_cond_broadcast(&l->changed);
}

/* ---- waiting ---- */

/* Until *donep; mutex held. Return: 0, BUFFERD_E_TIMEOUT, BUFFERD_E_GONE, or the daemon's
 * refusal. */
static int wait_until(struct line *l, const bool *donep, int64_t deadline) {
    struct timespec t = deadline_timespec(deadline);
    while (!*donep) {
        int left_ms = deadline_left_ms(deadline);
        if (l->is_dead)
            return l->refusal ? l->refusal : BUFFERD_E_GONE;
        if (left_ms == 0)
            return BUFFERD_E_TIMEOUT;
        if (l->has_reader)
            pthread_cond_timedwait(&l->changed, &l->mutex, &t);
        else
            serve(l, MIN(left_ms, SLICE_MS));
    }
    return 0;
}

static int fail_wait(struct line *l, int rc, struct bufferd_error *error) {
    if (rc == BUFFERD_E_TIMEOUT)
        return fail(error, rc,
                    "the daemon did not finish within the timeout; give it more time, "
                    "or read in-process");
    return fail(error, rc, "the daemon is gone: %s; read in-process, and connect again later",
                l->why);
}

int call_wait_staging(struct line *l, int64_t deadline, struct bufferd_error *error) {
    pthread_mutex_lock(&l->mutex);
    int rc = wait_until(l, &l->staging_is_free, deadline);
    pthread_mutex_unlock(&l->mutex);
    return rc ? fail_wait(l, rc, error) : 0;
}

/* The caller's time is over: the answer, should it come, is for nobody. Mutex held. */
static void abandon(struct line *l, struct call *c) {
    c->is_abandoned = true;
    if (c->op == WIRE_OP_PUT)
        l->staging_is_free = false;
}

static int call_new(struct call **cp, struct line *l, unsigned op) {
    struct call *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    *c = (struct call){.line = l, .op = op, .fd = -1};
    pthread_mutex_lock(&l->mutex);
    if (!l->calls) /* nobody was watching for an answer until now */
        l->silent_ms = 0;
    c->id = ++l->n_calls;
    DL_APPEND(l->calls, c);
    pthread_mutex_unlock(&l->mutex);
    *cp = c;
    return 0;
}

static int call_send(struct call *c, const void *body, int fd, struct bufferd_error *error) {
    CLEANUP(frame_bytes_deinit) struct frame_bytes frame = {0};
    int rc = message_encode_request(&frame, c->id, c->op, body);
    if (rc == MESSAGE_E_LIMIT)
        return fail(
            error, BUFFERD_E_LIMIT,
            "the request `%s` exceeds a limit of the wire; use shorter names or fewer items",
            wire_op_name(c->op));
    if (rc == 0)
        rc = line_push(c->line, &frame, fd);
    return rc ? fail(error, rc, "cannot send `%s`", wire_op_name(c->op)) : 0;
}

/* The answer has come. */
static int check_answer(const struct call *c, struct bufferd_error *error) {
    char text[512];
    if (c->status)
        return fail(error, c->status, "cannot read the answer to `%s`", wire_op_name(c->op));
    if (c->reply.error.code == 0)
        return 0;
    int code = outcome_of_wire(c->reply.error.code);
    wire_error_describe(text, sizeof(text), (unsigned)code, c->reply.error.text);
    return fail(error, code, "%s", text);
}

int call_run(struct call **cp, struct line *l, unsigned op, const void *body, int fd,
             int64_t deadline, struct bufferd_error *error) {
    CLEANUP(cleanup_call) struct call *c = NULL;
    if (l->is_dead)
        return fail_wait(l, BUFFERD_E_GONE, error);
    int rc = call_new(&c, l, op);
    if (rc)
        return fail(error, rc, "cannot call the daemon");
    rc = call_send(c, body, fd, error);
    if (rc)
        return rc;
    pthread_mutex_lock(&l->mutex);
    rc = wait_until(l, &c->is_done, deadline);
    if (rc)
        abandon(l, TAKE_PTR(c));
    pthread_mutex_unlock(&l->mutex);
    if (rc)
        return fail_wait(l, rc, error);
    rc = check_answer(c, error);
    if (rc == 0)
        *cp = TAKE_PTR(c);
    return rc;
}
