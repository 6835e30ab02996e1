/* The loop's side of the arena: who gets which pages, and what the helper thread is asked to do.
 *
 * All state is the loop's (units.h); the helper (filler.h) only runs tasks in the order they were
 * put. That order replaces locks and busy marks:
 *   - a unit counts as a hole as soon as its punch is queued. Its pages are free meanwhile; who
 * gets them waits for a populate that is queued behind the punch;
 *   - a unit whose populate is queued is nobody's yet: pages in it are free, but not warm, so an
 *     allocation that gets them waits behind a fence, and is ready if all its units are warm then;
 *   - only free units are punched, and what is handed out is not free.
 * So nobody is given a page before it is populated, and no live page is ever punched.
 *
 * The helper has one background task at a time (fill the stock, or punch what has been free above
 * it for long) and works through a trim in chunks, so that an allocation waits behind one chunk of
 * each at most. A trim starts behind a fence: what is being populated when it is asked for is
 * punched too.
 */
#include "arena.h"

#include <assert.h>
#include <errno.h>
#include <sys/stat.h>

#include "filler.h"
#include "units.h"

#define CHUNK_BYTES (32ull << 20) /* of background work and of a trim, at once */
#define RETRY_MS 1000             /* after a failed populate the stock is left alone for so long */

enum work_purpose { WORK_BACKGROUND, WORK_FILL, WORK_COLD, WORK_TRIM };

/* One task of the helper and what it is for. */
struct work {
    struct filler_task task;
    enum work_purpose purpose;
    struct unit_run run;    /* populate, punch */
    struct work *cold;      /* WORK_FILL: borrowed, who asked; waits behind it */
    uint64_t page, n_pages; /* WORK_COLD */
    int error;              /* of its own fills */
    arena_ready_fn *on_ready;
    uint64_t from, n_bytes; /* WORK_TRIM: next unit to look at, punched so far */
    arena_trim_fn *on_done;
    void *ctx; /* borrowed, of the callback */
};

struct arena {
    struct backing backing; /* owned */
    struct arena_options options;
    struct units units;
    struct filler *filler; /* owned */
    struct work background;
    bool is_background_busy;
    bool is_stock_paused; /* after a trim */
    uint64_t now_ms;
    uint64_t retry_ms; /* no stock before */
    uint64_t populated_bytes, punched_bytes;
};

static void work_put(struct arena *a, struct work *work, enum filler_kind kind,
                     struct unit_run run) {
    work->run = run;
    work->task = (struct filler_task){.kind = kind,
                                      .off = run.first * a->backing.unit_bytes,
                                      .n_bytes = run.n * a->backing.unit_bytes};
    filler_put(a->filler, &work->task);
}

static void work_put_fence(struct arena *a, struct work *work) {
    work_put(a, work, FILLER_FENCE, (struct unit_run){0, 0});
}

/* The task has come back: the units' state follows. */
static void work_account(struct arena *a, struct work *work) {
    bool is_done = !work->task.status;
    if (work->task.kind == FILLER_POPULATE) {
        units_end_fill(&a->units, work->run, is_done, (uint32_t)a->now_ms);
        a->populated_bytes += is_done ? work->task.n_bytes : 0;
        if (!is_done)
            a->retry_ms = a->now_ms + RETRY_MS;
    } else if (work->task.kind == FILLER_PUNCH && is_done) {
        a->punched_bytes += work->task.n_bytes;
    }
}

/* --- the stock --- */

static uint64_t chunk_units(const struct arena *a, uint64_t n_bytes) {
    return MIN(n_bytes, CHUNK_BYTES) / a->backing.unit_bytes;
}

