/* Operations: one decoded request -> handler -> reply.
 *
 * A client says hello first; everything else before that closes the connection. Every request may
 * acknowledge grants, which is done before its handler runs. A handler answers at once, or links a
 * `struct pending` and answers later; no request is ever without an answer while its connection
 * lives. What a connection holds hangs from its struct client, and goes when that goes: scopes and
 * waiting requests first, then grants, open files and the pin table.
 */
#include "request.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "log.h"

/* ---- answers ---- */

static void client_send(struct client *c, int rc, struct frame_bytes *frame, int fd) {
    if (rc == 0)
        c->send(c->send_ctx, frame, fd);
    else
        log_write(c->context->log, LOG_ERROR, "reply-lost", "session=%llu code=%d",
                  (unsigned long long)c->peer.session, rc);
}

void client_reply_fd(struct client *c, uint64_t id, unsigned op, const void *body, int fd) {
    struct frame_bytes frame = {0};
    int rc = message_encode_response(&frame, id, op, body);
    if (rc == MESSAGE_E_LIMIT)
        client_fail(c, id, WIRE_E_LIMIT, "the reply is too large");
    else
        client_send(c, rc, &frame, fd);
}

void client_reply(struct client *c, uint64_t id, unsigned op, const void *body) {
    client_reply_fd(c, id, op, body, -1);
}

void client_fail(struct client *c, uint64_t id, int status, const char *text) {
    struct frame_bytes frame = {0};
    const char *what = text && *text ? text : wire_error_text((unsigned)status);
    c->context->metrics->requests_failed++;
    log_write(c->context->log, LOG_DEBUG, "request-failed", "session=%llu error=%s text=%s",
              (unsigned long long)c->peer.session, wire_error_name((unsigned)status), what);
    client_send(c, message_encode_error(&frame, id, (unsigned)status, what), &frame, -1);
}

void pending_begin(struct pending *p, struct client *c, uint64_t id, unsigned op, uint64_t n_total,
                   void (*drop)(struct pending *p)) {
    p->client = c;
    p->id = id;
    p->op = op;
    p->told_ms = c->context->now_ms;
    p->n_done = 0;
    p->n_total = n_total;
    p->drop = drop;
    DL_APPEND(c->pending, p);
    c->n_pending++;
}

void pending_end(struct pending *p) {
    struct client *c = p->client;
    DL_DELETE(c->pending, p);
    c->n_pending--;
    p->client = NULL;
}

/* ---- grants ---- */

struct grant *grant_new(struct client *c, uint32_t n) {
    struct grant *g = calloc(1, sizeof(*g) + n * sizeof(g->entries[0]));
    if (!g)
        return NULL;
    g->capacity = n;
    return g;
}

void grant_add(struct grant *g, struct cache_entry *e) {
    cache_hold(e);
    g->entries[g->n_entries++] = e;
}

void grant_free(struct grant *g) {
    if (!g)
        return;
    for (uint32_t i = 0; i < g->n_entries; i++)
        cache_unhold(g->entries[i]);
    free(g);
}

uint64_t grant_close(struct grant *g, struct client *c) {
    if (!g || g->n_entries == 0) {
        grant_free(g);
        return 0;
    }
    g->number = ++c->next_grant;
    g->expires_ms = c->context->now_ms + WIRE_GRANT_MS;
    DL_APPEND(c->grants, g);
    return g->number;
}

void grants_acknowledge(struct client *c, uint64_t number) {
    while (c->grants && c->grants->number <= number) {
        struct grant *g = c->grants;
        DL_DELETE(c->grants, g);
        grant_free(g);
    }
}

/* ---- hello and map ---- */

static void copy_name(char *dst, size_t n_dst, struct str src) {
    size_t n = MIN(src.len, n_dst - 1);
    for (size_t i = 0; i < n; i++)
        dst[i] = isprint((unsigned char)src.ptr[i]) ? src.ptr[i] : '?';
    dst[n] = '\0';
}

