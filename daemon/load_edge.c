/* Step 2 of a load: baskets that its range cuts; of lists and of members of records, all of them.
 *
 * Such a basket is decompressed whole into an edge buffer, an entry of the cache like any other,
 * which serves every load that wants a part of it: no basket is decompressed twice while memory
 * lasts. Where the wanted values lie in it says its offset table; a jagged basket without one needs
 * its counter's offsets over the basket's own entries (not over the counter's basket of the same
 * number, which may hold others). Embedded baskets lie decompressed in the tree's index and need no
 * edge buffer.
 */
#include "load_steps.h"

#include <string.h>

static void edges_done(struct load *l) {
    bool is_done = !l->status && l->n_due == 0;
    if (is_done && l->is_starved)
        load_wait_for_memory(l);
    else if (is_done)
        load_reserve(l);
    else
        load_settle(l);
}

static void on_cut(void *ctx, const struct job *job, struct job_result *result) {
    struct load_edge *edge = ctx;
    if (!load_job_done(edge->load, result))
        return;
    memcpy(edge->cut, result->cut, sizeof(edge->cut));
    memcpy(edge->n_lists, result->n_lists, sizeof(edge->n_lists));
    edges_done(edge->load);
}

/* A basket without an offset table: its counter's offsets say where entries begin. */
static void on_counts(struct want *w, struct cache_entry *e, int status, const char *text) {
    struct load_edge *edge = CONTAINER_OF(w, struct load_edge, counts);
    struct load *l = edge->load;
    const struct tree_basket *b = load_basket(l, edge->basket);
    edge->has_counts = false;
    l->n_due--;
    if (status) {
        load_fail(l, status, text);
    } else {
        const int64_t *offsets =
            (const int64_t *)(arena_base(cache_arena(l->m->cache)) + e->offset);
        uint64_t start, stop, item = load_entry_bytes(l);
        load_slice(l, b, &start, &stop);
        if (e->n_bytes != (b->n_entries + 1ull) * sizeof(int64_t) ||
            MUL_OVERFLOW((uint64_t)offsets[start], item, &edge->cut[0]) ||
            MUL_OVERFLOW((uint64_t)offsets[stop], item, &edge->cut[1]))
            load_fail(l, WIRE_E_CORRUPT, "the counter does not fit to its branch");
    }
    edges_done(l);
}

static void edge_want_counts(struct load_edge *edge) {
    struct load *l = edge->load;
    const struct tree_basket *b = load_basket(l, edge->basket);
    char key[WIRE_MAX_KEY_BYTES + 1];
    int n = load_counter_key(l, b->first_entry, b->first_entry + b->n_entries, key);
    if (n < 0) {
        load_fail(l, WIRE_E_LIMIT, "the counter's key is too long");
        return;
    }
    edge->counts.on_done = on_counts;
    edge->counts.queue = l->queue;
    edge->counts.waits_for_memory = l->waits_for_memory;
    edge->has_counts = true;
    l->n_due++;
    want_start(&edge->counts, l->m, (struct str){key, (uint32_t)n});
}

static bool edge_is_embedded(const struct load_edge *edge) {
    return load_basket(edge->load, edge->basket)->flags & BASKET_EMBEDDED;
}

/* The payload is there (or in the index): where is the slice? */
static void edge_cut(struct load_edge *edge) {
    struct load *l = edge->load;
    const struct tree_basket *b = load_basket(l, edge->basket);
    uint64_t start, stop, item = load_entry_bytes(l);
    if (l->column->kind == COLUMN_FLAT) {
        load_slice(l, b, &start, &stop);
        edge->cut[0] = start * item;
        edge->cut[1] = stop * item;
        return;
    }
    if (l->column->kind == COLUMN_JAGGED && !load_cuts(l, b)) {
        edge->cut[1] = b->border_bytes;
        return;
    }
    if (l->column->kind == COLUMN_JAGGED && !(b->flags & BASKET_HAS_OFFSETS)) {
        edge_want_counts(edge);
        return;
    }
    struct job job = load_job(l, JOB_CUT, edge->basket);
    if (edge->entry) {
        job.in_off = edge->entry->offset;
        job.in_bytes = edge->entry->n_bytes;
    }
    load_submit(l, &job, on_cut, edge);
}

