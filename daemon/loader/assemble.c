/* A job on a worker: bytes of a file become (a part of) a buffer.
 *
 * The ranges in a job come from the loop, which has reserved them: a wrong one is a bug and
 * asserted. What comes from a file was checked by the source, and payload.c holds it against the
 * column and the length of what was asked for, before anything is written. A job that fails may
 * have written to its own destination; nobody reads that.
 *
 * Embedded baskets have their payloads in the tree's index, in the same shape as those on disk, so
 * one path serves both. Values of one byte without an offset table are decompressed straight to
 * their place; all others pass through the worker's memory, where they stay in the processor's
 * cache until they are swapped into the arena.
 */
#include "assemble.h"
#include "lists.h"
#include "payload.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define KEPT_BYTES (32u << 20) /* of a bounce buffer, between jobs */

int worker_init(struct worker *w, const struct job_tables *tables) {
    *w = (struct worker){.tables = tables};
    return codec_new(&w->codec);
}

void worker_deinit(struct worker *w) {
    w->codec = codec_free(w->codec);
    source_bounce_deinit(&w->packed);
    source_bounce_deinit(&w->raw);
}

/* ---- places ---- */

static uint8_t *arena_at(const struct worker *w, uint64_t off, uint64_t n_bytes) {
    assert(range_is_inside(off, n_bytes, w->tables->n_arena_bytes));
    return w->tables->arena + off;
}

static const struct source *source_at(const struct worker *w, uint32_t number) {
    assert(number < w->tables->n_sources && w->tables->sources[number]);
    return w->tables->sources[number];
}

static struct tree_basket basket_of(const struct job *job) {
    return (struct tree_basket){.file_off = job->file_off,
                                .stored_bytes = job->stored_bytes,
                                .raw_bytes = job->raw_bytes,
                                .border_bytes = job->border_bytes,
                                .n_entries = (uint32_t)job->basket_entries,
                                .key_bytes = (uint16_t)job->key_bytes,
                                .flags = (uint16_t)job->basket_flags,
                                .is_embedded = job->basket_flags & BASKET_EMBEDDED ? 1 : 0};
}

static const uint8_t *embedded_at(const struct worker *w, const struct job *job) {
    source_at(w, job->source);
    const struct tree_index *x = w->tables->trees[job->source][job->tree];
    assert(range_is_inside(job->file_off, job->raw_bytes, x->embedded_bytes));
    return (const uint8_t *)x + x->embedded_off + job->file_off;
}

/* ---- outcomes ---- */

static int status_of(int source_outcome) {
    static const int map[] = {
        [SOURCE_E_NOT_ROOT] = JOB_E_NOT_ROOT,       [SOURCE_E_CORRUPT] = JOB_E_CORRUPT,
        [SOURCE_E_UNSUPPORTED] = JOB_E_UNSUPPORTED, [SOURCE_E_NO_TREE] = JOB_E_NO_TREE,
        [SOURCE_E_CHANGED] = JOB_E_CHANGED,         [SOURCE_E_TOO_LARGE] = JOB_E_TOO_LARGE,
    };
    return source_outcome > 0 ? map[source_outcome] : source_outcome;
}

/* ---- jobs ---- */

/* Units at `in` become the items at the job's destination. */
static int items_copy(const struct payload *p, uint8_t *out, const uint8_t *in, uint64_t n_units) {
    if (items_write(&p->items, out, in, n_units))
        return 0;
    payload_corrupt(p, "its objects are not of the announced layout");
    return JOB_E_UNSUPPORTED;
}

static int values_write(const struct worker *w, const struct job *job,
                        const struct tree_basket *basket, const uint8_t *bytes,
                        struct job_result *result) {
    struct payload p = payload_of(job, basket, bytes, result->error);
    uint64_t value[2];
    int r = payload_check(&p);
    if (r == 0 && p.kind == COLUMN_LISTS)
        return lists_write(&p, job, arena_at(w, job->out_off, job->out_bytes));
    if (r == 0)
        r = payload_slice(&p, job, value);
    if (r)
        return r;
    uint8_t *out = arena_at(w, job->out_off, job->out_bytes);
    return items_copy(&p, out, bytes + value[0], (value[1] - value[0]) / p.entry_bytes);
}

static int cuts_find(const struct job *job, const struct tree_basket *basket, const uint8_t *bytes,
                     struct job_result *result) {
    struct payload p = payload_of(job, basket, bytes, result->error);
    int r = payload_check(&p);
    if (r || p.kind != COLUMN_LISTS)
        return r ? r : payload_cut(&p, job->slice_start, job->slice_stop, result->cut);
    return lists_count(&p, job, result->n_lists);
}

