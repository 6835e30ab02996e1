/* Many threads on one line, as a plain program so that it runs under TSan: calls that are answered
 * out of order, calls that are given up before they are, notifications that may be lost, and at the
 * end a peer that hangs up while all of them wait. Argument: seconds (2). */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "../../client/bufferd.h"
#include "../../client/call.h"
#include "../../client/deadline.h"
#include "../../proto/fdpass.h"
#include "check.h"

#define N_THREADS 6
#define N_HELD 4

struct stress {
    struct line *line;
    int peer;
    int64_t end;
    _Atomic uint64_t n_answered, n_abandoned, n_gone;
};

struct caller {
    struct stress *stress;
    uint64_t number;
};

/* ---- the peer ---- */

static void answer(int sock, uint64_t id, uint64_t token) {
    struct msg_grants grants = {.grant = token};
    struct frame_bytes f;
    CHECK(!message_encode_response(&f, id, WIRE_OP_GET, &grants));
    for (size_t n_sent = 0; n_sent < f.n_bytes;) {
        ssize_t n = write(sock, f.data + n_sent, f.n_bytes - n_sent);
        CHECK(n > 0);
        n_sent += (size_t)n;
    }
    frame_bytes_deinit(&f);
}

struct held {
    uint64_t ids[N_HELD], tokens[N_HELD];
    unsigned n;
};

static void take_payload(struct stress *s, struct held *h, const uint8_t *payload, size_t n) {
    struct message m;
    CHECK(!message_decode(&m, payload, n, false, NULL));
    if (m.op == WIRE_OP_GET) {
        h->ids[h->n] = m.id;
        h->tokens[h->n++] = ((struct msg_keys *)m.body)->flags;
    } else {
        CHECK(m.op == WIRE_OP_RELEASED);
    }
    message_deinit(&m);
    while (h->n == N_HELD || (h->n && random() % 3 == 0)) {
        h->n--;
        answer(s->peer, h->ids[h->n], h->tokens[h->n]);
    }
}

static void *run_peer(void *arg) {
    struct stress *s = arg;
    struct frame_reader in;
    struct held held = {.n = 0};
    frame_reader_init(&in, WIRE_MAX_REQUEST_BYTES);
    while (now_ms() < s->end) {
        struct pollfd p = {.fd = s->peer, .events = POLLIN};
        const uint8_t *payload;
        uint8_t *room;
        size_t n;
        int fd;
        if (poll(&p, 1, 5) == 0) { /* all that are left wait for what is held */
            while (held.n) {
                held.n--;
                answer(s->peer, held.ids[held.n], held.tokens[held.n]);
            }
            continue;
        }
        CHECK(!frame_reader_room(&in, &room, &n));
        ssize_t got = fdpass_recv(s->peer, room, n, &fd);
        CHECK(got > 0);
        frame_reader_commit(&in, (size_t)got);
        while (frame_reader_next(&in, &payload, &n) == 0)
            take_payload(s, &held, payload, n);
    }
    frame_reader_deinit(&in);
    shutdown(s->peer, SHUT_RDWR);
    return NULL;
}

/* ---- the callers ---- */

static void tell(struct line *l) {
    struct msg_released body = {1, 3};
    struct frame_bytes f;
    CHECK(!message_encode_notification(&f, WIRE_OP_RELEASED, &body));
    line_push_lossy(l, &f);
}

static void *run_caller(void *arg) {
    struct caller *me = arg;
    struct stress *s = me->stress;
    int rc = 0;
    for (uint64_t i = 1; rc != BUFFERD_E_GONE; i++) {
        uint64_t token = me->number << 32 | i;
        struct msg_keys request = {.ack = call_ack(s->line), .flags = token};
        struct call *c = NULL;
        int timeout_ms = i % 50 ? -1 : 0;
        rc = call_run(&c, s->line, WIRE_OP_GET, &request, -1, deadline_after(timeout_ms), NULL);
        if (rc == 0) {
            CHECK(((const struct msg_grants *)call_reply(c))->grant == token);
            CHECK(call_ack(s->line) < token);
            s->n_answered++;
        } else {
            CHECK(rc == BUFFERD_E_GONE || (rc == BUFFERD_E_TIMEOUT && timeout_ms == 0));
            s->n_abandoned += rc == BUFFERD_E_TIMEOUT;
        }
        call_free(c);
        tell(s->line);
    }
    s->n_gone++;
    return NULL;
}

int main(int argc, char **argv) {
    struct stress s = {.end = now_ms() + 1000 * (argc > 1 ? atoi(argv[1]) : 2)};
    struct caller callers[N_THREADS];
    pthread_t threads[N_THREADS], peer;
    int fds[2];
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    CHECK(!line_new(&s.line, fds[0]));
    s.peer = fds[1];
    CHECK(!pthread_create(&peer, NULL, run_peer, &s));
    for (unsigned i = 0; i < N_THREADS; i++) {
        callers[i] = (struct caller){&s, i + 1};
        CHECK(!pthread_create(&threads[i], NULL, run_caller, &callers[i]));
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(peer, NULL);
    CHECK(s.n_answered > 100 && s.n_abandoned > 0 && s.n_gone == N_THREADS);
    call_free_abandoned(s.line);
    line_free(s.line);
    close(s.peer);
    return 0;
}
