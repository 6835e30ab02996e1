/* One connection: frames out in order, bytes in, and whether it still lives. Nothing blocks here.
 *
 * A line is shared by all threads of a session. `mutex` guards everything but what is said to
 * belong to the reader. The reader is the one waiting thread that polls the socket (call.c).
 */
#ifndef BUFFERD_LINE_H
#define BUFFERD_LINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "../proto/frame.h"
#include "../proto/message.h"

struct call;
struct out_frame;

struct line {
    int fd; /* owned */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a call was answered, the reader left, or the line died */

    struct frame_reader in; /* the reader's */
    int in_fd;              /* owned, the reader's: a descriptor whose frame is not complete yet */
    bool has_reader;

    struct out_frame *out; /* owned: not sent yet, in order */
    size_t out_bytes;
    bool has_writer; /* a thread is in sendmsg */

    struct call *calls;   /* sent and not given up by their callers, or not answered */
    uint64_t n_calls;     /* ever made: the last id */
    uint64_t silent_ms;   /* watched without a whole frame coming in */
    uint64_t last_grant;  /* newest grant that was received */
    bool staging_is_free; /* no abandoned put may still be reading the staging file */

    _Atomic bool is_dead;   /* no more calls */
    _Atomic bool is_closed; /* the other end has closed it */
    char why[128];          /* it died */
    int refusal; /* BUFFERD_E_*: the daemon said why it ends the session; 0: it did not */
};

/* Takes fd (non-blocking or not, a stream socket) on success. Return: 0 or negative errno. */
int line_new(struct line **lp, int fd);
struct line *line_free(struct line *l);

/* Queue a frame, which is taken over, and send what the socket takes. The descriptor (-1: none) is
 * duplicated. Return: 0 or negative errno (nothing was queued then). */
int line_push(struct line *l, struct frame_bytes *frame, int fd);
/* The same for a frame that may be lost: dropped when too much waits already. */
void line_push_lossy(struct line *l, struct frame_bytes *frame);

/* ---- with the mutex held ---- */

/* Send what waits, as far as the socket takes it; the mutex is released around sendmsg. */
void line_flush(struct line *l);
/* No more calls; every waiting one ends. The socket stays open: pins last as long as it does. */
void line_kill(struct line *l, const char *why);

/* ---- the reader alone, without the mutex ---- */

/* Take in what is there. Return: 0, or negative errno (-ECONNRESET at the end of the stream). */
int line_receive(struct line *l);

#endif
