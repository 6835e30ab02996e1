/* Handlers of files and trees: open, trees, describe.
 *
 * A session has a file open once, however often it opens it; that is what "another session has this
 * source open" means for clear. A listing is read anew for every page: it is short work, and
 * nothing has to be kept between pages.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A request that waits for a file, a tree or an index. */
struct file_request {
    struct pending pending;
    struct sources_waiter sources_waiter;
    struct cache_waiter cache_waiter;
    struct sources_file *file;
    char *tree;      /* owned; describe */
    uint64_t cursor; /* trees */
};

static struct client_file *client_file_find(struct client *c, struct sources_file *file) {
    struct client_file *f;
    HASH_FIND_PTR(c->files, &file, f);
    return f;
}

/* This session has it open from here on; the use that came with sources_open() is taken over. */
static int client_file_add(struct client *c, struct sources_file *file) {
    if (client_file_find(c, file)) {
        sources_close(file);
        return 0;
    }
    struct client_file *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    f->file = file;
    HASH_ADD_PTR(c->files, file, f);
    if (hash_was_added(&f->hh))
        return 0;
    free(f);
    return -1;
}

void client_close_files(struct client *c) {
    struct client_file *f, *next;
    HASH_ITER (hh, c->files, f, next) {
        HASH_DEL(c->files, f);
        sources_close(f->file);
        free(f);
    }
}

static void file_request_free(struct file_request *r) {
    sources_unwait(&r->sources_waiter);
    cache_unwait(&r->cache_waiter);
    free(r->tree);
    free(r);
}

static struct file_request *file_request_new(void) {
    return calloc(1, sizeof(struct file_request));
}

/* ---- open ---- */

static void reply_open(struct client *c, uint64_t id, struct sources_file *file) {
    const struct msg_open_reply reply = {
        .source_id = file->source_id,
        .file_bytes = file->identity.n_bytes,
        .uuid = {(const char *)file->source->uuid, sizeof(file->source->uuid)},
    };
    if (client_file_add(c, file)) {
        sources_close(file);
        client_fail(c, id, WIRE_E_FULL, "no memory");
        return;
    }
    client_reply(c, id, WIRE_OP_OPEN, &reply);
}

static void on_open_done(struct sources_waiter *w, int status, const char *text) {
    struct file_request *r = CONTAINER_OF(w, struct file_request, sources_waiter);
    struct client *c = r->pending.client;
    pending_end(&r->pending);
    if (status) {
        sources_close(r->file);
        client_fail(c, r->pending.id, status, text);
    } else {
        reply_open(c, r->pending.id, r->file);
    }
    file_request_free(r);
}

static void drop_open(struct pending *p) {
    struct file_request *r = CONTAINER_OF(p, struct file_request, pending);
    sources_close(r->file);
    file_request_free(r);
}

int handle_open(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_open *open = body;
    struct file_request *r = file_request_new();
    char label[WIRE_MAX_NAME_BYTES + 1], text[256] = "";
    snprintf(label, sizeof(label), "%.*s", (int)open->label.len, open->label.ptr);
    int own = fd < 0 ? -1 : dup(fd);
    if (!r || own < 0) {
        client_fail(c, id, fd < 0 ? WIRE_E_BAD_DESCRIPTOR : WIRE_E_LIMIT,
                    fd < 0 ? "no descriptor came with the request" : "no memory or descriptors");
        if (own >= 0)
            close(own);
        free(r);
        return 0;
    }
    r->sources_waiter.on_done = on_open_done;
    int rc =
        sources_open(c->context->domain->sources, &r->file, own, label, &r->sources_waiter, text);
    if (rc > 0) {
        pending_begin(&r->pending, c, id, WIRE_OP_OPEN, 1, drop_open);
        return 0;
    }
    if (rc == 0)
        reply_open(c, id, r->file);
    else
        client_fail(c, id, -rc, text);
    file_request_free(r);
    return 0;
}

/* ---- trees ---- */

static void reply_trees(struct client *c, uint64_t id, uint64_t cursor, const void *blob,
                        uint64_t n_bytes) {
    const char *base = blob;
    uint64_t n = *(const uint64_t *)blob;
    const struct source_tree *trees = (const struct source_tree *)(base + sizeof(uint64_t));
    uint64_t first = MIN(cursor, n), last = MIN(first + WIRE_PAGE_ITEMS, n);
    struct msg_tree items[WIRE_PAGE_ITEMS];
    for (uint64_t i = first; i < last; i++) {
        const char *path = base + trees[i].path, *class_name = base + trees[i].class_name,
                   *title = base + trees[i].title;
        items[i - first] = (struct msg_tree){
            .path = {path, (uint32_t)strnlen(path, WIRE_MAX_NAME_BYTES)},
            .class_name = {class_name, (uint32_t)strnlen(class_name, 256)},
            .title = {title, (uint32_t)strnlen(title, WIRE_MAX_NAME_BYTES)},
            .is_newest = trees[i].is_newest,
        };
    }
    const struct msg_trees_reply reply = {
        .cursor = last < n ? last : 0,
        .trees = items,
        .n_trees = (uint32_t)(last - first),
    };
    client_reply(c, id, WIRE_OP_TREES, &reply);
}

