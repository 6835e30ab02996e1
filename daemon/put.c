/* put: arrays that clients made.
 *
 * The client writes a piece into its staging file and names it; a worker copies it to its place in
 * the arena. The first piece reserves the whole array, the last one publishes it. Whose put of a
 * derived key begins first wins: a second one waits for that array and is granted it in place of
 * its own. Only a named array can be replaced: the new one is found by nobody until it is whole,
 * then takes the name over.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct put {
    struct pending pending;     /* of the piece at work */
    struct put *prev, *next;    /* in client.puts, between pieces and while one is at work */
    struct client *client;      /* borrowed; NULL: it has gone, free this when nothing is due */
    struct domain *domain;      /* borrowed */
    struct cache_entry *entry;  /* borrowed; loading, made by this put */
    struct cache_waiter waiter; /* for another's put of the key */
    struct staging *staging;    /* a use, while a job runs */
    struct loader_group group;
    bool is_populating, is_running;
    uint64_t total_bytes, at, n_bytes, staging_off; /* of the piece */
    uint64_t heard_ms;                              /* when the last piece came */
};

static void put_free(struct put *p) {
    cache_unwait(&p->waiter);
    free(p);
}

/* The client has gone or the array has failed: the entry goes as soon as no job writes to it. */
static void put_abort(struct put *p, int status, const char *text) {
    struct cache_entry *e = p->entry;
    struct client *c = p->client;
    if (c && p->pending.client) {
        uint64_t id = p->pending.id;
        pending_end(&p->pending);
        client_fail(c, id, status, text);
    }
    if (c)
        DL_DELETE(c->puts, p);
    p->client = NULL;
    if (p->is_running || p->is_populating)
        return;
    p->entry = NULL;
    if (e)
        cache_fail(e, status, text);
    put_free(p);
}

static void put_reply(struct put *p, struct cache_entry *e, bool was_present) {
    struct client *c = p->client;
    uint64_t id = p->pending.id;
    struct grant *grant = grant_new(c, 1);
    pending_end(&p->pending);
    if (!grant) {
        client_fail(c, id, WIRE_E_FULL, "no memory");
        return;
    }
    grant_add(grant, e);
    struct msg_put_reply reply = {
        .is_done = 1,
        .was_present = was_present,
        .record = e->record,
        .version = e->version,
        .grant = grant_close(grant, c),
    };
    client_reply(c, id, WIRE_OP_PUT, &reply);
}

static void put_publish(struct put *p) {
    struct cache_entry *e = p->entry;
    struct metrics *m = p->client->context->metrics;
    p->entry = NULL;
    DL_DELETE(p->client->puts, p);
    if (cache_publish(e)) {
        client_fail(p->client, p->pending.id, WIRE_E_FULL, "no room in the record table");
        pending_end(&p->pending);
        cache_fail(e, WIRE_E_FULL, "no room in the record table");
    } else {
        m->buffers_put++;
        m->bytes_put += e->n_bytes;
        put_reply(p, e, false);
    }
    put_free(p);
}

static void on_copied(void *ctx, const struct job *job, struct job_result *result) {
    struct put *p = ctx;
    p->is_running = false;
    if (result->status == -ETIMEDOUT) /* its thread may still copy: leave it both ends */
        cache_strand(p->entry);
    else
        staging_unuse(p->staging, p->domain);
    p->staging = NULL;
    if (!p->client || result->status) {
        put_abort(p, result->status ? sources_job_error(result->status) : WIRE_E_CANCELLED,
                  result->error);
        return;
    }
    p->at += p->n_bytes;
    if (p->at == p->total_bytes) {
        put_publish(p);
        return;
    }
    struct client *c = p->client;
    uint64_t id = p->pending.id;
    const struct msg_put_reply reply = {0};
    pending_end(&p->pending);
    client_reply(c, id, WIRE_OP_PUT, &reply);
}

static void put_copy(struct put *p) {
    struct client *c = p->client;
    const struct job job = {
        .kind = JOB_STAGE,
        .staging = c->staging ? c->staging->number : 0,
        .in_off = p->staging_off,
        .in_bytes = p->n_bytes,
        .out_off = p->entry->offset + p->at,
        .out_bytes = p->n_bytes,
    };
    if (p->n_bytes == 0) {
        put_publish(p);
        return;
    }
    if (loader_submit(&p->group, &job, on_copied, p)) {
        put_abort(p, WIRE_E_FULL, "no memory");
        return;
    }
    p->is_running = true;
    p->staging = c->staging;
    p->staging->n_uses++;
}

static void on_room(struct cache_entry *e, int status) {
    struct put *p = e->maker;
    p->is_populating = false;
    if (status || !p->client)
        put_abort(p, WIRE_E_FULL, "the system has no memory left for the arena");
    else
        put_copy(p);
}

/* The client has gone while a piece is at work, or while it waits for another's array. */
static void drop_put(struct pending *pending) {
    struct put *p = CONTAINER_OF(pending, struct put, pending);
    if (!p->entry) /* it only waits; else put_drop_all() ends it */
        put_free(p);
}

void put_drop_all(struct client *c) {
    while (c->puts)
        put_abort(c->puts, WIRE_E_CANCELLED, "its maker has gone");
}

/* ---- requests ---- */

static void on_other_put(struct cache_waiter *w, struct cache_entry *e, int status,
                         const char *text) {
    struct put *p = CONTAINER_OF(w, struct put, waiter);
    struct client *c = p->client;
    uint64_t id = p->pending.id;
    if (status) {
        pending_end(&p->pending);
        client_fail(c, id, WIRE_E_BUSY,
                    "another client began to put this key and failed: put it again");
    } else {
        put_reply(p, e, true);
    }
    put_free(p);
}

