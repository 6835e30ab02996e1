/* One connection.
 *
 *     poll readable -> receive -> frame_reader -> client_handle -> ... -> on_send -> outbox ->
 * socket
 *
 * The session moves bytes; what a frame means is the client's business (request.c). What it sees
 * to:
 *
 * - A descriptor belongs to the frame whose bytes it came with. The kernel ends a receive at the
 *   message that carried a descriptor, so the last byte of that receive lies in the frame. Bytes
 * are received only when no whole frame is left in the buffer, and while a descriptor waits for its
 *   frame, not beyond that frame: a second one before its end breaks the protocol.
 * - Back-pressure. With too much output waiting or too many requests pending, nothing is read; then
 *   the kernel's buffer fills and the peer waits. A peer that does not read is closed.
 * - Fairness. One turn handles a bounded number of frames and receives; what is left waits for the
 *   next iteration of the loop (`later`), after everybody else's turn.
 * - Ends. A send can fail in the middle of a client_* call, so it only marks the session as doomed;
 *   it ends from poll, later or tick, where no client code is on the stack. A session that broke
 * the protocol is `closing`: it reads no more and ends when the error frame is out. Handles are
 * freed by their close callbacks alone.
 */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <utlist.h>

#include "../proto/fdpass.h"
#include "../proto/frame.h"
#include "outbox.h"

#define TURN_FRAMES 32  /* requests in one turn */
#define TURN_RECEIVES 4 /* receives in one turn */
#define RECEIVE_BYTES (64 * 1024)

struct session {
    struct session *prev, *next; /* in host->sessions */
    struct session_host *host;   /* borrowed */
    struct client *client;       /* owned */
    struct client_peer peer;
    uv_poll_t poll;
    uv_idle_t later; /* active when there is something to do without waiting for the socket */
    unsigned n_handles;
    int events; /* what poll waits for */
    int fd;     /* owned */

    struct frame_reader reader;
    uint64_t n_received, n_taken; /* bytes of the stream: received, and of the frames handled */
    int passed_fd;                /* owned: a descriptor whose frame is not complete; -1: none */
    uint64_t passed_at;           /* a byte of that frame, as a position in the stream */
    bool has_more;                /* the buffer may hold whole frames */
    uint64_t half_since_ms;       /* an incomplete frame began; 0: none */
    uint64_t half_at;             /* n_taken then */

    struct outbox outbox;
    bool is_stalled;              /* the outbox waits for the next tick */
    uint64_t mark_bytes, mark_ms; /* progress of the output */

    const char *doom;    /* ends at the next chance; why */
    const char *closing; /* ends when the outbox is empty; why */
};

static uint64_t now_ms(const struct session *s) {
    return uv_now(s->host->loop);
}

static void doom(struct session *s, const char *why) {
    if (!s->doom)
        s->doom = why;
}

/* ---- the end ---- */

static void on_handle_closed(uv_handle_t *handle) {
    struct session *s = handle->data;
    if (--s->n_handles == 0)
        free(s);
}

static void session_end(struct session *s, const char *why) {
    struct session_host *host = s->host;
    doom(s, why); /* nothing that the client sends from here on goes anywhere */
    s->client = client_free(s->client);
    log_write(host->log, LOG_INFO, "session-close", "session=%" PRIu64 " pid=%d why=%s",
              s->peer.session, (int)s->peer.pid, s->doom);
    outbox_deinit(&s->outbox);
    frame_reader_deinit(&s->reader);
    cleanup_close(&s->passed_fd);
    uv_close((uv_handle_t *)&s->later, on_handle_closed);
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    close(s->fd);
    DL_DELETE(host->sessions, s);
    host->n_sessions--;
}

/* ---- out ---- */

static void on_outbox(struct session *s, int status) {
    if (status < 0)
        doom(s, status == -EPIPE || status == -ECONNRESET ? "hangup" : "send-failed");
    else if (s->outbox.n_bytes > WIRE_OUT_CLOSE_BYTES)
        doom(s, "output-limit");
    s->is_stalled = status == OUTBOX_E_STALLED;
}

