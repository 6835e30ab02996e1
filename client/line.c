/* One connection's bytes.
 *
 * Sending never blocks: a frame is queued, and whoever queued it sends as much as the socket takes.
 * What is left is sent by the reader when poll says so, or by the next sender. So a frame is never
 * torn by a caller's timeout, and a release of a view (which may have to tell the daemon) costs no
 * waiting. The queue is bounded for frames that may be lost; for requests it is bounded by the
 * number of threads that wait for their answers.
 *
 * Killing a line does not close the socket. The daemon may only have been stopped for a while, and
 * the pins of this session, on which views rest, end with the connection.
 */
#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <utlist.h>

#include "../proto/fdpass.h"

#define MAX_LOSSY_BYTES 65536

struct out_frame {
    struct frame_bytes frame; /* owned */
    size_t n_sent;
    int fd; /* owned, or -1 */
    struct out_frame *next, *prev;
};

static struct out_frame *out_frame_free(struct out_frame *o) {
    frame_bytes_deinit(&o->frame);
    if (o->fd >= 0)
        close(o->fd);
    free(o);
    return NULL;
}

static void drop_out(struct line *l) {
    struct out_frame *o, *next;
    DL_FOREACH_SAFE (l->out, o, next)
        out_frame_free(o);
    l->out = NULL;
    l->out_bytes = 0;
}

int line_new(struct line **lp, int fd) {
    pthread_condattr_t attr;
    struct line *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->fd = fd;
    l->in_fd = -1;
    l->staging_is_free = true;
    frame_reader_init(&l->in, WIRE_MAX_REPLY_BYTES);
    pthread_mutex_init(&l->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attr);
    pthread_condattr_destroy(&attr);
    *lp = l;
    return 0;
}

struct line *line_free(struct line *l) {
    if (!l)
        return NULL;
    struct out_frame *o, *next;
    DL_FOREACH_SAFE (l->out, o, next)
        out_frame_free(o);
    frame_reader_deinit(&l->in);
    if (l->in_fd >= 0)
        close(l->in_fd);
    if (l->fd >= 0)
        close(l->fd);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    free(l);
    return NULL;
}

void line_kill(struct line *l, const char *why) {
    if (!l->is_dead)
        snprintf(l->why, sizeof(l->why), "%s", why);
    l->is_dead = true;
    pthread_cond_broadcast(&l->changed);
}

/* Send once from the first frame. Return: whether to go on. */
static bool send_some(struct line *l) {
    struct out_frame *o = l->out;
    pthread_mutex_unlock(&l->mutex);
    ssize_t n = fdpass_send(l->fd, o->frame.data + o->n_sent, o->frame.n_bytes - o->n_sent,
                            o->n_sent ? -1 : o->fd);
    pthread_mutex_lock(&l->mutex);
    if (n < 0) {
        if (n == -EPIPE || n == -ECONNRESET)
            drop_out(l); /* its last words may still be unread: the reader finds the end */
        else if (n != -EAGAIN)
            line_kill(l, "the connection broke while sending");
        return false;
    }
    o->n_sent += (size_t)n;
    if (o->n_sent == o->frame.n_bytes) {
        l->out_bytes -= o->frame.n_bytes;
        DL_DELETE(l->out, o);
        out_frame_free(o);
    }
    return true;
}

void line_flush(struct line *l) {
    if (l->has_writer)
        return; /* it sees what was added meanwhile */
    l->has_writer = true;
    while (l->out && !l->is_dead && send_some(l))
        ;
    l->has_writer = false;
}

int line_push(struct line *l, struct frame_bytes *frame, int fd) {
    struct out_frame *o = malloc(sizeof(*o));
    if (!o)
        return -ENOMEM;
    *o = (struct out_frame){.frame = *frame, .fd = -1};
    if (fd >= 0 && (o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        free(o);
        return -errno;
    }
    *frame = (struct frame_bytes){0};
    pthread_mutex_lock(&l->mutex);
    DL_APPEND(l->out, o);
    l->out_bytes += o->frame.n_bytes;
    line_flush(l);
    pthread_mutex_unlock(&l->mutex);
    return 0;
}

void line_push_lossy(struct line *l, struct frame_bytes *frame) {
    pthread_mutex_lock(&l->mutex);
    bool is_lost = l->is_dead || l->out_bytes > MAX_LOSSY_BYTES;
    pthread_mutex_unlock(&l->mutex);
    if (!is_lost)
        line_push(l, frame, -1);
    frame_bytes_deinit(frame);
}

int line_receive(struct line *l) {
    uint8_t *room;
    size_t n_room;
    int fd = -1;
    int rc = frame_reader_room(&l->in, &room, &n_room);
    if (rc)
        return rc;
    ssize_t n = fdpass_recv(l->fd, room, n_room, &fd);
    if (n == -EAGAIN)
        return 0;
    if (n <= 0)
        return n ? (int)n : -ECONNRESET;
    frame_reader_commit(&l->in, (size_t)n);
    if (fd >= 0 && l->in_fd >= 0) { /* nobody took the last one: it came with no `map` reply */
        close(fd);
        return -EBADMSG;
    }
    if (fd >= 0)
        l->in_fd = fd;
    return 0;
}
