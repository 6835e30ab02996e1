/* The loader's plan in its plainest form: plan the keys, read the counter, cut the edges, decode.
 *
 * It makes the jobs that the daemon makes, so that tests and fuzzers run the code that workers run:
 * baskets cut by an edge go through JOB_EDGE and JOB_COPY, whole ones through JOB_DECODE. Where a
 * jagged basket has both an offset table and a counter, the two have to agree.
 */
#include "reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static int give_up(struct reader *r, int status, const char *text) {
    r->last.status = status;
    snprintf(r->last.error, sizeof(r->last.error), "%s", text);
    return status;
}

static int run(struct reader *r, const struct job *job, struct job_result *out) {
    job_run(&r->worker, job, out);
    if (out->status)
        r->last = *out;
    return out->status;
}

int reader_init(struct reader *r, int fd, uint64_t n_arena_bytes) {
    struct job_result result;
    *r = (struct reader){0};
    void *arena = mmap(NULL, n_arena_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return give_up(r, -errno, "no arena");
    r->trees = &r->index;
    r->trees_of[0] = r->trees;
    r->tables = (struct job_tables){.arena = arena,
                                    .n_arena_bytes = n_arena_bytes,
                                    .sources = r->sources,
                                    .n_sources = 1,
                                    .trees = r->trees_of};
    if (worker_init(&r->worker, &r->tables))
        return give_up(r, -ENOMEM, "no worker");
    struct job job = {.kind = JOB_OPEN, .fd = fd};
    int status = run(r, &job, &result);
    if (status) {
        close(fd);
        return status;
    }
    r->source = r->sources[0] = result.source;
    return 0;
}

void reader_deinit(struct reader *r) {
    worker_deinit(&r->worker);
    source_free(r->source);
    free(r->index);
    if (r->tables.arena)
        munmap(r->tables.arena, r->tables.n_arena_bytes);
}

int reader_list(struct reader *r, struct source_blob *out, uint64_t max_bytes) {
    struct job job = {.kind = JOB_LIST, .max_bytes = max_bytes};
    struct job_result result;
    int status = run(r, &job, &result);
    *out = (struct source_blob){.data = result.blob, .n_bytes = result.n_blob_bytes};
    return status;
}

int reader_describe(struct reader *r, const char *tree, uint64_t max_bytes) {
    struct job job = {.kind = JOB_DESCRIBE, .max_bytes = max_bytes};
    struct job_result result;
    snprintf(job.path, sizeof(job.path), "%s", tree);
    free(r->index);
    r->index = NULL;
    int status = run(r, &job, &result);
    r->index = result.blob;
    return status;
}

/* ---- ranges ---- */

static int reserve(struct reader *r, uint64_t n_bytes, uint64_t *offp) {
    uint64_t room = r->tables.n_arena_bytes - r->n_arena_used;
    if (n_bytes > room || round_up(n_bytes, 4096) > room)
        return give_up(r, JOB_E_TOO_LARGE, "the arena is full");
    *offp = r->n_arena_used;
    r->n_arena_used += round_up(n_bytes, 4096);
    return 0;
}

static struct job basket_job(const struct tree_column *c, const struct tree_basket *b,
                             uint64_t start, uint64_t stop) {
    uint64_t end = b->first_entry + b->n_entries;
    return (struct job){.kind = JOB_DECODE,
                        .item_type = c->item_type,
                        .column_kind = c->kind,
                        .layout = c->layout,
                        .n_per_entry = c->n_per_entry,
                        .file_off = b->file_off,
                        .basket_entries = b->n_entries,
                        .stored_bytes = b->stored_bytes,
                        .raw_bytes = b->raw_bytes,
                        .border_bytes = b->border_bytes,
                        .key_bytes = b->key_bytes,
                        .basket_flags = b->flags,
                        .slice_start = MAX(start, b->first_entry) - b->first_entry,
                        .slice_stop = MIN(stop, end) - b->first_entry,
                        .value_start = JOB_DERIVE,
                        .value_stop = JOB_DERIVE};
}

static uint64_t item_size(unsigned item_type) {
#define ITEM(id, name, typestr, bytes) bytes,
    static const uint8_t sizes[] = {
#include "../../proto/items.def"
    };
#undef ITEM
    return sizes[item_type];
}

/* Bytes of the values in a buffer that `stored` bytes make. */
static uint64_t out_size(const struct tree_column *c, uint64_t stored) {
    uint64_t out = item_size(c->item_type) * c->n_per_entry;
    return c->layout.unit_bytes ? stored / c->layout.unit_bytes * out : stored;
}

static int flat_read(struct reader *r, const struct tree_column *c, uint64_t start, uint64_t stop,
                     uint64_t *offp, uint64_t *n_bytesp) {
    const struct tree_basket *baskets = tree_index_baskets(r->index);
    uint64_t entry_bytes = item_size(c->item_type) * c->n_per_entry, n_bytes, first, last;
    if (MUL_OVERFLOW(stop - start, entry_bytes, &n_bytes) || reserve(r, n_bytes, offp))
        return give_up(r, JOB_E_TOO_LARGE, "the range is too large");
    uint64_t at = *offp;
    tree_index_span(r->index, c, start, stop, &first, &last);
    for (uint64_t i = first; i < last; i++) {
        struct job job = basket_job(c, &baskets[i], start, stop);
        struct job_result result;
        job.out_off = at;
        job.out_bytes = (job.slice_stop - job.slice_start) * entry_bytes;
        int status = run(r, &job, &result);
        if (status)
            return status;
        at += job.out_bytes;
    }
    *n_bytesp = n_bytes;
    return 0;
}

static int offsets_read(struct reader *r, const struct tree_column *c, uint64_t start,
                        uint64_t stop, uint64_t *offp, uint64_t *n_bytesp) {
    struct job job = {.kind = JOB_TRANSFORM,
                      .verb = JOB_VERB_COUNTS_TO_OFFSETS,
                      .item_type = c->item_type,
                      .out_bytes = (stop - start + 1) * 8};
    struct job_result result;
    int status = flat_read(r, c, start, stop, &job.in_off, &job.in_bytes);
    if (status == 0)
        status = reserve(r, job.out_bytes, &job.out_off);
    if (status == 0)
        status = run(r, &job, &result);
    *offp = job.out_off;
    *n_bytesp = job.out_bytes;
    return status;
}

/* ---- jagged ---- */

struct jagged {
    const struct tree_column *column;
    struct tree_basket *baskets; /* owned: planned copies of those of the range */
    uint64_t n_baskets;
    uint64_t first_entry;   /* of the first basket */
    const int64_t *offsets; /* from first_entry on, in items of n_per_entry */
    uint64_t unit;          /* stored bytes of such an item */
};

/* Bytes of basket b's values before entry `i` of the basket, as the counter says. */
static uint64_t counted(const struct jagged *j, const struct tree_basket *b, uint64_t i) {
    const int64_t *o = j->offsets + (b->first_entry - j->first_entry);
    uint64_t n_bytes;
    return MUL_OVERFLOW((uint64_t)(o[i] - o[0]), j->unit, &n_bytes) ? JOB_NO_CUT - 1 : n_bytes;
}

static int plan(struct reader *r, struct jagged *j, uint64_t first, uint64_t n) {
    struct job job = {
        .kind = JOB_PLAN, .first_basket = first, .n_baskets = n, .max_bytes = 64u << 20};
    struct job_result result;
    int status = run(r, &job, &result);
    j->baskets = result.blob;
    j->n_baskets = n;
    return status;
}

static int counter_read(struct reader *r, struct jagged *j, uint64_t stop) {
    const struct tree_column *counter = tree_index_columns(r->index) + j->column->counter - 1;
    uint64_t off, n_bytes;
    int status = offsets_read(r, counter, j->first_entry, stop, &off, &n_bytes);
    if (status == 0)
        j->offsets = (const int64_t *)(void *)(r->tables.arena + off);
    return status;
}

/* The edge is decompressed whole, its table is held against the counter, then its part is copied.
 */
static int edge_read(struct reader *r, const struct jagged *j, const struct tree_basket *b,
                     struct job *copy) {
    struct job job = *copy;
    struct job_result result;
    job.kind = JOB_EDGE;
    job.out_bytes = b->raw_bytes;
    if (reserve(r, job.out_bytes, &job.out_off))
        return r->last.status;
    int status = run(r, &job, &result);
    if (status)
        return status;
    copy->kind = JOB_COPY;
    copy->in_off = job.out_off;
    copy->in_bytes = job.out_bytes;
    copy->value_start = result.cut[0];
    copy->value_stop = result.cut[1];
    uint64_t start = counted(j, b, job.slice_start), stop = counted(j, b, job.slice_stop);
    if ((result.cut[0] != JOB_NO_CUT && result.cut[0] != start) ||
        (result.cut[1] != JOB_NO_CUT && result.cut[1] != stop))
        return give_up(r, JOB_E_CORRUPT, "offset table and counter disagree");
    copy->value_start = start;
    copy->value_stop = stop;
    return 0;
}

static int jagged_basket_read(struct reader *r, const struct jagged *j, const struct tree_basket *b,
                              uint64_t start, uint64_t stop, uint64_t *atp, uint64_t end) {
    struct job job = basket_job(j->column, b, start, stop);
    struct job_result result;
    int status = 0;
    job.out_bytes =
        out_size(j->column, counted(j, b, job.slice_stop) - counted(j, b, job.slice_start));
    if (job.out_bytes > end - *atp)
        return give_up(r, JOB_E_CORRUPT, "the counter's sums do not fit");
    if (job.slice_stop - job.slice_start != b->n_entries)
        status = edge_read(r, j, b, &job);
    job.out_off = *atp;
    if (status == 0)
        status = run(r, &job, &result);
    *atp += job.out_bytes;
    return status;
}

static int jagged_fill(struct reader *r, struct jagged *j, uint64_t start, uint64_t stop,
                       uint64_t *offp, uint64_t *n_bytesp) {
    const int64_t *o = j->offsets;
    uint64_t n_items = (uint64_t)(o[stop - j->first_entry] - o[start - j->first_entry]);
    if (MUL_OVERFLOW(n_items, item_size(j->column->item_type) * j->column->n_per_entry, n_bytesp) ||
        reserve(r, *n_bytesp, offp))
        return give_up(r, JOB_E_TOO_LARGE, "the range is too large");
    uint64_t at = *offp, end = at + *n_bytesp;
    for (uint64_t i = 0; i < j->n_baskets; i++) {
        int status = jagged_basket_read(r, j, &j->baskets[i], start, stop, &at, end);
        if (status)
            return status;
    }
    return at == end ? 0 : give_up(r, JOB_E_CORRUPT, "the counter counts more than there is");
}

static int jagged_read(struct reader *r, const struct tree_column *c, uint64_t start, uint64_t stop,
                       uint64_t *offp, uint64_t *n_bytesp) {
    struct jagged j = {.column = c, .unit = item_size(c->item_type) * c->n_per_entry};
    if (c->layout.unit_bytes)
        j.unit = c->layout.unit_bytes;
    uint64_t first, last;
    *offp = *n_bytesp = 0;
    tree_index_span(r->index, c, start, stop, &first, &last);
    if (first == last)
        return 0;
    j.first_entry = tree_index_baskets(r->index)[first].first_entry;
    int status = plan(r, &j, first, last - first);
    if (status == 0) {
        const struct tree_basket *b = &j.baskets[j.n_baskets - 1];
        status = counter_read(r, &j, b->first_entry + b->n_entries);
    }
    if (status == 0)
        status = jagged_fill(r, &j, start, stop, offp, n_bytesp);
    free(j.baskets);
    return status;
}

/* ---- lists ---- */

struct lists {
    const struct tree_column *column;
    bool wants_ends;
    unsigned level;
    uint64_t start, stop;
    uint64_t at, end; /* in the arena: where the next part goes */
    int64_t base;
    uint64_t n_out; /* bytes counted */
};

/* Decompress whole; then count, or write. */
static int list_basket_read(struct reader *r, struct lists *x, const struct tree_basket *b,
                            bool writes) {
    struct job job = basket_job(x->column, b, x->start, x->stop);
    struct job_result result;
    uint64_t used = r->n_arena_used;
    job.kind = JOB_EDGE;
    job.out_bytes = job.in_bytes = b->raw_bytes;
    if (reserve(r, job.out_bytes, &job.out_off))
        return r->last.status;
    int status = run(r, &job, &result);
    job.in_off = job.out_off;
    job.kind = JOB_CUT;
    if (status == 0)
        status = run(r, &job, &result);
    if (status)
        return status;
    const uint64_t *n = result.n_lists;
    job.kind = JOB_COPY;
    job.verb = x->wants_ends ? JOB_VERB_LIST_ENDS : JOB_VERB_NONE;
    job.level = (uint8_t)x->level;
    job.base = x->base;
    job.out_off = x->at;
    job.out_bytes = x->wants_ends ? n[x->level] * 8
                                  : n[x->column->layout.n_levels] *
                                        item_size(x->column->item_type) * x->column->n_per_entry;
    if (x->wants_ends)
        x->base += (int64_t)n[x->level + 1];
    x->n_out += job.out_bytes;
    if (writes && job.out_bytes > x->end - x->at)
        return give_up(r, JOB_E_CORRUPT, "more than was counted");
    if (writes)
        status = run(r, &job, &result);
    x->at += writes ? job.out_bytes : 0;
    r->n_arena_used = used;
    return status;
}

static int lists_pass(struct reader *r, struct lists *x, const struct tree_basket *b, uint64_t n,
                      bool writes) {
    int status = 0;
    for (uint64_t i = 0; i < n && status == 0; i++)
        status = list_basket_read(r, x, &b[i], writes);
    return status;
}

static int lists_read(struct reader *r, struct lists x, uint64_t *offp, uint64_t *n_bytesp) {
    struct jagged j = {0};
    uint64_t first, last;
    tree_index_span(r->index, x.column, x.start, x.stop, &first, &last);
    int status = first < last ? plan(r, &j, first, last - first) : 0;
    struct lists counted = x;
    if (status == 0)
        status = lists_pass(r, &counted, j.baskets, j.n_baskets, false);
    *n_bytesp = counted.n_out + (x.wants_ends ? 8 : 0);
    if (status == 0)
        status = reserve(r, *n_bytesp, offp);
    x.at = *offp;
    x.end = x.at + *n_bytesp;
    if (status == 0 && x.wants_ends) {
        memset(r->tables.arena + x.at, 0, 8);
        x.at += 8;
    }
    if (status == 0)
        status = lists_pass(r, &x, j.baskets, j.n_baskets, true);
    free(j.baskets);
    return status;
}

/* ---- whole requests ---- */

static int range_check(struct reader *r, uint32_t column, uint64_t start, uint64_t stop) {
    const struct tree_column *c = tree_index_columns(r->index) + column;
    if (c->kind == COLUMN_NONE)
        return give_up(r, JOB_E_UNSUPPORTED, tree_index_string(r->index, c->reason));
    if (start > stop || stop > c->n_entries)
        return give_up(r, -ERANGE, "no such entries");
    r->n_arena_used = 0;
    return 0;
}

int reader_values(struct reader *r, uint32_t column, uint64_t start, uint64_t stop, void **datap,
                  uint64_t *n_bytesp) {
    const struct tree_column *c = tree_index_columns(r->index) + column;
    uint64_t off = 0;
    int status = range_check(r, column, start, stop);
    if (status == 0 && c->kind == COLUMN_LISTS)
        status = lists_read(r, (struct lists){.column = c, .start = start, .stop = stop}, &off,
                            n_bytesp);
    else if (status == 0)
        status = c->kind == COLUMN_FLAT ? flat_read(r, c, start, stop, &off, n_bytesp)
                                        : jagged_read(r, c, start, stop, &off, n_bytesp);
    *datap = r->tables.arena + off;
    return status;
}

int reader_list_offsets(struct reader *r, uint32_t column, unsigned level, uint64_t start,
                        uint64_t stop, void **datap, uint64_t *n_bytesp) {
    const struct tree_column *c = tree_index_columns(r->index) + column;
    uint64_t off = 0;
    int status = range_check(r, column, start, stop);
    if (status == 0 && level >= c->layout.n_levels)
        status = give_up(r, -EINVAL, "no lists of that level");
    struct lists x = {
        .column = c, .wants_ends = true, .level = level, .start = start, .stop = stop};
    if (status == 0)
        status = lists_read(r, x, &off, n_bytesp);
    *datap = r->tables.arena + off;
    return status;
}

int reader_offsets(struct reader *r, uint32_t column, uint64_t start, uint64_t stop, void **datap,
                   uint64_t *n_bytesp) {
    const struct tree_column *c = tree_index_columns(r->index) + column;
    uint64_t off = 0;
    int status = range_check(r, column, start, stop);
    if (status == 0 && c->kind == COLUMN_LISTS)
        return reader_list_offsets(r, column, 0, start, stop, datap, n_bytesp);
    if (status == 0 && c->kind == COLUMN_JAGGED)
        c = tree_index_columns(r->index) + c->counter - 1;
    if (status == 0)
        status = offsets_read(r, c, start, stop, &off, n_bytesp);
    *datap = r->tables.arena + off;
    return status;
}

static uint64_t tree_scan(struct reader *r, uint64_t *n_failedp) {
    uint64_t n_read = 0, n_bytes;
    void *data;
    for (uint32_t i = 0; i < r->index->n_columns; i++) {
        const struct tree_column *c = tree_index_columns(r->index) + i;
        if (c->kind == COLUMN_NONE)
            continue;
        int status = reader_values(r, i, 0, c->n_entries, &data, &n_bytes);
        if (status == 0 && c->n_entries > 2)
            status = reader_values(r, i, 1, c->n_entries - 1, &data, &n_bytes);
        for (unsigned k = 0; k < c->layout.n_levels && status == 0; k++)
            status = reader_list_offsets(r, i, k, 0, c->n_entries, &data, &n_bytes);
        n_read += status == 0;
        *n_failedp += status != 0;
    }
    return n_read;
}

uint64_t reader_scan(struct reader *r, uint64_t max_bytes, uint64_t *n_failedp) {
    struct source_blob list;
    uint64_t n, n_read = 0;
    *n_failedp = 0;
    if (reader_list(r, &list, max_bytes)) {
        *n_failedp = 1;
        return 0;
    }
    memcpy(&n, list.data, 8);
    const struct source_tree *trees = (void *)((char *)list.data + 8);
    for (uint64_t i = 0; i < n; i++) {
        if (reader_describe(r, (char *)list.data + trees[i].path, max_bytes) == 0)
            n_read += tree_scan(r, n_failedp);
        else
            ++*n_failedp;
    }
    free(list.data);
    return n_read;
}
