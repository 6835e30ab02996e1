/* The daemon's inside without sessions.
 *
 * What loads a column in the daemon runs here as it is: wants, loads, the cache, the arena, queues
 * and workers. Only the event loop is another: one eventfd that the workers and the arena's helper
 * write to. The stock is as large as the arena and never decays, so that pages stay populated from
 * one load to the next, until they are trimmed.
 */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

struct engine_want {
    struct want want;
    struct engine *engine;
    struct cache_entry *entry; /* held */
    char key[WIRE_MAX_KEY_BYTES + 1];
};

static void on_wake(void *ctx) {
    struct engine *e = ctx;
    eventfd_write(e->wake, 1);
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void turn(struct engine *e) {
    struct pollfd p = {.fd = e->wake, .events = POLLIN};
    eventfd_t n;
    if (poll(&p, 1, 1000) > 0)
        eventfd_read(e->wake, &n);
    arena_dispatch(e->arena, now_ms());
    loader_dispatch(e->loader, now_ms());
}

struct waiting {
    struct sources_waiter waiter;
    struct engine *engine;
    int status;
    bool is_done;
};

static void on_answer(struct sources_waiter *w, int status, const char *text) {
    struct waiting *waiting = CONTAINER_OF(w, struct waiting, waiter);
    waiting->is_done = true;
    waiting->status = status;
    if (status)
        snprintf(waiting->engine->text, sizeof(waiting->engine->text), "%s", text);
}

/* Return: what the waiter was told, as a negative number. */
static int wait_for(struct engine *e, struct waiting *w) {
    while (!w->is_done)
        turn(e);
    w->is_done = false;
    return -w->status;
}

static int open_file(struct engine *e, int fd, const char *path, const char *tree) {
    struct waiting w = {.waiter = {.on_done = on_answer}, .engine = e};
    struct str name = {tree, (uint32_t)strlen(tree)};
    int r = sources_open(e->domain->sources, &e->file, fd, path, &w.waiter, e->text);
    if (r > 0)
        r = wait_for(e, &w);
    while (r == 0 && (r = sources_describe(e->file, &e->tree, name, &w.waiter, e->text)) > 0)
        r = wait_for(e, &w);
    return r;
}

int engine_open(struct engine *e, struct backing *backing, unsigned n_workers, const char *path,
                const char *tree) {
    *e = (struct engine){.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || e->wake < 0) {
        snprintf(e->text, sizeof(e->text), "%s", strerror(errno));
        return -errno;
    }
    const struct arena_options arena = {
        .stock_bytes = backing->n_bytes, .decay_ms = INT32_MAX, .wake = on_wake, .ctx = e};
    int r = arena_new(&e->arena, backing, &arena);
    const struct loader_options loader = {
        .n_workers = n_workers, .tables = &e->tables, .wake = on_wake, .ctx = e};
    if (r == 0)
        r = loader_new(&e->loader, &loader);
    if (r == 0)
        r = domain_new(&e->domain, getuid(), e->arena, policy_find("lru"), e->loader, &e->tables,
                       &e->metrics);
    if (r == 0)
        return open_file(e, fd, path, tree);
    close(fd);
    return r;
}

static void on_want(struct want *w, struct cache_entry *entry, int status, const char *text) {
    struct engine_want *want = CONTAINER_OF(w, struct engine_want, want);
    struct engine *e = want->engine;
    e->n_due--;
    want->entry = entry;
    if (entry)
        cache_hold(entry);
    if (status) {
        e->n_failed++;
        snprintf(e->text, sizeof(e->text), "%s", text);
    }
}

int engine_add(struct engine *e, const char *column, enum key_verb verb) {
    const struct tree_index *x = e->tree->index;
    const char *path = tree_index_string(x, x->path);
    const struct key k = {
        .kind = KEY_COLUMN,
        .source_id = e->file->source_id,
        .tree = {path, (uint32_t)strlen(path)},
        .name = {column, (uint32_t)strlen(column)},
        .stop = x->n_entries,
        .verb = verb,
    };
    struct engine_want *wants = realloc(e->wants, (e->n_wants + 1) * sizeof(*wants));
    if (!wants)
        return -ENOMEM;
    e->wants = wants;
    wants[e->n_wants] = (struct engine_want){
        .engine = e, .want = {.on_done = on_want, .queue = loader_demand(e->loader)}};
    return key_print(wants[e->n_wants++].key, &k) < 0 ? -ENAMETOOLONG : 0;
}

int engine_load(struct engine *e) {
    e->n_failed = 0;
    e->n_due = e->n_wants;
    cache_set_time(e->domain->cache, now_ms());
    for (uint32_t i = 0; i < e->n_wants; i++) {
        struct engine_want *w = &e->wants[i];
        want_start(&w->want, &e->domain->materialize,
                   (struct str){w->key, (uint32_t)strlen(w->key)});
    }
    while (e->n_due > 0)
        turn(e);
    return e->n_failed ? -EIO : 0;
}

/* As it is when a file is read for the first time. */
static void forget_plans(struct engine *e) {
    struct tree_basket *b = tree_index_baskets(e->tree->index);
    for (uint64_t i = 0; i < e->tree->index->n_baskets; i++)
        if (!(b[i].flags & BASKET_EMBEDDED))
            b[i].flags = 0;
}

static void on_trimmed(void *ctx, uint64_t n_bytes) {
    *(bool *)ctx = true;
}

void engine_evict(struct engine *e, bool trim) {
    struct cache *c = e->domain->cache;
    for (uint32_t i = 0; i < e->n_wants; i++) {
        if (e->wants[i].entry)
            cache_unhold(e->wants[i].entry);
        e->wants[i].entry = NULL;
    }
    for (uint64_t i = 0; i < cache_n_records(c); i++) {
        struct cache_entry *entry = cache_at(c, (uint32_t)i);
        if (entry && entry->state == CACHE_READY)
            cache_evict(entry);
    }
    forget_plans(e);
    bool is_trimmed = !trim || arena_trim(e->arena, on_trimmed, &is_trimmed);
    while (!is_trimmed)
        turn(e);
}

void engine_close(struct engine *e) {
    e->loader = loader_free(e->loader);
    if (e->domain) {
        engine_evict(e, false);
        e->domain = domain_free(e->domain);
    }
    e->arena = arena_free(e->arena);
    free(e->wants);
    close(e->wake);
}
