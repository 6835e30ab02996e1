/* Files and trees: show the daemon a file, list its trees, read a tree's index.
 *
 * The index is an ordinary buffer: a `struct bufferd_tree` is a view of it, and what the accessors
 * give are pointers into shared memory. The blob is checked once, before anything in it is
 * followed.
 */
#include <errno.h>
#include <string.h>

#include "../proto/tree_index.h"
#include "session.h"

struct bufferd_tree {
    struct bufferd_view view;       /* owned */
    const struct tree_index *index; /* in the view, checked */
};

API int bufferd_open(struct bufferd *b, struct bufferd_source *out, int fd, const char *label,
                     int timeout_ms, struct bufferd_error *error) {
    struct msg_open request = {
        .ack = session_ack(b),
        .label = str_cut(label, WIRE_MAX_NAME_BYTES),
    };
    if (fd < 0)
        return fail(error, -EBADF, "cannot open a source");
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_OPEN, &request, fd, deadline_after(timeout_ms), error);
    if (rc)
        return rc;
    const struct msg_open_reply *reply = call_reply(c);
    *out = (struct bufferd_source){
        .source_id = reply->source_id,
        .file_bytes = reply->file_bytes,
    };
    memcpy(out->uuid, reply->uuid.ptr, MIN(reply->uuid.len, sizeof(out->uuid)));
    return 0;
}

/* ---- the trees of a file ---- */

API void bufferd_tree_names_free(struct bufferd_tree_name *list, size_t n_list) {
    for (size_t i = 0; i < n_list; i++) {
        free(list[i].path);
        free(list[i].class_name);
        free(list[i].title);
    }
    free(list);
}

struct tree_names {
    struct bufferd_tree_name *list;
    size_t n;
};

static void cleanup_names(struct tree_names *names) {
    bufferd_tree_names_free(names->list, names->n);
}

static int names_add(struct tree_names *names, const struct msg_trees_reply *reply) {
    size_t n_bytes = (names->n + reply->n_trees + 1) * sizeof(*names->list);
    struct bufferd_tree_name *list = realloc(names->list, n_bytes);
    if (!list)
        return -ENOMEM;
    names->list = list;
    for (uint32_t i = 0; i < reply->n_trees; i++) {
        const struct msg_tree *tree = &reply->trees[i];
        struct bufferd_tree_name *name = &list[names->n++];
        *name = (struct bufferd_tree_name){
            .path = str_dup(tree->path),
            .class_name = str_dup(tree->class_name),
            .title = str_dup(tree->title),
            .is_newest = tree->is_newest,
        };
        if (!name->path || !name->class_name || !name->title)
            return -ENOMEM;
    }
    return 0;
}

API int bufferd_trees(struct bufferd *b, struct bufferd_tree_name **listp, size_t *n_listp,
                      uint64_t source_id, int timeout_ms, struct bufferd_error *error) {
    int64_t deadline = deadline_after(timeout_ms);
    CLEANUP(cleanup_names) struct tree_names names = {0};
    uint64_t cursor = 0;
    do {
        struct msg_trees request = {
            .ack = session_ack(b),
            .source_id = source_id,
            .cursor = cursor,
        };
        CLEANUP(cleanup_call) struct call *c = NULL;
        int rc = session_call(&c, b, WIRE_OP_TREES, &request, -1, deadline, error);
        if (rc)
            return rc;
        const struct msg_trees_reply *reply = call_reply(c);
        rc = names_add(&names, reply);
        if (rc)
            return fail(error, rc, "cannot list the trees");
        cursor = reply->cursor;
    } while (cursor);
    *n_listp = names.n;
    *listp = TAKE_PTR(names.list);
    names.n = 0;
    return 0;
}

/* ---- one tree ---- */

