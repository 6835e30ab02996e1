/* This user's own daemon.
 *
 * It lives in $XDG_RUNTIME_DIR/bufferd or, where that cannot be used, in /tmp/bufferd-<uid>: a
 * directory of this user alone, mode 0700, checked with lstat so that nobody can have put a link or
 * a directory of theirs in its place. In it: `socket`, `bufferd.log` and `lock`.
 *
 * Many processes may start at once on a node. Whoever gets the lock starts the daemon and keeps the
 * lock until the socket answers; the others try to connect meanwhile. The daemon is started as
 * daemons are: two forks and setsid, so that it belongs to no terminal and no parent, no descriptor
 * but /dev/null and its log. _Fork() is used because between fork and exec in a program with
 * threads only async-signal-safe calls are allowed, and other libraries' fork handlers are none of
 * our business. If exec fails its errno comes back through a pipe that a successful exec closes.
 */
#include "autostart.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "deadline.h"
#include "error.h"

#define RETRY_MS 10
#define IDLE_EXIT_S "1800"
#define MAX_LOG_BYTES (1 << 20)

/* ---- where ---- */

/* A directory of this user alone. Return: 0, -ENOENT, -EPERM (it is not), or negative errno. */
static int dir_check(const char *dir, bool may_make) {
    struct stat st;
    if (may_make && mkdir(dir, 0700) && errno != EEXIST)
        return -errno;
    if (lstat(dir, &st))
        return -errno;
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077)
        return -EPERM;
    return 0;
}

static int dir_find(struct autostart *a, struct bufferd_error *error) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int n = runtime && runtime[0] == '/' ? snprintf(a->dir, sizeof(a->dir), "%s/bufferd", runtime)
                                         : (int)sizeof(a->dir);
    if (n < (int)sizeof(a->dir) && dir_check(a->dir, a->may_start) == 0)
        return 0;
    snprintf(a->dir, sizeof(a->dir), "/tmp/bufferd-%u", (unsigned)geteuid());
    int rc = dir_check(a->dir, a->may_start);
    if (rc == -EPERM)
        return fail(error, BUFFERD_E_UNTRUSTED,
                    "%s is not a directory of yours with mode 0700; remove it, or set "
                    "XDG_RUNTIME_DIR or BUFFERD_SOCKET",
                    a->dir);
    if (rc == -ENOENT && !a->may_start)
        return fail(error, BUFFERD_E_GONE,
                    "no daemon of this user runs; start one: bufferd --socket PATH, and set "
                    "BUFFERD_SOCKET=PATH");
    return rc ? fail(error, rc, "cannot make %s; set XDG_RUNTIME_DIR or BUFFERD_SOCKET", a->dir)
              : 0;
}

/* `bufferd` beside the library, else the bare name, for PATH. */
static void program_find(char *program, size_t n, const char *named) {
    Dl_info info;
    const char *slash;
    if (!named || !*named)
        named = getenv("BUFFERD_DAEMON");
    if (named && *named) {
        snprintf(program, n, "%s", named);
        return;
    }
    if (dladdr((void *)bufferd_connect, &info) && info.dli_fname &&
        (slash = strrchr(info.dli_fname, '/')) &&
        snprintf(program, n, "%.*s/bufferd", (int)(slash - info.dli_fname), info.dli_fname) <
            (int)n &&
        access(program, X_OK) == 0)
        return;
    snprintf(program, n, "bufferd");
}

int autostart_init(struct autostart *a, const struct bufferd_options *options,
                   struct bufferd_error *error) {
    *a = (struct autostart){.may_start = !options->no_autostart};
    int rc = dir_find(a, error);
    if (rc)
        return rc;
    snprintf(a->socket, sizeof(a->socket), "%s/socket", a->dir);
    program_find(a->program, sizeof(a->program), options->daemon);
    a->memory = options->memory ? options->memory : getenv("BUFFERD_MEMORY");
    if (a->memory && !*a->memory)
        a->memory = NULL;
    return 0;
}

/* ---- starting ---- */

/* What the child needs, made before the fork. */
struct launch {
    char *argv[9];
    const char *program;
    int null_fd, log_fd, report_fd; /* owned */
};

static void launch_deinit(struct launch *l) {
    cleanup_close(&l->null_fd);
    cleanup_close(&l->log_fd);
    cleanup_close(&l->report_fd);
}

static int log_open_at(const struct autostart *a) {
    char path[sizeof(a->dir) + 16];
    struct stat st;
    snprintf(path, sizeof(path), "%s/bufferd.log", a->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > MAX_LOG_BYTES && ftruncate(fd, 0))
        st.st_size = 0; /* then it stays long */
    return fd < 0 ? -errno : fd;
}

