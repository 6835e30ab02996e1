/* The composition root: who is built before whom, who wakes whom, who is taken down after whom.
 *
 *     built:   loop, handles, listener (its lock settles who serves the path), arena, loader,
 * context stopped: no accept -> sessions end -> running jobs finish -> loader -> context -> arena
 * -> loop
 *
 * Workers and the arena's helper thread wake the loop by one uv_async; it outlives both. Everything
 * else that happens by itself hangs on a timer of one second.
 *
 * A stop is never longer than STOP_SECONDS: running jobs get DRAIN_MS. A job that still runs then
 * (a file system that does not answer) has memory that its thread may write to, so nothing is freed
 * under it and the process ends as it is. An alarm ends whatever else would hang.
 *
 * One domain: the daemon serves the uid that it runs as and refuses all others, root too.
 */
#include "server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "../proto/fdpass.h"
#include "arena/arena.h"
#include "cache/policy.h"
#include "listener.h"
#include "loader/loader.h"
#include "session.h"

#define TICK_MS 1000
#define DRAIN_TICK_MS 20
#define DRAIN_MS 2000
#define STOP_SECONDS 5
#define FDS_PER_SESSION 4 /* socket, pin table, staging file, and a share of the open files */

struct server {
    const struct config *config; /* borrowed */
    struct log *log;             /* borrowed */
    struct metrics metrics;
    uv_loop_t loop;
    bool has_loop;
    uv_async_t wake;
    uv_timer_t tick;
    uv_signal_t sigterm, sigint;
    struct listener listener;
    bool is_listening;
    struct backing *backing; /* owned until the arena takes it over; NULL then */
    struct arena *arena;     /* owned */
    struct job_tables tables;
    struct loader *loader; /* owned */
    struct request_context context;
    bool has_context;
    struct session_host sessions;
    unsigned max_sessions;
    uint64_t last_session; /* number, never reused */
    uint64_t busy_ms;      /* when a client was connected, last */
    bool is_stopping;
    uint64_t stop_ms; /* when it began */
};

static uint64_t now_ms(const struct server *s) {
    return uv_now(&s->loop);
}

/* ---- stop ---- */

static void on_alarm(int number) {
    static const char text[] = "bufferd: the stop took too long\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    _exit(1);
}

static unsigned count_running(const struct server *s) {
    struct loader_stats stats;
    loader_get_stats(s->loader, &stats);
    return stats.n_running + stats.n_stuck;
}

static void on_drain(uv_timer_t *timer) {
    struct server *s = timer->data;
    if (count_running(s) == 0 || now_ms(s) - s->stop_ms >= DRAIN_MS)
        uv_stop(&s->loop);
}

static void stop(struct server *s, const char *why) {
    if (s->is_stopping)
        return;
    s->is_stopping = true;
    s->stop_ms = now_ms(s);
    signal(SIGALRM, on_alarm);
    alarm(STOP_SECONDS);
    log_write(s->log, LOG_INFO, "stop", "why=%s sessions=%u", why, s->sessions.n_sessions);
    listener_close(&s->listener);
    s->is_listening = false;
    session_end_all(&s->sessions, "stop");
    uv_timer_start(&s->tick, on_drain, 0, DRAIN_TICK_MS);
}

static void on_signal(uv_signal_t *handle, int number) {
    stop(handle->data, number == SIGTERM ? "sigterm" : "sigint");
}

/* ---- connections ---- */

/* A last word to a connection that gets no session. */
static void refuse(struct server *s, int fd, pid_t pid, enum wire_error code, const char *text) {
    struct frame_bytes frame;
    s->metrics.sessions_refused++;
    log_write(s->log, LOG_WARN, "connection-refused", "pid=%d error=%s reason=%s", (int)pid,
              wire_error_name(code), text);
    if (message_encode_error(&frame, 0, code, text) != 0)
        return;
    fdpass_send(fd, frame.data, frame.n_bytes, -1); /* a fresh socket has room for it */
    frame_bytes_deinit(&frame);
}

