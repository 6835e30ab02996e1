/* Step 1 of a load: the sizes of its baskets.
 *
 * A tree's metadata knows compressed sizes only. What the exact size of the buffer depends on is
 * read from the keys of the baskets: all of a jagged column, the cut ones of a flat one. The result
 * stays in the index, so a basket is planned once. One plan of a column runs at a time; other loads
 * of it wait, and look again at what is left to do.
 */
#include "load_steps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One plan of a column (or of a record's members) at a time: its job reads the index's baskets of
 * that column, so nobody may write them. */
static struct load *plan_of_other(const struct load *l) {
    struct load *other;
    DL_FOREACH2 (l->m->planning, other, plan_next)
        if (other->plan == PLAN_RUNNING && other->tree == l->tree &&
            other->column->first_basket == l->column->first_basket)
            return other;
    return NULL;
}

/* A demand that waits for a plan in the background takes it along to the front. */
void load_boost_plan(struct load *l) {
    struct load *other = plan_of_other(l);
    if (other && l->queue == loader_demand(l->m->loader))
        loader_group_move(&other->group, l->queue);
}

void load_set_plan(struct load *l, enum load_plan_state plan) {
    if (l->plan == PLAN_IDLE && plan != PLAN_IDLE)
        DL_APPEND2(l->m->planning, l, plan_prev, plan_next);
    if (l->plan != PLAN_IDLE && plan == PLAN_IDLE)
        DL_DELETE2(l->m->planning, l, plan_prev, plan_next);
    l->plan = plan;
}

static struct load *plan_next_blocked(struct materialize *m, const struct sources_tree *tree,
                                      const struct tree_column *column) {
    struct load *l;
    DL_FOREACH2 (m->planning, l, plan_next)
        if (l->plan == PLAN_BLOCKED && l->tree == tree &&
            l->column->first_basket == column->first_basket)
            return l;
    return NULL;
}

/* Those who waited for this plan look again at what is left to do, until one of them plans itself.
 */
static void plan_wake(struct materialize *m, const struct sources_tree *tree,
                      const struct tree_column *column) {
    struct load *l;
    while ((l = plan_next_blocked(m, tree, column)) && !plan_of_other(l)) {
        load_set_plan(l, PLAN_IDLE);
        l->n_due--;
        load_plan(l);
    }
}

/* The last plan job has come back. */
static void plan_end(struct load *l) {
    struct materialize *m = l->m;
    struct sources_tree *tree = l->tree;
    const struct tree_column *column = l->column;
    load_set_plan(l, PLAN_IDLE);
    loader_group_move(&l->group, l->queue); /* a demand may have taken it to the front */
    sources_use(tree);                      /* until the others are awake */
    if (l->status)
        load_settle(l);
    else
        load_edges(l);
    plan_wake(m, tree, column);
    sources_unuse(tree);
}

static void plan_keep(struct load *l, const struct job *job, const struct tree_basket *planned) {
    struct tree_basket *b = load_basket(l, job->first_basket);
    for (uint64_t i = 0; i < job->n_baskets; i++) {
        uint16_t ours = b[i].flags & BASKET_HAS_EDGE;
        b[i] = planned[i];
        b[i].flags |= ours;
    }
}

static void on_planned(void *ctx, const struct job *job, struct job_result *result) {
    struct load *l = ctx;
    l->n_due--;
    l->is_stuck |= result->status == -ETIMEDOUT;
    l->entry->cost_ns += result->run_ns;
    sources_count_job(l->m->sources, result);
    if (result->status)
        load_fail(l, sources_job_error(result->status), result->error);
    else if (result->n_blob_bytes != job->n_baskets * sizeof(struct tree_basket))
        load_fail(l, WIRE_E_INTERNAL, "a plan of the wrong size");
    else
        plan_keep(l, job, result->blob);
    free(result->blob);
    if (l->n_due == 0)
        plan_end(l);
}

/* Whole baskets of a flat column have the size that their entries say. */
static bool needs_plan(const struct load *l, uint64_t i) {
    const struct tree_basket *b = load_basket(l, i);
    return !(b->flags & BASKET_PLANNED) && !load_donor_of(l, i) &&
           (l->column->kind == COLUMN_JAGGED || b->flags & BASKET_HAS_EDGE || load_has_edge(l, i));
}

void load_plan(struct load *l) {
    uint64_t i = l->first;
    while (i < l->last && !needs_plan(l, i))
        i++;
    if (i == l->last) {
        load_edges(l);
        return;
    }
    if (plan_of_other(l)) {
        load_set_plan(l, PLAN_BLOCKED);
        load_boost_plan(l);
        l->n_due++;
        return;
    }
    for (; i < l->last && !l->status; i++) {
        struct job job = load_job(l, JOB_PLAN, i);
        while (i + 1 < l->last && needs_plan(l, i + 1))
            i++;
        job.n_baskets = i + 1 - job.first_basket;
        job.max_bytes = job.n_baskets * sizeof(struct tree_basket);
        load_submit(l, &job, on_planned, l);
        while (i + 1 < l->last && !needs_plan(l, i + 1))
            i++;
    }
    if (l->n_due)
        load_set_plan(l, PLAN_RUNNING);
    load_settle(l);
}
