/* Free ranges in two orders: by address, to find neighbours, and by size, to find the best fit.
 *
 * Each free range is one node in two treaps (a binary search tree whose random priorities keep it
 * balanced: expected O(log n), and short enough to read). Invariants: ranges never touch
 * (neighbours are joined at once), so that their number is at most the number of taken ranges plus
 * one; both trees hold the same nodes; n_free is their sum.
 *
 * Giving back must not fail, but may need a node. So space_alloc sets a node aside for it: n_nodes
 * > n_allocated at all times. Nodes come in slabs, are recycled, and go with the space. Priorities
 * come from a fixed seed: the same calls make the same trees.
 */
#include "space.h"

#include <assert.h>
#include <errno.h>

enum { BY_OFF, BY_SIZE, N_ORDERS };
enum { LEFT, RIGHT };

struct node {
    uint64_t off, n;
    struct node *child[N_ORDERS][2];
    uint32_t priority;
};

#define SLAB_NODES 64

struct slab {
    struct slab *next; /* owned */
    struct node nodes[SLAB_NODES];
};

struct space {
    struct node *root[N_ORDERS];
    struct node *spare; /* by child[0][0] */
    struct slab *slabs; /* owned */
    uint64_t n_units, n_free, n_ranges, n_nodes;
    uint64_t n_allocated; /* by space_alloc and not given back */
    uint32_t seed;
};

static bool node_is_less(int order, const struct node *a, const struct node *b) {
    if (order == BY_SIZE && a->n != b->n)
        return a->n < b->n;
    return a->off < b->off;
}

/* l: what is less than key; r: the rest. */
static void tree_split(int order, struct node *t, const struct node *key, struct node **l,
                       struct node **r) {
    if (!t) {
        *l = *r = NULL;
    } else if (node_is_less(order, t, key)) {
        tree_split(order, t->child[order][RIGHT], key, &t->child[order][RIGHT], r);
        *l = t;
    } else {
        tree_split(order, t->child[order][LEFT], key, l, &t->child[order][LEFT]);
        *r = t;
    }
}

static struct node *tree_merge(int order, struct node *l, struct node *r) {
    if (!l || !r)
        return l ? l : r;
    if (l->priority > r->priority) {
        l->child[order][RIGHT] = tree_merge(order, l->child[order][RIGHT], r);
        return l;
    }
    r->child[order][LEFT] = tree_merge(order, l, r->child[order][LEFT]);
    return r;
}

static void tree_insert(int order, struct node **root, struct node *node) {
    struct node *l, *r;
    tree_split(order, *root, node, &l, &r);
    node->child[order][LEFT] = node->child[order][RIGHT] = NULL;
    *root = tree_merge(order, tree_merge(order, l, node), r);
}

static void tree_remove(int order, struct node **link, struct node *node) {
    while (*link != node)
        link = &(*link)->child[order][node_is_less(order, *link, node) ? RIGHT : LEFT];
    *link = tree_merge(order, node->child[order][LEFT], node->child[order][RIGHT]);
}

/* The first node that is not less than key. */
static struct node *tree_lower_bound(int order, struct node *t, const struct node *key) {
    struct node *found = NULL;
    while (t) {
        bool is_less = node_is_less(order, t, key);
        if (!is_less)
            found = t;
        t = t->child[order][is_less ? RIGHT : LEFT];
    }
    return found;
}

/* The last free range that starts at or before `off`. */
static struct node *range_at_or_before(const struct space *s, uint64_t off) {
    struct node *found = NULL;
    for (struct node *t = s->root[BY_OFF]; t;) {
        if (t->off <= off)
            found = t;
        t = t->child[BY_OFF][t->off <= off ? RIGHT : LEFT];
    }
    return found;
}

static uint32_t seed_next(struct space *s) { /* xorshift32, Marsaglia 2003 */
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 17;
    s->seed ^= s->seed << 5;
    return s->seed;
}

static void range_insert(struct space *s, uint64_t off, uint64_t n) {
    struct node *node = s->spare;
    assert(node);
    s->spare = node->child[0][0];
    *node = (struct node){.off = off, .n = n, .priority = seed_next(s)};
    for (int order = 0; order < N_ORDERS; order++)
        tree_insert(order, &s->root[order], node);
    s->n_ranges++;
}

