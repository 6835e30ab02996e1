/* Calls over a socket pair, with the test as a peer that misbehaves: silent, half a frame, garbage,
 * slow, late, in another order, not reading.
 */
#include "../../client/call.h"
#include "../../client/deadline.h"
#include "../../client/bufferd.h"
#include "../../proto/fdpass.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct setup {
    struct line *line;
    int peer;
    struct frame_reader in; /* of the peer */
};

static struct setup setup_new(void) {
    struct setup s;
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(line_new(&s.line, fds[0]), 0);
    s.peer = fds[1];
    frame_reader_init(&s.in, WIRE_MAX_REQUEST_BYTES);
    return s;
}

static void setup_free(struct setup *s) {
    frame_reader_deinit(&s->in);
    call_free_abandoned(s->line);
    line_free(s->line);
    if (s->peer >= 0)
        close(s->peer);
}

/* ---- the peer ---- */

/* The next request; blocks. False: the stream has ended. */
static bool peer_request(struct setup *s, struct message *mp) {
    const uint8_t *payload;
    size_t n;
    while (frame_reader_next(&s->in, &payload, &n)) {
        struct pollfd p = {.fd = s->peer, .events = POLLIN};
        uint8_t *room;
        int fd;
        frame_reader_room(&s->in, &room, &n);
        poll(&p, 1, -1);
        ssize_t got = fdpass_recv(s->peer, room, n, &fd);
        if (got <= 0)
            return false;
        frame_reader_commit(&s->in, (size_t)got);
    }
    cr_assert_eq(message_decode(mp, payload, n, false, NULL), 0);
    return true;
}

static void peer_send(struct setup *s, struct frame_bytes *f) {
    for (size_t n_sent = 0; n_sent < f->n_bytes;) {
        ssize_t n = write(s->peer, f->data + n_sent, f->n_bytes - n_sent);
        if (n < 0)
            break;
        n_sent += (size_t)n;
    }
    frame_bytes_deinit(f);
}

static void peer_answer_trim(struct setup *s, uint64_t id, uint64_t bytes) {
    struct msg_trim_reply reply = {bytes};
    struct frame_bytes f;
    cr_assert_eq(message_encode_response(&f, id, WIRE_OP_TRIM, &reply), 0);
    peer_send(s, &f);
}

static void peer_progress(struct setup *s, uint64_t id) {
    struct msg_progress body = {.id = id};
    struct frame_bytes f;
    cr_assert_eq(message_encode_notification(&f, WIRE_OP_PROGRESS, &body), 0);
    peer_send(s, &f);
}

static void peer_grants(struct setup *s, uint64_t id, uint64_t grant) {
    struct msg_grants reply = {.grant = grant};
    struct frame_bytes f;
    cr_assert_eq(message_encode_response(&f, id, WIRE_OP_GET, &reply), 0);
    peer_send(s, &f);
}

/* ---- the client ---- */

static int trim(struct line *l, int timeout_ms, uint64_t *bytesp, struct bufferd_error *error) {
    struct msg_trim request = {.ack = call_ack(l)};
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = call_run(&c, l, WIRE_OP_TRIM, &request, -1, deadline_after(timeout_ms), error);
    if (rc == 0 && bytesp)
        *bytesp = ((const struct msg_trim_reply *)call_reply(c))->bytes;
    return rc;
}

typedef void peer_fn(struct setup *s);

struct peer {
    struct setup *setup;
    peer_fn *fn;
};

static void *run_peer(void *arg) {
    struct peer *p = arg;
    p->fn(p->setup);
    return NULL;
}

/* Trim once, with the peer at work beside. */
static int trim_with(peer_fn *fn, int timeout_ms, struct bufferd_error *error) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct peer p = {&s, fn};
    pthread_t thread;
    pthread_create(&thread, NULL, run_peer, &p);
    uint64_t bytes = 0;
    int rc = trim(s.line, timeout_ms, &bytes, error);
    pthread_join(thread, NULL);
    if (rc == 0)
        cr_assert_eq(bytes, 42);
    return rc;
}

/* ---- silence ---- */

static void peer_is_silent(struct setup *s) {
    (void)s;
}

Test(call, silence_ends_the_session) {
    struct bufferd_error error;
    int64_t start = now_ms();
    cr_assert_eq(trim_with(peer_is_silent, -1, &error), BUFFERD_E_GONE);
    int64_t took = now_ms() - start;
    cr_assert(took >= 4900 && took < 7000, "%d ms", (int)took);
    cr_assert_eq(error.code, BUFFERD_E_GONE);
    cr_assert(strstr(error.text, "silent"), "%s", error.text);
}

