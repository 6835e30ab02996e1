/* One load: the jobs that fill one entry of the cache.
 *
 *   data     plan the range's baskets; make ready the edge buffers of those that the range cuts;
 * from these the exact size; reserve it; decode every whole basket straight into its place, copy
 * the parts of the cut ones. offsets  the counter's values first (an ordinary column, so others
 * share them), then one job sums them up. edge     one basket as decompressed, for whoever needs a
 * part of it. index    what clients see of a tree's index: a copy.
 *
 * Each step either goes on at once or is continued by a completion. Sizes are exact before memory
 * is reserved, and memory is reserved before a job writes. The first failure drops the jobs that
 * wait; when the running ones have come back the entry fails as a whole. Jobs never outlive their
 * load, nor the index and the file that it uses.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

#include "metrics.h"

enum load_kind { LOAD_DATA, LOAD_OFFSETS, LOAD_EDGE, LOAD_INDEX };
enum load_plan_state { PLAN_IDLE, PLAN_RUNNING, PLAN_BLOCKED };

/* A basket that the range cuts: its decompressed payload, and where the wanted values lie in it. */
struct load_edge {
    struct load *load;          /* borrowed */
    struct cache_entry *entry;  /* held once it is ready */
    struct cache_waiter waiter; /* for the edge buffer */
    struct want counts; /* for a basket without an offset table: the counter's offsets over it */
    bool has_counts;    /* that want is under way */
    uint64_t basket;    /* in the index */
    uint64_t cut[2];    /* byte positions of the slice among the values */
};

struct load {
    struct load *prev, *next;           /* in materialize.hungry */
    struct load *plan_prev, *plan_next; /* in materialize.planning */
    enum load_plan_state plan;
    struct materialize *m;            /* borrowed */
    struct cache_entry *entry;        /* borrowed; this load makes it */
    struct sources_tree *tree;        /* used */
    const struct tree_column *column; /* of the tree's index */
    uint32_t column_number;
    enum load_kind kind;
    uint64_t start, stop;       /* entries */
    uint64_t first, last;       /* baskets of the range; an edge has one */
    struct loader_queue *queue; /* borrowed */
    struct loader_group group;
    struct load_edge edges[2];
    unsigned n_edges;
    struct want counts;               /* LOAD_OFFSETS: the counter's values */
    struct cache_entry *counts_entry; /* held */
    unsigned n_due;                   /* jobs, waiters and wants that will call back */
    bool waits_for_memory, is_hungry;
    int status; /* the first failure: a wire error */
    char text[256];
};

static void plan_set(struct load *l, enum load_plan_state plan);
static void load_plan(struct load *l);
static void load_edges(struct load *l);
static void load_reserve(struct load *l);
static void load_fill(struct load *l);

/* ---- the end of a load ---- */

static void unhold(struct cache_entry **ep) {
    if (*ep)
        cache_unhold(*ep);
    *ep = NULL;
}

static void load_free(struct load *l) {
    for (unsigned i = 0; i < l->n_edges; i++)
        unhold(&l->edges[i].entry);
    unhold(&l->counts_entry);
    sources_unuse(l->tree);
    l->m->n_loads--;
    free(l);
}

static void load_set_hungry(struct load *l, bool is_hungry) {
    if (is_hungry && !l->is_hungry)
        DL_APPEND(l->m->hungry, l);
    if (!is_hungry && l->is_hungry)
        DL_DELETE(l->m->hungry, l);
    l->is_hungry = is_hungry;
}

/* Call last: with a failure and nothing due the load ends here. */
static void load_settle(struct load *l) {
    if (!l->status || l->n_due)
        return;
    struct cache_entry *e = l->entry;
    load_set_hungry(l, false);
    e->maker = NULL;
    l->m->metrics->buffers_failed += l->status != WIRE_E_CANCELLED;
    cache_fail(e, l->status, l->text);
    load_free(l);
}

