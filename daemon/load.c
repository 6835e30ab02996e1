/* One load: the jobs that fill one entry of the cache.
 *
 *   data     look what other ranges of the column give; plan the other baskets of the range; make
 *            ready the edge buffers of those that it cuts; from these the exact size; reserve it;
 *            decode every whole basket straight into its place, copy the parts of the cut ones.
 *   list offsets  the same; where lists end is counted in the payloads instead of copied.
 *   offsets  the counter's values first (an ordinary column, so others share them), then one job
 *            sums them up.
 *   edge     one basket as decompressed, for whoever needs a part of it.
 *   index    what clients see of a tree's index: a copy.
 *
 * Each step either goes on at once or is continued by a completion. Sizes are exact before memory
 * is reserved, and memory is reserved before a job writes. The first failure drops the jobs that
 * wait; when the running ones have come back the entry fails as a whole. Jobs never outlive their
 * load, nor the index and the file that it uses.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

#include "load_steps.h"

/* ---- the end of a load ---- */

static void unhold(struct cache_entry **ep) {
    if (*ep)
        cache_unhold(*ep);
    *ep = NULL;
}

void load_drop_inputs(struct load *l) {
    for (uint64_t i = 0; i < l->n_edges; i++)
        unhold(&l->edges[i].entry);
    free(l->edges);
    l->edges = NULL;
    l->n_edges = 0;
    unhold(&l->counts_entry);
    load_drop_donors(l);
}

/* What a stuck thread may still touch stays in use for good. */
static void load_free(struct load *l) {
    if (l->is_stuck) {
        free(l->edges);
        free(l);
        return;
    }
    load_drop_inputs(l);
    sources_unuse(l->tree);
    free(l);
}

/* Two loads that both held what they have could wait for each other for ever. */
void load_wait_for_memory(struct load *l) {
    load_drop_inputs(l);
    l->is_starved = false;
    load_set_hungry(l, true);
}

void load_set_hungry(struct load *l, bool is_hungry) {
    if (is_hungry == l->is_hungry)
        return;
    if (is_hungry) {
        DL_APPEND(l->m->hungry, l);
        l->m->n_hungry++;
    } else {
        DL_DELETE(l->m->hungry, l);
        l->m->n_hungry--;
    }
    l->is_hungry = is_hungry;
}

/* Call last: with a failure and nothing due the load ends here. */
void load_settle(struct load *l) {
    if (!l->status || l->n_due)
        return;
    struct cache_entry *e = l->entry;
    load_set_hungry(l, false);
    e->maker = NULL;
    l->m->metrics->buffers_failed += l->status != WIRE_E_CANCELLED;
    if (l->is_stuck)
        cache_strand(e);
    cache_fail(e, l->status, l->text);
    load_free(l);
}

/* The first failure counts; what waits is dropped. */
void load_fail(struct load *l, int status, const char *text) {
    if (l->status)
        return;
    l->status = status;
    snprintf(l->text, sizeof(l->text), "%s", text ? text : "");
    loader_group_cancel(&l->group);
    if (l->plan == PLAN_BLOCKED) {
        load_set_plan(l, PLAN_IDLE);
        l->n_due--;
    }
    for (uint64_t i = 0; i < l->n_edges; i++) {
        struct load_edge *edge = &l->edges[i];
        struct cache_entry *e = edge->waiter.entry;
        if (e) {
            cache_unwait(&edge->waiter);
            l->n_due--;
            load_abandon(e, l->queue);
        }
        if (edge->has_counts) {
            edge->has_counts = false;
            want_cancel(&edge->counts);
            l->n_due--;
        }
    }
    load_cancel_donors(l);
    if (l->counts.m) {
        want_cancel(&l->counts);
        l->counts.m = NULL;
        l->n_due--;
    }
}

void load_publish(struct load *l) {
    struct cache_entry *e = l->entry;
    if (l->kind != LOAD_EDGE && l->kind != LOAD_INDEX) {
        l->m->metrics->buffers_made++;
        l->m->metrics->bytes_made += e->n_bytes;
    }
    e->maker = NULL;
    if (cache_publish(e))
        cache_fail(e, WIRE_E_FULL, "no room in the record table");
    load_free(l);
}

static struct load *load_new(struct materialize *m, struct cache_entry *e,
                             struct sources_tree *tree, struct loader_queue *queue) {
    struct load *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->m = m;
    l->number = m->n_begun++;
    l->entry = e;
    l->tree = tree;
    l->queue = queue;
    loader_group_init(&l->group, m->loader, queue);
    sources_use(tree);
    e->maker = l;
    return l;
}

int load_begin_edge(struct cache_entry **ep, struct load *parent, uint64_t basket, struct str key) {
    if (cache_begin(parent->m->cache, ep, key, KEY_EDGE, parent->tree->file->source_id, true))
        return -1;
    struct load *l = load_new(parent->m, *ep, parent->tree, parent->queue);
    if (!l) {
        cache_fail(*ep, WIRE_E_FULL, "no memory");
        return -1;
    }
    l->kind = LOAD_EDGE;
    l->column = parent->column;
    l->first = basket;
    l->last = basket + 1;
    return 0;
}

/* ---- begin ---- */

static void on_counter(struct want *w, struct cache_entry *e, int status, const char *text) {
    struct load *l = CONTAINER_OF(w, struct load, counts);
    l->counts.m = NULL;
    l->n_due--;
    if (status) {
        load_fail(l, status, text);
        load_settle(l);
        return;
    }
    l->counts_entry = e;
    cache_hold(e);
    load_reserve(l);
}

