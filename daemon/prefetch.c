/* Prefetch scopes: buffers that a session wants to be there, in its order, in the background.
 *
 * A scope has a queue of its own in the loader, which bounds the workers that it holds and takes
 * its turn with other scopes after every demand. Only a window of its buffers loads at a time, so
 * that what comes first is done first. A buffer that is ready is not held: the scope makes, it does
 * not keep. A key that fails is noted and the scope goes on. A finished scope stays until the
 * session ends or too many came after it, so that its status can be asked for.
 */
#include "client.h"

#include <stdio.h>
#include <string.h>

struct prefetch_item {
    struct want want;
    struct prefetch_scope *scope; /* borrowed */
    char *key;                    /* owned */
    bool has_started, is_done;
    int status;
    char *detail; /* owned */
};

/* A client that waits for a scope. */
struct scope_wait {
    struct pending pending;
    struct scope_wait *prev, *next; /* in scope.waits */
    struct prefetch_scope *scope;   /* borrowed */
};

struct prefetch_scope {
    struct prefetch_scope *prev, *next; /* in client.scopes */
    struct client *client;              /* borrowed */
    uint64_t number;
    struct loader_queue *queue; /* owned; NULL once it is finished */
    struct scope_wait *waits;   /* owned list */
    unsigned window, n_active;
    bool is_stepping;
    uint32_t n_items, next_item, n_ready, n_failed;
    uint64_t bytes_ready;
    struct prefetch_item items[];
};

static bool scope_is_finished(const struct prefetch_scope *s) {
    return s->n_ready + s->n_failed == s->n_items;
}

static void reply_scope(struct prefetch_scope *s, uint64_t id) {
    struct msg_scope_item failures[WIRE_PAGE_ITEMS];
    struct msg_scope_reply reply = {
        .n_total = s->n_items,
        .n_ready = s->n_ready,
        .n_failed = s->n_failed,
        .bytes_ready = s->bytes_ready,
        .failures = failures,
    };
    for (uint32_t i = 0; i < s->n_items && reply.n_failures < WIRE_PAGE_ITEMS; i++) {
        const struct prefetch_item *item = &s->items[i];
        if (!item->is_done || !item->status)
            continue;
        const char *detail = item->detail ? item->detail : "";
        failures[reply.n_failures++] = (struct msg_scope_item){
            .index = i,
            .status = (uint64_t)item->status,
            .detail = {detail, (uint32_t)strlen(detail)},
        };
    }
    client_reply(s->client, id, WIRE_OP_SCOPE, &reply);
}

static void scope_finish(struct prefetch_scope *s) {
    s->queue = loader_queue_free(s->queue);
    while (s->waits) {
        struct scope_wait *w = s->waits;
        DL_DELETE(s->waits, w);
        pending_end(&w->pending);
        reply_scope(s, w->pending.id);
        free(w);
    }
}

static void item_end(struct prefetch_item *item, int status, const char *text) {
    struct prefetch_scope *s = item->scope;
    item->is_done = true;
    item->status = status;
    item->detail = status && text && *text ? strndup(text, 255) : NULL;
    s->n_failed += status != 0;
    s->n_ready += status == 0;
}

static void scope_step(struct prefetch_scope *s);

static void on_prefetched(struct want *w, struct cache_entry *e, int status, const char *text) {
    struct prefetch_item *item = CONTAINER_OF(w, struct prefetch_item, want);
    struct prefetch_scope *s = item->scope;
    s->n_active--;
    if (!status)
        s->bytes_ready += e->n_bytes;
    item_end(item, status, text);
    struct scope_wait *wait;
    DL_FOREACH (s->waits, wait)
        wait->pending.n_done = s->n_ready + s->n_failed;
    scope_step(s);
}

/* Start what the window allows. Buffers that are there already end at once, without recursion. */
static void scope_step(struct prefetch_scope *s) {
    if (s->is_stepping)
        return;
    s->is_stepping = true;
    while (s->next_item < s->n_items && s->n_active < s->window) {
        struct prefetch_item *item = &s->items[s->next_item++];
        item->has_started = true;
        item->want.on_done = on_prefetched;
        item->want.queue = s->queue;
        s->n_active++;
        want_start(&item->want, &s->client->context->domain->materialize,
                   (struct str){item->key, (uint32_t)strlen(item->key)});
    }
    s->is_stepping = false;
    if (scope_is_finished(s) && s->queue)
        scope_finish(s);
}