/* The first failure counts; what waits is dropped. */
static void load_fail(struct load *l, int status, const char *text) {
    if (l->status)
        return;
    l->status = status;
    snprintf(l->text, sizeof(l->text), "%s", text ? text : "");
    loader_group_cancel(&l->group);
    if (l->plan == PLAN_BLOCKED) {
        plan_set(l, PLAN_IDLE);
        l->n_due--;
    }
    for (unsigned i = 0; i < l->n_edges; i++) {
        struct load_edge *edge = &l->edges[i];
        struct cache_entry *e = edge->waiter.entry;
        if (e) {
            cache_unwait(&edge->waiter);
            l->n_due--;
            load_abandon(e);
        }
        if (edge->has_counts) {
            edge->has_counts = false;
            want_cancel(&edge->counts);
            l->n_due--;
        }
    }
    if (l->counts.m) {
        want_cancel(&l->counts);
        l->counts.m = NULL;
        l->n_due--;
    }
}

static void load_publish(struct load *l) {
    struct cache_entry *e = l->entry;
    if (l->kind == LOAD_DATA || l->kind == LOAD_OFFSETS) {
        l->m->metrics->buffers_made++;
        l->m->metrics->bytes_made += e->n_bytes;
    }
    e->maker = NULL;
    if (cache_publish(e))
        cache_fail(e, WIRE_E_FULL, "no room in the record table");
    load_free(l);
}

/* ---- jobs ---- */

static const struct tree_index *load_index(const struct load *l) {
    return l->tree->index;
}

static struct tree_basket *load_basket(const struct load *l, uint64_t i) {
    return &tree_index_baskets(load_index(l))[i];
}

static void load_submit(struct load *l, const struct job *job, loader_done_fn *done, void *ctx) {
    if (loader_submit(&l->group, job, done, ctx))
        load_fail(l, WIRE_E_FULL, "no memory for a job");
    else
        l->n_due++;
}

/* What every completion does first. False: the load has failed (maybe by this one) and may be gone.
 */
static bool load_job_done(struct load *l, struct job_result *result) {
    l->n_due--;
    sources_count_job(l->m->sources, result);
    if (result->status)
        load_fail(l, sources_job_error(result->status), result->error);
    if (!l->status)
        return true;
    free(result->blob);
    load_settle(l);
    return false;
}

/* Bytes of one entry of a flat column, of one (fixed-size) item of a jagged one. */
static uint64_t entry_bytes(const struct load *l) {
    return (uint64_t)item_bytes(l->column->item_type) * l->column->n_per_entry;
}

/* The part of a basket that the range wants, in entries of the basket. */
static void basket_slice(const struct load *l, const struct tree_basket *b, uint64_t *startp,
                         uint64_t *stopp) {
    *startp = l->start > b->first_entry ? l->start - b->first_entry : 0;
    *stopp = MIN(l->stop - b->first_entry, b->n_entries);
}

static bool basket_is_cut(const struct load *l, const struct tree_basket *b) {
    uint64_t start, stop;
    basket_slice(l, b, &start, &stop);
    return start > 0 || stop < b->n_entries;
}

static struct job basket_job(const struct load *l, enum job_kind kind, uint64_t i) {
    const struct tree_basket *b = load_basket(l, i);
    struct job job = {
        .kind = kind,
        .item_type = l->column->item_type,
        .is_jagged = l->column->kind == COLUMN_JAGGED,
        .n_per_entry = l->column->n_per_entry,
        .source = l->tree->file->number,
        .tree = l->tree->number,
        .first_basket = i,
        .n_baskets = 1,
        .file_off = b->file_off,
        .basket_entries = b->n_entries,
        .stored_bytes = b->stored_bytes,
        .raw_bytes = b->raw_bytes,
        .border_bytes = b->border_bytes,
        .key_bytes = b->key_bytes,
        .basket_flags = b->flags,
    };
    if (l->kind == LOAD_DATA)
        basket_slice(l, b, &job.slice_start, &job.slice_stop);
    return job;
}

