/* Connecting, and knowing to whom.
 *
 * A socket in a directory where anybody may write can be anybody's. The kernel says which user the
 * listener was (SO_PEERCRED, frozen at its listen()), and only three are believed: this user, root,
 * and the owner of the directory of a socket that the user named, which is how a site runs the
 * daemon under a user of its own. The same users may own what the daemon then hands out.
 *
 * A full backlog answers EAGAIN at once instead of blocking; that is retried until the deadline. A
 * stopped daemon's backlog still accepts: that is found out by the silence after hello.
 */
#include "socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bufferd.h"
#include "deadline.h"
#include "error.h"

#define RETRY_MS 5

bool socket_trusts(const struct socket_trust *t, uid_t uid) {
    for (unsigned i = 0; i < t->n_uids; i++)
        if (t->uids[i] == uid)
            return true;
    return false;
}

static void trust_init(struct socket_trust *t, const char *path, bool is_named) {
    char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct stat st;
    *t = (struct socket_trust){.uids = {geteuid(), 0}, .n_uids = 2};
    if (!is_named)
        return;
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    memcpy(dir, path, n);
    dir[n] = 0;
    if (stat(slash ? (n ? dir : "/") : ".", &st) == 0)
        t->uids[t->n_uids++] = st.st_uid;
}

static int check_peer(int fd, const struct socket_trust *trust, const char *path,
                      struct bufferd_error *error) {
    struct ucred peer;
    socklen_t n = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n))
        return fail(error, -errno, "cannot see who listens at %s", path);
    if (socket_trusts(trust, peer.uid))
        return 0;
    return fail(error, BUFFERD_E_UNTRUSTED,
                "%s belongs to user %u, who is neither you, nor root, nor the owner of its "
                "directory; name another socket",
                path, (unsigned)peer.uid);
}

static int fail_connect(int e, const char *path, struct bufferd_error *error) {
    switch (e) {
    case ENOENT:
    case ECONNREFUSED:
    case ENOTDIR:
    case ECONNRESET:
        return fail(error, BUFFERD_E_GONE,
                    "no daemon listens at %s; start one: bufferd --socket %s", path, path);
    case EAGAIN:
        return fail(error, BUFFERD_E_GONE,
                    "the daemon at %s accepts no connections; is it stopped?", path);
    case EACCES:
    case EPERM:
        return fail(error, BUFFERD_E_DENIED, "this user may not connect to %s", path);
    default:
        return fail(error, -e, "cannot connect to %s", path);
    }
}

static int connect_until(int fd, const struct sockaddr_un *address, int64_t deadline) {
    for (;;) {
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
            return 0;
        if ((errno != EAGAIN && errno != EINTR) || deadline_left_ms(deadline) == 0)
            return errno;
        sleep_ms(RETRY_MS);
    }
}

int socket_connect(int *fdp, struct socket_trust *trust, const char *path, bool is_named,
                   int64_t deadline, struct bufferd_error *error) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return fail(error, -ENAMETOOLONG, "the socket's path is longer than %zu bytes: %s",
                    sizeof(address.sun_path) - 1, path);
    memcpy(address.sun_path, path, strlen(path));
    CLEANUP(cleanup_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(error, -errno, "cannot make a socket");
    int e = connect_until(fd, &address, deadline);
    if (e)
        return fail_connect(e, path, error);
    trust_init(trust, path, is_named);
    int rc = check_peer(fd, trust, path, error);
    if (rc == 0)
        *fdp = TAKE_FD(fd);
    return rc;
}
