/* From a key to a ready buffer.
 *
 * A want goes through these steps, each of which may be over at once:
 *   1. the cache has the key: ready, or loading (join its waiters).
 *   2. the tree's index is here, or it is made (once for all who ask).
 *   3. the key becomes canonical: entries and branch exist, offsets of a jagged branch are those of
 *      its counter.
 *   4. the cache has the canonical key, or a load begins (load.c) and the want joins its waiters.
 * Whatever the outcome, it is told once. The first want of a buffer starts its jobs, all others
 * wait for the same ones; a demand that joins a background load takes it along to the front.
 */
#include "materialize.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "load.h"
#include "metrics.h"

/* ---- what a key means ---- */

static int find_file(struct materialize *m, struct sources_file **fp, uint64_t source_id,
                     char *text) {
    *fp = sources_find(m->sources, source_id);
    if (*fp)
        return 0;
    bool was_known = sources_was_known(m->sources, source_id);
    snprintf(text, 256, "source %llu %s", (unsigned long long)source_id,
             was_known ? "was forgotten: open the file again" : "was never opened");
    return was_known ? -WIRE_E_NEED_FD : -WIRE_E_NO_SOURCE;
}

static int check_range(const struct column_place *p, const char *name, uint64_t n_entries,
                       char *text) {
    if (p->start <= p->stop && p->stop <= n_entries)
        return 0;
    snprintf(text, 256, "entries %llu to %llu of %s: it has %llu", (unsigned long long)p->start,
             (unsigned long long)p->stop, name, (unsigned long long)n_entries);
    return -WIRE_E_RANGE;
}

/* Lists have offsets of each level, counters those that they sum up to. */
static bool has_verb(const struct tree_column *c, enum key_verb verb) {
    if (verb == VERB_DATA)
        return true;
    if (c->kind == COLUMN_LISTS)
        return verb - VERB_OFFSETS < c->layout.n_levels;
    bool is_integer = c->item_type >= ITEM_I1 && c->item_type <= ITEM_U8;
    return verb == VERB_OFFSETS && c->kind == COLUMN_FLAT && c->n_per_entry == 1 && is_integer;
}

/* The column of the key; for offsets, the counter's. */
static int find_column(struct column_place *p, const struct key *k, char *text) {
    const struct tree_index *x = p->tree->index;
    const struct tree_column *columns = tree_index_columns(x);
    int64_t i = tree_index_find(x, k->name);
    if (i < 0) {
        snprintf(text, 256, "%s has no branch %.*s", p->tree->path, (int)MIN(k->name.len, 200),
                 k->name.ptr);
        return -WIRE_E_NO_COLUMN;
    }
    const struct tree_column *c = &columns[i];
    if (k->verb == VERB_OFFSETS && c->kind == COLUMN_JAGGED) {
        i = c->counter - 1;
        c = &columns[i];
    }
    const char *name = tree_index_string(x, c->name);
    if (c->kind == COLUMN_NONE) {
        snprintf(text, 256, "branch %.100s: %.140s", name, tree_index_string(x, c->reason));
        return -WIRE_E_UNSUPPORTED;
    }
    if (!has_verb(c, k->verb)) {
        snprintf(text, 256, "branch %.100s is no counter and no list that deep: it has no %s", name,
                 key_verb_name(k->verb));
        return -WIRE_E_UNSUPPORTED;
    }
    p->column = c;
    return check_range(p, name, MIN(c->n_entries, x->n_entries), text);
}

int materialize_resolve(struct materialize *m, struct column_place *out, struct str key,
                        struct sources_waiter *w, char *text) {
    struct key_scratch scratch;
    struct key k;
    struct sources_file *file;
    if (key_parse(&k, &scratch, key)) {
        snprintf(text, 256, "not a valid key");
        return -WIRE_E_BAD_KEY;
    }
    if (k.kind != KEY_COLUMN) {
        snprintf(text, 256, "only a client can make it");
        return -WIRE_E_ABSENT;
    }
    int rc = find_file(m, &file, k.source_id, text);
    if (rc)
        return rc;
    rc = sources_describe(file, &out->tree, k.tree, w, text);
    if (rc)
        return rc;
    out->start = k.start;
    out->stop = k.stop;
    out->verb = k.verb;
    rc = find_column(out, &k, text);
    if (rc)
        return rc;
    const struct tree_index *x = out->tree->index;
    const char *tree = tree_index_string(x, x->path),
               *name = tree_index_string(x, out->column->name);
    k.tree = (struct str){tree, (uint32_t)strlen(tree)};
    k.name = (struct str){name, (uint32_t)strlen(name)};
    if (key_print(out->key, &k) < 0) {
        snprintf(text, 256, "the key is too long");
        return -WIRE_E_LIMIT;
    }
    return 0;
}