static void peer_dribbles(struct setup *s) {
    static const uint8_t half[] = {100, 0, 0, 0, 0x94, 1, 1, 0xc0, 0x91, 0xdb, 0, 0, 0, 90, 'x'};
    for (unsigned i = 0; i < 90; i++) {
        if (write(s->peer, &half[MIN(i, sizeof(half) - 1)], 1) < 0)
            return;
        sleep_ms(100);
    }
}

Test(call, half_a_frame_is_no_sign_of_life) {
    struct bufferd_error error;
    cr_assert_eq(trim_with(peer_dribbles, 8500, &error), BUFFERD_E_GONE);
}

static void peer_is_slow(struct setup *s) {
    struct message m;
    peer_request(s, &m);
    for (unsigned i = 0; i < 7; i++) {
        sleep_ms(1000);
        peer_progress(s, m.id);
    }
    peer_answer_trim(s, m.id, 42);
    message_deinit(&m);
}

Test(call, slow_with_progress_is_fine) {
    struct bufferd_error error;
    cr_assert_eq(trim_with(peer_is_slow, -1, &error), 0);
}

/* A process that was itself stopped must not take that for its daemon's silence. */
Test(call, being_stopped_is_not_silence) {
    CLEANUP(setup_free) struct setup s = setup_new();
    pid_t child = fork();
    if (child == 0) {
        struct bufferd_error error;
        close(s.peer);
        _exit(trim(s.line, -1, NULL, &error));
    }
    struct message m;
    cr_assert(peer_request(&s, &m));
    kill(child, SIGSTOP);
    sleep_ms(6000);
    kill(child, SIGCONT);
    sleep_ms(800);
    peer_answer_trim(&s, m.id, 42);
    message_deinit(&m);
    int status;
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", status);
}

/* ---- garbage ---- */

static void peer_sends(struct setup *s, const char *bytes, size_t n) {
    cr_assert_eq(write(s->peer, bytes, n), (ssize_t)n);
}

static void peer_impossible_length(struct setup *s) {
    peer_sends(s, "\xff\xff\xff\x7f", 4);
}
static void peer_no_message(struct setup *s) {
    peer_sends(s, "\x05\x00\x00\x00\xdd\xff\xff\xff\xff", 9);
}
static void peer_wrong_reply(struct setup *s) {
    struct message m;
    peer_request(s, &m);
    peer_sends(s, "\x06\x00\x00\x00\x94\x01\x01\xc0\x91\xc0", 10);
    message_deinit(&m);
}
static void peer_unknown_id(struct setup *s) {
    peer_sends(s, "\x06\x00\x00\x00\x94\x01\x63\xc0\x91\x2a", 10);
}
static void peer_asks(struct setup *s) {
    peer_sends(s, "\x0a\x00\x00\x00\x94\x00\x01\xa4trim\x91\x00", 14);
}
static void peer_sends_descriptor(struct setup *s) {
    struct msg_progress body = {0};
    struct frame_bytes f;
    message_encode_notification(&f, WIRE_OP_PROGRESS, &body);
    fdpass_send(s->peer, f.data, f.n_bytes, 0);
    frame_bytes_deinit(&f);
}
static void peer_hangs_up(struct setup *s) {
    close(s->peer);
    s->peer = -1;
}

Test(call, garbage_ends_the_session_at_once) {
    static peer_fn *const peers[] = {
        peer_impossible_length, peer_no_message, peer_wrong_reply, peer_unknown_id, peer_asks,
        peer_sends_descriptor,  peer_hangs_up,
    };
    int64_t start = now_ms();
    for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
        struct bufferd_error error;
        cr_assert_eq(trim_with(peers[i], -1, &error), BUFFERD_E_GONE, "peer %zu", i);
        cr_assert(strstr(error.text, "in-process"), "%s", error.text);
    }
    cr_assert_lt(now_ms() - start, 3000);
}

Test(call, after_death_nothing_waits) {
    CLEANUP(setup_free) struct setup s = setup_new();
    peer_hangs_up(&s);
    cr_assert_eq(trim(s.line, -1, NULL, NULL), BUFFERD_E_GONE);
    cr_assert_eq(trim(s.line, -1, NULL, NULL), BUFFERD_E_GONE);
    cr_assert(s.line->is_closed);
}

/* A refusal that is followed by a hangup, both before the client has said a word. */
Test(call, last_words_are_heard) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct bufferd_error error;
    struct frame_bytes f;
    message_encode_error(&f, 1, WIRE_E_DENIED, "not you");
    peer_send(&s, &f);
    peer_hangs_up(&s);
    cr_assert_eq(trim(s.line, -1, NULL, &error), BUFFERD_E_DENIED);
    cr_assert_eq(trim(s.line, -1, NULL, NULL), BUFFERD_E_GONE);
    cr_assert(s.line->is_closed);
}