/* ---- 1. plan ---- */

/* One plan of a column at a time: its job reads the index's baskets of that column, so nobody may
 * write them. */
static bool plan_is_taken(const struct load *l) {
    const struct load *other;
    DL_FOREACH2(l->m->planning, other, plan_next)
    if (other->plan == PLAN_RUNNING && other->tree == l->tree && other->column == l->column)
        return true;
    return false;
}

static void plan_set(struct load *l, enum load_plan_state plan) {
    if (l->plan == PLAN_IDLE && plan != PLAN_IDLE)
        DL_APPEND2(l->m->planning, l, plan_prev, plan_next);
    if (l->plan != PLAN_IDLE && plan == PLAN_IDLE)
        DL_DELETE2(l->m->planning, l, plan_prev, plan_next);
    l->plan = plan;
}

static struct load *plan_next_blocked(struct materialize *m, const struct sources_tree *tree,
                                      const struct tree_column *column) {
    struct load *l;
    DL_FOREACH2(m->planning, l, plan_next)
    if (l->plan == PLAN_BLOCKED && l->tree == tree && l->column == column)
        return l;
    return NULL;
}

/* Those who waited for this plan look again at what is left to do, until one of them plans itself.
 */
static void plan_wake(struct materialize *m, const struct sources_tree *tree,
                      const struct tree_column *column) {
    struct load *l;
    while ((l = plan_next_blocked(m, tree, column)) && !plan_is_taken(l)) {
        plan_set(l, PLAN_IDLE);
        l->n_due--;
        load_plan(l);
    }
}

/* The last plan job has come back. */
static void plan_end(struct load *l) {
    struct materialize *m = l->m;
    struct sources_tree *tree = l->tree;
    const struct tree_column *column = l->column;
    plan_set(l, PLAN_IDLE);
    sources_use(tree); /* until the others are awake */
    if (l->status)
        load_settle(l);
    else
        load_edges(l);
    plan_wake(m, tree, column);
    sources_unuse(tree);
}

static void on_planned(void *ctx, const struct job *job, struct job_result *result) {
    struct load *l = ctx;
    l->n_due--;
    sources_count_job(l->m->sources, result);
    if (result->status)
        load_fail(l, sources_job_error(result->status), result->error);
    else if (result->n_blob_bytes != job->n_baskets * sizeof(struct tree_basket))
        load_fail(l, WIRE_E_INTERNAL, "a plan of the wrong size");
    else
        memcpy(load_basket(l, job->first_basket), result->blob, result->n_blob_bytes);
    free(result->blob);
    if (l->n_due == 0)
        plan_end(l);
}

/* Whole baskets of a flat column have the size that their entries say. */
static bool needs_plan(const struct load *l, uint64_t i) {
    const struct tree_basket *b = load_basket(l, i);
    return !(b->flags & BASKET_PLANNED) &&
           (l->column->kind == COLUMN_JAGGED || basket_is_cut(l, b));
}

static void load_plan(struct load *l) {
    uint64_t i = l->first;
    while (i < l->last && !needs_plan(l, i))
        i++;
    if (i == l->last) {
        load_edges(l);
        return;
    }
    if (plan_is_taken(l)) {
        plan_set(l, PLAN_BLOCKED);
        l->n_due++;
        return;
    }
    for (; i < l->last && !l->status; i++) {
        struct job job = basket_job(l, JOB_PLAN, i);
        while (i + 1 < l->last && needs_plan(l, i + 1))
            i++;
        job.n_baskets = i + 1 - job.first_basket;
        job.max_bytes = job.n_baskets * sizeof(struct tree_basket);
        load_submit(l, &job, on_planned, l);
        while (i + 1 < l->last && !needs_plan(l, i + 1))
            i++;
    }
    if (l->n_due)
        plan_set(l, PLAN_RUNNING);
    load_settle(l);
}

/* ---- 2. edges ---- */

static void edges_done(struct load *l) {
    if (!l->status && l->n_due == 0)
        load_reserve(l);
    else
        load_settle(l);
}

