/* Prefetch scopes.
 *
 * A scope of the daemon is made by one request. A list of keys that does not fit into one becomes
 * several scopes there, and one here: a number of this session's own (its top bit set) that stands
 * for the parts in order. Whatever is asked about it is asked of each part and summed up; keys are
 * counted through. The parts load side by side, each with at most nthreads workers.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "keys.h"
#include "session.h"

#define OWN_SCOPE (1ull << 63)

struct scope_part {
    uint64_t scope; /* the daemon's number */
    uint64_t n_keys;
};

struct scope_parts {
    uint64_t id;
    size_t n_parts;
    struct scope_parts *next;
    struct scope_part parts[];
};

void scopes_free(struct scope_parts *scopes) {
    while (scopes) {
        struct scope_parts *next = scopes->next;
        free(scopes);
        scopes = next;
    }
}

/* ---- starting ---- */

static int prefetch_part(struct scope_part *part, struct bufferd *b, struct msg_key *batch,
                         size_t n, unsigned nthreads, int64_t deadline,
                         struct bufferd_error *error) {
    struct msg_prefetch request = {
        .ack = session_ack(b),
        .nthreads = nthreads,
        .keys = batch,
        .n_keys = (uint32_t)n,
    };
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_PREFETCH, &request, -1, deadline, error);
    if (rc)
        return rc;
    const struct msg_prefetch_reply *reply = call_reply(c);
    *part = (struct scope_part){reply->scope, n};
    return 0;
}

/* Take the parts over and give them a number. */
static uint64_t scopes_add(struct bufferd *b, struct scope_parts *s) {
    pthread_mutex_lock(&b->scopes_mutex);
    s->id = b->scopes ? b->scopes->id + 1 : OWN_SCOPE;
    LL_PREPEND(b->scopes, s);
    pthread_mutex_unlock(&b->scopes_mutex);
    return s->id;
}

static int part_ask(struct bufferd_scope *sum, struct bufferd *b, const struct scope_part *part,
                    uint64_t first, unsigned action, int64_t deadline, struct bufferd_error *error);

static void cancel_parts(struct bufferd *b, const struct scope_parts *s, int64_t deadline) {
    struct bufferd_scope sum = {0};
    for (size_t i = 0; i < s->n_parts; i++)
        part_ask(&sum, b, &s->parts[i], 0, WIRE_SCOPE_CANCEL, deadline, NULL);
    bufferd_scope_deinit(&sum);
}

static int prefetch_all(struct scope_parts *s, struct bufferd *b, const char *const *keys,
                        size_t n_keys, unsigned nthreads, int64_t deadline,
                        struct bufferd_error *error) {
    CLEANUP(cleanup_free) size_t *todo = malloc(n_keys * sizeof(*todo));
    CLEANUP(cleanup_free) struct msg_key *batch = malloc(WIRE_MAX_MATERIALIZE * sizeof(*batch));
    if (!todo || !batch)
        return fail(error, -ENOMEM, "cannot prefetch %zu buffers", n_keys);
    for (size_t i = 0; i < n_keys; i++)
        todo[i] = i;
    for (size_t at = 0; at < n_keys;) {
        size_t n = keys_batch(batch, keys, todo + at, n_keys - at);
        int rc = prefetch_part(&s->parts[s->n_parts], b, batch, n, nthreads, deadline, error);
        if (rc)
            return rc;
        s->n_parts++;
        at += n;
    }
    return 0;
}

API int bufferd_prefetch(struct bufferd *b, uint64_t *scopep, const char *const *keys,
                         size_t n_keys, unsigned nthreads, int timeout_ms,
                         struct bufferd_error *error) {
    int64_t deadline = deadline_after(timeout_ms);
    if (n_keys == 0)
        return fail(error, -EINVAL, "nothing to prefetch");
    for (size_t i = 0; i < n_keys; i++)
        if (key_is_too_long(keys[i]))
            return fail(error, BUFFERD_E_BAD_KEY, "key %zu is longer than %d bytes", i,
                        WIRE_MAX_KEY_BYTES);
    /* The longest keys go 30 to a request. */
    size_t n_max_parts = n_keys / 30 + 1;
    CLEANUP(cleanup_free)
    struct scope_parts *s = calloc(1, sizeof(*s) + n_max_parts * sizeof(s->parts[0]));
    if (!s)
        return fail(error, -ENOMEM, "cannot prefetch %zu buffers", n_keys);
    int rc = prefetch_all(s, b, keys, n_keys, nthreads, deadline, error);
    if (rc) {
        cancel_parts(b, s, deadline);
        return rc;
    }
    *scopep = s->n_parts == 1 ? s->parts[0].scope : scopes_add(b, TAKE_PTR(s));
    return 0;
}

