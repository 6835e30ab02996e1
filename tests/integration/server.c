/* A daemon of its own for each test, and arrays to put into it.
 *
 * A failed assertion leaves the test without running cleanups, so the daemon is also bound to the
 * life of its test by the kernel.
 */
#include "server.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

const char *daemon_program(void) {
    const char *program = getenv("BUFFERD_DAEMON");
    if (!program)
        cr_skip_test("BUFFERD_DAEMON does not name a daemon");
    return program;
}

struct bufferd *connect_to(const struct server *s) {
    struct bufferd_options options = {.socket = s->socket, .client = "test"};
    struct bufferd_error error;
    struct bufferd *b = NULL;
    int rc = bufferd_connect(&b, &options, &error);
    cr_assert_eq(rc, 0, "%s", error.text);
    return b;
}

void server_start(struct server *s) {
    const char *program = daemon_program();
    struct bufferd_options options = {.socket = s->socket, .client = "test"};
    s->pid = fork();
    if (s->pid == 0) {
        char log[128];
        snprintf(log, sizeof(log), "%s/log", s->dir);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails and cleans nothing up */
        dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), 1);
        dup2(1, 2);
        execl(program, program, "--socket", s->socket, "--memory", s->memory ? s->memory : "64M",
              "--workers", "2", s->arena_dir ? "--arena-dir" : (char *)NULL, s->arena_dir,
              (char *)NULL);
        _exit(127);
    }
    for (unsigned i = 0; i < 500; i++) {
        struct bufferd *b;
        if (bufferd_connect(&b, &options, NULL) == 0) {
            bufferd_unref(b);
            return;
        }
        sleep_ms(20);
    }
    cr_assert_fail("the daemon does not answer");
}

struct server server_new(void) {
    return server_new_with(NULL, NULL);
}

struct server server_new_with(const char *memory, const char *arena_dir) {
    struct server s = {.dir = "/tmp/bufferd-test-XXXXXX", .memory = memory, .arena_dir = arena_dir};
    cr_assert_not_null(mkdtemp(s.dir));
    snprintf(s.socket, sizeof(s.socket), "%s/socket", s.dir);
    server_start(&s);
    return s;
}

void server_signal(struct server *s, int number) {
    cr_assert_eq(kill(s->pid, number), 0);
    if (number != SIGKILL && number != SIGTERM)
        return;
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void remove_dir(const char *dir) {
    static const char *const names[] = {"socket", "socket.lock", "log", "bufferd.log", "lock"};
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

void server_end(struct server *s) {
    if (s->pid) {
        kill(s->pid, SIGCONT);
        kill(s->pid, SIGTERM);
        waitpid(s->pid, NULL, 0);
    }
    remove_dir(s->dir);
}

void cleanup_unref(struct bufferd **bp) {
    *bp = bufferd_unref(*bp);
}

struct bufferd_view put_filled(struct bufferd *b, const char *name, uint64_t n_bytes,
                               uint8_t value) {
    char key[BUFFERD_KEY_BYTES];
    struct bufferd_view view;
    uint8_t *data = malloc(n_bytes + 1);
    memset(data, value, n_bytes);
    cr_assert_eq(bufferd_key_named(key, name), 0);
    OK(bufferd_put(b, &view, NULL, key, BUFFERD_UINT8, data, n_bytes, 0, 5000, &error));
    OK(bufferd_trim(b, NULL, 5000, &error)); /* acknowledges the grant: only the view holds it */
    free(data);
    return view;
}

bool is_filled(const struct bufferd_view *v, uint8_t value) {
    const uint8_t *p = v->data;
    for (uint64_t i = 0; i < v->n_bytes; i++)
        if (p[i] != value)
            return false;
    return true;
}

struct bufferd_evicted evict_all(struct bufferd *b) {
    struct bufferd_evicted e;
    OK(bufferd_evict(b, &e, "*", 5000, &error));
    return e;
}

int get_one(struct bufferd *b, struct bufferd_view *vp, const char *name) {
    char key[BUFFERD_KEY_BYTES];
    const char *keys[] = {key};
    struct bufferd_result result;
    cr_assert_eq(bufferd_key_named(key, name), 0);
    OK(bufferd_get(b, &result, keys, 1, 5000, &error));
    *vp = result.view;
    return result.code;
}

uint64_t figure(struct bufferd *b, const char *name) {
    struct bufferd_figure *list;
    size_t n;
    uint64_t value = 0;
    OK(bufferd_status(b, &list, &n, 5000, &error));
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            value = list[i].value;
    bufferd_figures_free(list, n);
    return value;
}
