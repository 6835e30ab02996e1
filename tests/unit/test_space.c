/* The free-range allocator: limits, best fit, joining, and random operations against a plain map.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "../../daemon/arena/space.h"

static struct space *space_of(uint64_t n) {
    struct space *s = NULL;
    cr_assert_eq(space_new(&s, n), 0);
    return s;
}

static uint64_t take(struct space *s, uint64_t n) {
    uint64_t off = UINT64_MAX;
    cr_assert_eq(space_alloc(s, &off, n), 0);
    return off;
}

Test(space, full_leaves_the_out_parameter) {
    struct space *s = space_of(10);
    uint64_t off = 77;
    cr_assert_eq(space_alloc(s, &off, 11), SPACE_E_FULL);
    cr_assert_eq(off, 77);
    cr_assert_eq(take(s, 10), 0);
    cr_assert_eq(space_alloc(s, &off, 1), SPACE_E_FULL);
    cr_assert_eq(space_largest(s), 0);
    cr_assert_eq(space_n_ranges(s), 0);
    cr_assert(!space_next(s, 0, &off, &off));
    space_give_back(s, 0, 10);
    cr_assert_eq(space_largest(s), 10);
    space_free(s);
    cr_assert_null(space_free(NULL));
}

Test(space, best_fit_then_lowest_address) {
    struct space *s = space_of(100);
    cr_assert_eq(take(s, 100), 0);
    space_give_back(s, 80, 5); /* three holes: 5 at 80, 4 at 40, 4 at 20; and 9 at 0 */
    space_give_back(s, 40, 4);
    space_give_back(s, 20, 4);
    space_give_back(s, 0, 9);
    cr_assert_eq(take(s, 4), 20);
    cr_assert_eq(take(s, 3), 40);
    cr_assert_eq(take(s, 5), 80);
    cr_assert_eq(take(s, 6), 0);
    cr_assert_eq(take(s, 1), 43);
    space_free(s);
}

Test(space, joins_both_neighbours) {
    struct space *s = space_of(30);
    cr_assert_eq(take(s, 30), 0);
    space_give_back(s, 0, 10);
    space_give_back(s, 20, 10);
    cr_assert_eq(space_n_ranges(s), 2);
    space_give_back(s, 10, 10);
    cr_assert_eq(space_n_ranges(s), 1);
    cr_assert_eq(space_largest(s), 30);
    space_free(s);
}

Test(space, takes_a_middle) {
    struct space *s = space_of(30);
    cr_assert_eq(space_take(s, 10, 5), 0);
    uint64_t off, n;
    cr_assert(space_next(s, 0, &off, &n) && off == 0 && n == 10);
    cr_assert(space_next(s, 9, &off, &n) && off == 0 && n == 10);
    cr_assert(space_next(s, 10, &off, &n) && off == 15 && n == 15);
    cr_assert(!space_next(s, 30, &off, &n));
    space_free(s);
}

/* --- the model: one byte a unit --- */

#define N_MODEL 3000
#define N_OPS 100000
#define N_LIVE 400

struct live {
    uint64_t off, n;
};

static uint64_t model_best(const char *used, uint64_t n) {
    uint64_t best = UINT64_MAX, best_n = UINT64_MAX;
    for (uint64_t i = 0, j; i < N_MODEL; i = j + 1) {
        for (j = i; j < N_MODEL && !used[j]; j++)
            ;
        if (j - i >= n && j - i < best_n) {
            best = i;
            best_n = j - i;
        }
    }
    return best;
}

/* The free ranges are exactly the model's maximal runs. */
static void model_compare(const struct space *s, const char *used) {
    uint64_t sum = 0, n_ranges = 0, largest = 0, at = 0, off, n;
    for (; space_next(s, at, &off, &n); at = off + n) {
        cr_assert(n > 0 && range_is_inside(off, n, N_MODEL));
        cr_assert(off == 0 || used[off - 1], "touches its neighbour");
        cr_assert(off + n == N_MODEL || used[off + n], "touches its neighbour");
        for (uint64_t i = at; i < off; i++)
            cr_assert(used[i]);
        for (uint64_t i = off; i < off + n; i++)
            cr_assert(!used[i]);
        sum += n;
        n_ranges++;
        largest = MAX(largest, n);
    }
    for (uint64_t i = at; i < N_MODEL; i++)
        cr_assert(used[i]);
    cr_assert_eq(sum, space_n_free(s));
    cr_assert_eq(n_ranges, space_n_ranges(s));
    cr_assert_eq(largest, space_largest(s));
}

Test(space, random_operations_against_a_map) {
    static char used[N_MODEL];
    struct live live[N_LIVE];
    struct space *s = space_of(N_MODEL);
    unsigned n_live = 0, n_full = 0;
    srandom(7);
    for (int op = 0; op < N_OPS; op++) {
        bool wants_more = random() % 100 < (op / 5000 % 2 ? 35 : 65);
        if (wants_more && n_live < N_LIVE) {
            uint64_t n = 1 + (uint64_t)random() % (random() % 8 ? 12 : 90), off;
            uint64_t expected = model_best(used, n);
            int r = space_alloc(s, &off, n);
            cr_assert_eq(r, expected == UINT64_MAX ? SPACE_E_FULL : 0);
            n_full += r == SPACE_E_FULL;
            if (r)
                continue;
            cr_assert_eq(off, expected);
            memset(used + off, 1, n);
            live[n_live++] = (struct live){off, n};
        } else if (n_live > 0) {
            unsigned i = (unsigned)random() % n_live;
            space_give_back(s, live[i].off, live[i].n);
            memset(used + live[i].off, 0, live[i].n);
            live[i] = live[--n_live];
        }
        if (op % 16 == 0)
            model_compare(s, used);
    }
    cr_assert_gt(n_full, 100, "the model never filled up");
    while (n_live > 0) {
        n_live--;
        space_give_back(s, live[n_live].off, live[n_live].n);
    }
    cr_assert_eq(space_largest(s), N_MODEL);
    cr_assert_eq(space_n_ranges(s), 1);
    space_free(s);
}

/* Hundreds of thousands of ranges: the trees must not become lists (or recursion too deep). */
Test(space, many_ranges_in_address_order, .timeout = 20) {
    const uint64_t n = 400000;
    struct space *s = space_of(n);
    for (uint64_t i = 0; i < n; i++)
        cr_assert_eq(take(s, 1), i);
    for (uint64_t i = 0; i < n; i += 2)
        space_give_back(s, i, 1);
    cr_assert_eq(space_n_ranges(s), n / 2);
    for (uint64_t i = 1; i < n; i += 2)
        space_give_back(s, i, 1);
    cr_assert_eq(space_n_ranges(s), 1);
    space_free(s);
}
