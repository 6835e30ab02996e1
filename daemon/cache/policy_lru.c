/* Least recently used first: one list, used items go to its end. An item's score falls with the number
 * of uses since its own. */
#include "policy.h"

#include <errno.h>
#include <utlist.h>

struct lru {
    struct policy base;
    struct policy_item *items; /* borrowed list; the next victim at the head */
    uint64_t order;            /* of the newest */
};

static struct lru *lru_of(struct policy *p) {
    return CONTAINER_OF(p, struct lru, base);
}

static int lru_create(struct policy **pp, uint64_t max_bytes, uint64_t max_items) {
    struct lru *lru = calloc(1, sizeof(*lru));
    if (!lru)
        return -ENOMEM;
    *pp = &lru->base;
    return 0;
}

static void lru_destroy(struct policy *p) {
    free(lru_of(p));
}

static void lru_add(struct policy *p, struct policy_item *item) {
    struct lru *lru = lru_of(p);
    item->order = ++lru->order;
    DL_APPEND(lru->items, item);
}

static void lru_remove(struct policy *p, struct policy_item *item, bool is_victim) {
    DL_DELETE(lru_of(p)->items, item);
}

static void lru_use(struct policy *p, struct policy_item *item, uint64_t used_ms) {
    item->used_ms = used_ms;
    lru_remove(p, item, false);
    lru_add(p, item);
}

static struct policy_item *lru_take(struct policy *p) {
    struct lru *lru = lru_of(p);
    struct policy_item *item = lru->items;
    if (item)
        DL_DELETE(lru->items, item);
    return item;
}

static void lru_put_back(struct policy *p, struct policy_item *item) {
    DL_PREPEND(lru_of(p)->items, item);
}

static double lru_score(const struct policy *p, const struct policy_item *item) {
    const struct lru *lru = CONTAINER_OF(p, const struct lru, base);
    return 1.0 / (double)(lru->order - item->order + 1);
}

const struct policy_kind policy_lru = {
    .name = "lru",
    .create = lru_create,
    .destroy = lru_destroy,
    .add = lru_add,
    .remove = lru_remove,
    .use = lru_use,
    .take = lru_take,
    .put_back = lru_put_back,
    .score = lru_score,
};
