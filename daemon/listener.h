/* The listening socket: its directory, its lock, the stale file of a dead daemon, accept. */
#ifndef BUFFERD_LISTENER_H
#define BUFFERD_LISTENER_H

#include <sys/types.h>
#include <uv.h>

#include "../proto/base.h"

enum {
    LISTENER_E_TAKEN = 1,  /* another daemon serves this path */
    LISTENER_E_REFUSED = 2 /* the path or its directory cannot be trusted or used; see error */
};

#define LISTENER_ERROR_BYTES 512

/* A connection: non-blocking, close-on-exec, the callee's from here on. */
typedef void listener_accept_fn(void *ctx, int fd);

struct listener {
    uv_poll_t poll;
    int fd;      /* owned */
    int lock_fd; /* owned; -1: the socket came from the service manager */
    char *path;  /* owned; NULL: the socket came from the service manager */
    dev_t dev;   /* of the socket's file */
    ino_t ino;
    bool is_paused; /* accept waits for descriptors */
    listener_accept_fn *on_accept;
    void (*on_pause)(void *ctx); /* once a pause begins */
    void *ctx;                   /* borrowed */
};

struct listener_options {
    const char *path;
    bool makes_directory; /* make the path's directory if need be; it must be this user's alone */
    listener_accept_fn *on_accept;
    void (*on_pause)(void *ctx);
    void *ctx;
};

/* Bind and listen; connections wait until listener_start(). `error` of LISTENER_ERROR_BYTES is
 * filled by LISTENER_E_REFUSED and negative codes. Return: 0, LISTENER_E_*, or negative errno. */
int listener_open(struct listener *l, const struct listener_options *options, char *error);
int listener_start(struct listener *l, uv_loop_t *loop);
/* Once a second: accept again after a pause. */
void listener_tick(struct listener *l);
/* Unlink, unlock, close. Started or not; the loop must run once more for the handle. */
void listener_close(struct listener *l);

#endif
