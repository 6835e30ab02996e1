/* Each policy alone: what every one of them owes, and what each one is for. */
#include "../../daemon/cache/policy.h"

#include <criterion/criterion.h>
#include <string.h>

#define N_ITEMS 100
#define MAX_BYTES (N_ITEMS * 1000)

static struct policy *policy;
static struct policy_item items[N_ITEMS * 4];

static void start(const char *name) {
    const struct policy_kind *kind = policy_find(name);
    cr_assert_not_null(kind, "%s", name);
    cr_assert_eq(policy_new(&policy, kind, MAX_BYTES, ARRAY_LEN(items)), 0);
    policy->now_ms = 1000000;
}

static void stop(void) {
    policy = policy_free(policy);
}

static void add(unsigned i, uint64_t cost_ns) {
    items[i] = (struct policy_item){.id = (i + 1ull) * 0x9e3779b97f4a7c15,
                                    .n_bytes = 1000,
                                    .cost_ns = cost_ns,
                                    .used_ms = policy->now_ms};
    policy_add(policy, &items[i]);
}

static void use(unsigned i) {
    policy_use(policy, &items[i], policy->now_ms);
}

static void wait_ms(uint64_t ms) {
    policy->now_ms += ms;
}

/* The next victim goes. */
static unsigned evict(void) {
    struct policy_item *item = policy_take(policy);
    cr_assert_not_null(item);
    policy_put_back(policy, item);
    policy_remove(policy, item, true);
    return (unsigned)(item - items);
}

Test(policy, names) {
    cr_assert_null(policy_find("random"));
    cr_assert_null(policy_find(""));
    cr_assert_eq(policy_find(NULL), policy_at(0));
    for (unsigned i = 0; policy_at(i); i++)
        cr_assert_eq(policy_find(policy_at(i)->name), policy_at(i));
}

/* Every item is offered once, until none is left; what is put back is offered again, what was removed is
 * not. */
static void expect_whole(const char *name) {
    static bool is_here[N_ITEMS];
    struct policy_item *taken[N_ITEMS];
    start(name);
    cr_assert_null(policy_take(policy));
    for (unsigned i = 0; i < N_ITEMS; i++, wait_ms(2000)) {
        add(i, i % 7);
        is_here[i] = true;
        if (i % 3 == 0)
            use(i / 2);
        cr_assert_geq(policy_score(policy, &items[i]), 0);
    }
    for (unsigned i = 0; i < N_ITEMS; i += 5) {
        policy_remove(policy, &items[i], i % 2);
        is_here[i] = false;
    }
    for (int round = 0; round < 3; round++) {
        unsigned n = 0;
        bool is_taken[N_ITEMS] = {false};
        for (struct policy_item *item; (item = policy_take(policy)); n++) {
            unsigned i = (unsigned)(item - items);
            cr_assert(is_here[i] && !is_taken[i], "%s offers %u", name, i);
            is_taken[i] = true;
            taken[n] = item;
        }
        cr_assert_eq(n, N_ITEMS - N_ITEMS / 5, "%s offers %u", name, n);
        while (n--)
            policy_put_back(policy, taken[n]);
    }
    for (unsigned i = 0; i < N_ITEMS; i++)
        if (is_here[i])
            policy_remove(policy, &items[i], false);
    cr_assert_null(policy_take(policy));
    stop();
}

Test(policy, all_are_offered_once) {
    for (unsigned i = 0; policy_at(i); i++)
        expect_whole(policy_at(i)->name);
}

Test(policy_lru, the_least_recently_used_goes) {
    start("lru");
    for (unsigned i = 0; i < 4; i++)
        add(i, 0);
    use(0);
    cr_assert_gt(policy_score(policy, &items[0]), policy_score(policy, &items[3]));
    struct policy_item *a = policy_take(policy), *b = policy_take(policy);
    cr_assert_eq(a, &items[1]);
    cr_assert_eq(b, &items[2]);
    policy_put_back(policy, b);
    policy_put_back(policy, a);
    cr_assert_eq(evict(), 1);
    cr_assert_eq(evict(), 2);
    cr_assert_eq(evict(), 3);
    cr_assert_eq(evict(), 0);
    stop();
}

