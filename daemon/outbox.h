/* What waits to be sent on one socket: frames, each with at most one descriptor. */
#ifndef BUFFERD_OUTBOX_H
#define BUFFERD_OUTBOX_H

#include "../proto/message.h"

enum {
    OUTBOX_E_STALLED = 1, /* too many descriptors of this user are in flight: flush again later,
                             although the socket says that it is writable */
};

struct outbox_frame;

struct outbox {
    int sock;                    /* borrowed, non-blocking */
    struct outbox_frame *frames; /* owned list */
    size_t n_bytes;              /* that wait */
    uint64_t n_sent_bytes;       /* ever */
};

void outbox_init(struct outbox *o, int sock);
void outbox_deinit(struct outbox *o);

/* Send a frame now or, if the socket or frames before it do not allow that, later. The frame is
 * taken over in any case; fd (-1: none) stays the caller's and is duplicated if it has to wait.
 * Return: 0, OUTBOX_E_STALLED, or negative errno (the connection is lost). */
int outbox_put(struct outbox *o, struct frame_bytes *frame, int fd);
/* Send what fits. Return: 0 (n_bytes says what is left), OUTBOX_E_STALLED, or negative errno. */
int outbox_flush(struct outbox *o);

#endif
