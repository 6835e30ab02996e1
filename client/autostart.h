/* This user's own daemon: where it lives, and starting it when it does not run. */
#ifndef BUFFERD_AUTOSTART_H
#define BUFFERD_AUTOSTART_H

#include <limits.h>

#include "bufferd.h"
#include "socket.h"

struct autostart {
    char dir[96];
    char socket[108];       /* dir/socket */
    char program[PATH_MAX]; /* a path, or a name to look for in PATH */
    const char *memory;     /* borrowed; NULL: the daemon's default */
    bool may_start;
};

/* Find, and unless nothing may be started make, the directory.
 * Return: 0, BUFFERD_E_GONE (there is none), BUFFERD_E_UNTRUSTED, or negative errno. */
int autostart_init(struct autostart *a, const struct bufferd_options *options,
                   struct bufferd_error *error);

/* Connect to the daemon; start it when it does not run. Return: as socket_connect(). */
int autostart_connect(int *fdp, struct socket_trust *trust, const struct autostart *a,
                      int64_t deadline, struct bufferd_error *error);

#endif