/* The same from a daemon that has not even looked at the request: too many sessions. */
Test(call, refused_connection) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct bufferd_error error;
    struct frame_bytes f;
    message_encode_error(&f, 0, WIRE_E_LIMIT, "too many connections");
    peer_send(&s, &f);
    peer_hangs_up(&s);
    cr_assert_eq(trim(s.line, -1, NULL, &error), BUFFERD_E_LIMIT);
    cr_assert(strstr(error.text, "too many connections"), "%s", error.text);
    cr_assert_eq(trim(s.line, -1, NULL, &error), BUFFERD_E_GONE);
}

static void peer_refuses(struct setup *s) {
    struct message m;
    struct frame_bytes f;
    peer_request(s, &m);
    message_encode_error(&f, m.id, WIRE_E_NO_TREE, "Evnts");
    peer_send(s, &f);
    message_deinit(&m);
}

Test(call, refusals_are_told) {
    struct bufferd_error error;
    cr_assert_eq(trim_with(peer_refuses, -1, &error), BUFFERD_E_NO_TREE);
    cr_assert_str_eq(error.text, "the file has no such tree: Evnts");
    cr_assert_eq(error.code, BUFFERD_E_NO_TREE);
}

/* ---- timeouts ---- */

Test(call, late_answers_are_for_nobody) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct message first, second;
    cr_assert_eq(trim(s.line, 50, NULL, NULL), BUFFERD_E_TIMEOUT);
    cr_assert_eq(trim(s.line, 0, NULL, NULL), BUFFERD_E_TIMEOUT);
    cr_assert(peer_request(&s, &first));
    cr_assert(peer_request(&s, &second));
    peer_answer_trim(&s, second.id, 2);
    peer_answer_trim(&s, first.id, 1);
    peer_answer_trim(&s, second.id + 1, 42); /* before it is asked: it will be in the socket */
    uint64_t bytes;
    cr_assert_eq(trim(s.line, 1000, &bytes, NULL), 0);
    cr_assert_eq(bytes, 42);
    cr_assert_null(s.line->calls);
    message_deinit(&first);
    message_deinit(&second);
}

Test(call, short_timeouts_add_up_to_silence) {
    CLEANUP(setup_free) struct setup s = setup_new();
    int rc = BUFFERD_E_TIMEOUT;
    int64_t start = now_ms();
    while (rc == BUFFERD_E_TIMEOUT)
        rc = trim(s.line, 300, NULL, NULL);
    cr_assert_eq(rc, BUFFERD_E_GONE);
    cr_assert_lt(now_ms() - start, 8000);
}

/* A peer that does not read: calls time out without tearing a frame; then it reads them all. */
Test(call, frames_are_never_torn) {
    CLEANUP(setup_free) struct setup s = setup_new();
    static char text[WIRE_MAX_KEY_BYTES];
    static struct msg_key keys[30];
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < 30; i++)
        keys[i].text = (struct str){text, sizeof(text)};
    struct msg_keys request = {.keys = keys, .n_keys = 30};
    unsigned n = 0;
    for (; n < 20; n++) {
        struct call *c = NULL;
        int rc = call_run(&c, s.line, WIRE_OP_GET, &request, -1, deadline_after(20), NULL);
        cr_assert_eq(rc, BUFFERD_E_TIMEOUT);
    }
    cr_assert_gt(s.line->out_bytes, 0, "the socket took everything: no test");
    struct peer p = {&s, NULL};
    for (unsigned i = 0; i < n; i++) {
        struct message m;
        if (i % 3 == 0) /* the client gets to send the rest */
            cr_assert_eq(trim(p.setup->line, 1, NULL, NULL), BUFFERD_E_TIMEOUT);
        cr_assert(peer_request(&s, &m));
        cr_assert(m.op == WIRE_OP_GET || m.op == WIRE_OP_TRIM);
        if (m.op == WIRE_OP_GET)
            cr_assert_eq(((struct msg_keys *)m.body)->n_keys, 30);
        message_deinit(&m);
    }
}

Test(call, lossy_frames_do_not_pile_up) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct msg_released body = {1, 2};
    for (unsigned i = 0; i < 100000; i++) {
        struct frame_bytes f;
        cr_assert_eq(message_encode_notification(&f, WIRE_OP_RELEASED, &body), 0);
        line_push_lossy(s.line, &f);
    }
    cr_assert_leq(s.line->out_bytes, 65536 + 100);
}

/* ---- acknowledging ---- */

