/* Views: pinned buffers, and the requests that make, find and give back buffers.
 *
 * A pin is a count in this session's own table, taken by the protocol of proto/shm.h, without a
 * system call. A record's fields are read only while it is pinned, and are believed only as far as
 * this mapping of the arena reaches: a record that says otherwise is as good as absent.
 *
 * The index (proto/index.h) names records that may hold a key; which one does is read in the record
 * while it is pinned.
 *
 * Requests with many keys are split to the wire's limits; each item has its own outcome. A granted
 * buffer can be gone before it is pinned (the daemon holds a grant for seconds, and this process may
 * have been stopped): such items are asked for once more, and are absent if that fails too.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../proto/key.h"
#include "drop.h"
#include "keys.h"
#include "session.h"

_Static_assert((int)BUFFERD_NOT_THERE == (int)WIRE_CLEAR_ABSENT, "same numbers as the wire");

/* ---- views ---- */

/* The record is pinned. False: it says what cannot be. */
static bool view_fill(struct bufferd_view *vp, struct bufferd *b, uint32_t i, uint64_t version) {
    const struct shm_record *r = &b->records[i];
    uint64_t offset = r->offset, n_bytes = r->n_bytes;
    uint8_t item_type = r->item_type;
    if (!range_is_inside(offset, n_bytes, b->arena.n_bytes) || item_type >= N_ITEM_TYPES)
        return false;
    *vp = (struct bufferd_view){
        .data = (const char *)b->arena.base + offset,
        .n_bytes = n_bytes,
        .item_type = item_type,
        .record = i,
        .version = version,
        .session = b,
    };
    return true;
}

static void tell_released(struct bufferd *b, uint32_t i, uint64_t version) {
    struct msg_released body = {.record = i, .version = version};
    struct frame_bytes frame;
    if (message_encode_notification(&frame, WIRE_OP_RELEASED, &body) == 0)
        line_push_lossy(b->line, &frame);
}

/* Give one count back. The reference that a view has is the caller's business. True: it was the last on a
 * buffer that was cleared. */
static bool pin_give_back(struct bufferd *b, uint32_t i, uint64_t version) {
    pthread_rwlock_rdlock(&b->gate);
    bool tells = b->role != ROLE_CHILD_FROZEN && pin_drop(b->pins, &b->records[i], i, version);
    pthread_rwlock_unlock(&b->gate);
    if (tells)
        tell_released(b, i, version);
    return tells;
}

bool view_pin(struct bufferd_view *vp, struct bufferd *b, uint64_t record, uint64_t version) {
    if (record >= b->n_records)
        return false;
    uint32_t i = (uint32_t)record;
    pthread_rwlock_rdlock(&b->gate);
    bool is_pinned = b->role == ROLE_OWNER &&
                     pin_take(b->pins, &b->records[i], i, version,
                              atomic_load_explicit(&b->header->tick, memory_order_relaxed));
    pthread_rwlock_unlock(&b->gate);
    if (!is_pinned)
        return false;
    if (!view_fill(vp, b, i, version)) {
        pin_give_back(b, i, version);
        return false;
    }
    bufferd_ref(b);
    return true;
}

API int bufferd_pin(struct bufferd_view *vp, struct bufferd *b, uint32_t record, uint64_t version) {
    return view_pin(vp, b, record, version) ? 0 : BUFFERD_E_ABSENT;
}

/* Whether the pinned record is this key's. */
static bool record_has_key(const struct bufferd *b, const struct shm_record *r, struct str key,
                           uint64_t hash) {
    if (r->key_hash != hash || r->key_bytes != key.len)
        return false;
    if (key.len <= SHM_INLINE_KEY_BYTES)
        return memcmp(r->key, key.ptr, key.len) == 0;
    uint64_t off = (uint64_t)r->key_off * SHM_KEY_UNIT;
    return range_is_inside(off, key.len, b->keys_bytes) &&
           memcmp(b->keys + off, key.ptr, key.len) == 0;
}

static struct str key_str(const char *key) {
    return str_cut(key, WIRE_MAX_KEY_BYTES + 1);
}

API uint64_t bufferd_key_hash(const char *key) {
    return key_hash(key_str(key));
}

API int bufferd_pin_hashed(struct bufferd_view *vp, struct bufferd *b, const char *key,
                           uint64_t hash) {
    uint32_t i;
    __builtin_prefetch(index_word(b->index, hash, INDEX_LINE_WORDS)); /* a miss reads both lines */
    for (unsigned at = 0; index_next(b->index, hash, &at, &i);) {
        if (i >= b->n_records)
            continue;
        uint64_t version = atomic_load_explicit(&b->records[i].version, memory_order_acquire);
        struct bufferd_view view;
        if (!view_pin(&view, b, i, version))
            continue;
        if (record_has_key(b, &b->records[i], key_str(key), hash)) {
            *vp = view;
            return 0;
        }
        bufferd_release(&view);
    }
    return BUFFERD_E_ABSENT;
}