/* Ask once and pin what was granted; BUFFERD_E_ABSENT when it was gone before it was pinned. */
static int describe_once(struct bufferd_view *vp, struct bufferd *b, uint64_t source_id,
                         const char *tree, int64_t deadline, struct bufferd_error *error) {
    struct msg_describe request = {
        .ack = session_ack(b),
        .source_id = source_id,
        .tree = str_cut(tree, WIRE_MAX_NAME_BYTES + 1),
    };
    CLEANUP(cleanup_call) struct call *c = NULL;
    int rc = session_call(&c, b, WIRE_OP_DESCRIBE, &request, -1, deadline, error);
    if (rc)
        return rc;
    const struct msg_describe_reply *reply = call_reply(c);
    if (view_pin(vp, b, reply->record, reply->version))
        return 0;
    return fail(error, BUFFERD_E_ABSENT,
                "the index of %s was evicted before it was used; the arena is too small, start the "
                "daemon with more --memory",
                tree);
}

API int bufferd_describe(struct bufferd *b, struct bufferd_tree **tp, uint64_t source_id,
                         const char *tree, int timeout_ms, struct bufferd_error *error) {
    int64_t deadline = deadline_after(timeout_ms);
    struct bufferd_view view;
    int rc = describe_once(&view, b, source_id, tree, deadline, error);
    if (rc == BUFFERD_E_ABSENT)
        rc = describe_once(&view, b, source_id, tree, deadline, error);
    if (rc)
        return rc;
    struct bufferd_tree *t = calloc(1, sizeof(*t));
    if (t && tree_index_check(view.data, view.n_bytes)) {
        *t = (struct bufferd_tree){.view = view, .index = view.data};
        *tp = t;
        return 0;
    }
    bufferd_release(&view);
    if (!t)
        return fail(error, -ENOMEM, "cannot describe %s", tree);
    free(t);
    return fail(error, BUFFERD_E_INTERNAL,
                "the daemon's index of %s is not valid; read in-process and see the daemon's log",
                tree);
}

API struct bufferd_tree *bufferd_tree_free(struct bufferd_tree *t) {
    if (t)
        bufferd_release(&t->view);
    free(t);
    return NULL;
}

API const char *bufferd_tree_path(const struct bufferd_tree *t) {
    return tree_index_string(t->index, t->index->path);
}

API const char *bufferd_tree_title(const struct bufferd_tree *t) {
    return tree_index_string(t->index, t->index->title);
}

API const char *bufferd_tree_kind(const struct bufferd_tree *t) {
    switch (t->index->kind) {
    case TREE_TTREE:
        return "TTree";
    case TREE_RNTUPLE:
        return "RNTuple";
    }
    return "?";
}

API uint64_t bufferd_tree_n_entries(const struct bufferd_tree *t) {
    return t->index->n_entries;
}

API size_t bufferd_tree_n_columns(const struct bufferd_tree *t) {
    return t->index->n_columns;
}

API int bufferd_tree_column(const struct bufferd_tree *t, size_t i, struct bufferd_column *out) {
    const struct tree_index *x = t->index;
    if (i >= x->n_columns)
        return -EINVAL;
    const struct tree_column *columns = tree_index_columns(x), *c = &columns[i];
    *out = (struct bufferd_column){
        .name = tree_index_string(x, c->name),
        .title = tree_index_string(x, c->title),
        .class_name = tree_index_string(x, c->class_name),
        .type_name = tree_index_string(x, c->type_name),
        .has_data = c->flags & COLUMN_HAS_DATA,
        .is_member = c->flags & COLUMN_MEMBER,
        .is_string = c->flags & COLUMN_STRINGS,
        .n_levels = c->layout.n_levels,
        .item_type = c->item_type,
        .n_per_entry = c->n_per_entry,
        .n_entries = c->n_entries,
        .n_baskets = c->n_baskets,
        .zip_bytes = c->zip_bytes,
    };
    if (c->flags & COLUMN_COUNTS)
        out->reason = "a collection: its members are read, and its offsets";
    if (c->kind == COLUMN_NONE)
        out->reason = c->reason ? tree_index_string(x, c->reason) : "not read natively";
    if (c->kind == COLUMN_JAGGED && c->counter)
        out->counter = tree_index_string(x, columns[c->counter - 1].name);
    return 0;
}

API int64_t bufferd_tree_find(const struct bufferd_tree *t, const char *name) {
    return tree_index_find(t->index, str_cut(name, WIRE_MAX_NAME_BYTES + 1));
}
