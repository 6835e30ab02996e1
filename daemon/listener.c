/* The listening socket.
 *
 * Who owns the path is decided by a lock file beside it (`PATH.lock`, flock), held for the daemon's
 * life: of two daemons that start at once one gets it, and a crash releases it. Under the lock, a
 * socket file that nobody answers is a dead daemon's and is replaced; one that answers is not ours
 * to take. The lock file is unlinked while it is held, so whoever gets the lock checks that the
 * file he locked is still the one at the path, else tries again.
 *
 * The socket's file has mode 0600, and the default directory must be a real directory (lstat: no
 * link that someone placed in /tmp), of this user, closed to all others: then nobody can squat on
 * the path or reach the socket. fchmod() before bind() sets the mode without a moment in which it
 * is wider.
 *
 * Accept is our own accept4() on uv_poll: libuv's silently drops connections when descriptors run
 * out. Then accept pauses, the backlog holds the callers, and the next tick tries again.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 4096
#define ACCEPTS_PER_TURN 32
#define FIRST_PASSED_FD 3 /* sd_listen_fds(3) */

static int refused(char *error, const char *path, const char *why) {
    snprintf(error, LISTENER_ERROR_BYTES, "%.200s: %s", path, why);
    return LISTENER_E_REFUSED;
}

static int failed(char *error, const char *path, const char *what) {
    int e = errno;
    snprintf(error, LISTENER_ERROR_BYTES, "%.200s: %s: %s", path, what, strerror(e));
    return -e;
}

/* The default directory: made 0700, verified without following links. */
static int check_directory(const char *path, char *error) {
    CLEANUP(cleanup_free) char *directory = strdup(path);
    if (!directory)
        return -ENOMEM;
    *strrchr(directory, '/') = 0;
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return failed(error, directory, "mkdir");
    struct stat st;
    if (lstat(directory, &st) != 0)
        return failed(error, directory, "lstat");
    if (!S_ISDIR(st.st_mode))
        return refused(error, directory, "is no directory");
    if (st.st_uid != geteuid())
        return refused(error, directory, "belongs to another user");
    if ((st.st_mode & 07777) != 0700 && chmod(directory, 0700) != 0)
        return failed(error, directory, "chmod");
    return 0;
}

/* ---- the lock ---- */

/* Return: 1 when `fd` is still the file at the path, else 0. */
static int is_current(int fd, const char *path) {
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && lstat(path, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino;
}

static int take_lock(int *fdp, const char *path, char *error) {
    for (;;) {
        CLEANUP(cleanup_close)
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
            return failed(error, path, "open");
        if (flock(fd, LOCK_EX | LOCK_NB) != 0)
            return errno == EWOULDBLOCK ? LISTENER_E_TAKEN : failed(error, path, "flock");
        if (is_current(fd, path)) {
            *fdp = TAKE_FD(fd);
            return 0;
        }
    }
}

static void drop_lock(struct listener *l) {
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 8];
    if (l->lock_fd < 0)
        return;
    snprintf(path, sizeof(path), "%s.lock", l->path);
    if (is_current(l->lock_fd, path))
        unlink(path);
    close(l->lock_fd);
    l->lock_fd = -1;
}

/* ---- the socket ---- */

static int new_socket(int *fdp) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    *fdp = fd;
    return 0;
}

/* A socket file that nobody answers goes; anything else stays. */
static int remove_stale(const struct sockaddr_un *address, char *error) {
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : failed(error, path, "lstat");
    if (!S_ISSOCK(st.st_mode))
        return refused(error, path, "exists and is no socket");
    CLEANUP(cleanup_close) int probe = -1;
    int r = new_socket(&probe);
    if (r != 0)
        return r;
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return LISTENER_E_TAKEN;
    if (errno != ECONNREFUSED && errno != ENOENT)
        return failed(error, path, "connect");
    return unlink(path) == 0 || errno == ENOENT ? 0 : failed(error, path, "unlink");
}

static int bind_socket(struct listener *l, const struct sockaddr_un *address, char *error) {
    CLEANUP(cleanup_close) int fd = -1;
    struct stat st;
    int r = new_socket(&fd);
    if (r != 0)
        return r;
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
        return failed(error, address->sun_path, "bind");
    if (listen(fd, BACKLOG) != 0 || lstat(address->sun_path, &st) != 0) {
        r = failed(error, address->sun_path, "listen");
        unlink(address->sun_path);
        return r;
    }
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    l->fd = TAKE_FD(fd);
    return 0;
}

/* A socket that the service manager made for us: sd_listen_fds(3) without the library. */
static bool take_passed_socket(struct listener *l) {
    const char *pid = getenv("LISTEN_PID"), *n_fds = getenv("LISTEN_FDS");
    int is_listening = 0;
    socklen_t n = sizeof(is_listening);
    if (!pid || !n_fds || strtol(pid, NULL, 10) != getpid() || strcmp(n_fds, "1") != 0)
        return false;
    if (getsockopt(FIRST_PASSED_FD, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &n) != 0 ||
        !is_listening || fcntl(FIRST_PASSED_FD, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(FIRST_PASSED_FD, F_SETFL, O_NONBLOCK) != 0)
        return false;
    l->fd = FIRST_PASSED_FD;
    return true;
}

/* What a listener holds before it is started; undone on every early return. */
static void release(struct listener *l) {
    struct stat st;
    if (l->fd >= 0 && l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
        st.st_ino == l->ino)
        unlink(l->path);
    cleanup_close(&l->fd);
    l->fd = -1;
    drop_lock(l);
    free(l->path);
    l->path = NULL;
}

static int open_path(struct listener *l, const struct listener_options *options, char *error) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char lock[sizeof(address.sun_path) + 8];
    if (strlen(options->path) >= sizeof(address.sun_path))
        return refused(error, options->path, "the path is too long for a socket");
    strcpy(address.sun_path, options->path);
    snprintf(lock, sizeof(lock), "%s.lock", options->path);
    int r = options->makes_directory ? check_directory(options->path, error) : 0;
    if (r != 0)
        return r;
    l->path = strdup(options->path);
    if (!l->path)
        return -ENOMEM;
    r = take_lock(&l->lock_fd, lock, error);
    if (r == 0)
        r = remove_stale(&address, error);
    if (r == 0)
        r = bind_socket(l, &address, error);
    return r;
}

int listener_open(struct listener *l, const struct listener_options *options, char *error) {
    CLEANUP(release)
    struct listener made = {.fd = -1,
                            .lock_fd = -1,
                            .on_accept = options->on_accept,
                            .on_pause = options->on_pause,
                            .ctx = options->ctx};
    *error = 0;
    int r = take_passed_socket(&made) ? 0 : open_path(&made, options, error);
    if (r != 0)
        return r;
    *l = made;
    made = (struct listener){.fd = -1, .lock_fd = -1};
    return 0;
}

/* ---- accept ---- */

static bool is_out_of_descriptors(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct listener *l = handle->data;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->on_accept(l->ctx, fd);
        } else if (is_out_of_descriptors(errno)) {
            uv_poll_stop(&l->poll);
            l->is_paused = true;
            l->on_pause(l->ctx);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

int listener_start(struct listener *l, uv_loop_t *loop) {
    int r = uv_poll_init(loop, &l->poll, l->fd);
    if (r != 0)
        return r;
    l->poll.data = l;
    return uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

void listener_tick(struct listener *l) {
    if (!l->is_paused)
        return;
    l->is_paused = false;
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

void listener_close(struct listener *l) {
    if (l->poll.data)
        uv_close((uv_handle_t *)&l->poll, NULL);
    release(l);
}