static bool is_paused(const struct session *s) {
    return s->doom || s->closing || s->outbox.n_bytes >= WIRE_OUT_PAUSE_BYTES ||
           client_n_pending(s->client) >= WIRE_MAX_PENDING;
}

static void on_later(uv_idle_t *handle);

static void on_send(void *ctx, struct frame_bytes *frame, int fd) {
    struct session *s = ctx;
    if (s->doom || s->closing) {
        frame_bytes_deinit(frame);
        return;
    }
    on_outbox(s, outbox_put(&s->outbox, frame, fd));
    bool must_wait = s->outbox.n_bytes > 0 && !(s->events & UV_WRITABLE);
    if (s->doom || s->has_more || must_wait)
        uv_idle_start(&s->later, on_later);
}

/* The stream cannot be trusted any more: say why, then close. */
static void refuse(struct session *s, enum wire_error code, const char *text) {
    struct frame_bytes frame;
    s->host->metrics->frames_malformed++;
    if (message_encode_error(&frame, 0, code, text) == 0)
        on_send(s, &frame, -1);
    s->closing = "protocol";
    log_write(s->host->log, LOG_WARN, "session-refused", "session=%" PRIu64 " pid=%d reason=%s",
              s->peer.session, (int)s->peer.pid, text);
}

/* ---- in ---- */

/* Handle whole frames. True: there is none left. */
static bool handle_frames(struct session *s, unsigned *budget) {
    while (*budget > 0 && !is_paused(s)) {
        const uint8_t *payload;
        size_t n_bytes;
        int r = frame_reader_next(&s->reader, &payload, &n_bytes);
        if (r == FRAME_E_PARTIAL)
            return true;
        if (r == FRAME_E_LIMIT) {
            refuse(s, WIRE_E_LIMIT, "a frame's length is 0 or over the limit");
            return false;
        }
        --*budget;
        s->n_taken += WIRE_HEADER_BYTES + n_bytes;
        int fd = s->passed_at < s->n_taken ? TAKE_FD(s->passed_fd) : -1;
        if (client_handle(s->client, payload, n_bytes, fd) != 0)
            s->closing = "protocol";
    }
    return false;
}

/* How much of the frame at the buffer's start is still to come, as far as its header says. */
static size_t bytes_missing(const struct session *s) {
    uint32_t length;
    size_t n_buffered = (size_t)(s->n_received - s->n_taken);
    if (n_buffered < WIRE_HEADER_BYTES)
        return WIRE_HEADER_BYTES - n_buffered;
    memcpy(&length, s->reader.data + s->reader.start, sizeof(length));
    return WIRE_HEADER_BYTES + (size_t)le32toh(length) - n_buffered;
}

static void take_descriptor(struct session *s, int fd) {
    if (s->passed_fd >= 0) {
        close(fd);
        refuse(s, WIRE_E_PROTOCOL, "more than one descriptor for one frame");
        return;
    }
    s->passed_fd = fd;
    s->passed_at = s->n_received - 1;
}

static void receive_failed(struct session *s, int status) {
    if (status == -EBADMSG)
        refuse(s, WIRE_E_PROTOCOL, "several descriptors at once, or one was lost on the way");
    else
        doom(s, status == 0 || status == -ECONNRESET ? "hangup" : "receive-failed");
}

/* One receive. True: bytes came. */
static bool receive(struct session *s) {
    uint8_t *room;
    size_t n;
    if (frame_reader_room(&s->reader, &room, &n) != 0) {
        doom(s, "out-of-memory");
        return false;
    }
    n = MIN(n, RECEIVE_BYTES);
    if (s->passed_fd >= 0)
        n = MIN(n, bytes_missing(s));
    int fd = -1;
    ssize_t got = fdpass_recv(s->fd, room, n, &fd);
    if (got == -EAGAIN)
        return false;
    if (got <= 0) {
        receive_failed(s, (int)got);
        return false;
    }
    frame_reader_commit(&s->reader, (size_t)got);
    s->n_received += (size_t)got;
    if (fd >= 0)
        take_descriptor(s, fd);
    return true;
}

static void take_turn(struct session *s, bool may_receive) {
    unsigned budget = TURN_FRAMES;
    for (unsigned i = 0;; i++) {
        s->has_more = !handle_frames(s, &budget);
        if (s->has_more || !may_receive || i == TURN_RECEIVES || !receive(s))
            return;
    }
}