static int handle_hello(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_hello *hello = body;
    struct domain *d = c->context->domain;
    char text[128];
    if (c->has_greeted || hello->version != WIRE_VERSION) {
        snprintf(text, sizeof(text), "this daemon (%s) speaks version %d, the client %llu",
                 BUFFERD_RELEASE, WIRE_VERSION, (unsigned long long)hello->version);
        client_fail(c, id, c->has_greeted ? WIRE_E_PROTOCOL : WIRE_E_VERSION,
                    c->has_greeted ? "hello twice" : text);
        return -EPROTO;
    }
    if (pin_table_new(&c->pins, &d->records)) {
        client_fail(c, id, WIRE_E_LIMIT, "no memory or descriptors for another session");
        return -EPROTO;
    }
    c->has_greeted = true;
    copy_name(c->name, sizeof(c->name), hello->client);
    c->pins->pid = c->peer.pid;
    c->pins->name = c->name;
    log_write(c->context->log, LOG_INFO, "session-open", "session=%llu uid=%u pid=%d client=%s",
              (unsigned long long)c->peer.session, (unsigned)c->peer.uid, (int)c->peer.pid,
              c->name);
    const struct msg_hello_reply reply = {
        .version = WIRE_VERSION,
        .daemon = {BUFFERD_RELEASE, sizeof(BUFFERD_RELEASE) - 1},
        .session = c->peer.session,
        .n_records = d->records.n_records,
        .records_bytes = d->records.n_bytes,
        .pins_bytes = c->pins->n_bytes,
        .arena_bytes = arena_bytes(d->arena),
        .arena_is_sealed = arena_backing(d->arena)->is_sealed,
        .staging_bytes = DOMAIN_STAGING_BYTES,
    };
    client_reply(c, id, WIRE_OP_HELLO, &reply);
    return 0;
}

static int handle_map(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_map *map = body;
    struct domain *d = c->context->domain;
    struct msg_map_reply reply = {.what = map->what};
    int which = -1;
    switch (map->what) {
    case WIRE_MAP_RECORDS:
        which = d->records.client_fd;
        reply.bytes = d->records.n_bytes;
        break;
    case WIRE_MAP_PINS:
        which = c->pins->fd;
        reply.bytes = c->pins->n_bytes;
        break;
    case WIRE_MAP_ARENA:
        which = arena_backing(d->arena)->client_fd;
        reply.bytes = arena_bytes(d->arena);
        break;
    case WIRE_MAP_STAGING:
        if (!c->staging && staging_new(&c->staging, d)) {
            client_fail(c, id, WIRE_E_LIMIT, "no memory or descriptors for a staging file");
            return 0;
        }
        which = c->staging->fd;
        reply.bytes = DOMAIN_STAGING_BYTES;
        break;
    default:
        client_fail(c, id, WIRE_E_PROTOCOL, "there is nothing of that number to map");
        return 0;
    }
    client_reply_fd(c, id, WIRE_OP_MAP, &reply, which);
    return 0;
}

/* ---- dispatch ---- */

static uint64_t clock_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void request_context_set_time(struct request_context *c) {
    c->now_ms = clock_ms();
    cache_set_time(c->domain->cache, c->now_ms);
}

static handler_fn *const handlers[WIRE_N_OPS] = {
    [WIRE_OP_HELLO] = handle_hello,       [WIRE_OP_MAP] = handle_map,
    [WIRE_OP_OPEN] = handle_open,         [WIRE_OP_TREES] = handle_trees,
    [WIRE_OP_DESCRIBE] = handle_describe, [WIRE_OP_MATERIALIZE] = handle_materialize,
    [WIRE_OP_GET] = handle_get,           [WIRE_OP_PREFETCH] = handle_prefetch,
    [WIRE_OP_SCOPE] = handle_scope,       [WIRE_OP_CLEAR] = handle_clear,
    [WIRE_OP_PUT] = handle_put,           [WIRE_OP_LS] = handle_ls,
    [WIRE_OP_STATUS] = handle_status,     [WIRE_OP_EVICT] = handle_evict,
    [WIRE_OP_TRIM] = handle_trim,         [WIRE_OP_RELEASED] = handle_released,
};

static bool is_notification(unsigned op) {
    return op == WIRE_OP_RELEASED;
}