static void range_remove(struct space *s, struct node *node) {
    for (int order = 0; order < N_ORDERS; order++)
        tree_remove(order, &s->root[order], node);
    node->child[0][0] = s->spare;
    s->spare = node;
    s->n_ranges--;
}

int space_reserve(struct space *s, uint64_t n_ranges) {
    while (s->n_nodes < n_ranges) {
        struct slab *slab = calloc(1, sizeof(*slab));
        if (!slab)
            return -ENOMEM;
        slab->next = s->slabs;
        s->slabs = slab;
        s->n_nodes += SLAB_NODES;
        for (int i = 0; i < SLAB_NODES; i++) {
            slab->nodes[i].child[0][0] = s->spare;
            s->spare = &slab->nodes[i];
        }
    }
    return 0;
}

int space_new(struct space **sp, uint64_t n_units) {
    assert(n_units > 0);
    struct space *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->n_units = s->n_free = n_units;
    s->seed = 2463534242u;
    if (space_reserve(s, 1)) {
        space_free(s);
        return -ENOMEM;
    }
    range_insert(s, 0, n_units);
    *sp = s;
    return 0;
}

struct space *space_free(struct space *s) {
    if (!s)
        return NULL;
    for (struct slab *slab = s->slabs, *next; slab; slab = next) {
        next = slab->next;
        free(slab);
    }
    free(s);
    return NULL;
}

/* Cut [off, off + n) out of the free range `node`, whose other parts stay free. */
static int range_cut(struct space *s, struct node *node, uint64_t off, uint64_t n) {
    int r = space_reserve(s, s->n_ranges + 1);
    if (r)
        return r;
    uint64_t start = node->off, stop = node->off + node->n;
    range_remove(s, node);
    if (start < off)
        range_insert(s, start, off - start);
    if (off + n < stop)
        range_insert(s, off + n, stop - off - n);
    s->n_free -= n;
    return 0;
}

int space_alloc(struct space *s, uint64_t *offp, uint64_t n) {
    assert(n > 0);
    struct node *best = tree_lower_bound(BY_SIZE, s->root[BY_SIZE], &(struct node){.n = n});
    if (!best)
        return SPACE_E_FULL;
    uint64_t off = best->off;
    int r = space_reserve(s, s->n_allocated + 2);
    r = r ? r : range_cut(s, best, off, n);
    if (r)
        return r;
    s->n_allocated++;
    *offp = off;
    return 0;
}

int space_take(struct space *s, uint64_t off, uint64_t n) {
    struct node *node = range_at_or_before(s, off);
    assert(n > 0 && node && range_is_inside(off - node->off, n, node->n));
    return range_cut(s, node, off, n);
}

void space_give_back(struct space *s, uint64_t off, uint64_t n) {
    assert(n > 0 && range_is_inside(off, n, s->n_units));
    s->n_free += n;
    s->n_allocated -= s->n_allocated > 0; /* it may have been taken otherwise */
    struct node *before = range_at_or_before(s, off);
    assert(!before || before->off + before->n <= off);
    struct node *after = tree_lower_bound(BY_OFF, s->root[BY_OFF], &(struct node){.off = off});
    assert(!after || off + n <= after->off);
    if (before && before->off + before->n == off) {
        off = before->off;
        n += before->n;
        range_remove(s, before);
    }
    if (after && off + n == after->off) {
        n += after->n;
        range_remove(s, after);
    }
    range_insert(s, off, n);
}

uint64_t space_n_free(const struct space *s) {
    return s->n_free;
}

uint64_t space_n_ranges(const struct space *s) {
    return s->n_ranges;
}

uint64_t space_largest(const struct space *s) {
    const struct node *t = s->root[BY_SIZE];
    while (t && t->child[BY_SIZE][RIGHT])
        t = t->child[BY_SIZE][RIGHT];
    return t ? t->n : 0;
}

bool space_next(const struct space *s, uint64_t from, uint64_t *offp, uint64_t *np) {
    const struct node *node = range_at_or_before(s, from);
    if (!node || node->off + node->n <= from)
        node = tree_lower_bound(BY_OFF, s->root[BY_OFF], &(struct node){.off = from});
    if (!node)
        return false;
    *offp = node->off;
    *np = node->n;
    return true;
}
