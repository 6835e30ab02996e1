/* A session from its first byte to its last reference.
 *
 * Connecting is: find the socket, trust its other end, say hello, map the record table, this
 * session's pin table and the arena. Which socket: the one named by the options or $BUFFERD_SOCKET,
 * and then nothing is started; else this user's own daemon, started when it does not run
 * (autostart.c). A daemon on its way out may still accept a connection and close it; with a daemon
 * of our own that is tried again.
 *
 * The session lives as long as the last view of it: pins end with the connection, so the connection
 * must not end before them, also when the daemon has been given up.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "autostart.h"
#include "drop.h"
#include "fork.h"
#include "maps.h"
#include "session.h"

#define CONNECT_MS 5000
#define N_ATTEMPTS 3

int session_hello(struct line *l, struct msg_hello_reply *reply, const char *client,
                  int64_t deadline, struct bufferd_error *error) {
    struct msg_hello request = {
        .version = WIRE_VERSION,
        .client = str_cut(client, 256),
        .pid = (uint64_t)getpid(),
    };
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = call_run(&c, l, WIRE_OP_HELLO, &request, -1, deadline, error);
    if (rc)
        return rc;
    const struct msg_hello_reply *r = call_reply(c);
    if (r->version != WIRE_VERSION)
        return fail(error, BUFFERD_E_VERSION,
                    "the daemon (%.*s) speaks version %llu of the wire, this library %d; install "
                    "the same release of both and restart the daemon",
                    (int)r->daemon.len, r->daemon.ptr, (unsigned long long)r->version,
                    WIRE_VERSION);
    if (r->n_records == 0 || r->n_records > UINT32_MAX || r->arena_bytes == 0 ||
        r->pins_bytes != shm_pins_bytes(r->n_records))
        return fail(error, BUFFERD_E_PROTOCOL, "the daemon announces tables that make no sense");
    *reply = *r;
    reply->daemon = (struct str){0};
    return 0;
}

/* The table's header, checked against the size of the mapping. */
static int check_records(struct bufferd *b, struct bufferd_error *error) {
    const struct shm_header *h = b->records_map.base;
    uint64_t n_bytes = b->records_map.n_bytes;
    if (n_bytes < sizeof(*h) || h->magic != SHM_MAGIC || h->n_records != b->n_records ||
        h->records_off % 64 || h->keys_off % SHM_KEY_UNIT ||
        !range_is_inside(h->records_off, b->n_records * sizeof(struct shm_record), n_bytes) ||
        !range_is_inside(h->keys_off, h->keys_bytes, n_bytes) ||
        h->index_lines != index_n_lines(b->n_records) || h->index_off % SHM_PAGE ||
        !range_is_inside(h->index_off, index_bytes(h->index_lines), n_bytes))
        return fail(error, BUFFERD_E_UNTRUSTED,
                    "the daemon's record table is not valid; restart the daemon");
    b->header = h;
    b->records = (struct shm_record *)((char *)b->records_map.base + h->records_off);
    b->index = (struct shm_index){
        .words = (_Atomic uint64_t *)((char *)b->records_map.base + h->index_off),
        .n_lines = index_n_lines(b->n_records),
    };
    b->keys = (const char *)b->records_map.base + h->keys_off;
    b->keys_bytes = h->keys_bytes;
    return 0;
}

static int session_map(struct bufferd *b, const struct msg_hello_reply *hello, int64_t deadline,
                       struct bufferd_error *error) {
    struct stat st;
    int rc = map_fetch(&b->records_map, &st, b->line, &b->trust, WIRE_MAP_RECORDS,
                       hello->records_bytes, deadline, error);
    if (rc)
        return rc;
    b->records_dev = st.st_dev;
    b->records_ino = st.st_ino;
    rc = check_records(b, error);
    if (rc)
        return rc;
    rc = map_fetch(&b->pins_map, NULL, b->line, &b->trust, WIRE_MAP_PINS, hello->pins_bytes,
                   deadline, error);
    if (rc)
        return rc;
    b->pins = shm_pins_at(b->pins_map.base, b->n_records);
    rc = map_fetch(&b->arena, &st, b->line, &b->trust, WIRE_MAP_ARENA, hello->arena_bytes, deadline,
                   error);
    b->has_huge_pages = rc == 0 && (uint64_t)st.st_blksize == DROP_HUGE_PAGE;
    return rc;
}

/* A child of fork must not touch what other threads may have left locked or half done. */
static void line_give_up(struct bufferd *b) {
    if (b->role == ROLE_CHILD_FROZEN) {
        if (b->line->fd >= 0)
            close(b->line->fd);
        return;
    }
    call_free_abandoned(b->line);
    line_free(b->line);
}

static struct bufferd *session_free(struct bufferd *b) {
    if (!b)
        return NULL;
    fork_forget(b);
    if (b->line)
        line_give_up(b);
    map_drop(&b->records_map);
    map_drop(&b->pins_map);
    map_drop(&b->arena);
    map_drop(&b->staging);
    scopes_free(b->scopes);
    pthread_rwlock_destroy(&b->gate);
    pthread_mutex_destroy(&b->staging_mutex);
    pthread_mutex_destroy(&b->scopes_mutex);
    free(b->socket);
    free(b->client);
    free(b);
    return NULL;
}

static void cleanup_session(struct bufferd **bp) {
    *bp = session_free(*bp);
}

