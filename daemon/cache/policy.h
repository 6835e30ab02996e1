/* Which buffer goes first when memory is short: a table of policies, chosen by --policy.
 *
 * A policy orders items and offers victims; the cache decides. It sees sizes, costs and uses, never
 * keys, clients or bytes. Most hits need no request, so it hears of a use when the cache next looks at
 * the item, that is when it is offered as a victim or lies beside one.
 */
#ifndef BUFFERD_POLICY_H
#define BUFFERD_POLICY_H

#include "../../proto/base.h"

/* Uses less than this after another are one use: a buffer that was made is granted at once, and the ticks
 * of pins count seconds. */
#define POLICY_BURST_MS 1500

/* Embedded in its owner, which sets the first four. */
struct policy_item {
    uint64_t id;      /* the same when the same thing is made again */
    uint64_t n_bytes; /* that it occupies, > 0 */
    uint64_t cost_ns; /* measured to make it; 0: unknown */
    uint64_t used_ms; /* last use; kept by the policy from policy_add on */
    /* The policy's own. */
    struct policy_item *prev, *next;
    uint64_t order;  /* of its last move to the end of a queue */
    uint64_t gap_ms; /* between its uses; 0: it was used once */
    uint64_t place;  /* in an array */
    uint8_t queue, n_uses;
};

struct policy_kind;

struct policy {
    const struct policy_kind *kind;
    uint64_t max_bytes; /* of all items */
    uint64_t now_ms;    /* kept by the owner; monotonic */
};

struct policy_kind {
    const char *name;
    int (*create)(struct policy **pp, uint64_t max_bytes, uint64_t max_items);
    void (*destroy)(struct policy *p);
    void (*add)(struct policy *p, struct policy_item *item);
    void (*remove)(struct policy *p, struct policy_item *item, bool is_victim);
    void (*use)(struct policy *p, struct policy_item *item, uint64_t used_ms);
    struct policy_item *(*take)(struct policy *p);
    void (*put_back)(struct policy *p, struct policy_item *item);
    double (*score)(const struct policy *p, const struct policy_item *item);
};

/* NULL: no such name; NULL as name: the default. */
const struct policy_kind *policy_find(const char *name);
/* All of them in turn; NULL after the last. */
const struct policy_kind *policy_at(unsigned i);

/* Return: 0 or -ENOMEM. */
int policy_new(struct policy **pp, const struct policy_kind *kind, uint64_t max_bytes,
               uint64_t max_items);
/* Every item has been removed. */
struct policy *policy_free(struct policy *p);

static inline void policy_add(struct policy *p, struct policy_item *item) {
    p->kind->add(p, item);
}

/* is_victim: for its memory; it may be made again. */
static inline void policy_remove(struct policy *p, struct policy_item *item, bool is_victim) {
    p->kind->remove(p, item, is_victim);
}

static inline void policy_use(struct policy *p, struct policy_item *item, uint64_t used_ms) {
    p->kind->use(p, item, used_ms);
}

/* The next victim, out of the order until it is put back: the last one that was taken first. NULL:
 * none is left. */
static inline struct policy_item *policy_take(struct policy *p) {
    return p->kind->take(p);
}

static inline void policy_put_back(struct policy *p, struct policy_item *item) {
    p->kind->put_back(p, item);
}

/* What one byte of the item is worth, compared with other items now: victims have the least. */
static inline double policy_score(const struct policy *p, const struct policy_item *item) {
    return p->kind->score(p, item);
}

extern const struct policy_kind policy_cost, policy_lru, policy_s3fifo;

#endif