static int dispatch(struct client *c, const struct message *m, int fd) {
    bool wants_reply = m->kind == MESSAGE_REQUEST;
    if (m->op >= WIRE_N_OPS || !handlers[m->op] || !m->body || m->kind == MESSAGE_RESPONSE ||
        wants_reply == is_notification(m->op)) {
        if (wants_reply)
            client_fail(c, m->id, WIRE_E_PROTOCOL, "no such operation");
        return -EPROTO;
    }
    if (m->op != WIRE_OP_HELLO && !c->has_greeted) {
        client_fail(c, m->id, WIRE_E_PROTOCOL, "say hello first");
        return -EPROTO;
    }
    c->context->metrics->requests++;
    if (m->op != WIRE_OP_HELLO && wants_reply)
        grants_acknowledge(c,
                           *(const uint64_t *)m->body); /* every request's first field is `ack` */
    return handlers[m->op](c, m->id, m->body, fd);
}

int client_handle(struct client *c, const uint8_t *payload, size_t n_bytes, int fd) {
    CLEANUP(cleanup_close) int own = fd;
    struct message m = {0};
    request_context_set_time(c->context);
    int rc = message_decode(&m, payload, n_bytes, false, NULL);
    if (rc == 0) {
        rc = dispatch(c, &m, own);
        message_deinit(&m);
        return rc;
    }
    enum message_kind kind;
    uint64_t id;
    c->context->metrics->frames_malformed++;
    if (message_peek(&kind, &id, payload, n_bytes) == 0 && kind == MESSAGE_REQUEST)
        client_fail(c, id, rc == MESSAGE_E_LIMIT ? WIRE_E_LIMIT : WIRE_E_PROTOCOL, NULL);
    return -EPROTO;
}

/* ---- life ---- */

int request_context_init(struct request_context *c) {
    int rc =
        domain_new(&c->domain, geteuid(), c->arena, c->policy, c->loader, c->tables, c->metrics);
    if (rc)
        return rc;
    request_context_set_time(c);
    c->started_ms = c->now_ms;
    domain_tick(c->domain, c->now_ms);
    return 0;
}

uint64_t request_context_deinit(struct request_context *c) {
    struct cache_stats stats;
    cache_get_stats(c->domain->cache, &stats);
    c->domain = domain_free(c->domain);
    return stats.bytes_stranded;
}

void request_context_tick(struct request_context *c) {
    request_context_set_time(c);
    domain_tick(c->domain, c->now_ms);
}

int client_new(struct client **cp, struct request_context *context, const struct client_peer *peer,
               client_send_fn *send, void *ctx) {
    struct client *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->context = context;
    c->peer = *peer;
    c->send = send;
    c->send_ctx = ctx;
    context->n_clients++;
    *cp = c;
    return 0;
}

struct client *client_free(struct client *c) {
    if (!c)
        return NULL;
    struct domain *d = c->context->domain;
    while (c->pending) {
        struct pending *p = c->pending;
        pending_end(p);
        p->drop(p);
    }
    prefetch_drop_all(c);
    put_drop_all(c);
    grants_acknowledge(c, UINT64_MAX);
    client_close_files(c);
    staging_unuse(c->staging, d);
    c->pins = pin_table_free(c->pins, &d->records);
    cache_sweep(d->cache);
    materialize_tick(&d->materialize);
    c->context->n_clients--;
    free(c);
    return NULL;
}

unsigned client_n_pending(const struct client *c) {
    return c->n_pending;
}

static void tell_progress(struct pending *p, uint64_t now_ms) {
    const struct msg_progress progress = {.id = p->id, .n_done = p->n_done, .n_total = p->n_total};
    struct frame_bytes frame = {0};
    p->told_ms = now_ms;
    client_send(p->client, message_encode_notification(&frame, WIRE_OP_PROGRESS, &progress), &frame,
                -1);
}

void client_tick(struct client *c, uint64_t tick_ms) {
    uint64_t now_ms = MAX(tick_ms, c->context->now_ms);
    struct pending *p, *next;
    DL_FOREACH_SAFE (c->pending, p, next)
        if (now_ms - p->told_ms >= WIRE_PROGRESS_MS / 2)
            tell_progress(p, now_ms);
    put_tick(c, now_ms);
    while (c->grants && c->grants->expires_ms <= now_ms) {
        c->context->metrics->grants_expired++;
        grants_acknowledge(c, c->grants->number);
    }
}