/* The first of several jobs reads for all of them; when that fails each of them reads for itself and
 * says what is wrong. */
static void read_ahead(struct worker *w, const struct job *job, struct job_result *result) {
    if (!source_read_ahead(source_at(w, job->source), &w->packed, job->file_off, job->read_bytes,
                           result->error))
        result->n_read_bytes = job->read_bytes;
    result->n_reads++;
    result->error[0] = '\0';
}

/* What was read for another job is not trusted for longer than the batch that it was read for. */
static int fetch(struct worker *w, const struct job *job, struct tree_basket *basket,
                 struct job_result *result) {
    uint64_t n_read = 0;
    if (job->read_bytes)
        read_ahead(w, job, result);
    bool is_here = (job->read_bytes || job->is_read_ahead) &&
                   source_bounce_holds(&w->packed, basket->file_off, basket->stored_bytes);
    result->n_reads += !is_here;
    result->n_reads_merged = is_here && job->is_read_ahead;
    int r = is_here ? source_find_basket(&w->packed, basket, result->error)
                    : source_fetch_basket(source_at(w, job->source), &w->packed, basket, &n_read,
                                          result->error);
    result->n_read_bytes += n_read;
    return status_of(r);
}

static int unpack(struct worker *w, const struct tree_basket *basket, uint8_t *dst,
                  struct job_result *result) {
    int r = source_unpack_basket(w->codec, &w->packed, basket, dst, result->error);
    if (r)
        return status_of(r);
    result->n_unpacked_bytes = basket->raw_bytes;
    result->n_baskets_decoded = 1;
    return 0;
}

static int edge_run(struct worker *w, const struct job *job, struct job_result *result) {
    struct tree_basket basket = basket_of(job);
    assert(basket.flags & BASKET_PLANNED && job->out_bytes == job->raw_bytes);
    uint8_t *out = arena_at(w, job->out_off, job->out_bytes);
    int r = 0;
    if (basket.is_embedded) {
        memcpy(out, embedded_at(w, job), job->raw_bytes);
    } else {
        r = fetch(w, job, &basket, result);
        if (r == 0)
            r = unpack(w, &basket, out, result);
    }
    return r ? r : cuts_find(job, &basket, out, result);
}

/* Whole baskets of bytes need no second copy. */
static bool is_in_place(const struct job *job, const struct tree_basket *basket) {
    return job->column_kind != COLUMN_LISTS && job->layout.unit_bytes == 0 &&
           items_of(job->item_type, 1, &job->layout).unit_bytes == 1 &&
           basket->raw_bytes == basket->border_bytes && job->out_bytes == basket->raw_bytes;
}

static int decode_in_place(struct worker *w, const struct job *job,
                           const struct tree_basket *basket, struct job_result *result) {
    struct payload p = payload_of(job, basket, NULL, result->error);
    uint64_t value[2];
    int r = payload_check(&p);
    if (r == 0)
        r = payload_slice(&p, job, value); /* without a table no byte is looked at */
    return r ? r : unpack(w, basket, arena_at(w, job->out_off, job->out_bytes), result);
}

static int decode_run(struct worker *w, const struct job *job, struct job_result *result) {
    struct tree_basket basket = basket_of(job);
    if (basket.is_embedded)
        return values_write(w, job, &basket, embedded_at(w, job), result);
    int r = fetch(w, job, &basket, result);
    if (r)
        return r;
    if (is_in_place(job, &basket))
        return decode_in_place(w, job, &basket, result);
    r = source_bounce_reserve(&w->raw, basket.raw_bytes);
    if (r == 0)
        r = unpack(w, &basket, w->raw.data, result);
    return r ? r : values_write(w, job, &basket, w->raw.data, result);
}

static int in_run(struct worker *w, const struct job *job, struct job_result *result) {
    struct tree_basket basket = basket_of(job);
    assert(basket.is_embedded || job->in_bytes == job->raw_bytes);
    const uint8_t *in =
        basket.is_embedded ? embedded_at(w, job) : arena_at(w, job->in_off, job->in_bytes);
    return job->kind == JOB_CUT ? cuts_find(job, &basket, in, result)
                                : values_write(w, job, &basket, in, result);
}

