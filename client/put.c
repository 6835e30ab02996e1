/* Storing an array: through the staging file, in pieces, the last of which publishes it.
 *
 * The staging file belongs to the session and is mapped at the first put. The daemon copies from it
 * while the call waits, so one put at a time uses it; and one that was given up by its timeout may
 * still be read from, so the next waits until the daemon has answered that one.
 */
#include <errno.h>
#include <string.h>

#include "maps.h"
#include "session.h"

struct put {
    struct bufferd *session;
    const char *key;
    int item_type, flags;
    const char *data;
    uint64_t n_bytes;
    int64_t deadline;
    bool is_done, was_present;
    struct bufferd_view *vp; /* NULL: not wanted */
    bool is_pinned;
};

static int staging_map(struct bufferd *b, int64_t deadline, struct bufferd_error *error) {
    if (b->staging.base)
        return 0;
    if (b->staging_bytes == 0)
        return fail(error, BUFFERD_E_UNSUPPORTED, "the daemon takes no arrays from clients");
    return map_fetch(&b->staging, NULL, b->line, &b->trust, WIRE_MAP_STAGING, b->staging_bytes,
                     deadline, error);
}

static int put_piece(struct put *p, uint64_t at, uint64_t n_bytes, struct bufferd_error *error) {
    struct bufferd *b = p->session;
    struct msg_put request = {
        .ack = session_ack(b),
        .key = str_cut(p->key, WIRE_MAX_KEY_BYTES + 1),
        .item_type = (uint64_t)p->item_type,
        .flags = p->flags & BUFFERD_REPLACE ? WIRE_PUT_REPLACE : 0,
        .total_bytes = p->n_bytes,
        .at = at,
        .n_bytes = n_bytes,
    };
    if (n_bytes)
        memcpy(b->staging.base, p->data + at, n_bytes);
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_PUT, &request, -1, p->deadline, error);
    if (rc)
        return rc;
    const struct msg_put_reply *reply = call_reply(c);
    p->is_done = reply->is_done;
    p->was_present = reply->was_present;
    if (p->is_done && p->vp)
        p->is_pinned = view_pin(p->vp, b, reply->record, reply->version);
    return 0;
}

static int put_pieces(struct put *p, struct bufferd_error *error) {
    struct bufferd *b = p->session;
    int rc = call_wait_staging(b->line, p->deadline, error);
    if (rc == 0)
        rc = staging_map(b, p->deadline, error);
    uint64_t at = 0;
    do {
        uint64_t n_piece = MIN(p->n_bytes - at, b->staging_bytes);
        if (rc == 0)
            rc = put_piece(p, at, n_piece, error);
        at += n_piece;
    } while (rc == 0 && !p->is_done && at < p->n_bytes);
    if (rc == 0 && !p->is_done)
        return fail(error, BUFFERD_E_PROTOCOL, "the daemon took all of the array and kept nothing");
    return rc;
}

/* It was published and evicted before this process could pin it. */
static int pin_again(struct put *p, struct bufferd_error *error) {
    struct bufferd_result result;
    int left_ms = p->deadline == DEADLINE_NEVER ? -1 : deadline_left_ms(p->deadline);
    int rc = bufferd_get(p->session, &result, &p->key, 1, left_ms, error);
    if (rc)
        return rc;
    if (result.code)
        return fail(error, result.code, "stored, but not there any more: %s", result.text);
    *p->vp = result.view;
    return 0;
}

static int check_put(int item_type, uint64_t n_bytes, const char *key,
                     struct bufferd_error *error) {
    unsigned n_item = item_bytes((unsigned)item_type);
    if (n_item == 0)
        return fail(error, -EINVAL, "there is no item type %d", item_type);
    if (n_bytes % n_item)
        return fail(error, -EINVAL, "%llu bytes are no whole number of %s items",
                    (unsigned long long)n_bytes, item_name((unsigned)item_type));
    if (strnlen(key, WIRE_MAX_KEY_BYTES + 1) > WIRE_MAX_KEY_BYTES)
        return fail(error, BUFFERD_E_BAD_KEY, "the key is longer than %d bytes",
                    WIRE_MAX_KEY_BYTES);
    return 0;
}

API int bufferd_put(struct bufferd *b, struct bufferd_view *vp, bool *was_presentp, const char *key,
                    int item_type, const void *data, uint64_t n_bytes, int flags, int timeout_ms,
                    struct bufferd_error *error) {
    struct put p = {
        .session = b,
        .key = key,
        .item_type = item_type,
        .flags = flags,
        .data = data,
        .n_bytes = n_bytes,
        .deadline = deadline_after(timeout_ms),
        .vp = vp,
    };
    int rc = check_put(item_type, n_bytes, key, error);
    if (rc == 0)
        rc = session_check(b, error); /* before a child writes to its parent's staging file */
    if (rc)
        return rc;
    struct timespec t = deadline_timespec(p.deadline);
    if (pthread_mutex_clocklock(&b->staging_mutex, CLOCK_MONOTONIC, &t))
        return fail(error, BUFFERD_E_TIMEOUT,
                    "another thread's put did not end within the timeout; give it more time");
    rc = put_pieces(&p, error);
    pthread_mutex_unlock(&b->staging_mutex);
    if (rc == 0 && vp && !p.is_pinned)
        rc = pin_again(&p, error);
    if (rc == 0 && was_presentp)
        *was_presentp = p.was_present;
    return rc;
}