static void on_listed(void *ctx, const struct job *job, struct job_result *result) {
    struct file_request *r = ctx;
    struct client *c = r->pending.client;
    if (result->status != -ETIMEDOUT) /* else a thread may still read from it */
        r->file->n_uses--;
    sources_count_job(r->file->sources, result);
    if (c) {
        pending_end(&r->pending);
        if (result->status)
            client_fail(c, r->pending.id, sources_job_error(result->status), result->error);
        else
            reply_trees(c, r->pending.id, r->cursor, result->blob, result->n_blob_bytes);
    }
    free(result->blob);
    file_request_free(r);
}

static void drop_trees(struct pending *p) {
    /* Its job comes back to on_listed() without a client. */
}

/* The file of a request that names one. NULL: the client has its error. */
static struct sources_file *find_file(struct client *c, uint64_t id, uint64_t source_id) {
    struct sources *s = c->context->domain->sources;
    struct sources_file *file = sources_find(s, source_id);
    if (file && client_file_find(c, file) && file->source)
        return file;
    client_fail(c, id, file || sources_was_known(s, source_id) ? WIRE_E_NEED_FD : WIRE_E_NO_SOURCE,
                NULL);
    return NULL;
}

int handle_trees(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_trees *trees = body;
    struct sources_file *file = find_file(c, id, trees->source_id);
    if (!file)
        return 0;
    struct file_request *r = file_request_new();
    const struct job job = {
        .kind = JOB_LIST,
        .source = file->number,
        .max_bytes = arena_bytes(c->context->domain->arena) / 8,
    };
    if (!r || loader_submit(&file->group, &job, on_listed, r)) {
        free(r);
        client_fail(c, id, WIRE_E_FULL, "no memory");
        return 0;
    }
    r->file = file;
    r->cursor = trees->cursor;
    file->n_uses++;
    pending_begin(&r->pending, c, id, WIRE_OP_TREES, 1, drop_trees);
    return 0;
}

/* ---- describe ---- */

static void drop_describe(struct pending *p) {
    file_request_free(CONTAINER_OF(p, struct file_request, pending));
}

static void describe_step(struct file_request *r);

static void describe_end(struct file_request *r, struct cache_entry *e, int status,
                         const char *text) {
    struct client *c = r->pending.client;
    struct grant *grant = status ? NULL : grant_new(c, 1);
    pending_end(&r->pending);
    if (grant) {
        grant_add(grant, e);
        const struct msg_describe_reply reply = {
            .record = e->record,
            .version = e->version,
            .grant = grant_close(grant, c),
        };
        client_reply(c, r->pending.id, WIRE_OP_DESCRIBE, &reply);
    } else {
        client_fail(c, r->pending.id, status ? status : WIRE_E_FULL, text);
    }
    file_request_free(r);
}

static void on_tree_done(struct sources_waiter *w, int status, const char *text) {
    struct file_request *r = CONTAINER_OF(w, struct file_request, sources_waiter);
    if (status)
        describe_end(r, NULL, status, text);
    else
        describe_step(r);
}

static void on_index_done(struct cache_waiter *w, struct cache_entry *e, int status,
                          const char *text) {
    describe_end(CONTAINER_OF(w, struct file_request, cache_waiter), e, status, text);
}

static void describe_step(struct file_request *r) {
    struct domain *d = r->pending.client->context->domain;
    struct sources_tree *tree;
    struct cache_entry *e = NULL;
    char text[256] = "";
    struct str path = {r->tree, (uint32_t)strlen(r->tree)};
    int rc = sources_describe(r->file, &tree, path, &r->sources_waiter, text);
    if (rc == 0)
        rc = materialize_index(&d->materialize, &e, tree, &r->cache_waiter, text);
    if (rc <= 0)
        describe_end(r, e, -rc, text);
}

int handle_describe(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_describe *describe = body;
    struct sources_file *file = find_file(c, id, describe->source_id);
    if (!file)
        return 0;
    struct file_request *r = file_request_new();
    if (!r || !(r->tree = strndup(describe->tree.ptr, describe->tree.len))) {
        free(r);
        client_fail(c, id, WIRE_E_FULL, "no memory");
        return 0;
    }
    r->file = file;
    r->sources_waiter.on_done = on_tree_done;
    r->cache_waiter.on_done = on_index_done;
    pending_begin(&r->pending, c, id, WIRE_OP_DESCRIBE, 1, drop_describe);
    describe_step(r);
    return 0;
}