static void background_step(struct arena *a) {
    uint64_t warm_bytes = space_n_free(a->units.warm) * ARENA_PAGE;
    uint64_t stock_bytes = a->options.stock_bytes;
    uint64_t above = warm_bytes - MIN(warm_bytes, stock_bytes);
    uint64_t below = stock_bytes - MIN(warm_bytes, stock_bytes);
    struct unit_run run;
    if (a->is_background_busy)
        return;
    if (chunk_units(a, above) > 0) {
        uint32_t aged_ms = (uint32_t)MIN(a->options.decay_ms, INT32_MAX);
        if (!units_next_free_warm(&a->units, 0, chunk_units(a, above), (uint32_t)a->now_ms, aged_ms,
                                  &run) ||
            units_make_holes(&a->units, run))
            return;
        work_put(a, &a->background, FILLER_PUNCH, run);
    } else {
        if (a->is_stock_paused || a->now_ms < a->retry_ms || chunk_units(a, below) == 0 ||
            !units_next_free_hole(&a->units, chunk_units(a, below), &run) ||
            units_begin_fill(&a->units, run))
            return;
        work_put(a, &a->background, FILLER_POPULATE, run);
    }
    a->is_background_busy = true;
}

/* --- allocation --- */

static int fill_run(struct arena *a, struct work *cold, struct unit_run run) {
    struct work *work = calloc(1, sizeof(*work));
    if (!work)
        return -ENOMEM;
    *work = (struct work){.purpose = WORK_FILL, .cold = cold};
    int r = units_begin_fill(&a->units, run);
    if (r)
        free(work);
    else
        work_put(a, work, FILLER_POPULATE, run);
    return r;
}

/* Ask for every hole under the range; the fence says when all of them, and those that others asked
 * for, have been tried. */
static void cold_fill(struct arena *a, struct work *cold) {
    uint64_t unit_pages = a->units.unit_pages;
    uint64_t stop = (cold->page + cold->n_pages + unit_pages - 1) / unit_pages;
    struct unit_run run = {cold->page / unit_pages, 0};
    while (!cold->error && units_next_hole(&a->units, run.first + run.n, stop, &run))
        cold->error = fill_run(a, cold, run);
    work_put_fence(a, cold);
}

static void fill_finish(struct work *fill) {
    if (fill->task.status)
        fill->cold->error = fill->task.status;
    free(fill);
}

/* Holes without an error of its own: a neighbour, who wanted more, failed in the same unit. */
static void cold_finish(struct arena *a, struct work *cold) {
    if (!cold->error && !units_are_warm(&a->units, cold->page, cold->n_pages)) {
        cold_fill(a, cold);
        return;
    }
    arena_ready_fn *on_ready = cold->on_ready;
    void *ctx = cold->ctx;
    int status = cold->error;
    free(cold);
    on_ready(ctx, status);
}

static int cold_start(struct arena *a, uint64_t page, uint64_t n, arena_ready_fn *on_ready,
                      void *ctx) {
    struct work *cold = calloc(1, sizeof(*cold));
    if (!cold)
        return -ENOMEM;
    *cold = (struct work){
        .purpose = WORK_COLD, .page = page, .n_pages = n, .on_ready = on_ready, .ctx = ctx};
    cold_fill(a, cold);
    a->is_stock_paused = false;
    return ARENA_E_COLD;
}

int arena_alloc(struct arena *a, uint64_t *offp, uint64_t n_bytes, arena_ready_fn *on_ready,
                void *ctx) {
    assert(n_bytes > 0);
    if (n_bytes > a->backing.n_bytes)
        return ARENA_E_FULL;
    uint64_t page, n = round_up(n_bytes, ARENA_PAGE) / ARENA_PAGE;
    bool is_warm;
    int r = units_alloc(&a->units, &page, n, &is_warm);
    if (r)
        return r == SPACE_E_FULL ? ARENA_E_FULL : r;
    if (!is_warm)
        r = cold_start(a, page, n, on_ready, ctx);
    if (r < 0)
        units_give_back(&a->units, page, n, (uint32_t)a->now_ms);
    else
        *offp = page * ARENA_PAGE;
    return r;
}

void arena_give_back(struct arena *a, uint64_t off, uint64_t n_bytes) {
    assert(off % ARENA_PAGE == 0 && n_bytes > 0);
    units_give_back(&a->units, off / ARENA_PAGE, round_up(n_bytes, ARENA_PAGE) / ARENA_PAGE,
                    (uint32_t)a->now_ms);
}

bool arena_next_free(const struct arena *a, uint64_t from, uint64_t *offp, uint64_t *n_bytesp) {
    uint64_t page, n;
    if (!space_next(a->units.free, from / ARENA_PAGE, &page, &n))
        return false;
    *offp = page * ARENA_PAGE;
    *n_bytesp = n * ARENA_PAGE;
    return true;
}