/* ---- wants ---- */

static void want_finish(struct want *w, struct cache_entry *e, int status, const char *text) {
    free(w->key);
    w->key = NULL;
    w->on_done(w, e, status, text);
}

static void on_entry_done(struct cache_waiter *cw, struct cache_entry *e, int status,
                          const char *text) {
    want_finish(CONTAINER_OF(cw, struct want, cache_waiter), e, status, text);
}

/* True: the want has its answer, or waits for it. */
static bool want_join(struct want *w, struct cache_entry *e) {
    if (!e)
        return false;
    if (e->state == CACHE_READY) {
        e->n_hits++;
        want_finish(w, e, 0, NULL);
        return true;
    }
    struct load *load = load_of(e);
    w->has_joined = !w->has_begun;
    w->cache_waiter.on_done = on_entry_done;
    cache_wait(e, &w->cache_waiter);
    if (load && w->queue == loader_demand(w->m->loader))
        load_promote(load, w->waits_for_memory);
    return true;
}

static void want_resolve(struct want *w);

static void on_tree_done(struct sources_waiter *sw, int status, const char *text) {
    struct want *w = CONTAINER_OF(sw, struct want, sources_waiter);
    if (status)
        want_finish(w, NULL, status, text);
    else
        want_resolve(w);
}

static void want_resolve(struct want *w) {
    struct materialize *m = w->m;
    struct column_place place;
    struct cache_entry *e;
    char text[256] = "";
    struct str key = {w->key, (uint32_t)strlen(w->key)};
    w->sources_waiter.on_done = on_tree_done;
    int rc = materialize_resolve(m, &place, key, &w->sources_waiter, text);
    if (rc > 0)
        return;
    if (rc == 0 &&
        want_join(w, cache_find(m->cache, (struct str){place.key, (uint32_t)strlen(place.key)})))
        return;
    if (rc == 0)
        rc = sources_wait(place.tree->file, &w->sources_waiter, text);
    if (rc > 0)
        return;
    if (rc == 0)
        rc = load_begin(&e, m, &place, w->queue, w->waits_for_memory, text);
    if (rc) {
        want_finish(w, NULL, -rc, text);
        return;
    }
    w->has_begun = true;
    want_join(w, e);
    load_run(load_of(e));
}

void want_start(struct want *w, struct materialize *m, struct str key) {
    w->m = m;
    w->cache_waiter.entry = NULL;
    w->sources_waiter.list = NULL;
    w->has_begun = w->has_joined = false;
    w->key = NULL;
    if (want_join(w, cache_find(m->cache, key)))
        return;
    w->key = strndup(key.ptr, key.len);
    if (w->key)
        want_resolve(w);
    else
        want_finish(w, NULL, WIRE_E_FULL, "no memory");
}

void want_cancel(struct want *w) {
    struct cache_entry *e = w->cache_waiter.entry;
    sources_unwait(&w->sources_waiter);
    free(w->key);
    w->key = NULL;
    if (!e)
        return;
    cache_unwait(&w->cache_waiter);
    load_abandon(e, w->queue);
}

/* ---- tree indexes ---- */

int materialize_index(struct materialize *m, struct cache_entry **ep, struct sources_tree *tree,
                      struct cache_waiter *w, char *text) {
    char key[WIRE_MAX_KEY_BYTES + 1];
    const struct key k = {
        .kind = KEY_INDEX,
        .source_id = tree->file->source_id,
        .tree = {tree->path, (uint32_t)strlen(tree->path)},
    };
    int n = key_print(key, &k);
    if (n < 0)
        return -WIRE_E_LIMIT;
    struct cache_entry *e = cache_find(m->cache, (struct str){key, (uint32_t)n});
    if (e && e->state == CACHE_READY) {
        *ep = e;
        return 0;
    }
    bool is_new = !e;
    int rc = is_new ? load_begin_index(&e, m, tree, (struct str){key, (uint32_t)n}, text) : 0;
    if (rc)
        return rc;
    cache_wait(e, w);
    if (is_new)
        load_run(load_of(e));
    return 1;
}

void materialize_tick(struct materialize *m) {
    unsigned n = m->n_hungry; /* who is hungry again goes to the end of the line */
    while (n-- && m->hungry)
        load_retry(m->hungry);
}
