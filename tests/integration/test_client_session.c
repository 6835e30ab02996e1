/* Sessions: a daemon that is killed or stopped, sockets and directories that are not to be trusted,
 * and who starts a daemon.
 */
#include "server.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- the daemon goes ---- */

Test(client_session, killed_daemon_leaves_the_views, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", MiB, 7), w;
    struct bufferd_error error;
    cr_assert(bufferd_is_alive(b));
    server_signal(&s, SIGKILL);
    sleep_ms(20);
    cr_assert_not(bufferd_is_alive(b));
    int64_t start = now_ms();
    cr_assert_eq(bufferd_trim(b, NULL, -1, &error), BUFFERD_E_GONE);
    cr_assert_eq(bufferd_trim(b, NULL, -1, &error), BUFFERD_E_GONE);
    cr_assert_lt(now_ms() - start, 500);
    cr_assert(strstr(error.text, "in-process"), "%s", error.text);
    cr_assert(is_filled(&v, 7));
    cr_assert_eq(bufferd_pin(&w, b, v.record, v.version), 0, "a hit needs no daemon");
    bufferd_release(&w);
    b = bufferd_unref(b);
    cr_assert(is_filled(&v, 7), "the view holds the session");
    bufferd_release(&v);
    cr_assert_null(v.data);
    bufferd_release(&v);
}

Test(client_session, a_new_daemon_is_another_one, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", MiB, 7);
    server_signal(&s, SIGKILL);
    server_start(&s);
    SESSION c = connect_to(&s);
    struct bufferd_view w = put_filled(c, "x", MiB, 8);
    cr_assert(is_filled(&v, 7));
    cr_assert(is_filled(&w, 8));
    bufferd_release(&v);
    bufferd_release(&w);
}

/* A stopped daemon costs one deadline, and what was pinned is pinned when it goes on. */
Test(client_session, stopped_daemon, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_options options = {.socket = s.socket, .timeout_ms = 300};
    struct bufferd_view v = put_filled(b, "x", MiB, 7);
    struct bufferd *none;
    server_signal(&s, SIGSTOP);
    int64_t start = now_ms();
    cr_assert_eq(bufferd_trim(b, NULL, 100, NULL), BUFFERD_E_TIMEOUT);
    cr_assert_eq(bufferd_connect(&none, &options, NULL), BUFFERD_E_GONE);
    cr_assert_lt(now_ms() - start, 1500);
    cr_assert_eq(bufferd_trim(b, NULL, -1, NULL), BUFFERD_E_GONE);
    cr_assert_leq(now_ms() - start, 7500);
    start = now_ms();
    cr_assert_eq(bufferd_trim(b, NULL, -1, NULL), BUFFERD_E_GONE);
    cr_assert_lt(now_ms() - start, 100);
    cr_assert_not(bufferd_is_alive(b));
    server_signal(&s, SIGCONT);
    SESSION c = connect_to(&s);
    struct bufferd_evicted e = evict_all(c);
    cr_assert_eq(e.n_held, 1, "the dead session's view is still pinned");
    cr_assert(is_filled(&v, 7));
    bufferd_release(&v);
}

/* ---- whom to trust ---- */

Test(client_session, directory_of_others, .timeout = 60) {
    struct bufferd_options options = {.daemon = daemon_program()};
    char runtime[] = "/tmp/bufferd-test-XXXXXX", dir[64];
    struct bufferd *b;
    cr_assert_not_null(mkdtemp(runtime));
    snprintf(dir, sizeof(dir), "/tmp/bufferd-%u", (unsigned)geteuid());
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    unsetenv("BUFFERD_SOCKET");
    if (mkdir(dir, 0755)) {
        rmdir(runtime);
        cr_skip_test("%s is in use", dir);
    }
    chmod(dir, 0755);
    struct bufferd_error error;
    int rc = bufferd_connect(&b, &options, &error);
    rmdir(dir);
    rmdir(runtime);
    cr_assert_eq(rc, BUFFERD_E_UNTRUSTED);
    cr_assert(strstr(error.text, "0700"), "%s", error.text);
}

static void listen_as(uid_t uid, const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    if (setuid(uid))
        _exit(1);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(sock, (struct sockaddr *)&a, sizeof(a)) || listen(sock, 4))
        _exit(1);
    pause();
    _exit(0);
}

