/* Steps 3 and 4 of a load: exact memory, then the jobs that fill it.
 *
 * The size of every piece is known by now, so each basket has its own place in the buffer and all
 * of them are decoded in parallel. A load that waits for memory holds nothing meanwhile: it starts
 * anew when some was freed.
 */
#include "load_steps.h"

#include <stdio.h>
#include <string.h>

struct load_edge *load_edge_of(struct load *l, uint64_t basket) {
    uint64_t low = 0, high = l->n_edges;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (l->edges[mid].basket < basket)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->n_edges && l->edges[low].basket == basket ? &l->edges[low] : NULL;
}

/* Value bytes of a basket that the range wants, [*startp, *stopp). */
static void basket_values(struct load *l, uint64_t i, uint64_t *startp, uint64_t *stopp) {
    const struct load_edge *edge = load_edge_of(l, i);
    const struct tree_basket *b = load_basket(l, i);
    *startp = edge ? edge->cut[0] : 0;
    *stopp = edge                             ? edge->cut[1]
             : l->column->kind == COLUMN_FLAT ? b->n_entries * load_entry_bytes(l)
                                              : b->border_bytes;
}

/* Units, or lists of a level and the slot that precedes them all. */
static bool list_size(const struct load *l, uint64_t *n_bytesp) {
    bool is_data = l->kind == LOAD_DATA;
    uint64_t n = is_data ? 0 : 1;
    for (uint64_t i = 0; i < l->n_edges; i++)
        if (ADD_OVERFLOW(n, l->edges[i].n_lists[is_data ? l->column->layout.n_levels : l->level],
                         &n))
            return false;
    return !MUL_OVERFLOW(n, is_data ? load_out_bytes(l) : sizeof(int64_t), n_bytesp);
}