static void on_accept(void *ctx, int accepted) {
    struct server *s = ctx;
    CLEANUP(cleanup_close) int fd = accepted;
    struct ucred peer;
    socklen_t n = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0)
        return;
    if (peer.uid != geteuid()) {
        refuse(s, fd, peer.pid, WIRE_E_DENIED, "this daemon serves another user");
        return;
    }
    if (s->sessions.n_sessions >= s->max_sessions) {
        refuse(s, fd, peer.pid, WIRE_E_LIMIT, "too many connections");
        return;
    }
    struct client_peer who = {.uid = peer.uid, .pid = peer.pid, .session = ++s->last_session};
    int r = session_new(&s->sessions, fd, &who);
    if (r != 0) {
        refuse(s, fd, peer.pid, WIRE_E_INTERNAL, strerror(-r));
        return;
    }
    TAKE_FD(fd);
    s->metrics.sessions_opened++;
}

static void on_pause(void *ctx) {
    struct server *s = ctx;
    log_write(s->log, LOG_WARN, "accept-paused", "reason=%s sessions=%u", strerror(errno),
              s->sessions.n_sessions);
}

/* ---- the loop's own events ---- */

/* On any thread. */
static void wake_loop(void *ctx) {
    struct server *s = ctx;
    uv_async_send(&s->wake);
}

static void on_wake(uv_async_t *handle) {
    struct server *s = handle->data;
    request_context_set_time(&s->context);
    arena_dispatch(s->arena, now_ms(s));
    loader_dispatch(s->loader, now_ms(s));
}

static void check_idle(struct server *s) {
    if (s->sessions.n_sessions > 0)
        s->busy_ms = now_ms(s);
    else if (s->config->idle_exit && now_ms(s) - s->busy_ms >= s->config->idle_exit * 1000)
        stop(s, "idle");
}

static void on_tick(uv_timer_t *timer) {
    struct server *s = timer->data;
    uint64_t now = now_ms(s);
    request_context_tick(&s->context);
    listener_tick(&s->listener);
    arena_dispatch(s->arena, now);
    loader_dispatch(s->loader, now);
    session_tick_all(&s->sessions, now);
    check_idle(s);
}

/* ---- building ---- */

static int start_handles(struct server *s) {
    int r = uv_loop_init(&s->loop);
    if (r != 0)
        return r;
    s->has_loop = true;
    s->wake.data = s->tick.data = s->sigterm.data = s->sigint.data = s;
    if ((r = uv_async_init(&s->loop, &s->wake, on_wake)) != 0 ||
        (r = uv_timer_init(&s->loop, &s->tick)) != 0 ||
        (r = uv_signal_init(&s->loop, &s->sigterm)) != 0 ||
        (r = uv_signal_init(&s->loop, &s->sigint)) != 0 ||
        (r = uv_signal_start(&s->sigterm, on_signal, SIGTERM)) != 0 ||
        (r = uv_signal_start(&s->sigint, on_signal, SIGINT)) != 0)
        return r;
    return 0;
}

static int open_listener(struct server *s) {
    char error[LISTENER_ERROR_BYTES];
    struct listener_options options = {.path = s->config->socket,
                                       .makes_directory = s->config->socket_is_default,
                                       .on_accept = on_accept,
                                       .on_pause = on_pause,
                                       .ctx = s};
    int r = listener_open(&s->listener, &options, error);
    if (r == 0)
        s->is_listening = true;
    else if (r == LISTENER_E_TAKEN)
        log_write(s->log, LOG_ERROR, "start-failed", "reason=another daemon serves %s",
                  s->config->socket);
    else
        log_write(s->log, LOG_ERROR, "start-failed", "reason=%s", *error ? error : strerror(-r));
    return r == 0 ? 0 : -EADDRINUSE;
}

static int build_arena(struct server *s) {
    struct arena_options options = {.stock_bytes = s->config->stock,
                                    .decay_ms = s->config->decay * 1000,
                                    .wake = wake_loop,
                                    .ctx = s};
    int r = arena_new(&s->arena, s->backing, &options);
    if (r != 0)
        return r;
    s->backing = NULL;
    s->tables.arena = arena_base(s->arena);
    s->tables.n_arena_bytes = arena_bytes(s->arena);
    return 0;
}