static void on_cut(void *ctx, const struct job *job, struct job_result *result) {
    struct load_edge *edge = ctx;
    if (!load_job_done(edge->load, result))
        return;
    edge->cut[0] = result->cut[0];
    edge->cut[1] = result->cut[1];
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
        uint64_t start, stop, item = entry_bytes(l);
        basket_slice(l, b, &start, &stop);
        if (e->n_bytes != (b->n_entries + 1ull) * sizeof(int64_t) ||
            MUL_OVERFLOW((uint64_t)offsets[start], item, &edge->cut[0]) ||
            MUL_OVERFLOW((uint64_t)offsets[stop], item, &edge->cut[1]))
            load_fail(l, WIRE_E_CORRUPT, "the counter does not fit to its branch");
    }
    edges_done(l);
}

static void edge_want_counts(struct load_edge *edge) {
    struct load *l = edge->load;
    const struct tree_index *x = load_index(l);
    const struct tree_basket *b = load_basket(l, edge->basket);
    const char *counter = tree_index_string(x, tree_index_columns(x)[l->column->counter - 1].name);
    const char *tree = tree_index_string(x, x->path);
    const struct key k = {
        .kind = KEY_COLUMN,
        .source_id = l->tree->file->source_id,
        .tree = {tree, (uint32_t)strlen(tree)},
        .name = {counter, (uint32_t)strlen(counter)},
        .start = b->first_entry,
        .stop = b->first_entry + b->n_entries,
        .verb = VERB_OFFSETS,
    };
    char key[WIRE_MAX_KEY_BYTES + 1];
    int n = key_print(key, &k);
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
    uint64_t start, stop, item = entry_bytes(l);
    if (l->column->kind == COLUMN_FLAT) {
        basket_slice(l, b, &start, &stop);
        edge->cut[0] = start * item;
        edge->cut[1] = stop * item;
        return;
    }
    if (!(b->flags & BASKET_HAS_OFFSETS)) {
        edge_want_counts(edge);
        return;
    }
    struct job job = basket_job(l, JOB_CUT, edge->basket);
    if (edge->entry) {
        job.in_off = edge->entry->offset;
        job.in_bytes = edge->entry->n_bytes;
    }
    load_submit(l, &job, on_cut, edge);
}

static void on_edge(struct cache_waiter *w, struct cache_entry *e, int status, const char *text) {
    struct load_edge *edge = CONTAINER_OF(w, struct load_edge, waiter);
    struct load *l = edge->load;
    if (status) {
        load_fail(l, status, text);
    } else {
        edge->entry = e;
        cache_hold(e);
        edge_cut(edge);
    }
    l->n_due--; /* not before: what edge_cut() wants may be there at once */
    edges_done(l);
}

static int edge_key(const struct load *l, uint64_t basket, char *key) {
    const struct tree_index *x = load_index(l);
    const char *tree = tree_index_string(x, x->path), *name = tree_index_string(x, l->column->name);
    const struct key k = {
        .kind = KEY_EDGE,
        .source_id = l->tree->file->source_id,
        .tree = {tree, (uint32_t)strlen(tree)},
        .name = {name, (uint32_t)strlen(name)},
        .basket = basket - l->column->first_basket,
    };
    return key_print(key, &k);
}

static struct load *load_new(struct materialize *m, struct cache_entry *e,
                             struct sources_tree *tree, struct loader_queue *queue) {
    struct load *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->m = m;
    l->entry = e;
    l->tree = tree;
    l->queue = queue;
    loader_group_init(&l->group, m->loader, queue);
    sources_use(tree);
    m->n_loads++;
    e->maker = l;
    return l;
}