/* Is this piece one that the daemon can take? */
static const char *put_is_wrong(const struct client *c, const struct msg_put *m) {
    unsigned item = item_bytes((unsigned)MIN(m->item_type, N_ITEM_TYPES));
    uint64_t end;
    if (item == 0 || m->total_bytes % item)
        return "the size is no multiple of the item's";
    if (ADD_OVERFLOW(m->at, m->n_bytes, &end) || end > m->total_bytes ||
        (m->n_bytes == 0 && m->total_bytes))
        return "the piece lies outside of the array";
    if (m->n_bytes &&
        (!c->staging || !range_is_inside(m->staging_off, m->n_bytes, DOMAIN_STAGING_BYTES)))
        return "the piece lies outside of the staging file";
    return NULL;
}

void put_tick(struct client *c, uint64_t now_ms) {
    struct put *p, *next;
    DL_FOREACH_SAFE (c->puts, p, next)
        if (!p->pending.client && now_ms - p->heard_ms > WIRE_SILENCE_MS)
            put_abort(p, WIRE_E_CANCELLED, "its maker does not go on");
}

static struct put *put_find(struct client *c, struct str key) {
    struct put *p;
    DL_FOREACH (c->puts, p)
        if (p->entry->key_bytes == key.len && memcmp(p->entry->key, key.ptr, key.len) == 0)
            return p;
    return NULL;
}

static struct put *put_new(struct client *c, uint64_t id) {
    struct put *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->client = c;
    p->domain = c->context->domain;
    loader_group_init(&p->group, c->context->loader, loader_demand(c->context->loader));
    pending_begin(&p->pending, c, id, WIRE_OP_PUT, 1, drop_put);
    return p;
}

/* The key is there, or another client's put of it is under way. */
static void put_second(struct client *c, uint64_t id, struct cache_entry *e) {
    struct put *p = put_new(c, id);
    if (!p) {
        client_fail(c, id, WIRE_E_FULL, "no memory");
    } else if (e->state == CACHE_READY) {
        put_reply(p, e, true);
        put_free(p);
    } else {
        p->waiter.on_done = on_other_put;
        cache_wait(e, &p->waiter);
    }
}

static void put_first(struct client *c, uint64_t id, const struct msg_put *m, const struct key *k,
                      bool is_listed) {
    struct cache_entry *e;
    struct domain *d = c->context->domain;
    char why[256] = "no memory";
    struct put *p = put_new(c, id);
    if (!p) {
        client_fail(c, id, WIRE_E_FULL, why);
        return;
    }
    uint64_t source_id = k->kind == KEY_DERIVED ? k->source_id : 0;
    int rc = cache_begin(d->cache, &e, m->key, k->kind, source_id, is_listed);
    if (rc) {
        pending_end(&p->pending);
        client_fail(c, id, WIRE_E_FULL, why);
        put_free(p);
        return;
    }
    DL_APPEND(c->puts, p);
    p->entry = e;
    e->maker = NULL;
    p->total_bytes = m->total_bytes;
    p->heard_ms = c->context->now_ms;
    p->n_bytes = m->n_bytes;
    p->staging_off = m->staging_off;
    rc = cache_reserve(e, m->total_bytes, (uint8_t)m->item_type, on_room, why);
    if (rc == 0) {
        put_copy(p);
    } else if (rc == CACHE_E_COLD) {
        p->is_populating = true;
        e->maker = p;
    } else {
        put_abort(p, rc == CACHE_E_TOO_LARGE ? WIRE_E_TOO_LARGE : WIRE_E_FULL, why);
    }
}

static void put_next(struct put *p, uint64_t id, const struct msg_put *m) {
    if (p->pending.client || m->at != p->at || m->total_bytes != p->total_bytes) {
        client_fail(p->client, id, WIRE_E_PROTOCOL, "pieces of an array come one after the other");
        return;
    }
    p->n_bytes = m->n_bytes;
    p->staging_off = m->staging_off;
    p->heard_ms = p->client->context->now_ms;
    pending_begin(&p->pending, p->client, id, WIRE_OP_PUT, 1, drop_put);
    put_copy(p);
}

int handle_put(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_put *m = body;
    struct key_scratch scratch;
    struct key k;
    const char *wrong = put_is_wrong(c, m);
    if (wrong || key_parse(&k, &scratch, m->key) ||
        (k.kind != KEY_DERIVED && k.kind != KEY_NAMED)) {
        client_fail(c, id, wrong ? WIRE_E_PROTOCOL : WIRE_E_BAD_KEY, wrong);
        return 0;
    }
    struct put *own = put_find(c, m->key);
    if (own && m->at == 0 && !own->pending.client) { /* it begins anew */
        put_abort(own, WIRE_E_CANCELLED, "its maker began anew");
        own = NULL;
    }
    struct cache_entry *e = cache_find(c->context->domain->cache, m->key);
    bool replaces = k.kind == KEY_NAMED && m->flags & WIRE_PUT_REPLACE;
    if (own)
        put_next(own, id, m);
    else if (m->at)
        client_fail(c, id, WIRE_E_PROTOCOL, "the first piece of an array begins at 0");
    else if (e && !replaces)
        put_second(c, id, e);
    else
        put_first(c, id, m, &k, !replaces);
    return 0;
}
