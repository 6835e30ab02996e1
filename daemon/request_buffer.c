/* Handlers of buffers: materialize, get, clear, released.
 *
 * A materialize is as many wants as it has keys. What becomes ready is held at once, so that a
 * later key of the same request cannot push an earlier one out; a key for which there is no memory
 * then is answered `full`. A request that waits for memory holds nothing meanwhile (two of them
 * could wait for each other for ever): what was ready and has gone again when the last one comes is
 * answered `full` too, and the client asks again.
 */
#include "client.h"

#include <stdio.h>
#include <string.h>

struct buffers_request;

struct buffer_want {
    struct want want;
    struct buffers_request *request; /* borrowed */
    struct cache_entry *entry;       /* held when the request holds */
    uint32_t record;
    uint64_t version;
    int status;
    bool is_done;
    char *detail; /* owned; NULL: none */
};

struct buffers_request {
    struct pending pending;
    bool waits_for_memory;
    uint32_t n_items;
    uint64_t n_made;
    struct buffer_want items[];
};

static void buffers_free(struct buffers_request *r) {
    for (uint32_t i = 0; i < r->n_items; i++) {
        struct buffer_want *item = &r->items[i];
        if (!item->is_done && item->want.m)
            want_cancel(&item->want);
        if (item->entry)
            cache_unhold(item->entry);
        free(item->detail);
    }
    free(r);
}

/* The entry to grant: still the one that became ready. */
static struct cache_entry *item_entry(const struct buffer_want *item, struct cache *cache) {
    struct cache_entry *e = cache_at(cache, item->record);
    return e && e->state == CACHE_READY && e->version == item->version ? e : NULL;
}

static void buffers_reply(struct client *c, struct buffers_request *r, uint64_t id, unsigned op) {
    CLEANUP(cleanup_free) struct msg_grant *items = calloc(r->n_items + 1ull, sizeof(*items));
    struct grant *grant = grant_new(c, r->n_items);
    if (!items || !grant) {
        grant_free(grant);
        client_fail(c, id, WIRE_E_FULL, "no memory for the reply");
        return;
    }
    for (uint32_t i = 0; i < r->n_items; i++) {
        struct buffer_want *item = &r->items[i];
        struct cache_entry *e = item->status ? NULL : item_entry(item, c->context->domain->cache);
        items[i].status = e ? 0 : (uint64_t)(item->status ? item->status : WIRE_E_FULL);
        items[i].record = item->record;
        items[i].version = item->version;
        if (e)
            grant_add(grant, e);
        else if (item->detail)
            items[i].detail = (struct str){item->detail, (uint32_t)strlen(item->detail)};
    }
    const struct msg_grants reply = {
        .n_made = r->n_made,
        .items = items,
        .n_items = r->n_items,
        .grant = grant_close(grant, c),
    };
    client_reply(c, id, op, &reply);
}

static void buffers_end(struct buffers_request *r) {
    struct client *c = r->pending.client;
    pending_end(&r->pending);
    buffers_reply(c, r, r->pending.id, r->pending.op);
    buffers_free(r);
}

static void count_grant(struct metrics *m, const struct want *w) {
    if (w->has_begun)
        m->grants_made++;
    else if (w->has_joined)
        m->grants_joined++;
    else
        m->grants_ready++;
}

static void on_buffer(struct want *w, struct cache_entry *e, int status, const char *text) {
    struct buffer_want *item = CONTAINER_OF(w, struct buffer_want, want);
    struct buffers_request *r = item->request;
    struct client *c = r->pending.client;
    item->is_done = true;
    item->status = status;
    if (status) {
        item->detail = text && *text ? strndup(text, 255) : NULL;
    } else {
        item->record = e->record;
        item->version = e->version;
        if (!r->waits_for_memory) {
            item->entry = e;
            cache_hold(e);
        }
        count_grant(c->context->metrics, w);
        r->n_made += w->has_begun;
    }
    r->pending.n_done++;
    if (r->pending.n_done == r->pending.n_total)
        buffers_end(r);
}

static void drop_buffers(struct pending *p) {
    buffers_free(CONTAINER_OF(p, struct buffers_request, pending));
}