static int load_begin_edge(struct cache_entry **ep, struct load *parent, uint64_t basket,
                           struct str key) {
    if (cache_begin(parent->m->cache, ep, key, KEY_EDGE, parent->tree->file->source_id, true))
        return -1;
    struct load *l = load_new(parent->m, *ep, parent->tree, parent->queue);
    if (!l) {
        cache_fail(*ep, WIRE_E_FULL, "no memory");
        return -1;
    }
    l->kind = LOAD_EDGE;
    l->column = parent->column;
    l->column_number = parent->column_number;
    l->first = basket;
    l->last = basket + 1;
    l->waits_for_memory = parent->waits_for_memory;
    return 0;
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
            load_promote(load_of(e), l->waits_for_memory);
    }
}

static void edge_add(struct load *l, uint64_t basket) {
    if (!basket_is_cut(l, load_basket(l, basket)))
        return;
    l->edges[l->n_edges++] = (struct load_edge){.load = l, .basket = basket};
}

static void load_edges(struct load *l) {
    if (l->first < l->last)
        edge_add(l, l->first);
    if (l->first + 1 < l->last)
        edge_add(l, l->last - 1);
    l->n_due++; /* edges that are ready at once must not end the load under this loop */
    for (unsigned i = 0; i < l->n_edges && !l->status; i++) {
        if (edge_is_embedded(&l->edges[i]))
            edge_cut(&l->edges[i]);
        else
            edge_start(&l->edges[i]);
    }
    l->n_due--;
    edges_done(l);
}

/* ---- 3. memory ---- */

static struct load_edge *load_edge_of(struct load *l, uint64_t basket) {
    for (unsigned i = 0; i < l->n_edges; i++)
        if (l->edges[i].basket == basket)
            return &l->edges[i];
    return NULL;
}

/* Value bytes of a basket that the range wants, [*startp, *stopp). */
static void basket_values(struct load *l, uint64_t i, uint64_t *startp, uint64_t *stopp) {
    const struct load_edge *edge = load_edge_of(l, i);
    const struct tree_basket *b = load_basket(l, i);
    *startp = edge ? edge->cut[0] : 0;
    *stopp = edge                             ? edge->cut[1]
             : l->column->kind == COLUMN_FLAT ? b->n_entries * entry_bytes(l)
                                              : b->border_bytes;
}

/* The exact size of the buffer. False: it makes no sense. */
static bool load_size(struct load *l, uint64_t *n_bytesp) {
    uint64_t n = 0, start, stop;
    for (uint64_t i = l->first; i < l->last; i++) {
        basket_values(l, i, &start, &stop);
        if (start > stop || ADD_OVERFLOW(n, stop - start, &n))
            return false;
    }
    *n_bytesp = n;
    return l->column->kind != COLUMN_FLAT || n == (l->stop - l->start) * entry_bytes(l);
}

static void on_room(struct cache_entry *e, int status) {
    struct load *l = e->maker;
    l->n_due--;
    if (status)
        load_fail(l, WIRE_E_FULL, "the system has no memory left for the arena");
    if (l->status)
        load_settle(l);
    else
        load_fill(l);
}

static void load_take(struct load *l, uint64_t n_bytes, uint8_t item_type) {
    char why[256] = "";
    load_set_hungry(l, false);
    int rc = cache_reserve(l->entry, n_bytes, item_type, on_room, why);
    if (rc == 0) {
        load_fill(l);
        return;
    }
    if (rc == CACHE_E_COLD)
        l->n_due++;
    else if (rc == CACHE_E_FULL && l->waits_for_memory)
        load_set_hungry(l, true);
    else
        load_fail(l, rc == CACHE_E_TOO_LARGE ? WIRE_E_TOO_LARGE : WIRE_E_FULL, why);
    load_settle(l);
}

static void load_reserve(struct load *l) {
    uint64_t n_bytes = 0;
    switch (l->kind) {
    case LOAD_DATA:
        if (load_size(l, &n_bytes)) {
            load_take(l, n_bytes, l->column->item_type);
            return;
        }
        load_fail(l, WIRE_E_CORRUPT, "the baskets do not hold what the branch announces");
        load_settle(l);
        return;
    case LOAD_OFFSETS:
        load_take(l, (l->stop - l->start + 1) * sizeof(int64_t), ITEM_I8);
        return;
    case LOAD_EDGE:
        load_take(l, load_basket(l, l->first)->raw_bytes, ITEM_BYTES);
        return;
    case LOAD_INDEX:
        load_take(l, load_index(l)->n_public_bytes, ITEM_BYTES);
        return;
    }
}

