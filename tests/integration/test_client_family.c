/* A parent, its child and its grandchild hold views of one buffer and part with them in every order,
 * each by a release, an orderly end, or kill -9, so that children and grandchildren are orphaned
 * too; while the daemon works, is stopped, or takes no more connections; while other threads pin.
 *
 * The members are processes of their own that do what this one tells them through pipes. This one
 * watches with a session of its own: as long as a member holds the buffer it is not evicted and has its
 * bytes, and when none does it goes.
 */
#include "server.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define N_MEMBERS 3
#define N_BYTES (64 * 1024)

enum trouble { NO_TROUBLE, DAEMON_STOPPED, NO_CONNECTIONS }; /* while they fork */
enum parting { RELEASE, END, KILL, N_PARTINGS };

struct member {
    int orders[2], answers[2]; /* pipes; this process has the other ends */
    pid_t pid;
    bool holds;
};

struct family {
    struct member members[N_MEMBERS];
    bool has_threads;
};

/* ---- the members ---- */

struct pinner {
    struct bufferd *b;
    uint32_t record;
    uint64_t version;
    _Atomic bool is_over;
    _Atomic bool is_wrong;
};

static void *pin_always(void *arg) {
    struct pinner *p = arg;
    struct bufferd_view w;
    while (!p->is_over) {
        if (bufferd_pin(&w, p->b, p->record, p->version))
            continue; /* the daemon tries to evict it just now */
        if (*(const uint8_t *)w.data != 7)
            p->is_wrong = true;
        bufferd_release(&w);
    }
    return NULL;
}

struct life {
    struct member *me;
    struct bufferd *b;
    struct bufferd_view view;
    struct pinner pinner;
    pthread_t threads[2];
    unsigned n_threads;
};

static void stop_threads(struct life *l) {
    l->pinner.is_over = true;
    for (unsigned i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i], NULL);
    l->n_threads = 0;
}

/* The ends of the pipes of the other members, so that a pipe closes when its member is gone. */
static void close_others(struct family *f, const struct member *me) {
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        if (&f->members[i] == me)
            continue;
        close(f->members[i].orders[0]);
        close(f->members[i].answers[1]);
    }
}

/* "c": say whether all is right. */
static void obey(struct life *l) {
    char order;
    while (read(l->me->orders[0], &order, 1) == 1) {
        char answer = 'y';
        if (order == 'k')
            kill(getpid(), SIGKILL);
        if (order == 'c')
            answer = is_filled(&l->view, 7) && !l->pinner.is_wrong ? 'y' : 'n';
        if (order == 'r') {
            stop_threads(l);
            bufferd_release(&l->view);
        }
        if (order == 'e') {
            stop_threads(l);
            bufferd_release(&l->view);
            bufferd_unref(l->b);
            _exit(0);
        }
        if (write(l->me->answers[1], &answer, 1) != 1)
            break;
    }
    _exit(1);
}

static void say_born(struct life *l) {
    if (write(l->me->answers[1], "b", 1) != 1)
        _exit(2);
}

/* "f": have a child, which lives with what is inherited, and tell its number. */
static void live(struct family *f, struct life *l) {
    char order;
    l->me = &f->members[0];
    say_born(l);
    while (l->me + 1 < f->members + N_MEMBERS) {
        if (read(l->me->orders[0], &order, 1) != 1)
            _exit(3);
        pid_t child = fork();
        if (child) {
            if (write(l->me->answers[1], &child, sizeof(child)) != sizeof(child))
                _exit(4);
            break;
        }
        l->n_threads = 0; /* they are the parent's */
        l->me++;
        say_born(l);
    }
    close_others(f, l->me);
    obey(l);
}

static void first_life(const struct server *s, struct family *f) {
    struct life l = {0};
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        close(f->members[i].orders[1]);
        close(f->members[i].answers[0]);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    l.b = connect_to(s);
    l.view = put_filled(l.b, "x", N_BYTES, 7);
    if (bufferd_trim(l.b, NULL, 5000, NULL)) /* acknowledges the grant */
        _exit(5);
    l.pinner = (struct pinner){.b = l.b, .record = l.view.record, .version = l.view.version};
    for (; f->has_threads && l.n_threads < ARRAY_LEN(l.threads); l.n_threads++)
        pthread_create(&l.threads[l.n_threads], NULL, pin_always, &l.pinner);
    live(f, &l);
}

/* ---- and what they are told ---- */

static void hear(struct member *m, void *answer, size_t n_bytes) {
    cr_assert_eq(read(m->answers[0], answer, n_bytes), (ssize_t)n_bytes);
}

static void tell(struct member *m, char order) {
    cr_assert_eq(write(m->orders[1], &order, 1), 1);
}

static char ask(struct member *m, char order) {
    char answer;
    tell(m, order);
    hear(m, &answer, 1);
    return answer;
}

/* Sessions until no more are accepted; only sockets, the daemon asks nothing of them. */
static size_t flood(const struct server *s, int *fds, size_t n_fds) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", s->socket);
    for (size_t n = 0; n < n_fds; n++) {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_geq(fds[n], 0);
        if (connect(fds[n], (struct sockaddr *)&address, sizeof(address)))
            return n + 1;
    }
    return n_fds;
}