static int build_parts(struct server *s) {
    int r = build_arena(s);
    if (r != 0)
        return r;
    struct loader_options loader_options = {.n_workers = (unsigned)s->config->workers,
                                            .tables = &s->tables,
                                            .wake = wake_loop,
                                            .ctx = s};
    r = loader_new(&s->loader, &loader_options);
    if (r != 0)
        return r;
    s->context = (struct request_context){.arena = s->arena,
                                          .loader = s->loader,
                                          .tables = &s->tables,
                                          .metrics = &s->metrics,
                                          .log = s->log,
                                          .policy = policy_find(s->config->policy),
                                          .config = s->config};
    r = request_context_init(&s->context);
    if (r != 0)
        return r;
    s->has_context = true;
    s->sessions = (struct session_host){
        .loop = &s->loop, .log = s->log, .metrics = &s->metrics, .context = &s->context};
    return 0;
}

static unsigned count_allowed_sessions(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return WIRE_MAX_SESSIONS_UID;
    return (unsigned)MIN((rlim_t)WIRE_MAX_SESSIONS_UID, MAX(limit.rlim_cur / FDS_PER_SESSION, 1));
}

static void log_start(const struct server *s) {
    const struct backing *b = arena_backing(s->arena);
    log_write(s->log, LOG_INFO, "start",
              "release=%s pid=%d socket=%s memory=%" PRIu64 " workers=%" PRIu64
              " max_sessions=%u arena=%s huge_pages=%d policy=%s",
              BUFFERD_RELEASE, (int)getpid(), s->config->socket, s->config->memory,
              s->config->workers, s->max_sessions, backing_kind_name(b->kind), b->has_huge_pages,
              s->config->policy);
    log_write(s->log, LOG_INFO, "arena", "why=%s", b->why);
}

/* Return: 0, or negative errno after saying why. */
static int start(struct server *s) {
    int r = start_handles(s);
    if (r == 0 && open_listener(s) != 0)
        return -EADDRINUSE;
    if (r == 0)
        r = build_parts(s);
    if (r == 0)
        r = listener_start(&s->listener, &s->loop);
    if (r == 0)
        r = uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    if (r != 0) {
        log_write(s->log, LOG_ERROR, "start-failed", "reason=%s", strerror(-r));
        return r;
    }
    s->max_sessions = count_allowed_sessions();
    s->busy_ms = now_ms(s);
    log_start(s);
    return 0;
}

/* ---- taking down ---- */

static void free_parts(struct server *s) {
    s->loader = loader_free(s->loader); /* runs the callbacks of what is left */
    uint64_t n_stranded = s->has_context ? request_context_deinit(&s->context) : 0;
    if (s->arena) {
        struct arena_stats stats;
        arena_get_stats(s->arena, &stats);
        assert(stats.live_bytes == n_stranded);
        s->arena = arena_free(s->arena);
    }
    if (s->backing)
        backing_close(s->backing);
}

static void close_handle(uv_handle_t *handle, void *ctx) {
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void server_deinit(struct server *s) {
    if (s->is_listening)
        listener_close(&s->listener);
    assert(s->sessions.n_sessions == 0);
    free_parts(s);
    if (!s->has_loop)
        return;
    uv_walk(&s->loop, close_handle, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    int r = uv_loop_close(&s->loop);
    assert(r == 0);
    (void)r;
}

int server_run(const struct config *config, struct log *log, struct backing *backing) {
    CLEANUP(server_deinit) struct server s = {.config = config, .log = log, .backing = backing};
    if (start(&s) != 0)
        return 1;
    uv_run(&s.loop, UV_RUN_DEFAULT);
    if (count_running(&s) > 0) {
        log_write(log, LOG_ERROR, "stop-forced", "running=%u", count_running(&s));
        _exit(1);
    }
    log_write(log, LOG_INFO, "stopped",
              "sessions=%" PRIu64 " requests=%" PRIu64 " baskets=%" PRIu64 " bytes_made=%" PRIu64,
              s.metrics.sessions_opened, s.metrics.requests, s.metrics.baskets_decoded,
              s.metrics.bytes_made);
    return 0;
}