/* Forking threads write; they must not wait for a stream of readers. */
static void gate_init(pthread_rwlock_t *gate) {
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(gate, &attr);
    pthread_rwlockattr_destroy(&attr);
}

static int session_new(struct bufferd **bp, const char *path, const char *client) {
    struct bufferd *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->n_refs = 1;
    gate_init(&b->gate);
    pthread_mutex_init(&b->staging_mutex, NULL);
    pthread_mutex_init(&b->scopes_mutex, NULL);
    b->socket = realpath(path, NULL); /* the working directory may change before a fork */
    b->client = strdup(client);
    if (!b->socket)
        b->socket = strdup(path);
    if (!b->socket || !b->client) {
        session_free(b);
        return -ENOMEM;
    }
    *bp = b;
    return 0;
}

/* A session over a connected socket, which is taken over in any case. */
static int session_open(struct bufferd **bp, int socket, const struct socket_trust *trust,
                        const char *path, const char *client, int64_t deadline,
                        struct bufferd_error *error) {
    CLEANUP(cleanup_close) int fd = socket;
    CLEANUP(cleanup_session) struct bufferd *b = NULL;
    struct msg_hello_reply hello;
    int rc = session_new(&b, path, client);
    if (rc == 0)
        rc = line_new(&b->line, fd);
    if (rc)
        return fail(error, rc, "cannot make a session");
    TAKE_FD(fd);
    b->trust = *trust;
    rc = session_hello(b->line, &hello, client, deadline, error);
    if (rc)
        return rc;
    b->n_records = hello.n_records;
    b->staging_bytes = hello.staging_bytes;
    rc = session_map(b, &hello, deadline, error);
    if (rc)
        return rc;
    rc = fork_watch(b);
    if (rc)
        return fail(error, rc, "cannot make a session");
    *bp = TAKE_PTR(b);
    return 0;
}

static int connect_named(struct bufferd **bp, const char *path, const char *client,
                         int64_t deadline, struct bufferd_error *error) {
    struct socket_trust trust;
    int fd;
    int rc = socket_connect(&fd, &trust, path, true, deadline, error);
    return rc ? rc : session_open(bp, fd, &trust, path, client, deadline, error);
}

static int connect_own(struct bufferd **bp, const struct bufferd_options *options,
                       const char *client, int64_t deadline, struct bufferd_error *error) {
    struct autostart a;
    struct socket_trust trust;
    int fd, rc = autostart_init(&a, options, error);
    for (unsigned i = 0; rc == 0 && i < N_ATTEMPTS; i++) {
        rc = autostart_connect(&fd, &trust, &a, deadline, error);
        if (rc)
            return rc;
        rc = session_open(bp, fd, &trust, a.socket, client, deadline, error);
        if (rc == 0 || (rc != BUFFERD_E_GONE && rc != BUFFERD_E_STOPPING))
            return rc;
        rc = i + 1 < N_ATTEMPTS && !options->no_autostart ? 0 : rc;
    }
    return rc;
}

API int bufferd_connect(struct bufferd **bp, const struct bufferd_options *options,
                        struct bufferd_error *error) {
    static const struct bufferd_options none;
    options = options ? options : &none;
    const char *path = options->socket ? options->socket : getenv("BUFFERD_SOCKET");
    const char *client = options->client ? options->client : program_invocation_short_name;
    int64_t deadline = deadline_after(options->timeout_ms ? options->timeout_ms : CONNECT_MS);
    int rc = path && *path ? connect_named(bp, path, client, deadline, error)
                           : connect_own(bp, options, client, deadline, error);
    if (rc == BUFFERD_E_TIMEOUT) /* for connecting the two are the same: nobody answers */
        rc = fail(error, BUFFERD_E_GONE,
                  "the daemon accepts connections but does not answer; is it stopped?");
    return rc;
}

API struct bufferd *bufferd_ref(struct bufferd *b) {
    if (b)
        atomic_fetch_add_explicit(&b->n_refs, 1, memory_order_relaxed);
    return b;
}

API struct bufferd *bufferd_unref(struct bufferd *b) {
    if (b && atomic_fetch_sub_explicit(&b->n_refs, 1, memory_order_acq_rel) == 1)
        session_free(b);
    return NULL;
}

API bool bufferd_is_mine(struct bufferd *b) {
    return b->role == ROLE_OWNER;
}

API bool bufferd_is_alive(struct bufferd *b) {
    if (b->role == ROLE_CHILD_FROZEN || b->line->is_dead ||
        !atomic_load_explicit(&b->header->alive, memory_order_relaxed))
        return false;
    struct pollfd p = {.fd = b->line->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) <= 0 || !(p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

int session_check(const struct bufferd *b, struct bufferd_error *error) {
    if (b->role == ROLE_OWNER)
        return 0;
    return fail(error, BUFFERD_E_GONE,
                "this session belongs to the parent process; connect again in this one");
}

uint64_t session_ack(struct bufferd *b) {
    return b->role == ROLE_OWNER ? call_ack(b->line) : 0;
}

int session_call(struct call **cp, struct bufferd *b, unsigned op, const void *body, int fd,
                 int64_t deadline, struct bufferd_error *error) {
    int rc = session_check(b, error);
    return rc ? rc : call_run(cp, b->line, op, body, fd, deadline, error);
}
