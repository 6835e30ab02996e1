/* Step 0 of a load of values: what other buffers of the column hold, or will.
 *
 * Where another range of the same column covers what is wanted of a basket, that part is copied from
 * its buffer, also when that one still loads: then it is waited for. So a basket that several ranges
 * want, whole or in parts, is decompressed once while memory lasts. What no donor has goes on to the
 * next steps (plan, edge buffers, decoding).
 *
 * Donors that load began before this load did, so that two never wait for each other; those that
 * wait for memory are no donors. Where the wanted part lies in a jagged donor say its counter's
 * offsets over the donor's range, which are most often there, since its reader needed them. A donor
 * that fails is forgotten: its error may be in what is not wanted here.
 */
#include "load_steps.h"

#include <stdio.h>
#include <string.h>

#define MAX_LOOKED_AT 1024 /* of a column's buffers, the newest first */
#define MAX_CANDIDATES 128

/* ---- who may give ---- */

static bool may_give(const struct load *l, const struct cache_entry *e) {
    if (e == l->entry || e->start >= l->stop || e->stop <= l->start)
        return false;
    const struct load *other = load_of(e);
    return e->state == CACHE_READY ||
           (other && !other->is_hungry && !other->status && other->number < l->number);
}

static unsigned candidates_find(const struct load *l, struct cache_entry **found) {
    unsigned n = 0;
    struct cache_entry *e = cache_family_of(l->entry);
    for (unsigned i = 0; e && i < MAX_LOOKED_AT && n < MAX_CANDIDATES; i++, e = e->family_next)
        if (may_give(l, e))
            found[n++] = e;
    return n;
}

/* All that is wanted of the basket is in the entry. */
static bool covers(const struct load *l, const struct cache_entry *e, uint64_t i) {
    const struct tree_basket *b = load_basket(l, i);
    uint64_t start, stop;
    load_slice(l, b, &start, &stop);
    return e->start <= b->first_entry + start && b->first_entry + stop <= e->stop;
}

/* Those which cover basket i and the most after it; NULL: none. */
static struct cache_entry *candidate_best(const struct load *l, struct cache_entry *const *found,
                                          unsigned n, uint64_t i) {
    struct cache_entry *best = NULL;
    for (unsigned k = 0; k < n; k++)
        if (covers(l, found[k], i) && (!best || found[k]->stop > best->stop))
            best = found[k];
    return best;
}

/* What another load cuts it will take from an edge buffer, even if it has not yet begun that. */
static void cuts_mark(struct load *l, const struct cache_entry *e) {
    uint64_t first, last;
    tree_index_span(load_index(l), l->column, e->start, e->stop, &first, &last);
    for (uint64_t i = MAX(first, l->first); i < MIN(last, l->last); i++) {
        struct tree_basket *b = load_basket(l, i);
        if (b->first_entry < e->start || e->stop < b->first_entry + b->n_entries)
            b->flags |= BASKET_HAS_EDGE;
    }
}

static void donors_choose(struct load *l) {
    struct cache_entry *found[MAX_CANDIDATES];
    unsigned n = candidates_find(l, found);
    for (unsigned k = 0; k < n; k++)
        if (found[k]->state != CACHE_READY)
            cuts_mark(l, found[k]);
    for (uint64_t i = l->first; n > 0 && i < l->last && l->n_donors < LOAD_MAX_DONORS;) {
        uint64_t first = i++;
        struct cache_entry *e = candidate_best(l, found, n, first);
        if (!e || load_basket(l, first)->flags & BASKET_EMBEDDED)
            continue;
        while (i < l->last && covers(l, e, i))
            i++;
        l->donors[l->n_donors++] =
            (struct load_donor){.load = l, .entry = e, .first = first, .last = i};
    }
}

/* ---- what they give ---- */

static void donor_forget(struct load_donor *d) {
    d->last = d->first;
}

static uint64_t donor_start(const struct load_donor *d) {
    return MAX(d->load->start, load_basket(d->load, d->first)->first_entry);
}

static uint64_t donor_stop(const struct load_donor *d) {
    const struct tree_basket *b = load_basket(d->load, d->last - 1);
    return MIN(d->load->stop, b->first_entry + b->n_entries);
}

/* Items [from, to) of the donor. */
static void donor_set(struct load_donor *d, uint64_t from, uint64_t to) {
    uint64_t item = load_out_bytes(d->load);
    if (from > to || MUL_OVERFLOW(from, item, &d->from) || MUL_OVERFLOW(to, item, &d->to) ||
        d->to > d->entry->n_bytes)
        donor_forget(d);
}