/* The exact size of the buffer. False: it makes no sense. */
static bool load_size(struct load *l, uint64_t *n_bytesp) {
    uint64_t n = 0, n_given = 0, start, stop;
    if (l->column->kind == COLUMN_LISTS)
        return list_size(l, n_bytesp);
    for (uint64_t i = l->first; i < l->last; i++) {
        const struct load_donor *donor = load_donor_of(l, i);
        if (donor) {
            n_given += donor->to - donor->from;
            i = donor->last - 1;
            continue;
        }
        basket_values(l, i, &start, &stop);
        if (start > stop || ADD_OVERFLOW(n, stop - start, &n))
            return false;
    }
    if (MUL_OVERFLOW(n / load_entry_bytes(l), load_out_bytes(l), &n) ||
        ADD_OVERFLOW(n, n_given, n_bytesp))
        return false;
    return l->column->kind != COLUMN_FLAT || *n_bytesp == (l->stop - l->start) * load_out_bytes(l);
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

/* Does it hold so much of the arena itself that there will never be room? */
static bool load_is_hopeless(const struct load *l, uint64_t n_bytes) {
    for (uint64_t i = 0; i < l->n_edges; i++)
        n_bytes += l->edges[i].entry ? l->edges[i].entry->n_bytes : 0;
    return n_bytes > arena_bytes(cache_arena(l->m->cache));
}

static void load_take(struct load *l, uint64_t n_bytes, uint8_t item_type) {
    char why[256] = "";
    int rc = cache_reserve(l->entry, n_bytes, item_type, on_room, why);
    if (rc == 0) {
        load_fill(l);
        return;
    }
    if (rc == CACHE_E_COLD)
        l->n_due++;
    else if (rc == CACHE_E_FULL && load_is_hopeless(l, n_bytes))
        load_fail(l, WIRE_E_TOO_LARGE, "it and its baskets are larger than the arena");
    else if (rc == CACHE_E_FULL && l->waits_for_memory)
        load_wait_for_memory(l);
    else
        load_fail(l, rc == CACHE_E_TOO_LARGE ? WIRE_E_TOO_LARGE : WIRE_E_FULL, why);
    load_settle(l);
}

void load_reserve(struct load *l) {
    uint64_t n_bytes = 0;
    switch (l->kind) {
    case LOAD_DATA:
    case LOAD_LIST_OFFSETS:
        if (load_size(l, &n_bytes)) {
            load_take(l, n_bytes, l->kind == LOAD_DATA ? l->column->item_type : ITEM_I8);
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

static void on_filled(void *ctx, const struct job *job, struct job_result *result) {
    struct load *l = ctx;
    if (load_job_done(l, result) && l->n_due == 0)
        load_publish(l);
}

/* Return: how many bytes the donor's part has. */
static uint64_t fill_from_donor(struct load *l, const struct load_donor *donor, uint64_t at) {
    const uint64_t n_bytes = donor->to - donor->from;
    const struct job job = {
        .kind = JOB_TRANSFORM,
        .verb = JOB_VERB_SAME,
        .in_off = donor->entry->offset + donor->from,
        .in_bytes = n_bytes,
        .out_off = at,
        .out_bytes = n_bytes,
    };
    if (n_bytes > 0)
        load_submit(l, &job, on_filled, l);
    return n_bytes;
}

static uint64_t fill_from_basket(struct load *l, uint64_t i, uint64_t at) {
    const struct load_edge *edge = load_edge_of(l, i);
    struct job job = load_job(l, edge && edge->entry ? JOB_COPY : JOB_DECODE, i);
    basket_values(l, i, &job.value_start, &job.value_stop);
    if (edge && edge->entry) {
        job.in_off = edge->entry->offset;
        job.in_bytes = edge->entry->n_bytes;
    }
    job.out_off = at;
    job.out_bytes = (job.value_stop - job.value_start) / load_entry_bytes(l) * load_out_bytes(l);
    if (job.value_start < job.value_stop)
        load_submit(l, &job, on_filled, l);
    return job.out_bytes;
}

static void load_fill_data(struct load *l) {
    uint64_t at = l->entry->offset;
    for (uint64_t i = l->first; i < l->last && !l->status; i++) {
        const struct load_donor *donor = load_donor_of(l, i);
        at += donor ? fill_from_donor(l, donor, at) : fill_from_basket(l, i, at);
        if (donor)
            i = donor->last - 1;
    }
}

/* Each basket's part has its place, and its offsets begin where the last one's end. */
static void load_fill_lists(struct load *l) {
    uint64_t at = l->entry->offset, base = 0;
    if (l->kind == LOAD_LIST_OFFSETS) {
        memset(arena_base(cache_arena(l->m->cache)) + at, 0, sizeof(int64_t));
        at += sizeof(int64_t);
    }
    for (uint64_t i = 0; i < l->n_edges && !l->status; i++) {
        const struct load_edge *edge = &l->edges[i];
        struct job job = load_job(l, JOB_COPY, edge->basket);
        job.out_bytes = edge->n_lists[l->column->layout.n_levels] * load_out_bytes(l);
        if (l->kind == LOAD_LIST_OFFSETS) {
            job.verb = JOB_VERB_LIST_ENDS;
            job.level = l->level;
            job.base = (int64_t)base;
            job.out_bytes = edge->n_lists[l->level] * sizeof(int64_t);
            base += edge->n_lists[l->level + 1];
        }
        if (edge->entry) {
            job.in_off = edge->entry->offset;
            job.in_bytes = edge->entry->n_bytes;
        }
        job.out_off = at;
        at += job.out_bytes;
        if (job.out_bytes > 0)
            load_submit(l, &job, on_filled, l);
    }
}

void load_fill(struct load *l) {
    struct cache_entry *e = l->entry;
    struct job job;
    switch (l->kind) {
    case LOAD_DATA:
    case LOAD_LIST_OFFSETS:
        if (l->column->kind == COLUMN_LISTS)
            load_fill_lists(l);
        else
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
        job = load_job(l, JOB_EDGE, l->first);
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