Test(client_session, socket_of_a_stranger, .timeout = 60) {
    if (geteuid())
        cr_skip_test("only root can play two users");
    char dir[] = "/tmp/bufferd-test-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    chmod(dir, 0777);
    snprintf(path, sizeof(path), "%s/socket", dir);
    pid_t child = fork();
    if (child == 0)
        listen_as(12345, path);
    while (access(path, F_OK))
        sleep_ms(10);
    sleep_ms(50);
    struct bufferd_options options = {.socket = path};
    struct bufferd_error error;
    struct bufferd *b;
    cr_expect_eq(bufferd_connect(&b, &options, &error), BUFFERD_E_UNTRUSTED);
    cr_expect_not_null(strstr(error.text, "12345"), "%s", error.text);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    remove_dir(dir);
}

Test(client_session, nobody_there) {
    struct bufferd_options options = {.socket = "/tmp/bufferd-test-none/socket"};
    struct bufferd_error error;
    struct bufferd *b;
    cr_assert_eq(bufferd_connect(&b, &options, &error), BUFFERD_E_GONE);
    cr_assert(strstr(error.text, "bufferd --socket"), "%s", error.text);
    char path[200];
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = 0;
    options.socket = path;
    cr_assert_eq(bufferd_connect(&b, &options, &error), -ENAMETOOLONG);
}

/* ---- autostart ---- */

static int autostart_in_child(int report) {
    struct bufferd_options options = {.daemon = daemon_program(), .memory = "64M"};
    struct bufferd *b;
    if (bufferd_connect(&b, &options, NULL))
        return 1;
    uint64_t pid = figure(b, "pid");
    bufferd_unref(b);
    return write(report, &pid, sizeof(pid)) != sizeof(pid);
}

Test(client_session, autostart_race_has_one_winner, .timeout = 60) {
    enum { N = 8 };
    char runtime[] = "/tmp/bufferd-test-XXXXXX", dir[64];
    uint64_t pids[N];
    int report[2];
    daemon_program();
    cr_assert_not_null(mkdtemp(runtime));
    setenv("XDG_RUNTIME_DIR", runtime, 1);
    unsetenv("BUFFERD_SOCKET");
    cr_assert_eq(pipe(report), 0);
    for (unsigned i = 0; i < N; i++)
        if (fork() == 0)
            _exit(autostart_in_child(report[1]));
    for (unsigned i = 0; i < N; i++) {
        int status;
        wait(&status);
        cr_expect_eq(status, 0);
    }
    close(report[1]);
    cr_assert_eq(read(report[0], pids, sizeof(pids)), (ssize_t)sizeof(pids));
    for (unsigned i = 0; i < N; i++)
        cr_expect_eq(pids[i], pids[0]);
    kill((pid_t)pids[0], SIGTERM);
    snprintf(dir, sizeof(dir), "%s/bufferd", runtime);
    for (unsigned i = 0; i < 200 && kill((pid_t)pids[0], 0) == 0; i++)
        sleep_ms(10);
    remove_dir(dir);
    rmdir(runtime);
}

Test(client_session, autostart_says_what_is_missing, .timeout = 60) {
    char runtime[] = "/tmp/bufferd-test-XXXXXX", dir[64];
    struct bufferd_options options = {.daemon = "/nonexistent/bufferd"};
    struct bufferd_error error;
    struct bufferd *b;
    cr_assert_not_null(mkdtemp(runtime));
    setenv("XDG_RUNTIME_DIR", runtime, 1);
    unsetenv("BUFFERD_SOCKET");
    int64_t start = now_ms();
    cr_expect_eq(bufferd_connect(&b, &options, &error), BUFFERD_E_GONE);
    cr_expect_lt(now_ms() - start, 1000);
    cr_expect_not_null(strstr(error.text, "/nonexistent/bufferd"), "%s", error.text);
    options.no_autostart = true;
    cr_expect_eq(bufferd_connect(&b, &options, &error), BUFFERD_E_GONE);
    snprintf(dir, sizeof(dir), "%s/bufferd", runtime);
    remove_dir(dir);
    rmdir(runtime);
}