/* --- trim --- */

/* The next chunk, or the end. */
static void trim_step(struct arena *a, struct work *trim) {
    struct unit_run run;
    if (trim->task.kind == FILLER_PUNCH && !trim->task.status)
        trim->n_bytes += trim->task.n_bytes;
    if (units_next_free_warm(&a->units, trim->from, chunk_units(a, CHUNK_BYTES), 0, 0, &run) &&
        !units_make_holes(&a->units, run)) {
        trim->from = run.first + run.n;
        work_put(a, trim, FILLER_PUNCH, run);
        return;
    }
    arena_trim_fn *on_done = trim->on_done;
    void *ctx = trim->ctx;
    uint64_t n_bytes = trim->n_bytes;
    free(trim);
    on_done(ctx, n_bytes);
}

int arena_trim(struct arena *a, arena_trim_fn *on_done, void *ctx) {
    struct work *trim = calloc(1, sizeof(*trim));
    if (!trim)
        return -ENOMEM;
    *trim = (struct work){.purpose = WORK_TRIM, .on_done = on_done, .ctx = ctx};
    a->is_stock_paused = true;
    work_put_fence(a, trim);
    return 0;
}

/* --- the loop --- */

static void work_finish(struct arena *a, struct work *work) {
    work_account(a, work);
    switch (work->purpose) {
    case WORK_BACKGROUND:
        a->is_background_busy = false;
        break;
    case WORK_FILL:
        fill_finish(work);
        break;
    case WORK_COLD:
        cold_finish(a, work);
        break;
    case WORK_TRIM:
        trim_step(a, work);
        break;
    }
}

void arena_dispatch(struct arena *a, uint64_t now_ms) {
    struct filler_task *task;
    a->now_ms = now_ms;
    while ((task = filler_take(a->filler)))
        work_finish(a, CONTAINER_OF(task, struct work, task));
    background_step(a);
}

static void work_drop(struct filler_task *task) {
    struct work *work = CONTAINER_OF(task, struct work, task);
    if (work->purpose != WORK_BACKGROUND)
        free(work);
}

struct arena *arena_free(struct arena *a) {
    if (!a)
        return NULL;
    a->filler = filler_free(a->filler, work_drop);
    units_deinit(&a->units);
    backing_close(&a->backing);
    free(a);
    return NULL;
}

int arena_new(struct arena **ap, struct backing *backing, const struct arena_options *options) {
    struct arena *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->backing = *backing;
    a->options = *options;
    a->background.purpose = WORK_BACKGROUND;
    int r = units_init(&a->units, backing->n_bytes / backing->unit_bytes,
                       backing->unit_bytes / ARENA_PAGE);
    r = r ? r
          : filler_new(&a->filler, &a->backing, options->system_root, options->wake, options->ctx);
    if (r) {
        units_deinit(&a->units);
        free(a);
        return r;
    }
    a->is_background_busy = true; /* its first wake brings the clock; then the stock is filled */
    work_put_fence(a, &a->background);
    *backing = (struct backing){.fd = -1, .client_fd = -1};
    *ap = a;
    return 0;
}

uint8_t *arena_base(const struct arena *a) {
    return a->backing.base;
}

uint64_t arena_bytes(const struct arena *a) {
    return a->backing.n_bytes;
}

const struct backing *arena_backing(const struct arena *a) {
    return &a->backing;
}

void arena_get_stats(const struct arena *a, struct arena_stats *out) {
    const struct units *u = &a->units;
    struct stat st;
    uint64_t n_free = space_n_free(u->free), n_warm = space_n_free(u->warm);
    *out = (struct arena_stats){
        .live_bytes = a->backing.n_bytes - n_free * ARENA_PAGE,
        .stock_bytes = n_warm * ARENA_PAGE,
        .hole_bytes = (n_free - n_warm) * ARENA_PAGE,
        .largest_bytes = space_largest(u->free) * ARENA_PAGE,
        .file_bytes = fstat(a->backing.fd, &st) ? 0 : (uint64_t)st.st_blocks * 512,
        .populated_bytes = a->populated_bytes,
        .punched_bytes = a->punched_bytes,
        .n_ranges = space_n_ranges(u->free),
    };
}