static void donors_done(struct load *l) {
    if (!l->status && l->n_due == 0)
        load_plan(l);
    else
        load_settle(l);
}

static void on_offsets(struct want *w, struct cache_entry *e, int status, const char *text) {
    struct load_donor *d = CONTAINER_OF(w, struct load_donor, offsets);
    struct load *l = d->load;
    const struct cache_entry *donor = d->entry;
    d->has_want = false;
    l->n_due--;
    if (status || e->n_bytes != (donor->stop - donor->start + 1) * sizeof(int64_t)) {
        donor_forget(d);
    } else {
        const int64_t *offsets =
            (const int64_t *)(arena_base(cache_arena(l->m->cache)) + e->offset);
        donor_set(d, (uint64_t)offsets[donor_start(d) - donor->start],
                  (uint64_t)offsets[donor_stop(d) - donor->start]);
    }
    donors_done(l);
}

static void donor_want_offsets(struct load_donor *d) {
    struct load *l = d->load;
    char key[WIRE_MAX_KEY_BYTES + 1];
    int n = load_counter_key(l, d->entry->start, d->entry->stop, key);
    if (n < 0) {
        donor_forget(d);
        return;
    }
    d->offsets.on_done = on_offsets;
    d->offsets.queue = l->queue;
    d->has_want = true;
    l->n_due++;
    want_start(&d->offsets, l->m, (struct str){key, (uint32_t)n});
}

/* The donor is ready: where in it is the wanted part? */
static void donor_take(struct load_donor *d) {
    d->is_held = true;
    cache_hold(d->entry);
    if (d->load->column->kind == COLUMN_JAGGED)
        donor_want_offsets(d);
    else
        donor_set(d, donor_start(d) - d->entry->start, donor_stop(d) - d->entry->start);
}

static void on_donor(struct cache_waiter *w, struct cache_entry *e, int status, const char *text) {
    struct load_donor *d = CONTAINER_OF(w, struct load_donor, waiter);
    struct load *l = d->load;
    if (status)
        donor_forget(d);
    else
        donor_take(d);
    l->n_due--; /* not before: what it wants may be there at once */
    donors_done(l);
}

static void donor_begin(struct load_donor *d) {
    struct load *l = d->load;
    if (d->entry->state == CACHE_READY) {
        donor_take(d);
        return;
    }
    d->waiter.on_done = on_donor;
    cache_wait(d->entry, &d->waiter);
    l->n_due++;
    if (l->queue == loader_demand(l->m->loader))
        load_promote(load_of(d->entry), l->waits_for_memory);
}

void load_donors(struct load *l) {
    load_find_edges(l);
    donors_choose(l);
    l->n_due++; /* donors that are ready at once must not end the step under this loop */
    for (unsigned i = 0; i < l->n_donors && !l->status; i++)
        donor_begin(&l->donors[i]);
    l->n_due--;
    donors_done(l);
}

const struct load_donor *load_donor_of(const struct load *l, uint64_t basket) {
    for (unsigned i = 0; i < l->n_donors; i++)
        if (l->donors[i].first <= basket && basket < l->donors[i].last)
            return &l->donors[i];
    return NULL;
}

/* ---- the end ---- */

void load_cancel_donors(struct load *l) {
    for (unsigned i = 0; i < l->n_donors; i++) {
        struct load_donor *d = &l->donors[i];
        struct cache_entry *e = d->waiter.entry;
        if (e) {
            cache_unwait(&d->waiter);
            l->n_due--;
            load_abandon(e, l->queue);
        }
        if (d->has_want) {
            d->has_want = false;
            want_cancel(&d->offsets);
            l->n_due--;
        }
    }
}

void load_drop_donors(struct load *l) {
    for (unsigned i = 0; i < l->n_donors; i++)
        if (l->donors[i].is_held)
            cache_unhold(l->donors[i].entry);
    l->n_donors = 0;
}

void load_promote_donors(struct load *l, bool waits_for_memory) {
    for (unsigned i = 0; i < l->n_donors; i++) {
        const struct load_donor *d = &l->donors[i];
        const struct cache_entry *e = d->has_want ? d->offsets.cache_waiter.entry : d->waiter.entry;
        if (e && load_of(e))
            load_promote(load_of(e), waits_for_memory);
    }
}