static int open_run(const struct job *job, struct job_result *result) {
    struct io_identity identity;
    int r = io_identify(&identity, job->fd);
    if (r) {
        snprintf(result->error, sizeof(result->error), "the descriptor is none of a readable file");
        return r < 0 ? r : JOB_E_UNSUPPORTED;
    }
    return status_of(source_open(&result->source, job->fd, &identity, result->error));
}

static int metadata_run(struct worker *w, const struct job *job, struct job_result *result) {
    const struct source *s = source_at(w, job->source);
    struct source_blob blob = {0};
    int r = job->kind == JOB_LIST
                ? source_list(s, w->codec, &blob, job->max_bytes, result->error)
                : source_describe(s, w->codec, job->path, &blob, job->max_bytes, result->error);
    result->blob = blob.data;
    result->n_blob_bytes = blob.n_bytes;
    return status_of(r);
}

/* What the loop may change in a basket meanwhile is not looked at. */
static void basket_copy(struct tree_basket *to, const struct tree_basket *from) {
    *to = (struct tree_basket){.first_entry = from->first_entry,
                               .file_off = from->file_off,
                               .stored_bytes = from->stored_bytes,
                               .n_entries = from->n_entries,
                               .is_embedded = from->is_embedded};
    if (from->is_embedded) /* never changed after the index was made */
        *to = *from;
}

static int plan_run(struct worker *w, const struct job *job, struct job_result *result) {
    const struct source *s = source_at(w, job->source);
    const struct tree_index *x = w->tables->trees[job->source][job->tree];
    assert(range_is_inside(job->first_basket, job->n_baskets, x->n_baskets));
    uint64_t n_bytes = job->n_baskets * sizeof(struct tree_basket);
    if (n_bytes > job->max_bytes) {
        snprintf(result->error, sizeof(result->error), "a plan of %" PRIu64 " baskets is too large",
                 job->n_baskets);
        return JOB_E_TOO_LARGE;
    }
    CLEANUP(cleanup_free) struct tree_basket *baskets = malloc(MAX(n_bytes, 1));
    if (!baskets)
        return -ENOMEM;
    for (uint64_t i = 0; i < job->n_baskets; i++)
        basket_copy(&baskets[i], tree_index_baskets(x) + job->first_basket + i);
    int r = source_plan(s, baskets, job->n_baskets, result->error);
    if (r)
        return status_of(r);
    result->blob = TAKE_PTR(baskets);
    result->n_blob_bytes = n_bytes;
    return 0;
}

static int transform_job_run(struct worker *w, const struct job *job, struct job_result *result) {
    return transform_run(job->verb, job->item_type, arena_at(w, job->out_off, job->out_bytes),
                         job->out_bytes, arena_at(w, job->in_off, job->in_bytes), job->in_bytes,
                         result->error);
}

static int stage_run(struct worker *w, const struct job *job) {
    assert(job->in_bytes == job->out_bytes &&
           range_is_inside(job->in_off, job->in_bytes, w->tables->n_staging_bytes));
    if (job->out_bytes > 0)
        memcpy(arena_at(w, job->out_off, job->out_bytes),
               w->tables->stagings[job->staging] + job->in_off, job->out_bytes);
    return 0;
}

static int kind_run(struct worker *w, const struct job *job, struct job_result *result) {
    switch ((enum job_kind)job->kind) {
    case JOB_OPEN:
        return open_run(job, result);
    case JOB_LIST:
    case JOB_DESCRIBE:
        return metadata_run(w, job, result);
    case JOB_PLAN:
        return plan_run(w, job, result);
    case JOB_EDGE:
        return edge_run(w, job, result);
    case JOB_CUT:
    case JOB_COPY:
        return in_run(w, job, result);
    case JOB_DECODE:
        return decode_run(w, job, result);
    case JOB_TRANSFORM:
        return transform_job_run(w, job, result);
    case JOB_STAGE:
        return stage_run(w, job);
    }
    assert(!"a kind of job");
    return -EINVAL;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One huge basket must not cost every worker its size for good. (What was read ahead is smaller.) */
static void bounce_shrink(struct source_bounce *b) {
    if (b->n_bytes > KEPT_BYTES)
        source_bounce_deinit(b);
}

void job_run(struct worker *w, const struct job *job, struct job_result *result) {
    uint64_t start = now_ns();
    *result = (struct job_result){0};
    result->status = kind_run(w, job, result);
    if (result->status < 0 && !result->error[0])
        snprintf(result->error, sizeof(result->error), "%s", strerror(-result->status));
    bounce_shrink(&w->packed);
    bounce_shrink(&w->raw);
    result->run_ns = now_ns() - start;
}
