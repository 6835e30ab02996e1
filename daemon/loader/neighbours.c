/* Lists by hash of (source, start in units of the gap): who starts within the gap behind a position
 * is in that position's unit or the one after it. Hundreds of thousands of baskets may wait; their
 * lists stay short as long as not all of them are in one place.
 */
#include "neighbours.h"

#include <utlist.h>

static struct neighbour **head_of(const struct neighbours *ns, uint32_t source, uint64_t unit) {
    uint64_t hash = (unit + source * 0x9e3779b9ull) * 0x9e3779b97f4a7c15ull;
    return (struct neighbour **)&ns->heads[hash >> 54];
}

void neighbours_add(struct neighbours *ns, struct neighbour *n) {
    struct neighbour **head = head_of(ns, n->source, n->start / NEIGHBOURS_GAP_BYTES);
    DL_APPEND(*head, n);
    n->is_listed = true;
}

void neighbours_remove(struct neighbours *ns, struct neighbour *n) {
    if (!n->is_listed)
        return;
    struct neighbour **head = head_of(ns, n->source, n->start / NEIGHBOURS_GAP_BYTES);
    DL_DELETE(*head, n);
    n->is_listed = false;
}

struct neighbour *neighbours_next(const struct neighbours *ns, uint32_t source, uint64_t from) {
    struct neighbour *n, *best = NULL;
    uint64_t unit = from / NEIGHBOURS_GAP_BYTES;
    for (uint64_t u = unit; u <= unit + 1 && !best; u++) {
        struct neighbour *head = *head_of(ns, source, u);
        DL_FOREACH (head, n) {
            if (n->source == source && n->start >= from &&
                n->start - from <= NEIGHBOURS_GAP_BYTES && (!best || n->start < best->start))
                best = n;
        }
    }
    return best;
}
