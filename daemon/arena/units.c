/* Two spaces over the same pages: what is free, and the part of it that is populated. A range that
 * is free in `warm` can be handed out at once; one that is only in `free` must be populated first.
 * Ranges join across the border of warm and cold in `free`, never in `warm`.
 *
 * A unit with a live page is warm, unless its population failed: then its owner still holds the
 * range and gives it back, cold. Only units whose pages are all free become holes. Units are marked
 * when their punch or populate is queued, not when it has run: the queue (filler.h) keeps the
 * order.
 *
 * Giving back and the end of a populate must not fail, so both spaces keep enough nodes. In `warm`,
 * live ranges and runs of cold units separate the free ranges, so there is at most one range more
 * than there are of these; a queued populate may later cut a cold run in two.
 */
#include "units.h"

#include <assert.h>
#include <errno.h>

int units_init(struct units *u, uint64_t n_units, uint64_t unit_pages) {
    *u = (struct units){.n_units = n_units, .unit_pages = unit_pages, .n_cold_runs = 1};
    u->units = calloc(n_units, sizeof(*u->units));
    int r = u->units ? 0 : -ENOMEM;
    r = r ? r : space_new(&u->free, n_units * unit_pages);
    r = r ? r : space_new(&u->warm, n_units * unit_pages);
    r = r ? r : space_take(u->warm, 0, n_units * unit_pages);
    if (r)
        units_deinit(u);
    return r;
}

void units_deinit(struct units *u) {
    u->free = space_free(u->free);
    u->warm = space_free(u->warm);
    free(u->units);
    u->units = NULL;
}

static bool unit_is_warm(const struct units *u, uint64_t i) {
    return u->units[i].state == UNIT_WARM;
}

/* Starts of runs of cold units among [first, stop]. */
static uint64_t cold_starts(const struct units *u, uint64_t first, uint64_t stop) {
    uint64_t n = 0;
    for (uint64_t i = first; i <= stop && i < u->n_units; i++)
        n += !unit_is_warm(u, i) && (i == 0 || unit_is_warm(u, i - 1));
    return n;
}

static void run_mark(struct units *u, struct unit_run run, enum unit_state state) {
    u->n_cold_runs -= cold_starts(u, run.first, run.first + run.n);
    for (uint64_t i = run.first; i < run.first + run.n; i++)
        u->units[i].state = (uint8_t)state;
    u->n_cold_runs += cold_starts(u, run.first, run.first + run.n);
}

/* Room for one live range, one cold run and one queued populate more. */
static int nodes_reserve(struct units *u) {
    int r = space_reserve(u->free, u->n_live + 2);
    return r ? r : space_reserve(u->warm, u->n_live + u->n_cold_runs + u->n_filling + 4);
}

/* The free range of `s` that comes next, cut to [from, stop). */
static bool piece_next(const struct space *s, uint64_t from, uint64_t stop, uint64_t *off,
                       uint64_t *n) {
    uint64_t range_off, range_n;
    if (from >= stop || !space_next(s, from, &range_off, &range_n) || range_off >= stop)
        return false;
    *off = MAX(range_off, from);
    *n = MIN(range_off + range_n, stop) - *off;
    return true;
}

/* The reserve makes the nodes, so taking cannot fail: at most one range more than there was. */
static void warm_take(struct units *u, uint64_t page, uint64_t n) {
    for (uint64_t at = page, off, m; piece_next(u->warm, at, page + n, &off, &m); at = off + m) {
        int r = space_take(u->warm, off, m);
        assert(!r);
        (void)r;
    }
}

int units_alloc(struct units *u, uint64_t *pagep, uint64_t n, bool *is_warmp) {
    uint64_t page;
    int r = nodes_reserve(u);
    if (r)
        return r;
    *is_warmp = !space_alloc(u->warm, &page, n);
    r = *is_warmp ? space_take(u->free, page, n) : space_alloc(u->free, &page, n);
    if (r)
        return r;
    if (!*is_warmp)
        warm_take(u, page, n);
    u->n_live++;
    *pagep = page;
    return 0;
}

/* Units that lie wholly in the warm range around [page, page + n) and touch it are free from now.
 */
