/* Waiting baskets by their place in a file. */
#include <criterion/criterion.h>

#include "../../daemon/loader/neighbours.h"

enum { GAP = NEIGHBOURS_GAP_BYTES };

static struct neighbours ns;

static void add(struct neighbour *n, uint32_t source, uint64_t start) {
    *n = (struct neighbour){.source = source, .start = start, .n_bytes = 1};
    neighbours_add(&ns, n);
}

Test(neighbours, none_is_found_where_none_is) {
    struct neighbour a, never = {0};
    cr_assert_null(neighbours_next(&ns, 1, 0));
    neighbours_remove(&ns, &never);
    add(&a, 1, 1000);
    cr_assert_null(neighbours_next(&ns, 2, 1000), "another file");
    cr_assert_null(neighbours_next(&ns, 1, 1001), "before it");
    neighbours_remove(&ns, &a);
    neighbours_remove(&ns, &a);
    cr_assert_null(neighbours_next(&ns, 1, 1000));
}

Test(neighbours, the_gap_is_the_limit) {
    struct neighbour a;
    for (uint64_t start = 0; start < 3 * GAP; start += GAP / 4 - 1) {
        add(&a, 1, start + GAP);
        cr_assert_eq(neighbours_next(&ns, 1, start), &a);
        cr_assert_null(neighbours_next(&ns, 1, start - 1), "%u", (unsigned)start);
        cr_assert_eq(neighbours_next(&ns, 1, start + GAP), &a);
        neighbours_remove(&ns, &a);
    }
    add(&a, 1, UINT64_MAX);
    cr_assert_eq(neighbours_next(&ns, 1, UINT64_MAX), &a);
    cr_assert_null(neighbours_next(&ns, 1, 0));
}

/* Against a search through all of them. */
Test(neighbours, the_nearest_is_found) {
    static struct neighbour items[3000];
    uint64_t x = 1;
    for (unsigned i = 0; i < 3000; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        add(&items[i], (uint32_t)(x >> 60 & 1), (x >> 33) % (3000 * 20000ull));
    }
    unsigned n_found = 0;
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t from = items[i].start + items[i].n_bytes;
        const struct neighbour *best = NULL;
        for (unsigned k = 0; k < 3000; k++)
            if (items[k].source == items[i].source && items[k].start >= from &&
                items[k].start - from <= GAP && (!best || items[k].start < best->start))
                best = &items[k];
        const struct neighbour *found = neighbours_next(&ns, items[i].source, from);
        cr_assert_eq(best ? best->start : 0, found ? found->start : 0);
        n_found += found != NULL;
    }
    cr_assert_gt(n_found, 2000);
    cr_assert_lt(n_found, 3000);
}
