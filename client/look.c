/* Looking into the daemon, and taking memory back: ls, status, evict, trim.
 *
 * Lists are paged on the wire; here they are whole, and copied, because the pages' bytes go with
 * their frames.
 */
#include <errno.h>
#include <string.h>

#include "session.h"

struct entries {
    struct bufferd_entry *list;
    size_t n;
};

API void bufferd_entries_free(struct bufferd_entry *list, size_t n_list) {
    for (size_t i = 0; i < n_list; i++) {
        free(list[i].key);
        free(list[i].label);
        free(list[i].state);
    }
    free(list);
}

static void cleanup_entries(struct entries *e) {
    bufferd_entries_free(e->list, e->n);
}

static int entries_add(struct entries *e, const struct msg_ls_reply *reply) {
    struct bufferd_entry *list = realloc(e->list, (e->n + reply->n_items + 1) * sizeof(*e->list));
    if (!list)
        return -ENOMEM;
    e->list = list;
    for (uint32_t i = 0; i < reply->n_items; i++) {
        const struct msg_ls_item *item = &reply->items[i];
        struct bufferd_entry *entry = &list[e->n++];
        *entry = (struct bufferd_entry){
            .key = str_dup(item->key),
            .label = str_dup(item->label),
            .state = str_dup(item->state),
            .item_type = (int)MIN(item->item_type, (uint64_t)N_ITEM_TYPES),
            .n_bytes = item->n_bytes,
            .n_pins = item->n_pins,
            .n_sessions = item->n_sessions,
            .n_hits = item->n_hits,
            .age_ms = item->age_ms,
            .idle_ms = item->idle_ms,
        };
        if (!entry->key || !entry->label || !entry->state)
            return -ENOMEM;
    }
    return 0;
}

static int check_pattern(const char *pattern, struct bufferd_error *error) {
    if (pattern && strnlen(pattern, WIRE_MAX_NAME_BYTES + 1) > WIRE_MAX_NAME_BYTES)
        return fail(error, -EINVAL, "the pattern is longer than %d bytes", WIRE_MAX_NAME_BYTES);
    return 0;
}

API int bufferd_ls(struct bufferd *b, struct bufferd_entry **listp, size_t *n_listp,
                   const char *pattern, int timeout_ms, struct bufferd_error *error) {
    int64_t deadline = deadline_after(timeout_ms);
    CLEANUP(cleanup_entries) struct entries e = {0};
    uint64_t cursor = 0;
    int rc = check_pattern(pattern, error);
    if (rc)
        return rc;
    do {
        struct msg_ls request = {
            .ack = session_ack(b),
            .cursor = cursor,
            .pattern = str_cut(pattern, WIRE_MAX_NAME_BYTES),
        };
        CLEANUP(cleanup_call) struct call *c = NULL;
        rc = session_call(&c, b, WIRE_OP_LS, &request, -1, deadline, error);
        if (rc)
            return rc;
        const struct msg_ls_reply *reply = call_reply(c);
        rc = entries_add(&e, reply);
        if (rc)
            return fail(error, rc, "cannot list the buffers");
        cursor = reply->cursor;
    } while (cursor);
    *n_listp = e.n;
    *listp = TAKE_PTR(e.list);
    e.n = 0;
    return 0;
}

/* ---- status ---- */

API void bufferd_figures_free(struct bufferd_figure *list, size_t n_list) {
    for (size_t i = 0; i < n_list; i++) {
        free(list[i].name);
        free(list[i].text);
        free(list[i].unit);
    }
    free(list);
}

API int bufferd_status(struct bufferd *b, struct bufferd_figure **listp, size_t *n_listp,
                       int timeout_ms, struct bufferd_error *error) {
    struct msg_status request = {.ack = session_ack(b)};
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_STATUS, &request, -1, deadline_after(timeout_ms), error);
    if (rc)
        return rc;
    const struct msg_status_reply *reply = call_reply(c);
    size_t n = reply->n_items;
    struct bufferd_figure *list = calloc(n + 1, sizeof(*list));
    bool is_whole = list != NULL;
    for (size_t i = 0; list && i < n; i++) {
        const struct msg_status_item *item = &reply->items[i];
        list[i] = (struct bufferd_figure){
            .name = str_dup(item->name),
            .text = str_dup(item->text),
            .unit = str_dup(item->unit),
            .value = item->value,
        };
        is_whole &= list[i].name && list[i].text && list[i].unit;
    }
    if (!is_whole) {
        bufferd_figures_free(list, list ? n : 0);
        return fail(error, -ENOMEM, "cannot list the daemon's figures");
    }
    *listp = list;
    *n_listp = n;
    return 0;
}

/* ---- taking back ---- */

API int bufferd_evict(struct bufferd *b, struct bufferd_evicted *out, const char *pattern,
                      int timeout_ms, struct bufferd_error *error) {
    struct msg_evict request = {
        .ack = session_ack(b),
        .pattern = str_cut(pattern, WIRE_MAX_NAME_BYTES),
    };
    if (!pattern || !*pattern)
        return fail(error, -EINVAL, "evict needs a pattern; \"*\" is everything");
    int rc = check_pattern(pattern, error);
    if (rc)
        return rc;
    CLEANUP(cleanup_call) struct call *c = NULL;
    rc = session_call(&c, b, WIRE_OP_EVICT, &request, -1, deadline_after(timeout_ms), error);
    if (rc)
        return rc;
    const struct msg_evict_reply *reply = call_reply(c);
    *out = (struct bufferd_evicted){
        .n_freed = reply->n_freed,
        .bytes_freed = reply->bytes_freed,
        .n_held = reply->n_held,
        .bytes_held = reply->bytes_held,
    };
    return 0;
}

API int bufferd_trim(struct bufferd *b, uint64_t *n_bytesp, int timeout_ms,
                     struct bufferd_error *error) {
    struct msg_trim request = {.ack = session_ack(b)};
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_TRIM, &request, -1, deadline_after(timeout_ms), error);
    if (rc)
        return rc;
    if (n_bytesp)
        *n_bytesp = ((const struct msg_trim_reply *)call_reply(c))->bytes;
    return 0;
}
