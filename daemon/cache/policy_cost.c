/* Keep what saves the most time: seconds to make a byte again, divided by the time that it will
 * probably lie unused.
 *
 * That time is foretold from the gap between the last uses of an item, which is remembered when the item
 * has gone: an item used every minute and idle for ten seconds will be wanted in fifty. It is taken
 * for certain by half only (gap - idle / 2), since not all users are regular. When it is overdue the
 * time grows with the square of the idle time: it is not wanted any more. What was used once is expected
 * back after as long as it has been idle. So a cyclic scan larger than memory keeps a part of itself,
 * and of that what is due next, where LRU keeps what is due last.
 *
 * Scores change with time, so there is no queue: a victim is the least of N_SAMPLES items chosen at
 * random. A cost that nobody measured counts as the mean of the others.
 */
#include "policy.h"

#include <errno.h>

#include "ghost.h"

#define N_SAMPLES 32

struct cost {
    struct policy base;
    struct policy_item **items; /* owned; borrowed items, in no order */
    uint64_t n_items;
    uint64_t seed;
    double cost_ns, n_bytes; /* of all measured so far: the mean cost of a byte */
    struct ghosts ghosts;
};

static struct cost *cost_of(struct policy *p) {
    return CONTAINER_OF(p, struct cost, base);
}

static void cost_destroy(struct policy *p) {
    struct cost *c = cost_of(p);
    ghosts_deinit(&c->ghosts);
    free(c->items);
    free(c);
}

static int cost_create(struct policy **pp, uint64_t max_bytes, uint64_t max_items) {
    struct cost *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->seed = 88172645463325252ull;
    c->items = calloc(max_items, sizeof(struct policy_item *));
    if (!c->items || ghosts_init(&c->ghosts, max_items)) {
        cost_destroy(&c->base);
        return -ENOMEM;
    }
    *pp = &c->base;
    return 0;
}

static uint64_t seed_next(struct cost *c) { /* xorshift64, Marsaglia 2003 */
    c->seed ^= c->seed << 13;
    c->seed ^= c->seed >> 7;
    c->seed ^= c->seed << 17;
    return c->seed;
}

static void place_add(struct cost *c, struct policy_item *item) {
    item->place = c->n_items;
    c->items[c->n_items++] = item;
}

static void place_remove(struct cost *c, struct policy_item *item) {
    struct policy_item *last = c->items[--c->n_items];
    c->items[item->place] = last;
    last->place = item->place;
}

static void gap_learn(struct policy_item *item, uint64_t last_ms, uint64_t used_ms) {
    uint64_t gap_ms = used_ms - MIN(last_ms, used_ms);
    if (gap_ms >= POLICY_BURST_MS)
        item->gap_ms =
            MAX(gap_ms, item->gap_ms / 2); /* one short gap among long ones says little */
}

static void cost_add(struct policy *p, struct policy_item *item) {
    struct cost *c = cost_of(p);
    struct ghost ghost;
    item->gap_ms = 0;
    if (ghosts_take(&c->ghosts, item->id, &ghost)) {
        item->gap_ms = ghost.gap_ms;
        gap_learn(item, ghost.when, item->used_ms);
    }
    if (item->cost_ns) {
        c->cost_ns += (double)item->cost_ns;
        c->n_bytes += (double)item->n_bytes;
    }
    place_add(c, item);
}

static void cost_remove(struct policy *p, struct policy_item *item, bool is_victim) {
    struct cost *c = cost_of(p);
    place_remove(c, item);
    if (is_victim)
        ghosts_put(&c->ghosts,
                   &(struct ghost){.id = item->id, .when = item->used_ms, .gap_ms = item->gap_ms});
}

static void cost_use(struct policy *p, struct policy_item *item, uint64_t used_ms) {
    gap_learn(item, item->used_ms, used_ms);
    item->used_ms = MAX(item->used_ms, used_ms);
}

/* How long it will lie unused. */
static double foretell_ms(const struct policy *p, const struct policy_item *item) {
    double idle = (double)(p->now_ms - MIN(item->used_ms, p->now_ms)), gap = (double)item->gap_ms;
    if (gap == 0)
        return idle;
    return gap > idle ? gap - idle / 2 : idle * idle / gap / 2;
}

static double cost_score(const struct policy *p, const struct policy_item *item) {
    const struct cost *c = CONTAINER_OF(p, const struct cost, base);
    double ns_per_byte = item->cost_ns    ? (double)item->cost_ns / (double)item->n_bytes
                         : c->n_bytes > 0 ? c->cost_ns / c->n_bytes
                                          : 1;
    return ns_per_byte / (foretell_ms(p, item) + 1);
}

static struct policy_item *cost_take(struct policy *p) {
    struct cost *c = cost_of(p);
    struct policy_item *least = NULL;
    double least_score = 0;
    bool takes_all = c->n_items <= N_SAMPLES;
    for (uint64_t i = 0; i < MIN(c->n_items, N_SAMPLES); i++) {
        struct policy_item *item = c->items[takes_all ? i : seed_next(c) % c->n_items];
        double score = cost_score(p, item);
        if (!least || score < least_score) {
            least = item;
            least_score = score;
        }
    }
    if (least)
        place_remove(c, least);
    return least;
}

static void cost_put_back(struct policy *p, struct policy_item *item) {
    place_add(cost_of(p), item);
}

const struct policy_kind policy_cost = {
    .name = "cost",
    .create = cost_create,
    .destroy = cost_destroy,
    .add = cost_add,
    .remove = cost_remove,
    .use = cost_use,
    .take = cost_take,
    .put_back = cost_put_back,
    .score = cost_score,
};