static struct buffers_request *buffers_new(struct client *c, uint64_t id, uint32_t n_items) {
    struct buffers_request *r = NULL;
    if (n_items > WIRE_MAX_MATERIALIZE)
        client_fail(c, id, WIRE_E_LIMIT, "too many keys in one request");
    else if (!(r = calloc(1, sizeof(*r) + n_items * sizeof(r->items[0]))))
        client_fail(c, id, WIRE_E_FULL, "no memory");
    else
        r->n_items = n_items;
    return r;
}

int handle_materialize(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_keys *keys = body;
    struct buffers_request *r = buffers_new(c, id, keys->n_keys);
    if (!r)
        return 0;
    r->waits_for_memory = keys->flags & WIRE_MATERIALIZE_WAIT;
    /* One more than there are keys, so that the request does not end before the last want has
     * begun. */
    pending_begin(&r->pending, c, id, WIRE_OP_MATERIALIZE, keys->n_keys + 1ull, drop_buffers);
    for (uint32_t i = 0; i < keys->n_keys; i++) {
        struct buffer_want *item = &r->items[i];
        item->request = r;
        item->want.on_done = on_buffer;
        item->want.queue = loader_demand(c->context->loader);
        item->want.waits_for_memory = r->waits_for_memory;
        want_start(&item->want, &c->context->domain->materialize, keys->keys[i].text);
    }
    r->pending.n_total--;
    if (r->pending.n_done == r->pending.n_total)
        buffers_end(r);
    return 0;
}

/* The listed entry of a key, canonical or not; NULL when it is absent. */
static struct cache_entry *find_entry(struct client *c, struct str key) {
    struct domain *d = c->context->domain;
    struct cache_entry *e = cache_find(d->cache, key);
    struct column_place place;
    char text[256];
    if (e || materialize_resolve(&d->materialize, &place, key, NULL, text))
        return e;
    return cache_find(d->cache, (struct str){place.key, (uint32_t)strlen(place.key)});
}

int handle_get(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_keys *keys = body;
    struct buffers_request *r = buffers_new(c, id, keys->n_keys);
    if (!r)
        return 0;
    for (uint32_t i = 0; i < keys->n_keys; i++) {
        struct cache_entry *e = find_entry(c, keys->keys[i].text);
        struct buffer_want *item = &r->items[i];
        item->status = e && e->state == CACHE_READY ? 0 : WIRE_E_ABSENT;
        if (item->status)
            continue;
        e->n_hits++;
        item->record = e->record;
        item->version = e->version;
        c->context->metrics->grants_ready++;
    }
    buffers_reply(c, r, id, WIRE_OP_GET);
    buffers_free(r);
    return 0;
}

/* ---- clear ---- */

/* Has a session other than this one the entry's file open? */
static bool is_wanted(struct client *c, const struct cache_entry *e) {
    struct sources_file *file = sources_find(c->context->domain->sources, e->source_id);
    if (!file)
        return false;
    struct client_file *own;
    HASH_FIND_PTR(c->files, &file, own);
    return file->n_sessions > (own ? 1u : 0u);
}

int handle_clear(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_clear *clear = body;
    CLEANUP(cleanup_free) struct msg_cleared *items = calloc(clear->n_keys + 1ull, sizeof(*items));
    if (!items || clear->n_keys > WIRE_MAX_MATERIALIZE) {
        client_fail(c, id, items ? WIRE_E_LIMIT : WIRE_E_FULL, NULL);
        return 0;
    }
    for (uint32_t i = 0; i < clear->n_keys; i++) {
        struct cache_entry *e = find_entry(c, clear->keys[i].text);
        items[i].outcome = WIRE_CLEAR_ABSENT;
        if (!e || e->state != CACHE_READY)
            continue;
        items[i].bytes = e->n_bytes;
        items[i].offset = e->offset;
        items[i].outcome = (uint64_t)cache_clear(e, c->pins, is_wanted(c, e), clear->force);
        c->context->metrics->buffers_cleared += items[i].outcome == WIRE_CLEAR_FREED;
    }
    const struct msg_clear_reply reply = {.items = items, .n_items = clear->n_keys};
    client_reply(c, id, WIRE_OP_CLEAR, &reply);
    materialize_tick(&c->context->domain->materialize);
    return 0;
}

int handle_released(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_released *released = body;
    struct domain *d = c->context->domain;
    if (released->record < d->records.n_records)
        cache_released(d->cache, (uint32_t)released->record);
    materialize_tick(&d->materialize);
    return 0;
}