/* ---- 4. fill ---- */

static void on_filled(void *ctx, const struct job *job, struct job_result *result) {
    struct load *l = ctx;
    if (load_job_done(l, result) && l->n_due == 0)
        load_publish(l);
}

static void load_fill_data(struct load *l) {
    uint64_t at = l->entry->offset, start, stop;
    for (uint64_t i = l->first; i < l->last && !l->status; i++) {
        const struct load_edge *edge = load_edge_of(l, i);
        basket_values(l, i, &start, &stop);
        if (start == stop)
            continue;
        struct job job = basket_job(l, edge && edge->entry ? JOB_COPY : JOB_DECODE, i);
        job.value_start = start;
        job.value_stop = stop;
        if (edge && edge->entry) {
            job.in_off = edge->entry->offset;
            job.in_bytes = edge->entry->n_bytes;
        }
        job.out_off = at;
        job.out_bytes = stop - start;
        at += stop - start;
        load_submit(l, &job, on_filled, l);
    }
}

static void load_fill(struct load *l) {
    struct cache_entry *e = l->entry;
    struct job job;
    switch (l->kind) {
    case LOAD_DATA:
        load_fill_data(l);
        break;
    case LOAD_OFFSETS:
        job = (struct job){
            .kind = JOB_TRANSFORM,
            .verb = JOB_VERB_COUNTS_TO_OFFSETS,
            .item_type = l->column->item_type,
            .in_off = l->counts_entry->offset,
            .in_bytes = l->counts_entry->n_bytes,
            .out_off = e->offset,
            .out_bytes = e->n_bytes,
        };
        load_submit(l, &job, on_filled, l);
        break;
    case LOAD_EDGE:
        job = basket_job(l, JOB_EDGE, l->first);
        job.out_off = e->offset;
        job.out_bytes = e->n_bytes;
        load_submit(l, &job, on_filled, l);
        break;
    case LOAD_INDEX:
        memcpy(arena_base(cache_arena(l->m->cache)) + e->offset, load_index(l), e->n_bytes);
        break;
    }
    if (l->status)
        load_settle(l);
    else if (l->n_due == 0)
        load_publish(l);
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
    l->kind = place->verb == VERB_OFFSETS ? LOAD_OFFSETS : LOAD_DATA;
    l->column = place->column;
    l->column_number = place->column_number;
    l->start = place->start;
    l->stop = place->stop;
    l->waits_for_memory = waits_for_memory;
    tree_index_span(l->tree->index, l->column, l->start, l->stop, &l->first, &l->last);
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
    for (unsigned i = 0; i < l->n_edges; i++) {
        promote_entry(l->edges[i].waiter.entry, waits_for_memory);
        if (l->edges[i].has_counts)
            promote_entry(l->edges[i].counts.cache_waiter.entry, waits_for_memory);
    }
    if (l->counts.m)
        promote_entry(l->counts.cache_waiter.entry, waits_for_memory);
}

void load_abandon(struct cache_entry *e) {
    struct load *l = load_of(e);
    if (e->waiters || !l)
        return;
    cache_unlist(e);
    load_fail(l, WIRE_E_CANCELLED, "nobody waits for it any more");
    load_settle(l);
}

void load_retry(struct load *l) {
    load_reserve(l);
}

struct load *load_of(const struct cache_entry *e) {
    bool is_put = e->kind == KEY_DERIVED || e->kind == KEY_NAMED;
    return e->state == CACHE_LOADING && !is_put ? e->maker : NULL;
}

struct load *load_next_hungry(struct load *l) {
    return l->next;
}