Test(policy_s3fifo, a_scan_passes_by_what_was_used) {
    start("s3fifo");
    for (unsigned i = 0; i < 80; i++)
        add(i, 0);
    wait_ms(POLICY_BURST_MS);
    for (unsigned i = 0; i < 80; i++)
        use(i);
    for (unsigned i = 80; i < 300; i++) {
        add(i, 0);
        if (i >= 100)
            cr_assert_geq(evict(), 80);
    }
    stop();
}

Test(policy_s3fifo, what_comes_back_soon_stays) {
    start("s3fifo");
    for (unsigned i = 0; i < 100; i++)
        add(i, 0);
    cr_assert_eq(evict(), 0);
    add(0, 0); /* it is remembered */
    for (unsigned i = 100; i < 180; i++) {
        cr_assert_neq(evict(), 0);
        add(i, 0);
    }
    stop();
}

Test(policy_cost, what_is_cheap_to_make_goes) {
    start("cost");
    for (unsigned i = 0; i < N_ITEMS; i++)
        add(i, i % 2 ? 1000000 : 1000);
    wait_ms(5000);
    for (unsigned i = 0; i < N_ITEMS / 4; i++) /* while a sample has some of them */
        cr_assert_eq(evict() % 2, 0);
    stop();
}

Test(policy_cost, what_nobody_measured_is_like_the_others) {
    start("cost");
    add(0, 1000000);
    add(1, 1000);
    add(2, 0);
    wait_ms(5000);
    cr_assert_lt(policy_score(policy, &items[2]), policy_score(policy, &items[0]));
    cr_assert_gt(policy_score(policy, &items[2]), policy_score(policy, &items[1]));
    stop();
}

Test(policy_cost, what_is_due_soon_stays) {
    start("cost");
    add(0, 1000); /* every 100 s */
    add(1, 1000);
    wait_ms(50000);
    use(1); /* every 50 s, and just now */
    wait_ms(50000);
    use(0);
    use(1);
    wait_ms(45000);
    cr_assert_gt(policy_score(policy, &items[1]), policy_score(policy, &items[0]));
    wait_ms(50000); /* now 1 is overdue, and 0 is due */
    cr_assert_gt(policy_score(policy, &items[0]), policy_score(policy, &items[1]));
    wait_ms(10000000); /* nobody comes back */
    add(2, 1000);
    wait_ms(10000);
    cr_assert_gt(policy_score(policy, &items[2]), policy_score(policy, &items[0]));
    stop();
}

Test(policy_cost, a_burst_is_one_use) {
    start("cost");
    add(0, 1000);
    add(1, 1000);
    wait_ms(POLICY_BURST_MS - 1);
    use(0);
    use(1);
    wait_ms(1000);
    use(0);
    wait_ms(100);
    cr_assert_eq(items[0].gap_ms, 0);
    wait_ms(POLICY_BURST_MS);
    use(0);
    cr_assert_gt(items[0].gap_ms, 0);
    stop();
}

/* Hits of a scan over `n` items again and again, room for N_ITEMS. */
static double scan_hits(const char *name, unsigned n) {
    static bool is_here[ARRAY_LEN(items)];
    unsigned n_here = 0, n_hits = 0, n_asked = 0;
    memset(is_here, 0, sizeof(is_here));
    start(name);
    for (unsigned pass = 0; pass < 20; pass++)
        for (unsigned i = 0; i < n; i++, wait_ms(1000)) {
            n_asked += pass >= 4;
            n_hits += pass >= 4 && is_here[i];
            if (is_here[i]) {
                use(i);
                continue;
            }
            if (n_here == N_ITEMS) {
                is_here[evict()] = false;
                n_here--;
            }
            add(i, 1000);
            is_here[i] = true;
            n_here++;
        }
    stop();
    return (double)n_hits / n_asked;
}

Test(policy_cost, a_scan_larger_than_memory_hits) {
    cr_assert_eq(scan_hits("lru", N_ITEMS * 3 / 2), 0);
    double hits = scan_hits("cost", N_ITEMS * 3 / 2);
    cr_assert_geq(hits, 0.5, "%.3f", hits);
    cr_assert_leq(hits, 0.67, "nobody can do better");
    cr_assert_eq(scan_hits("cost", N_ITEMS), 1);
}