/* ---- the loop ---- */

/* An incomplete frame's clock runs while the session reads. */
static void watch_half_frame(struct session *s) {
    if (is_paused(s) || !frame_reader_has_partial(&s->reader))
        s->half_since_ms = 0;
    else if (s->half_since_ms == 0 || s->half_at != s->n_taken) {
        s->half_since_ms = now_ms(s);
        s->half_at = s->n_taken;
    }
}

static void on_poll(uv_poll_t *handle, int status, int events);

/* After a turn: end the session, or wait for the right things. */
static void settle(struct session *s) {
    if (!s->doom && s->closing && s->outbox.n_bytes == 0)
        doom(s, s->closing);
    if (s->doom) {
        session_end(s, s->doom);
        return;
    }
    watch_half_frame(s);
    bool reads = !is_paused(s);
    if (reads && s->has_more)
        uv_idle_start(&s->later, on_later);
    else
        uv_idle_stop(&s->later);
    int events = UV_DISCONNECT | (reads ? UV_READABLE : 0) |
                 (s->outbox.n_bytes > 0 && !s->is_stalled ? UV_WRITABLE : 0);
    if (events != s->events) {
        s->events = events;
        uv_poll_start(&s->poll, events, on_poll);
    }
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct session *s = handle->data;
    if (status < 0 || ((events & UV_DISCONNECT) && !(events & UV_READABLE)))
        doom(s, "hangup");
    if (!s->doom && (events & UV_WRITABLE))
        on_outbox(s, outbox_flush(&s->outbox));
    if (!s->doom)
        take_turn(s, (events & UV_READABLE) != 0);
    settle(s);
}

static void on_later(uv_idle_t *handle) {
    struct session *s = handle->data;
    uv_idle_stop(&s->later);
    take_turn(s, false);
    settle(s);
}

static void session_tick(struct session *s, uint64_t now) {
    if (s->outbox.n_bytes == 0 || s->mark_bytes != s->outbox.n_sent_bytes) {
        s->mark_bytes = s->outbox.n_sent_bytes;
        s->mark_ms = now;
    }
    if (s->half_since_ms && now - s->half_since_ms >= WIRE_HALF_FRAME_MS)
        doom(s, "half-frame");
    if (now - s->mark_ms >= WIRE_UNREAD_MS)
        doom(s, "unread");
    if (!s->doom && s->is_stalled)
        on_outbox(s, outbox_flush(&s->outbox));
    if (!s->doom && !s->closing)
        client_tick(s->client, now);
    take_turn(s, false);
    settle(s);
}

void session_tick_all(struct session_host *host, uint64_t now) {
    struct session *s, *next;
    DL_FOREACH_SAFE (host->sessions, s, next)
        session_tick(s, now);
}

void session_end_all(struct session_host *host, const char *why) {
    struct session *s, *next;
    DL_FOREACH_SAFE (host->sessions, s, next)
        session_end(s, why);
}

static void cleanup_session(struct session **sp) {
    if (!*sp)
        return;
    client_free((*sp)->client);
    free(*sp);
}

int session_new(struct session_host *host, int fd, const struct client_peer *peer) {
    CLEANUP(cleanup_session) struct session *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->host = host;
    s->peer = *peer;
    s->fd = fd;
    s->passed_fd = -1;
    s->mark_ms = now_ms(s);
    frame_reader_init(&s->reader, WIRE_MAX_REQUEST_BYTES);
    outbox_init(&s->outbox, fd);
    int r = client_new(&s->client, host->context, peer, on_send, s);
    if (r != 0)
        return r;
    r = uv_poll_init(host->loop, &s->poll, fd);
    if (r != 0)
        return r;
    uv_idle_init(host->loop, &s->later);
    s->n_handles = 2;
    s->poll.data = s->later.data = s;
    DL_APPEND(host->sessions, s);
    host->n_sessions++;
    log_write(host->log, LOG_DEBUG, "connection", "session=%" PRIu64 " pid=%d", peer->session,
              (int)peer->pid);
    settle(s);
    s = NULL;
    return 0;
}