API int bufferd_pin_key(struct bufferd_view *vp, struct bufferd *b, const char *key) {
    return bufferd_pin_hashed(vp, b, key, bufferd_key_hash(key));
}

API void bufferd_view_copy(struct bufferd_view *vp, const struct bufferd_view *v) {
    struct bufferd *b = v->session;
    pthread_rwlock_rdlock(&b->gate);
    if (b->role != ROLE_CHILD_FROZEN) /* held already: there is nothing to check again */
        atomic_fetch_add_explicit(&b->pins.pins[v->record].count, 1, memory_order_seq_cst);
    pthread_rwlock_unlock(&b->gate);
    bufferd_ref(b);
    *vp = *v;
}

API void bufferd_release(struct bufferd_view *v) {
    struct bufferd *b = v->session;
    if (!b)
        return;
    uint64_t offset = (uint64_t)((const char *)v->data - (const char *)b->arena.base);
    struct drop_range range = drop_range_of(b, offset, v->n_bytes);
    if (pin_give_back(b, v->record, v->version))
        drop_ranges(b, &range, 1);
    *v = (struct bufferd_view){0};
    bufferd_unref(b);
}

API uint64_t bufferd_view_offset(const struct bufferd_view *v) {
    return (uint64_t)((const char *)v->data - (const char *)v->session->arena.base);
}

/* ---- many keys ---- */

struct fetch {
    struct bufferd *session;
    unsigned op;
    int flags;
    struct bufferd_result *results;
    const char *const *keys;
    size_t *todo; /* owned: items without an outcome, in order */
    size_t n_todo, n_again;
    uint64_t n_made;
    int64_t deadline;
};

static void result_fail(struct bufferd_result *r, int code, struct str detail) {
    r->code = code;
    r->view = (struct bufferd_view){0};
    wire_error_describe(r->text, sizeof(r->text), (unsigned)code, detail);
}

/* One item's answer. Items that were granted and are gone again go back to todo; so do those that
 * were to wait for memory and lost what they had while others waited. */
static void fetch_take(struct fetch *f, size_t item, const struct msg_grant *g) {
    struct bufferd_result *r = &f->results[item];
    if (g->status) {
        result_fail(r, outcome_of_wire(g->status), g->detail);
        if (g->status == WIRE_E_FULL && f->flags & BUFFERD_WAIT_MEMORY)
            f->todo[f->n_again++] = item;
    } else if (view_pin(&r->view, f->session, g->record, g->version)) {
        r->code = 0;
        r->text[0] = 0;
    } else {
        result_fail(r, BUFFERD_E_ABSENT, (struct str){0});
        f->todo[f->n_again++] = item;
    }
}

static int fetch_batch(struct fetch *f, struct msg_key *batch, size_t at, size_t *n_takenp,
                       struct bufferd_error *error) {
    size_t n = keys_batch(batch, f->keys, f->todo + at, f->n_todo - at);
    struct msg_keys request = {
        .ack = session_ack(f->session),
        .flags = f->flags & BUFFERD_WAIT_MEMORY ? WIRE_MATERIALIZE_WAIT : 0,
        .keys = batch,
        .n_keys = (uint32_t)n,
    };
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, f->session, f->op, &request, -1, f->deadline, error);
    if (rc)
        return rc;
    const struct msg_grants *reply = call_reply(c);
    if (reply->n_items != n)
        return fail(error, BUFFERD_E_PROTOCOL, "the daemon answered %u of %zu keys", reply->n_items,
                    n);
    f->n_made += reply->n_made;
    for (size_t i = 0; i < n; i++)
        fetch_take(f, f->todo[at + i], &reply->items[i]);
    *n_takenp = n;
    return 0;
}

/* All of todo once; todo is then what has to be asked again. */
static int fetch_round(struct fetch *f, struct msg_key *batch, struct bufferd_error *error) {
    f->n_again = 0;
    for (size_t at = 0, n = 0; at < f->n_todo; at += n) {
        int rc = fetch_batch(f, batch, at, &n, error);
        if (rc)
            return rc;
    }
    f->n_todo = f->n_again;
    return 0;
}

static void fetch_undo(struct fetch *f, size_t n_keys, int rc) {
    for (size_t i = 0; i < n_keys; i++) {
        bufferd_release(&f->results[i].view);
        f->results[i].code = rc;
    }
}

