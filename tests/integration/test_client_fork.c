/* fork() with views: the child keeps them whatever the parent does, and the parent loses nothing.
 */
#include "server.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* ---- fork ---- */

/* Run in the child: whatever the parent releases, this view must stay. */
static int child_keeps(struct bufferd *b, struct bufferd_view *v, int go) {
    char c;
    struct bufferd_view w;
    struct bufferd_error error;
    if (read(go, &c, 1) != 1) /* the parent has released, evicted and overwritten */
        return 1;
    if (bufferd_is_mine(b))
        return 2;
    if (!is_filled(v, 7))
        return 3;
    if (bufferd_trim(b, NULL, 1000, &error) != BUFFERD_E_GONE)
        return 4;
    if (bufferd_put(b, NULL, NULL, "named/y", BUFFERD_UINT8, "y", 1, 0, 1000, NULL) !=
        BUFFERD_E_GONE)
        return 5;
    bufferd_view_copy(&w, v);
    bufferd_release(v);
    if (!is_filled(&w, 7))
        return 6;
    bufferd_release(&w);
    bufferd_unref(b);
    return 0;
}

/* The parent gives its view up, has the buffer evicted if that is possible, and overwrites what
 * memory there is. Return: how many buffers were held. */
static uint64_t release_and_overwrite(struct bufferd *b, struct bufferd_view *v) {
    if (v)
        bufferd_release(v);
    uint64_t n_held = evict_all(b).n_held;
    for (unsigned i = 0; i < 4; i++) {
        struct bufferd_view w = put_filled(b, "overwrite", 12 * MiB, 0xff);
        bufferd_release(&w);
        evict_all(b);
    }
    return n_held;
}

/* Nobody holds anything any more, as soon as the daemon has seen the hangups. */
static bool is_let_go(struct bufferd *b) {
    for (unsigned i = 0; i < 60; i++) {
        if (evict_all(b).n_held == 0)
            return true;
        sleep_ms(50);
    }
    return false;
}

static pid_t fork_keeper(struct bufferd *b, struct bufferd_view *v, int go[2]) {
    cr_assert_eq(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(child_keeps(b, v, go[0]));
    }
    return child;
}

static void join_keeper(pid_t child, int go[2]) {
    int status;
    cr_assert_eq(write(go[1], "g", 1), 1);
    waitpid(child, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", status);
    close(go[0]);
    close(go[1]);
}

Test(client_fork, forked_view_outlives_the_parents, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", MiB, 7);
    int go[2];
    pid_t child = fork_keeper(b, &v, go);
    cr_assert(bufferd_is_mine(b));
    cr_assert_eq(release_and_overwrite(b, &v), 1, "the child holds it");
    join_keeper(child, go);
    cr_assert(is_let_go(b));
    cr_assert_eq(get_one(b, &v, "x"), BUFFERD_E_ABSENT);
}

Test(client_fork, fork_without_views_costs_no_connection, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    uint64_t before = figure(b, "sessions_opened");
    pid_t child = fork();
    if (child == 0)
        _exit(bufferd_is_mine(b));
    int status;
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
    cr_assert_eq(figure(b, "sessions_opened"), before);
    struct bufferd_view v = put_filled(b, "x", 100, 1);
    bufferd_release(&v);
}

Test(client_fork, fork_of_a_fork, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", MiB, 7);
    int go[2], status;
    cr_assert_eq(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int inner[2];
        pid_t grandchild = fork_keeper(b, &v, inner);
        char c;
        bufferd_release(&v);
        if (read(go[0], &c, 1) != 1)
            _exit(9);
        join_keeper(grandchild, inner);
        bufferd_unref(b);
        _exit(0);
    }
    sleep_ms(300);
    cr_assert_eq(release_and_overwrite(b, &v), 1);
    cr_assert_eq(write(go[1], "g", 1), 1);
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
}

/* No second connection can be had: what was held stays held until both are gone. */
Test(client_fork, fork_while_the_daemon_is_stopped, .timeout = 60) {
    SERVER s = server_new();
    struct bufferd *b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", MiB, 7);
    SESSION other = connect_to(&s);
    int go[2];
    server_signal(&s, SIGSTOP);
    int64_t start = now_ms();
    pid_t child = fork_keeper(b, &v, go);
    cr_assert_lt(now_ms() - start, 400);
    server_signal(&s, SIGCONT);
    bufferd_release(&v);
    bufferd_unref(b);
    sleep_ms(100);
    cr_assert_eq(release_and_overwrite(other, NULL), 1);
    join_keeper(child, go);
    cr_assert(is_let_go(other));
}

struct forking {
    struct bufferd *b;
    _Atomic bool is_over;
    _Atomic uint64_t n_wrong;
};

static void *pin_and_release(void *arg) {
    struct forking *f = arg;
    struct bufferd_view v;
    while (!f->is_over) {
        if (get_one(f->b, &v, "x"))
            continue;
        for (unsigned i = 0; i < 200; i++) {
            struct bufferd_view w;
            if (bufferd_pin(&w, f->b, v.record, v.version)) {
                f->n_wrong++;
                continue;
            }
            f->n_wrong += *(const uint8_t *)w.data != 7;
            bufferd_release(&w);
        }
        bufferd_release(&v);
    }
    return NULL;
}

Test(client_fork, forks_among_busy_threads, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct forking f = {.b = b};
    struct bufferd_view v = put_filled(b, "x", 4096, 7);
    pthread_t threads[3];
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, pin_and_release, &f);
    for (unsigned i = 0; i < 60; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            bool is_right = is_filled(&v, 7) && !bufferd_is_mine(b);
            bufferd_release(&v);
            bufferd_unref(b);
            _exit(!is_right);
        }
        waitpid(child, &status, 0);
        cr_assert_eq(status, 0);
    }
    f.is_over = true;
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(f.n_wrong, 0);
    bufferd_release(&v);
    OK(bufferd_trim(b, NULL, 5000, &error));
    cr_assert(is_let_go(b), "no count was left behind");
}
