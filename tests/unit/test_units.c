/* Free and warm pages: random operations against a plain map of pages and units. */
#include <criterion/criterion.h>
#include <string.h>

#include "../../daemon/arena/units.h"

#define UNIT 16
#define N_UNITS 60
#define N_PAGES (UNIT * N_UNITS)
#define N_LIVE 64
#define N_FILLS 8

struct live {
    uint64_t page, n;
};

struct model {
    struct units u;
    char used[N_PAGES];
    uint8_t state[N_UNITS];
    struct live live[N_LIVE];
    unsigned n_live;
    struct unit_run fills[N_FILLS]; /* queued, in order */
    unsigned n_fills;
};

static bool unit_is_free(const struct model *m, uint64_t unit) {
    for (uint64_t i = 0; i < UNIT; i++)
        if (m->used[unit * UNIT + i])
            return false;
    return true;
}

/* Both spaces hold exactly what the map says. */
static void model_check(const struct model *m) {
    uint64_t off, n, at, cold = 0;
    char free_pages[N_PAGES] = {0}, warm_pages[N_PAGES] = {0};
    for (at = 0; space_next(m->u.free, at, &off, &n); at = off + n)
        memset(free_pages + off, 1, n);
    for (at = 0; space_next(m->u.warm, at, &off, &n); at = off + n)
        memset(warm_pages + off, 1, n);
    for (uint64_t i = 0; i < N_PAGES; i++) {
        cr_assert_eq(free_pages[i], !m->used[i]);
        cr_assert_eq(warm_pages[i], !m->used[i] && m->state[i / UNIT] == UNIT_WARM);
    }
    for (uint64_t i = 0; i < N_UNITS; i++)
        cold += m->state[i] != UNIT_WARM && (i == 0 || m->state[i - 1] == UNIT_WARM);
    cr_assert_eq(m->u.n_cold_runs, cold);
    cr_assert_eq(m->u.n_live, m->n_live);
}

static void op_alloc(struct model *m) {
    uint64_t page, n = 1 + (uint64_t)random() % (random() % 4 ? 20 : 100);
    bool is_warm, expected = true;
    if (m->n_live == N_LIVE)
        return;
    int r = units_alloc(&m->u, &page, n, &is_warm);
    if (r) {
        cr_assert_eq(r, SPACE_E_FULL);
        return;
    }
    for (uint64_t i = page; i < page + n; i++) {
        cr_assert(!m->used[i]);
        expected = expected && m->state[i / UNIT] == UNIT_WARM;
    }
    cr_assert_eq(is_warm, expected);
    cr_assert_eq(units_are_warm(&m->u, page, n), expected);
    memset(m->used + page, 1, n);
    m->live[m->n_live++] = (struct live){page, n};
}

static void op_give_back(struct model *m, uint32_t now) {
    if (m->n_live == 0)
        return;
    unsigned i = (unsigned)random() % m->n_live;
    units_give_back(&m->u, m->live[i].page, m->live[i].n, now);
    memset(m->used + m->live[i].page, 0, m->live[i].n);
    m->live[i] = m->live[--m->n_live];
}

/* Any holes, also under live ranges, as an allocation or the stock would ask for. */
static void op_begin_fill(struct model *m) {
    struct unit_run run;
    bool is_stock = random() % 2;
    uint64_t from = (uint64_t)random() % N_UNITS, stop = from + 1 + (uint64_t)random() % 6;
    if (m->n_fills == N_FILLS)
        return;
    if (is_stock ? !units_next_free_hole(&m->u, 5, &run)
                 : !units_next_hole(&m->u, from, MIN(stop, N_UNITS), &run))
        return;
    for (uint64_t i = run.first; i < run.first + run.n; i++) {
        cr_assert_eq(m->state[i], UNIT_HOLE);
        cr_assert(!is_stock || unit_is_free(m, i));
        m->state[i] = UNIT_FILLING;
    }
    cr_assert_eq(units_begin_fill(&m->u, run), 0);
    m->fills[m->n_fills++] = run;
}

static void op_end_fill(struct model *m, uint32_t now) {
    if (m->n_fills == 0)
        return;
    bool is_filled = random() % 5 != 0;
    struct unit_run run = m->fills[0];
    memmove(m->fills, m->fills + 1, --m->n_fills * sizeof(run));
    memset(m->state + run.first, is_filled ? UNIT_WARM : UNIT_HOLE, run.n);
    units_end_fill(&m->u, run, is_filled, now);
}

static void op_punch(struct model *m, uint32_t now) {
    struct unit_run run;
    uint32_t aged = random() % 2 ? 0 : 500;
    uint64_t from = (uint64_t)random() % N_UNITS;
    if (!units_next_free_warm(&m->u, from, 7, now, aged, &run))
        return;
    cr_assert(run.first >= from && run.n >= 1 && run.n <= 7);
    for (uint64_t i = run.first; i < run.first + run.n; i++) {
        cr_assert_eq(m->state[i], UNIT_WARM);
        cr_assert(unit_is_free(m, i));
        cr_assert_geq(now - m->u.units[i].free_since_ms, aged);
        m->state[i] = UNIT_HOLE;
    }
    cr_assert_eq(units_make_holes(&m->u, run), 0);
}

Test(units, random_operations_against_a_map) {
    static struct model m;
    cr_assert_eq(units_init(&m.u, N_UNITS, UNIT), 0);
    srandom(11);
    for (uint32_t now = UINT32_MAX - 50000; now != 50000; now++) { /* the clock wraps */
        switch (random() % 6) {
        case 0:
        case 1:
            op_alloc(&m);
            break;
        case 2:
            op_give_back(&m, now);
            break;
        case 3:
            op_begin_fill(&m);
            break;
        case 4:
            op_end_fill(&m, now);
            break;
        case 5:
            op_punch(&m, now);
            break;
        }
        model_check(&m);
        if (now % 1000 == 0)
            while (m.n_live > 0)
                op_give_back(&m, now);
    }
    units_deinit(&m.u);
}

Test(units, only_what_is_old_enough_is_offered) {
    struct units u;
    struct unit_run run = {2, 4};
    uint64_t page;
    bool is_warm;
    cr_assert_eq(units_init(&u, 10, UNIT), 0);
    cr_assert_eq(units_begin_fill(&u, run), 0);
    units_end_fill(&u, run, true, 100);
    cr_assert(!units_next_free_warm(&u, 0, 10, 149, 50, &run));
    cr_assert(units_next_free_warm(&u, 0, 10, 150, 50, &run) && run.first == 2 && run.n == 4);
    cr_assert_eq(units_alloc(&u, &page, UNIT + 1, &is_warm), 0); /* units 2 and a page of 3 */
    cr_assert(is_warm && page == 2 * UNIT);
    cr_assert(units_next_free_warm(&u, 0, 10, 150, 50, &run) && run.first == 4 && run.n == 2);
    units_give_back(&u, page, UNIT + 1, 140);
    cr_assert(units_next_free_warm(&u, 0, 10, 150, 50, &run) && run.first == 4 && run.n == 2);
    cr_assert(units_next_free_warm(&u, 0, 10, 190, 50, &run) && run.first == 2 && run.n == 4);
    units_deinit(&u);
}
