/* What all steps of a load share: the baskets of its range, and jobs on them.
 *
 * A job holds a copy of its basket's description, so that no worker reads what the loop may write.
 */
#include "load_steps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct tree_index *load_index(const struct load *l) {
    return l->tree->index;
}

struct tree_basket *load_basket(const struct load *l, uint64_t i) {
    return &tree_index_baskets(load_index(l))[i];
}

void load_submit(struct load *l, const struct job *job, loader_done_fn *done, void *ctx) {
    if (loader_submit(&l->group, job, done, ctx))
        load_fail(l, WIRE_E_FULL, "no memory for a job");
    else
        l->n_due++;
}

/* What every completion does first. False: the load has failed (maybe by this one) and may be gone.
 */
bool load_job_done(struct load *l, struct job_result *result) {
    l->n_due--;
    l->is_stuck |= result->status == -ETIMEDOUT;
    l->entry->cost_ns += result->run_ns;
    sources_count_job(l->m->sources, result);
    if (result->status)
        load_fail(l, sources_job_error(result->status), result->error);
    if (!l->status)
        return true;
    free(result->blob);
    load_settle(l);
    return false;
}

uint64_t load_out_bytes(const struct load *l) {
    return (uint64_t)item_bytes(l->column->item_type) * l->column->n_per_entry;
}

uint64_t load_entry_bytes(const struct load *l) {
    return l->column->layout.unit_bytes ? l->column->layout.unit_bytes : load_out_bytes(l);
}

/* The part of a basket that the range wants, in entries of the basket. */
void load_slice(const struct load *l, const struct tree_basket *b, uint64_t *startp,
                uint64_t *stopp) {
    *startp = l->start > b->first_entry ? l->start - b->first_entry : 0;
    *stopp = MIN(l->stop - b->first_entry, b->n_entries);
}

bool load_cuts(const struct load *l, const struct tree_basket *b) {
    uint64_t start, stop;
    load_slice(l, b, &start, &stop);
    return start > 0 || stop < b->n_entries;
}

/* Lists tell their sizes, and are wanted as values and as offsets; the baskets of a record are
 * wanted by each of its members. Both are decompressed once for all, as is what some range cuts. */
bool load_has_edge(const struct load *l, uint64_t i) {
    const struct tree_basket *b = load_basket(l, i);
    if (load_donor_of(l, i))
        return false;
    /* One that another load began to cut after this one has planned is not planned. */
    bool is_cut_elsewhere = b->flags & BASKET_HAS_EDGE && b->flags & BASKET_PLANNED;
    return l->column->kind == COLUMN_LISTS || l->column->flags & COLUMN_MEMBER ||
           is_cut_elsewhere || load_cuts(l, b);
}

int load_counter_key(const struct load *l, uint64_t start, uint64_t stop, char *key) {
    const struct tree_index *x = load_index(l);
    const char *counter = tree_index_string(x, tree_index_columns(x)[l->column->counter - 1].name);
    const char *tree = tree_index_string(x, x->path);
    const struct key k = {
        .kind = KEY_COLUMN,
        .source_id = l->tree->file->source_id,
        .tree = {tree, (uint32_t)strlen(tree)},
        .name = {counter, (uint32_t)strlen(counter)},
        .start = start,
        .stop = stop,
        .verb = VERB_OFFSETS,
    };
    return key_print(key, &k);
}

struct job load_job(const struct load *l, enum job_kind kind, uint64_t i) {
    const struct tree_basket *b = load_basket(l, i);
    struct job job = {
        .kind = kind,
        .item_type = l->column->item_type,
        .column_kind = l->column->kind,
        .layout = l->column->layout,
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
    if (l->kind == LOAD_DATA || l->kind == LOAD_LIST_OFFSETS)
        load_slice(l, b, &job.slice_start, &job.slice_stop);
    return job;
}