/* ---- asking ---- */

static int failures_add(struct bufferd_scope *sum, const struct msg_scope_reply *reply,
                        uint64_t first) {
    size_t n_bytes = (sum->n_failures + reply->n_failures) * sizeof(*sum->failures);
    if (reply->n_failures == 0)
        return 0;
    struct bufferd_scope_failure *failures = realloc(sum->failures, n_bytes);
    if (!failures)
        return -ENOMEM;
    sum->failures = failures;
    for (uint32_t i = 0; i < reply->n_failures; i++) {
        const struct msg_scope_item *item = &reply->failures[i];
        struct bufferd_scope_failure *f = &failures[sum->n_failures++];
        f->index = first + item->index;
        f->code = outcome_of_wire(item->status);
        wire_error_describe(f->text, sizeof(f->text), (unsigned)f->code, item->detail);
    }
    return 0;
}

static int part_ask(struct bufferd_scope *sum, struct bufferd *b, const struct scope_part *part,
                    uint64_t first, unsigned action, int64_t deadline,
                    struct bufferd_error *error) {
    struct msg_scope request = {
        .ack = session_ack(b),
        .scope = part->scope,
        .action = action,
    };
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_SCOPE, &request, -1, deadline, error);
    if (rc)
        return rc;
    const struct msg_scope_reply *reply = call_reply(c);
    sum->n_total += reply->n_total;
    sum->n_ready += reply->n_ready;
    sum->n_failed += reply->n_failed;
    sum->bytes_ready += reply->bytes_ready;
    rc = failures_add(sum, reply, first);
    return rc ? fail(error, rc, "cannot list the failures of a prefetch") : 0;
}

/* Parts are never changed or freed while the session lives. */
static const struct scope_parts *scopes_find(struct bufferd *b, uint64_t scope) {
    struct scope_parts *s;
    pthread_mutex_lock(&b->scopes_mutex);
    LL_SEARCH_SCALAR(b->scopes, s, id, scope);
    pthread_mutex_unlock(&b->scopes_mutex);
    return s;
}

static int scope_ask(struct bufferd *b, struct bufferd_scope *out, uint64_t scope, unsigned action,
                     int timeout_ms, struct bufferd_error *error) {
    int64_t deadline = deadline_after(timeout_ms);
    const struct scope_part one = {.scope = scope};
    const struct scope_parts *s = scope & OWN_SCOPE ? scopes_find(b, scope) : NULL;
    const struct scope_part *parts = s ? s->parts : &one;
    size_t n_parts = s ? s->n_parts : 1;
    CLEANUP(bufferd_scope_deinit) struct bufferd_scope sum = {0};
    uint64_t first = 0;
    for (size_t i = 0; i < n_parts; i++) {
        int rc = part_ask(&sum, b, &parts[i], first, action, deadline, error);
        if (rc)
            return rc;
        first += parts[i].n_keys;
    }
    *out = sum;
    sum = (struct bufferd_scope){0};
    return 0;
}

API int bufferd_scope_status(struct bufferd *b, struct bufferd_scope *out, uint64_t scope,
                             int timeout_ms, struct bufferd_error *error) {
    return scope_ask(b, out, scope, WIRE_SCOPE_STATUS, timeout_ms, error);
}

API int bufferd_scope_wait(struct bufferd *b, struct bufferd_scope *out, uint64_t scope,
                           int timeout_ms, struct bufferd_error *error) {
    return scope_ask(b, out, scope, WIRE_SCOPE_WAIT, timeout_ms, error);
}

API int bufferd_scope_cancel(struct bufferd *b, struct bufferd_scope *out, uint64_t scope,
                             int timeout_ms, struct bufferd_error *error) {
    return scope_ask(b, out, scope, WIRE_SCOPE_CANCEL, timeout_ms, error);
}

API void bufferd_scope_deinit(struct bufferd_scope *s) {
    free(s->failures);
    *s = (struct bufferd_scope){0};
}