static void scope_cancel(struct prefetch_scope *s) {
    s->is_stepping = true; /* nothing starts any more */
    for (uint32_t i = 0; i < s->n_items; i++) {
        struct prefetch_item *item = &s->items[i];
        if (item->is_done)
            continue;
        if (item->has_started) {
            want_cancel(&item->want);
            s->n_active--;
        }
        item_end(item, WIRE_E_CANCELLED, NULL);
    }
    s->next_item = s->n_items;
    s->is_stepping = false;
    if (s->queue)
        scope_finish(s);
}

static void scope_free(struct prefetch_scope *s) {
    struct client *c = s->client;
    scope_cancel(s);
    DL_DELETE(c->scopes, s);
    c->n_scopes--;
    for (uint32_t i = 0; i < s->n_items; i++) {
        free(s->items[i].key);
        free(s->items[i].detail);
    }
    free(s);
}

void prefetch_drop_all(struct client *c) {
    while (c->scopes)
        scope_free(c->scopes);
}

/* Room for one more: the oldest finished scope is forgotten. */
static bool make_room(struct client *c) {
    struct prefetch_scope *s;
    if (c->n_scopes < WIRE_MAX_SCOPES)
        return true;
    DL_FOREACH (c->scopes, s)
        if (scope_is_finished(s)) {
            scope_free(s);
            return true;
        }
    return false;
}

static struct prefetch_scope *scope_new(struct client *c, const struct msg_prefetch *m) {
    struct prefetch_scope *s = calloc(1, sizeof(*s) + m->n_keys * sizeof(s->items[0]));
    if (!s)
        return NULL;
    s->client = c;
    s->n_items = m->n_keys;
    for (uint32_t i = 0; i < m->n_keys; i++) {
        s->items[i].scope = s;
        s->items[i].key = strndup(m->keys[i].text.ptr, m->keys[i].text.len);
        if (!s->items[i].key)
            goto fail;
    }
    if (loader_queue_new(&s->queue, c->context->loader, (unsigned)MIN(m->nthreads, 1024)))
        goto fail;
    struct loader_stats stats;
    loader_get_stats(c->context->loader, &stats);
    s->window = 2 * (m->nthreads ? (unsigned)MIN(m->nthreads, stats.n_workers) : stats.n_workers);
    s->number = ++c->next_scope;
    c->n_scopes++;
    DL_APPEND(c->scopes, s);
    return s;
fail:
    for (uint32_t i = 0; i < m->n_keys; i++)
        free(s->items[i].key);
    free(s);
    return NULL;
}

int handle_prefetch(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_prefetch *m = body;
    if (m->n_keys > WIRE_MAX_MATERIALIZE || !make_room(c)) {
        client_fail(c, id, WIRE_E_LIMIT,
                    "too many keys in one scope, or too many scopes that still load");
        return 0;
    }
    struct prefetch_scope *s = scope_new(c, m);
    if (!s) {
        client_fail(c, id, WIRE_E_FULL, "no memory");
        return 0;
    }
    const struct msg_prefetch_reply reply = {.scope = s->number};
    client_reply(c, id, WIRE_OP_PREFETCH, &reply);
    scope_step(s);
    return 0;
}

static void drop_wait(struct pending *p) {
    struct scope_wait *w = CONTAINER_OF(p, struct scope_wait, pending);
    DL_DELETE(w->scope->waits, w);
    free(w);
}

static void scope_wait(struct prefetch_scope *s, uint64_t id) {
    struct scope_wait *w = calloc(1, sizeof(*w));
    if (!w) {
        client_fail(s->client, id, WIRE_E_FULL, "no memory");
        return;
    }
    w->scope = s;
    DL_APPEND(s->waits, w);
    pending_begin(&w->pending, s->client, id, WIRE_OP_SCOPE, s->n_items, drop_wait);
    w->pending.n_done = s->n_ready + s->n_failed;
}

int handle_scope(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_scope *m = body;
    struct prefetch_scope *s;
    DL_FOREACH (c->scopes, s)
        if (s->number == m->scope)
            break;
    if (!s) {
        client_fail(c, id, WIRE_E_ABSENT, "no such prefetch scope");
        return 0;
    }
    if (m->action == WIRE_SCOPE_CANCEL)
        scope_cancel(s);
    if (m->action == WIRE_SCOPE_WAIT && !scope_is_finished(s))
        scope_wait(s, id);
    else
        reply_scope(s, id);
    return 0;
}