static struct call *get(struct setup *s, uint64_t grant) {
    struct msg_keys request = {.ack = call_ack(s->line)};
    struct call *c = NULL;
    peer_grants(s, s->line->n_calls + 1, grant);
    cr_assert_eq(call_run(&c, s->line, WIRE_OP_GET, &request, -1, deadline_after(1000), NULL), 0);
    return c;
}

Test(call, acknowledged_is_what_was_worked_off) {
    CLEANUP(setup_free) struct setup s = setup_new();
    cr_assert_eq(call_ack(s.line), 0);
    struct call *first = get(&s, 5), *second = get(&s, 6);
    cr_assert_eq(call_ack(s.line), 4);
    second = call_free(second);
    cr_assert_eq(call_ack(s.line), 4, "the older one is not pinned yet");
    struct call *third = get(&s, 9);
    first = call_free(first);
    cr_assert_eq(call_ack(s.line), 8);
    third = call_free(third);
    cr_assert_eq(call_ack(s.line), 9);
}

Test(call, abandoned_grants_are_acknowledged) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct msg_keys request = {0};
    struct call *c = NULL;
    cr_assert_eq(call_run(&c, s.line, WIRE_OP_GET, &request, -1, deadline_after(20), NULL),
                 BUFFERD_E_TIMEOUT);
    cr_assert_eq(call_ack(s.line), 0);
    peer_grants(&s, 1, 7);
    peer_answer_trim(&s, 2, 0);
    cr_assert_eq(trim(s.line, 1000, NULL, NULL), 0);
    cr_assert_eq(call_ack(s.line), 7);
}

Test(call, staging_waits_for_an_abandoned_put) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct msg_put request = {.key = {"named/x", 7}};
    struct call *c = NULL;
    cr_assert_eq(call_wait_staging(s.line, deadline_after(0), NULL), 0);
    cr_assert_eq(call_run(&c, s.line, WIRE_OP_PUT, &request, -1, deadline_after(20), NULL),
                 BUFFERD_E_TIMEOUT);
    cr_assert_eq(call_wait_staging(s.line, deadline_after(50), NULL), BUFFERD_E_TIMEOUT);
    struct msg_put_reply reply = {.is_done = 1};
    struct frame_bytes f;
    message_encode_response(&f, 1, WIRE_OP_PUT, &reply);
    peer_send(&s, &f);
    cr_assert_eq(call_wait_staging(s.line, deadline_after(1000), NULL), 0);
}

/* ---- many threads ---- */

#define N_THREADS 8
#define N_CALLS 500

/* Answers backwards, several at a time, whenever the clients have nothing more to say. */
static void peer_shuffles(struct setup *s) {
    struct {
        uint64_t id, token;
    } held[N_THREADS];
    unsigned n_held = 0;
    struct message m;
    for (unsigned i = 0; i < N_THREADS * N_CALLS; i++) {
        if (!peer_request(s, &m))
            return;
        held[n_held].id = m.id;
        held[n_held++].token = ((struct msg_trim *)m.body)->ack;
        message_deinit(&m);
        struct pollfd p = {.fd = s->peer, .events = POLLIN};
        bool has_more = s->in.n_bytes > s->in.start || poll(&p, 1, 1) > 0;
        while (n_held && (!has_more || n_held == N_THREADS)) {
            n_held--;
            peer_answer_trim(s, held[n_held].id, held[n_held].token);
        }
    }
}

struct caller {
    struct line *line;
    uint64_t number;
    bool has_failed;
};

static void *call_many(void *arg) {
    struct caller *caller = arg;
    for (unsigned i = 0; i < N_CALLS && !caller->has_failed; i++) {
        struct msg_trim request = {.ack = caller->number << 32 | i}; /* comes back */
        struct call *c = NULL;
        caller->has_failed =
            call_run(&c, caller->line, WIRE_OP_TRIM, &request, -1, deadline_after(20000), NULL) ||
            ((const struct msg_trim_reply *)call_reply(c))->bytes != request.ack;
        call_free(c);
    }
    return NULL;
}

Test(call, threads_get_their_own_answers) {
    CLEANUP(setup_free) struct setup s = setup_new();
    struct peer p = {&s, peer_shuffles};
    struct caller callers[N_THREADS];
    pthread_t threads[N_THREADS], peer;
    pthread_create(&peer, NULL, run_peer, &p);
    for (unsigned i = 0; i < N_THREADS; i++) {
        callers[i] = (struct caller){s.line, i, false};
        pthread_create(&threads[i], NULL, call_many, &callers[i]);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_not(callers[i].has_failed);
    }
    pthread_join(peer, NULL);
    cr_assert_null(s.line->calls);
}