static void run_stamp(struct units *u, uint64_t page, uint64_t n, uint32_t now_ms) {
    uint64_t off, m, size = u->unit_pages;
    bool found = space_next(u->warm, page, &off, &m);
    assert(found && off <= page);
    (void)found;
    uint64_t first = MAX(page / size, (off + size - 1) / size);
    uint64_t stop = MIN((page + n + size - 1) / size, (off + m) / size);
    for (uint64_t i = first; i < stop; i++)
        u->units[i].free_since_ms = now_ms;
}

static void warm_give_back(struct units *u, uint64_t page, uint64_t n, uint32_t now_ms) {
    space_give_back(u->warm, page, n);
    run_stamp(u, page, n, now_ms);
}

void units_give_back(struct units *u, uint64_t page, uint64_t n, uint32_t now_ms) {
    space_give_back(u->free, page, n);
    u->n_live--;
    for (uint64_t at = page, stop; at < page + n; at = stop) {
        bool is_warm = unit_is_warm(u, at / u->unit_pages);
        for (stop = at; stop < page + n && unit_is_warm(u, stop / u->unit_pages) == is_warm;)
            stop = (stop / u->unit_pages + 1) * u->unit_pages;
        stop = MIN(stop, page + n);
        if (is_warm)
            warm_give_back(u, at, stop - at, now_ms);
    }
}

bool units_next_hole(const struct units *u, uint64_t from, uint64_t stop, struct unit_run *run) {
    while (from < stop && u->units[from].state != UNIT_HOLE)
        from++;
    uint64_t n = 0;
    while (from + n < stop && u->units[from + n].state == UNIT_HOLE)
        n++;
    *run = (struct unit_run){from, n};
    return n > 0;
}

bool units_next_free_hole(const struct units *u, uint64_t max, struct unit_run *run) {
    for (uint64_t at = 0, off, n; space_next(u->free, at, &off, &n); at = off + n) {
        uint64_t first = (off + u->unit_pages - 1) / u->unit_pages;
        uint64_t stop = (off + n) / u->unit_pages;
        if (!units_next_hole(u, first, stop, run))
            continue;
        run->n = MIN(run->n, max);
        return true;
    }
    return false;
}

bool units_next_free_warm(const struct units *u, uint64_t from, uint64_t max, uint32_t now_ms,
                          uint32_t aged_ms, struct unit_run *run) {
    uint64_t size = u->unit_pages;
    for (uint64_t at = from * size, off, n; space_next(u->warm, at, &off, &n); at = off + n) {
        uint64_t first = MAX(from, (off + size - 1) / size), stop = (off + n) / size;
        while (first < stop && now_ms - u->units[first].free_since_ms < aged_ms)
            first++;
        for (run->n = 0; first + run->n < stop && run->n < max; run->n++)
            if (now_ms - u->units[first + run->n].free_since_ms < aged_ms)
                break;
        run->first = first;
        if (run->n > 0)
            return true;
    }
    return false;
}

bool units_are_warm(const struct units *u, uint64_t page, uint64_t n) {
    for (uint64_t i = page / u->unit_pages; i * u->unit_pages < page + n; i++)
        if (!unit_is_warm(u, i))
            return false;
    return true;
}

int units_begin_fill(struct units *u, struct unit_run run) {
    int r = nodes_reserve(u);
    if (r)
        return r;
    run_mark(u, run, UNIT_FILLING);
    u->n_filling++;
    return 0;
}

void units_end_fill(struct units *u, struct unit_run run, bool is_filled, uint32_t now_ms) {
    uint64_t page = run.first * u->unit_pages, stop = page + run.n * u->unit_pages, off, n;
    run_mark(u, run, is_filled ? UNIT_WARM : UNIT_HOLE);
    u->n_filling--;
    for (; is_filled && piece_next(u->free, page, stop, &off, &n); page = off + n)
        warm_give_back(u, off, n, now_ms);
}

int units_make_holes(struct units *u, struct unit_run run) {
    int r = nodes_reserve(u);
    if (r)
        return r;
    r = space_take(u->warm, run.first * u->unit_pages, run.n * u->unit_pages);
    assert(!r); /* reserved */
    run_mark(u, run, UNIT_HOLE);
    return r;
}
