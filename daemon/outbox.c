/* Frames on their way out.
 *
 * Nearly every reply goes out by the one sendmsg() in outbox_put and never meets the list. A frame
 * that does wait keeps its own duplicate of its descriptor until its first byte has gone: the
 * descriptor travels with that byte. The list has no bound of its own; the session watches n_bytes
 * and stops reading requests, then closes.
 */
#include "outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <utlist.h>

#include "../proto/fdpass.h"

struct outbox_frame {
    struct outbox_frame *prev, *next;
    struct frame_bytes bytes; /* owned */
    size_t n_sent;
    int fd; /* owned; -1 once it was sent */
};

void outbox_init(struct outbox *o, int sock) {
    *o = (struct outbox){.sock = sock};
}

static void frame_free(struct outbox *o, struct outbox_frame *f) {
    DL_DELETE(o->frames, f);
    o->n_bytes -= f->bytes.n_bytes - f->n_sent;
    cleanup_close(&f->fd);
    frame_bytes_deinit(&f->bytes);
    free(f);
}

void outbox_deinit(struct outbox *o) {
    struct outbox_frame *f, *next;
    DL_FOREACH_SAFE (o->frames, f, next)
        frame_free(o, f);
}

/* Return: bytes sent, 0 when the socket is full, -ETOOMANYREFS, or another negative errno. */
static ssize_t send_some(struct outbox *o, const uint8_t *data, size_t n, int fd) {
    ssize_t sent = fdpass_send(o->sock, data, n, fd);
    if (sent == -EAGAIN)
        return 0;
    if (sent > 0)
        o->n_sent_bytes += (size_t)sent;
    return sent;
}

static int append(struct outbox *o, struct frame_bytes *bytes, size_t n_sent, int fd) {
    struct outbox_frame *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (fd >= 0 && f->fd < 0) {
        int r = -errno;
        free(f);
        return r;
    }
    f->bytes = *bytes;
    f->n_sent = n_sent;
    *bytes = (struct frame_bytes){0};
    DL_APPEND(o->frames, f);
    o->n_bytes += f->bytes.n_bytes - n_sent;
    return 0;
}

int outbox_put(struct outbox *o, struct frame_bytes *frame, int fd) {
    CLEANUP(frame_bytes_deinit) struct frame_bytes bytes = *frame;
    *frame = (struct frame_bytes){0};
    ssize_t sent = o->frames ? 0 : send_some(o, bytes.data, bytes.n_bytes, fd);
    if (sent < 0 && sent != -ETOOMANYREFS)
        return (int)sent;
    if (sent > 0)
        fd = -1;
    bool is_stalled = sent < 0;
    if (sent < (ssize_t)bytes.n_bytes) {
        int r = append(o, &bytes, (size_t)MAX(sent, 0), fd);
        if (r != 0)
            return r;
    }
    return is_stalled ? OUTBOX_E_STALLED : 0;
}

int outbox_flush(struct outbox *o) {
    while (o->frames) {
        struct outbox_frame *f = o->frames;
        ssize_t sent = send_some(o, f->bytes.data + f->n_sent, f->bytes.n_bytes - f->n_sent, f->fd);
        if (sent == -ETOOMANYREFS)
            return OUTBOX_E_STALLED;
        if (sent <= 0)
            return (int)sent;
        cleanup_close(&f->fd);
        f->fd = -1;
        f->n_sent += (size_t)sent;
        o->n_bytes -= (size_t)sent;
        if (f->n_sent == f->bytes.n_bytes)
            frame_free(o, f);
    }
    return 0;
}