static void on_edge(struct cache_waiter *w, struct cache_entry *e, int status, const char *text) {
    struct load_edge *edge = CONTAINER_OF(w, struct load_edge, waiter);
    struct load *l = edge->load;
    if (status == WIRE_E_FULL && l->waits_for_memory) {
        l->is_starved = true; /* an edge never waits itself: this load would hold the others */
    } else if (status) {
        load_fail(l, status, text);
    } else {
        edge->entry = e;
        cache_hold(e);
        edge_cut(edge);
    }
    l->n_due--; /* not before: what edge_cut() wants may be there at once */
    edges_done(l);
}

/* Members of a record share its baskets, under its name. */
static int edge_key(const struct load *l, uint64_t basket, char *key) {
    const struct tree_index *x = load_index(l);
    const struct tree_column *c = l->column;
    if (c->flags & COLUMN_MEMBER)
        c = &tree_index_columns(x)[c->parent - 1];
    const char *tree = tree_index_string(x, x->path), *name = tree_index_string(x, c->name);
    const struct key k = {
        .kind = KEY_EDGE,
        .source_id = l->tree->file->source_id,
        .tree = {tree, (uint32_t)strlen(tree)},
        .name = {name, (uint32_t)strlen(name)},
        .basket = basket - l->column->first_basket,
    };
    return key_print(key, &k);
}

static void edge_start(struct load_edge *edge) {
    struct load *l = edge->load;
    struct cache_entry *e;
    char text[WIRE_MAX_KEY_BYTES + 1];
    int n = edge_key(l, edge->basket, text);
    struct str key = {text, (uint32_t)n};
    if (n < 0) {
        load_fail(l, WIRE_E_LIMIT, "the key of a basket is too long");
        return;
    }
    e = cache_find(l->m->cache, key);
    if (e && e->state == CACHE_READY) {
        l->m->metrics->edges_reused++;
        edge->entry = e;
        cache_hold(e);
        edge_cut(edge);
        return;
    }
    bool is_new = !e;
    load_basket(l, edge->basket)->flags |= BASKET_HAS_EDGE;
    if (is_new && load_begin_edge(&e, l, edge->basket, key)) {
        load_fail(l, WIRE_E_FULL, "no memory");
        return;
    }
    edge->waiter.on_done = on_edge;
    cache_wait(e, &edge->waiter);
    l->n_due++;
    if (is_new)
        load_run(load_of(e));
    else {
        l->m->metrics->edges_reused++;
        if (load_of(e) && l->queue == loader_demand(l->m->loader))
            load_promote(load_of(e), false);
    }
}

void load_find_edges(struct load *l) {
    char text[WIRE_MAX_KEY_BYTES + 1];
    for (uint64_t i = l->first; i < l->last; i++) {
        struct tree_basket *b = load_basket(l, i);
        if (!(b->flags & BASKET_HAS_EDGE))
            continue;
        int n = edge_key(l, i, text);
        if (n < 0 || !cache_find(l->m->cache, (struct str){text, (uint32_t)n}))
            b->flags &= (uint16_t)~BASKET_HAS_EDGE; /* it was evicted */
    }
}

/* All of them have to fit at once. */
static void edges_list(struct load *l) {
    uint64_t n = 0, n_bytes = 0, n_most = arena_bytes(cache_arena(l->m->cache));
    for (uint64_t i = l->first; i < l->last; i++) {
        const struct tree_basket *b = load_basket(l, i);
        bool has_edge = load_has_edge(l, i);
        n += has_edge;
        n_bytes += has_edge && !b->is_embedded ? b->raw_bytes : 0;
    }
    if (n_bytes > n_most)
        load_fail(l, WIRE_E_TOO_LARGE,
                  "its baskets are larger than the arena: ask for fewer entries");
    if (n == 0 || l->status)
        return;
    l->edges = calloc(n, sizeof(*l->edges));
    if (!l->edges)
        load_fail(l, WIRE_E_FULL, "no memory");
    for (uint64_t i = l->first; i < l->last && l->edges; i++)
        if (load_has_edge(l, i))
            l->edges[l->n_edges++] = (struct load_edge){.load = l, .basket = i};
}

void load_edges(struct load *l) {
    edges_list(l);
    l->n_due++; /* edges that are ready at once must not end the load under this loop */
    for (uint64_t i = 0; i < l->n_edges && !l->status; i++) {
        if (edge_is_embedded(&l->edges[i]))
            edge_cut(&l->edges[i]);
        else
            edge_start(&l->edges[i]);
    }
    l->n_due--;
    edges_done(l);
}