static int fetch_run(struct fetch *f, size_t n_keys, uint64_t *n_madep,
                     struct bufferd_error *error) {
    CLEANUP(cleanup_free) size_t *todo = malloc((n_keys + 1) * sizeof(*todo));
    CLEANUP(cleanup_free) struct msg_key *batch = malloc(WIRE_MAX_MATERIALIZE * sizeof(*batch));
    if (!todo || !batch)
        return fail(error, -ENOMEM, "cannot ask for %zu buffers", n_keys);
    f->todo = todo;
    for (size_t i = 0; i < n_keys; i++) {
        f->results[i].view = (struct bufferd_view){0};
        if (key_is_too_long(f->keys[i]))
            result_fail(&f->results[i], BUFFERD_E_BAD_KEY, (struct str){0});
        else
            todo[f->n_todo++] = i;
    }
    int rc = fetch_round(f, batch, error);
    if (rc == 0)
        rc = fetch_round(f, batch, error);
    if (rc)
        fetch_undo(f, n_keys, rc);
    else if (n_madep)
        *n_madep = f->n_made;
    return rc;
}

API int bufferd_materialize(struct bufferd *b, struct bufferd_result *results,
                            const char *const *keys, size_t n_keys, int flags, uint64_t *n_madep,
                            int timeout_ms, struct bufferd_error *error) {
    struct fetch f = {
        .session = b,
        .op = WIRE_OP_MATERIALIZE,
        .flags = flags,
        .results = results,
        .keys = keys,
        .deadline = deadline_after(timeout_ms),
    };
    return fetch_run(&f, n_keys, n_madep, error);
}

API int bufferd_get(struct bufferd *b, struct bufferd_result *results, const char *const *keys,
                    size_t n_keys, int timeout_ms, struct bufferd_error *error) {
    struct fetch f = {
        .session = b,
        .op = WIRE_OP_GET,
        .results = results,
        .keys = keys,
        .deadline = deadline_after(timeout_ms),
    };
    return fetch_run(&f, n_keys, NULL, error);
}

/* ---- giving back ---- */

/* What this process still views comes back when it is looked at. */
static int clear_batch(struct bufferd *b, struct bufferd_clear_result *results,
                       struct drop_range *dropped, const size_t *items, const struct msg_key *batch,
                       size_t n, bool force, int64_t deadline, struct bufferd_error *error) {
    struct msg_clear request = {
        .ack = session_ack(b),
        .force = force,
        .keys = (struct msg_key *)batch,
        .n_keys = (uint32_t)n,
    };
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_CLEAR, &request, -1, deadline, error);
    if (rc)
        return rc;
    const struct msg_clear_reply *reply = call_reply(c);
    if (reply->n_items != n)
        return fail(error, BUFFERD_E_PROTOCOL, "the daemon answered %u of %zu keys", reply->n_items,
                    n);
    for (size_t i = 0; i < n; i++) {
        const struct msg_cleared *item = &reply->items[i];
        results[items[i]] = (struct bufferd_clear_result){
            .outcome = (int)MIN(item->outcome, (uint64_t)WIRE_CLEAR_ABSENT),
            .n_bytes = item->bytes,
        };
        if (item->outcome != WIRE_CLEAR_ABSENT && item->outcome != WIRE_CLEAR_HELD_BY_YOU)
            dropped[items[i]] = drop_range_of(b, item->offset, item->bytes);
    }
    return 0;
}

API int bufferd_clear(struct bufferd *b, struct bufferd_clear_result *results,
                      const char *const *keys, size_t n_keys, bool force, int timeout_ms,
                      struct bufferd_error *error) {
    int64_t deadline = deadline_after(timeout_ms);
    CLEANUP(cleanup_free) size_t *todo = malloc((n_keys + 1) * sizeof(*todo));
    CLEANUP(cleanup_free) struct msg_key *batch = malloc(WIRE_MAX_MATERIALIZE * sizeof(*batch));
    CLEANUP(cleanup_free) struct drop_range *dropped = calloc(n_keys + 1, sizeof(*dropped));
    if (!todo || !batch || !dropped)
        return fail(error, -ENOMEM, "cannot clear %zu buffers", n_keys);
    size_t n_todo = 0;
    for (size_t i = 0; i < n_keys; i++) {
        results[i] = (struct bufferd_clear_result){.outcome = BUFFERD_NOT_THERE};
        if (!key_is_too_long(keys[i]))
            todo[n_todo++] = i;
    }
    for (size_t at = 0, n; at < n_todo; at += n) {
        n = keys_batch(batch, keys, todo + at, n_todo - at);
        int rc = clear_batch(b, results, dropped, todo + at, batch, n, force, deadline, error);
        if (rc)
            return rc;
    }
    drop_ranges(b, dropped, n_keys);
    return 0;
}