/* In the grandchild: only async-signal-safe calls. Every descriptor is marked for exec to close. */
static void launch_exec(const struct launch *l) {
    sigset_t none;
    dup2(l->null_fd, 0);
    dup2(l->log_fd, 1);
    dup2(l->log_fd, 2);
    if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC))
        for (int fd = 3; fd < 65536; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (chdir("/"))
        _exit(1);
    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        signal(signal_number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(l->program, l->argv);
    int e = errno;
    if (write(l->report_fd, &e, sizeof(e)) < 0)
        _exit(2);
    _exit(1);
}

/* Return: 0 once exec has succeeded, or negative errno. */
static int launch_run(struct launch *l) {
    int report[2];
    if (pipe2(report, O_CLOEXEC))
        return -errno;
    CLEANUP(cleanup_close) int result_fd = report[0];
    l->report_fd = report[1];
    pid_t child = _Fork();
    if (child < 0)
        return -errno;
    if (child == 0) {
        setsid();
        pid_t grandchild = _Fork();
        if (grandchild == 0)
            launch_exec(l);
        int e = errno;
        _exit(grandchild < 0 && write(l->report_fd, &e, sizeof(e)) < 0);
    }
    close(TAKE_FD(l->report_fd));
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    int e = 0;
    ssize_t n;
    do
        n = read(result_fd, &e, sizeof(e));
    while (n < 0 && errno == EINTR);
    return n == sizeof(e) ? -e : 0;
}

static int launch(const struct autostart *a, struct bufferd_error *error) {
    CLEANUP(launch_deinit)
    struct launch l = {
        .argv = {"bufferd", "--socket", (char *)a->socket, "--idle-exit", IDLE_EXIT_S,
                 a->memory ? "--memory" : NULL, (char *)a->memory},
        .program = a->program,
        .null_fd = open("/dev/null", O_RDWR | O_CLOEXEC),
        .log_fd = log_open_at(a),
        .report_fd = -1,
    };
    if (l.null_fd < 0 || l.log_fd < 0)
        return fail(error, l.log_fd < 0 ? l.log_fd : -EIO, "cannot open the log of a daemon in %s",
                    a->dir);
    int rc = launch_run(&l);
    return rc ? fail(error, BUFFERD_E_GONE,
                     "no daemon runs, and `%s` cannot be started (%s); install bufferd, or name "
                     "it in BUFFERD_DAEMON",
                     a->program, strerror(-rc))
              : 0;
}

/* ---- the race ---- */

/* Connect, or get the lock: whichever comes first. Return: 0 with *fdp or *lockp not -1. */
static int connect_or_lock(int *fdp, int *lockp, struct socket_trust *trust,
                           const struct autostart *a, int64_t deadline,
                           struct bufferd_error *error) {
    char path[sizeof(a->dir) + 8];
    snprintf(path, sizeof(path), "%s/lock", a->dir);
    CLEANUP(cleanup_close) int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return fail(error, -errno, "cannot open %s", path);
    for (;;) {
        bool is_locked = flock(lock, LOCK_EX | LOCK_NB) == 0;
        int rc = socket_connect(fdp, trust, a->socket, false, deadline, error);
        if (rc != BUFFERD_E_GONE)
            return rc;
        if (is_locked) {
            *lockp = TAKE_FD(lock);
            return 0;
        }
        if (deadline_left_ms(deadline) == 0)
            return rc;
        sleep_ms(RETRY_MS);
    }
}

int autostart_connect(int *fdp, struct socket_trust *trust, const struct autostart *a,
                      int64_t deadline, struct bufferd_error *error) {
    int fd = -1;
    int rc = socket_connect(&fd, trust, a->socket, false, deadline, error);
    if (rc != BUFFERD_E_GONE || !a->may_start) {
        *fdp = fd;
        return rc;
    }
    CLEANUP(cleanup_close) int lock = -1; /* closing it unlocks */
    rc = connect_or_lock(&fd, &lock, trust, a, deadline, error);
    if (rc == 0 && fd < 0)
        rc = launch(a, error);
    while (rc == 0 && fd < 0) {
        rc = socket_connect(&fd, trust, a->socket, false, deadline, error);
        if (rc != BUFFERD_E_GONE)
            break;
        if (deadline_left_ms(deadline) == 0)
            return fail(error, rc,
                        "the daemon was started but does not answer at %s; see %s/"
                        "bufferd.log",
                        a->socket, a->dir);
        sleep_ms(RETRY_MS);
        rc = 0;
    }
    *fdp = fd;
    return rc;
}