static void family_born(struct family *f, struct server *s, enum trouble trouble) {
    static int fds[1100];
    size_t n_fds = 0;
    char born;
    for (unsigned i = 0; i < N_MEMBERS; i++)
        cr_assert(pipe(f->members[i].orders) == 0 && pipe(f->members[i].answers) == 0);
    pid_t parent = fork();
    if (parent == 0)
        first_life(s, f);
    f->members[0].pid = parent;
    hear(&f->members[0], &born, 1);
    if (trouble == DAEMON_STOPPED)
        server_signal(s, SIGSTOP);
    if (trouble == NO_CONNECTIONS)
        n_fds = flood(s, fds, ARRAY_LEN(fds));
    for (unsigned i = 0; i + 1 < N_MEMBERS; i++) {
        tell(&f->members[i], 'f');
        hear(&f->members[i], &f->members[i + 1].pid, sizeof(pid_t));
        hear(&f->members[i + 1], &born, 1);
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (trouble == DAEMON_STOPPED)
        server_signal(s, SIGCONT);
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        f->members[i].holds = true;
        close(f->members[i].orders[0]);
        close(f->members[i].answers[1]);
    }
}

/* Its pipe closes when it is gone; it may be somebody else's child. */
static void await_end(struct member *m) {
    char c;
    cr_assert_eq(read(m->answers[0], &c, 1), 0);
}

static void part(struct member *m, enum parting how) {
    if (how == RELEASE) {
        cr_assert_eq(ask(m, 'r'), 'y');
    } else {
        tell(m, how == END ? 'e' : 'k');
        await_end(m);
        m->pid = 0;
    }
    m->holds = false;
}

static void family_end(struct family *f) {
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        struct member *m = &f->members[i];
        if (m->pid) {
            tell(m, 'k');
            await_end(m);
        }
        close(m->orders[1]);
        close(m->answers[0]);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

static bool is_let_go(struct bufferd *b) {
    for (unsigned i = 0; i < 100; i++) {
        if (evict_all(b).n_held == 0)
            return true;
        sleep_ms(20);
    }
    return false;
}

/* Whoever still holds it must see its bytes, whatever is written where there is room. */
static void check_holders(struct family *f, struct bufferd *b) {
    bool is_held = false;
    for (unsigned i = 0; i < N_MEMBERS; i++)
        is_held |= f->members[i].holds;
    if (!is_held)
        return;
    cr_assert_eq(evict_all(b).n_held, 1);
    for (unsigned i = 0; i < 3; i++) {
        struct bufferd_view v = put_filled(b, "other", N_BYTES, 0xff);
        bufferd_release(&v);
        OK(bufferd_trim(b, NULL, 5000, &error));
        evict_all(b);
    }
    for (unsigned i = 0; i < N_MEMBERS; i++)
        if (f->members[i].holds)
            cr_assert_eq(ask(&f->members[i], 'c'), 'y', "member %u", i);
}

static bool is_any_alive(const struct family *f) {
    for (unsigned i = 0; i < N_MEMBERS; i++)
        if (f->members[i].pid)
            return true;
    return false;
}

/* What was held at a fork that found no second session, or by other threads, ends with the last
 * process that has it, not with its release. */
static void one_family(struct server *s, struct bufferd *b, enum trouble trouble, bool has_threads,
                       const unsigned order[N_MEMBERS], const enum parting how[N_MEMBERS]) {
    struct family f = {.has_threads = has_threads};
    family_born(&f, s, trouble);
    check_holders(&f, b);
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        part(&f.members[order[i]], how[order[i]]);
        check_holders(&f, b);
    }
    if (trouble == NO_TROUBLE && !has_threads)
        cr_assert(is_let_go(b));
    else if (trouble != NO_TROUBLE && is_any_alive(&f))
        cr_assert_eq(evict_all(b).n_held, 1, "there was no second session for the child");
    family_end(&f);
    cr_assert(is_let_go(b));
}

/* Every order; every `step`-th of the ways to part. */
static void all_families(enum trouble trouble, bool has_threads, unsigned step) {
    static const unsigned orders[][N_MEMBERS] = {
        {0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0},
    };
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    for (unsigned i = 0; i < ARRAY_LEN(orders); i++)
        for (unsigned n = i % step; n < N_PARTINGS * N_PARTINGS * N_PARTINGS; n += step) {
            const enum parting how[] = {n % 3, n / 3 % 3, n / 9};
            one_family(&s, b, trouble, has_threads, orders[i], how);
        }
}

Test(client_family, every_order, .timeout = 120) {
    all_families(NO_TROUBLE, false, 1);
}

Test(client_family, every_order_while_threads_pin, .timeout = 120) {
    all_families(NO_TROUBLE, true, 5);
}

Test(client_family, forked_while_the_daemon_is_stopped, .timeout = 120) {
    all_families(DAEMON_STOPPED, false, 5);
}

Test(client_family, forked_while_the_daemon_is_stopped_and_threads_pin, .timeout = 120) {
    all_families(DAEMON_STOPPED, true, 7);
}

Test(client_family, forked_at_the_limit_of_connections, .timeout = 120) {
    all_families(NO_CONNECTIONS, false, 7);
}