static void load_want_counter(struct load *l) {
    struct key_scratch scratch;
    struct key k;
    char text[WIRE_MAX_KEY_BYTES + 1];
    key_parse(&k, &scratch, (struct str){l->entry->key, l->entry->key_bytes});
    k.verb = VERB_DATA;
    int n = key_print(text, &k);
    l->counts.on_done = on_counter;
    l->counts.queue = l->queue;
    l->counts.waits_for_memory = l->waits_for_memory;
    l->n_due++;
    want_start(&l->counts, l->m, (struct str){text, (uint32_t)n});
}

/* All ranges of a column's values: they can give to each other. Without memory for it, to none. */
static void load_join_family(struct load *l) {
    bool is_alike = l->column->kind == COLUMN_FLAT || l->column->kind == COLUMN_JAGGED;
    if (l->kind != LOAD_DATA || !is_alike || l->column->flags & COLUMN_MEMBER)
        return;
    struct key_scratch scratch;
    struct key k;
    char text[WIRE_MAX_KEY_BYTES + 1];
    key_parse(&k, &scratch, (struct str){l->entry->key, l->entry->key_bytes});
    k.start = k.stop = 0;
    int n = key_print(text, &k);
    cache_join_family(l->entry, (struct str){text, (uint32_t)n}, l->start, l->stop);
}

int load_begin(struct cache_entry **ep, struct materialize *m, const struct column_place *place,
               struct loader_queue *queue, bool waits_for_memory, char *text) {
    struct cache_entry *e;
    struct str key = {place->key, (uint32_t)strlen(place->key)};
    if (cache_begin(m->cache, &e, key, KEY_COLUMN, place->tree->file->source_id, true)) {
        snprintf(text, 256, "no room in the record table");
        return -WIRE_E_FULL;
    }
    struct load *l = load_new(m, e, place->tree, queue);
    if (!l) {
        cache_fail(e, WIRE_E_FULL, "no memory");
        snprintf(text, 256, "no memory");
        return -WIRE_E_FULL;
    }
    l->kind = LOAD_DATA;
    if (place->verb != VERB_DATA) {
        l->kind = place->column->kind == COLUMN_LISTS ? LOAD_LIST_OFFSETS : LOAD_OFFSETS;
        l->level = (uint8_t)(place->verb - VERB_OFFSETS);
    }
    l->column = place->column;
    l->start = place->start;
    l->stop = place->stop;
    l->waits_for_memory = waits_for_memory;
    tree_index_span(l->tree->index, l->column, l->start, l->stop, &l->first, &l->last);
    load_join_family(l);
    *ep = e;
    return 0;
}

int load_begin_index(struct cache_entry **ep, struct materialize *m, struct sources_tree *tree,
                     struct str key, char *text) {
    struct cache_entry *e;
    if (cache_begin(m->cache, &e, key, KEY_INDEX, tree->file->source_id, true)) {
        snprintf(text, 256, "no room in the record table");
        return -WIRE_E_FULL;
    }
    struct load *l = load_new(m, e, tree, loader_demand(m->loader));
    if (!l) {
        cache_fail(e, WIRE_E_FULL, "no memory");
        snprintf(text, 256, "no memory");
        return -WIRE_E_FULL;
    }
    l->kind = LOAD_INDEX;
    *ep = e;
    return 0;
}

void load_run(struct load *l) {
    switch (l->kind) {
    case LOAD_DATA:
        load_donors(l);
        return;
    case LOAD_LIST_OFFSETS:
        load_plan(l);
        return;
    case LOAD_OFFSETS:
        load_want_counter(l);
        return;
    case LOAD_EDGE:
    case LOAD_INDEX:
        load_reserve(l);
        return;
    }
}

static void promote_entry(struct cache_entry *e, bool waits_for_memory) {
    if (e && load_of(e))
        load_promote(load_of(e), waits_for_memory);
}

void load_promote(struct load *l, bool waits_for_memory) {
    l->queue = loader_demand(l->m->loader);
    l->waits_for_memory |= waits_for_memory;
    loader_group_move(&l->group, l->queue);
    if (l->plan == PLAN_BLOCKED)
        load_boost_plan(l);
    for (uint64_t i = 0; i < l->n_edges; i++) {
        promote_entry(l->edges[i].waiter.entry, false);
        if (l->edges[i].has_counts)
            promote_entry(l->edges[i].counts.cache_waiter.entry, waits_for_memory);
    }
    load_promote_donors(l, waits_for_memory);
    if (l->counts.m)
        promote_entry(l->counts.cache_waiter.entry, waits_for_memory);
}

void load_abandon(struct cache_entry *e, struct loader_queue *queue) {
    struct load *l = load_of(e);
    if (!l)
        return;
    if (e->waiters) {
        if (l->queue == queue && queue != loader_demand(l->m->loader))
            load_promote(l, false);
        return;
    }
    cache_unlist(e);
    load_fail(l, WIRE_E_CANCELLED, "nobody waits for it any more");
    load_settle(l);
}

/* It held nothing while it waited, so it collects what it needs again. */
void load_retry(struct load *l) {
    load_set_hungry(l, false);
    load_run(l);
}

struct load *load_of(const struct cache_entry *e) {
    bool is_put = e->kind == KEY_DERIVED || e->kind == KEY_NAMED;
    return e->state == CACHE_LOADING && !is_put ? e->maker : NULL;
}
