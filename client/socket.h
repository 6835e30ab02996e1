/* Connecting to a Unix socket whose other end has to be trusted. */
#ifndef BUFFERD_SOCKET_H
#define BUFFERD_SOCKET_H

#include "../proto/base.h"
#include <sys/types.h>

struct bufferd_error;

/* Users whose files and sockets this process may rely on. */
struct socket_trust {
    uid_t uids[4];
    unsigned n_uids;
};

bool socket_trusts(const struct socket_trust *t, uid_t uid);

/* Connect to `path`. The peer has to be this user or root or, when the user named the socket, the
 * owner of its directory. *trust is who that leaves.
 * Return: 0, BUFFERD_E_GONE (nobody listens, or not within the deadline), _DENIED, _UNTRUSTED, or
 * negative errno. */
int socket_connect(int *fdp, struct socket_trust *trust, const char *path, bool is_named,
                   int64_t deadline, struct bufferd_error *error);

#endif
