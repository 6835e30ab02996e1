/* Jobs: slices that do not fit, tables that lie, then each kind of job. */
#include "../../daemon/loader/assemble.h"
#include "rootfile.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>

#define ARENA_BYTES 65536u
#define IN 0
#define OUT 32768u

static uint8_t arena[ARENA_BYTES] __attribute__((aligned(64)));
static struct source *sources[1];
static struct tree_index *trees[1], **trees_of[1] = {trees};
static struct job_tables tables = {.arena = arena,
                                   .n_arena_bytes = ARENA_BYTES,
                                   .sources = sources,
                                   .n_sources = 1,
                                   .trees = trees_of};
static struct worker worker;
static struct job_result result;

static void setup(void) {
    cr_assert_eq(worker_init(&worker, &tables), 0);
    memset(arena, 0xee, sizeof(arena));
}

static void teardown(void) {
    worker_deinit(&worker);
    sources[0] = source_free(sources[0]);
    free(trees[0]);
    trees[0] = NULL;
}

TestSuite(assemble, .init = setup, .fini = teardown);

static int run(const struct job *job) {
    job_run(&worker, job, &result);
    cr_assert(result.status == 0 || result.error[0]);
    return result.status;
}

static void put4(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

#define KEY 60
#define N 4 /* entries of 2, 0, 3, 1 items */
static const uint32_t starts[N + 1] = {0, 8, 8, 20, 24};

/* The payload of a jagged int32 basket: 6 values and a table. */
static struct job jagged_job(uint8_t kind, uint64_t start, uint64_t stop) {
    for (uint32_t i = 0; i < 6; i++)
        put4(arena + IN + 4 * i, 100 + i);
    put4(arena + IN + 24, N + 1);
    for (uint32_t i = 0; i <= N; i++)
        put4(arena + IN + 28 + 4 * i, i == N ? 0 : starts[i] + KEY);
    return (struct job){.kind = kind,
                        .item_type = ITEM_I4,
                        .column_kind = COLUMN_JAGGED,
                        .n_per_entry = 1,
                        .basket_entries = N,
                        .raw_bytes = 24 + 24,
                        .border_bytes = 24,
                        .key_bytes = KEY,
                        .basket_flags = BASKET_PLANNED | BASKET_HAS_OFFSETS,
                        .slice_start = start,
                        .slice_stop = stop,
                        .value_start = JOB_DERIVE,
                        .value_stop = JOB_DERIVE,
                        .in_off = IN,
                        .in_bytes = 24 + 24,
                        .out_off = OUT,
                        .out_bytes = starts[stop] - starts[start]};
}

static void check_out(uint64_t start, uint64_t stop) {
    int32_t got[6];
    uint32_t first = starts[start] / 4, n = starts[stop] / 4 - first;
    memcpy(got, arena + OUT, sizeof(got));
    for (uint32_t i = 0; i < n; i++)
        cr_assert_eq(got[i], 100 + (int32_t)(first + i));
    cr_assert_eq(arena[OUT + 4 * n], 0xee, "not a byte more");
}

Test(assemble, refuses_offset_tables_that_lie) {
    static const struct {
        uint32_t at, value;
    } lies[] = {
        {24, N},       {24, N + 2},      {24, UINT32_MAX}, {28, KEY + 4},
        {28, 0},       {32, KEY + 28},   {32, KEY + 6},    {32, 0},
        {36, KEY + 4}, {40, UINT32_MAX}, {36, KEY - 4},
    };
    for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
        for (unsigned k = 0; k < 2; k++) {
            struct job job = jagged_job(k ? JOB_COPY : JOB_CUT, 1, 3);
            put4(arena + IN + lies[i].at, lies[i].value);
            cr_assert_eq(run(&job), JOB_E_CORRUPT, "lie %u", i);
        }
    }
    cr_assert_eq(arena[OUT], 0xee, "nothing was written");
    struct job job = jagged_job(JOB_CUT, 1, 3);
    job.raw_bytes = job.in_bytes = 24 + 20;
    cr_assert_eq(run(&job), JOB_E_CORRUPT, "a table cut off");
    job.raw_bytes = job.in_bytes = 24 + 3;
    cr_assert_eq(run(&job), JOB_E_CORRUPT, "a table without a count");
}

Test(assemble, refuses_slices_of_another_size) {
    struct job job = jagged_job(JOB_COPY, 1, 3);
    job.out_bytes -= 4;
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    job.out_bytes += 8;
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    job = jagged_job(JOB_COPY, 0, N);
    job.border_bytes = 23;
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    job.border_bytes = 49;
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    job = jagged_job(JOB_COPY, 1, 3);
    job.value_start = 4;
    job.value_stop = 28;
    job.out_bytes = 24;
    cr_assert_eq(run(&job), JOB_E_CORRUPT, "beyond the values");
    job.value_start = 6;
    job.value_stop = 18;
    job.out_bytes = 12;
    cr_assert_eq(run(&job), JOB_E_CORRUPT, "inside an item");
    job.value_start = 16;
    job.value_stop = 4;
    job.out_bytes = (uint64_t)-12;
    cr_assert_eq(run(&job), JOB_E_CORRUPT, "backwards");
    job = jagged_job(JOB_COPY, 0, 3);
    job.column_kind = COLUMN_FLAT;
    job.out_bytes = 12;
    cr_assert_eq(run(&job), JOB_E_CORRUPT, "6 values are not 4 flat entries");
    cr_assert_eq(arena[OUT], 0xee, "nothing was written");
}

Test(assemble, copies_and_cuts_every_slice) {
    for (uint64_t start = 0; start <= N; start++) {
        for (uint64_t stop = start; stop <= N; stop++) {
            struct job job = jagged_job(JOB_CUT, start, stop);
            cr_assert_eq(run(&job), 0, "%s", result.error);
            cr_assert_eq(result.cut[0], starts[start]);
            cr_assert_eq(result.cut[1], starts[stop]);
            job.kind = JOB_COPY;
            memset(arena + OUT, 0xee, 64);
            cr_assert_eq(run(&job), 0, "%s", result.error);
            check_out(start, stop);
        }
    }
}

Test(assemble, a_basket_without_table_is_cut_by_the_loop) {
    struct job job = jagged_job(JOB_CUT, 1, N);
    job.basket_flags = BASKET_PLANNED;
    job.raw_bytes = job.in_bytes = 24;
    cr_assert_eq(run(&job), 0);
    cr_assert_eq(result.cut[0], JOB_NO_CUT);
    cr_assert_eq(result.cut[1], 24);
    job.kind = JOB_COPY;
    cr_assert_eq(run(&job), JOB_E_CORRUPT, "the slice cannot be derived");
    job.value_start = starts[1];
    job.value_stop = starts[N];
    cr_assert_eq(run(&job), 0, "%s", result.error);
    check_out(1, N);
    job = jagged_job(JOB_COPY, 0, N);
    job.basket_flags = BASKET_PLANNED;
    cr_assert_eq(run(&job), 0, "the whole can");
}

/* ---- baskets in files ---- */

static struct rootfile_branch branch;

static struct job file_job(uint8_t kind, uint8_t item_type, uint64_t start, uint64_t stop) {
    const struct tree_basket *b = tree_index_baskets(trees[0]);
    return (struct job){.kind = kind,
                        .item_type = item_type,
                        .column_kind = COLUMN_FLAT,
                        .n_per_entry = 1,
                        .file_off = b->file_off,
                        .stored_bytes = b->stored_bytes,
                        .raw_bytes = b->raw_bytes,
                        .border_bytes = b->border_bytes,
                        .key_bytes = b->key_bytes,
                        .basket_flags = b->flags,
                        .basket_entries = b->n_entries,
                        .slice_start = start,
                        .slice_stop = stop,
                        .value_start = JOB_DERIVE,
                        .value_stop = JOB_DERIVE,
                        .out_off = OUT};
}

/* One branch of 1-byte or 4-byte items with values 1, 2, 3, on disk or embedded. */
static void make_source(bool is_embedded, bool is_wide) {
    static const uint8_t wide[] = {0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}, narrow[] = {1, 2, 3};
    struct rootfile *f = calloc(1, sizeof(*f));
    struct out *o = calloc(1, sizeof(*o)), *e = calloc(1, sizeof(*e));
    const uint8_t *values = is_wide ? wide : narrow;
    uint32_t n = is_wide ? 12 : 3;
    rootfile_begin(f, 63000);
    branch = (struct rootfile_branch){.name = "x",
                                      .leaves = {{is_wide ? "TLeafI" : "TLeafB", "x", 1, 0, 0}},
                                      .n_leaves = 1,
                                      .n_entries = 3};
    if (is_embedded) {
        rootfile_embedded(e, values, n, NULL, 3, 12);
        branch.embedded = e;
    } else {
        rootfile_basket(f, &branch.baskets[0], values, n, n, n, 3);
        branch.n_baskets = 1;
    }
    rootfile_tree(o, 20, 3, &branch, 1);
    rootfile_object(f, "TTree", "tree", 1, o->bytes, (uint32_t)o->n, (uint32_t)o->n);
    struct job job = {.kind = JOB_OPEN, .fd = rootfile_end(f)};
    cr_assert_eq(run(&job), 0, "%s", result.error);
    sources[0] = result.source;
    job = (struct job){.kind = JOB_DESCRIBE, .path = "tree", .max_bytes = 1 << 20};
    cr_assert_eq(run(&job), 0, "%s", result.error);
    trees[0] = result.blob;
    cr_assert_eq(trees[0]->n_baskets, 1);
    free(f);
    free(o);
    free(e);
}

Test(assemble, decodes_baskets_on_disk_and_embedded) {
    for (unsigned i = 0; i < 4; i++) {
        bool is_embedded = i & 1, is_wide = i & 2;
        uint32_t size = is_wide ? 4 : 1;
        make_source(is_embedded, is_wide);
        for (uint64_t start = 0; start <= 3; start++) {
            for (uint64_t stop = start; stop <= 3; stop++) {
                struct job job = file_job(JOB_DECODE, is_wide ? ITEM_I4 : ITEM_I1, start, stop);
                job.out_bytes = (stop - start) * size;
                memset(arena + OUT, 0xee, 16);
                cr_assert_eq(run(&job), 0, "%s", result.error);
                cr_assert_eq(result.n_baskets_decoded, !is_embedded);
                cr_assert_eq(result.n_unpacked_bytes, is_embedded ? 0 : 3 * size);
                for (uint64_t k = 0; k < stop - start; k++)
                    cr_assert_eq(arena[OUT + k * size], start + k + 1);
                cr_assert_eq(arena[OUT + job.out_bytes], 0xee);
            }
        }
        teardown();
        setup();
    }
}

Test(assemble, plans_and_takes_edges) {
    make_source(false, true);
    struct job plan = {.kind = JOB_PLAN, .n_baskets = 1, .max_bytes = 1000};
    cr_assert_eq(run(&plan), 0, "%s", result.error);
    cr_assert_eq(result.n_blob_bytes, sizeof(struct tree_basket));
    memcpy(tree_index_baskets(trees[0]), result.blob, sizeof(struct tree_basket));
    free(result.blob);
    struct job job = file_job(JOB_EDGE, ITEM_I4, 1, 2);
    job.out_bytes = job.raw_bytes;
    cr_assert_eq(run(&job), 0, "%s", result.error);
    cr_assert(result.cut[0] == 4 && result.cut[1] == 8);
    cr_assert_eq(arena[OUT + 3], 1, "the payload is as it was stored");
    plan.max_bytes = 8;
    cr_assert_eq(run(&plan), JOB_E_TOO_LARGE);
}

Test(assemble, outcomes_of_files_become_those_of_jobs) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    struct job job = {.kind = JOB_OPEN, .fd = ends[0]};
    cr_assert_eq(run(&job), JOB_E_UNSUPPORTED);
    cr_assert_null(result.source);
    cr_assert_eq(fcntl(ends[0], F_GETFD) >= 0, 1, "the descriptor stays the caller's");
    close(ends[0]);
    close(ends[1]);
    make_source(false, true);
    job = (struct job){.kind = JOB_DESCRIBE, .path = "nothing", .max_bytes = 1 << 20};
    cr_assert_eq(run(&job), JOB_E_NO_TREE);
    cr_assert_null(result.blob);
    job = (struct job){.kind = JOB_LIST, .max_bytes = 8};
    cr_assert_eq(run(&job), JOB_E_TOO_LARGE);
    cr_assert_eq(ftruncate(sources[0]->io.fd, 100000), 0);
    job = file_job(JOB_DECODE, ITEM_I4, 0, 3);
    job.out_bytes = 12;
    cr_assert_eq(run(&job), JOB_E_CHANGED);
}

static int run_merged(uint32_t read_bytes, bool is_read_ahead, uint64_t n_reads,
                      uint64_t n_merged) {
    struct job job = file_job(JOB_DECODE, ITEM_I4, 0, 3);
    job.out_bytes = 12;
    job.read_bytes = read_bytes;
    job.is_read_ahead = is_read_ahead;
    memset(arena + OUT, 0xee, 16);
    int status = run(&job);
    cr_assert_eq(result.n_reads, n_reads, "%u", (unsigned)result.n_reads);
    cr_assert_eq(result.n_reads_merged, n_merged);
    cr_assert(status || arena[OUT + 8] == 3);
    return status;
}

Test(assemble, what_was_read_ahead_serves_its_batch_only) {
    make_source(false, true);
    uint32_t n = tree_index_baskets(trees[0])->stored_bytes;
    cr_assert_eq(run_merged(0, true, 1, 0), 0, "nothing was read: %s", result.error);
    cr_assert_eq(run_merged(n + 10, false, 1, 0), 0, "%s", result.error);
    cr_assert_eq(result.n_read_bytes, n + 10);
    cr_assert_eq(run_merged(0, true, 0, 1), 0, "%s", result.error);
    cr_assert_eq(result.n_read_bytes, 0);
    cr_assert_eq(run_merged(0, false, 1, 0), 0, "another batch reads anew");
    cr_assert_eq(run_merged(1u << 30, false, 2, 0), 0, "what is not there is no error");
    cr_assert_eq(run_merged(n + 10, false, 1, 0), 0);
    cr_assert_eq(ftruncate(sources[0]->io.fd, 100000), 0);
    cr_assert_eq(run_merged(n + 10, false, 2, 0), JOB_E_CHANGED);
    cr_assert_eq(run_merged(0, true, 1, 0), JOB_E_CHANGED, "nor what was read before");
}

/* ---- verbs ---- */

static struct job offsets_job(uint8_t item_type, uint64_t n_bytes, uint64_t n) {
    return (struct job){.kind = JOB_TRANSFORM,
                        .verb = JOB_VERB_COUNTS_TO_OFFSETS,
                        .item_type = item_type,
                        .in_off = IN,
                        .in_bytes = n_bytes,
                        .out_off = OUT,
                        .out_bytes = (n + 1) * 8};
}

Test(assemble, counts_have_to_be_counts) {
    struct job job = offsets_job(ITEM_I4, 8, 2);
    memcpy(arena + IN, (int32_t[]){3, -1}, 8);
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    cr_assert(strstr(result.error, "entry 1"), "%s", result.error);
    job.item_type = ITEM_U4;
    cr_assert_eq(run(&job), 0);
    job.item_type = ITEM_F4;
    cr_assert_eq(run(&job), JOB_E_UNSUPPORTED);
    job.item_type = N_ITEM_TYPES;
    cr_assert_eq(run(&job), JOB_E_UNSUPPORTED);
    job.item_type = ITEM_I4;
    job.out_bytes = 16;
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    job.in_bytes = 7;
    job.out_bytes = 24;
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    job.verb = JOB_VERB_NONE;
    cr_assert_eq(run(&job), JOB_E_UNSUPPORTED);
    job = offsets_job(ITEM_U8, 8, 1);
    memcpy(arena + IN, (uint64_t[]){1ull << 63}, 8);
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
    job = offsets_job(ITEM_I8, 16, 2);
    memcpy(arena + IN, (int64_t[]){INT64_MAX, 1}, 16);
    cr_assert_eq(run(&job), JOB_E_CORRUPT);
}

Test(assemble, counts_of_every_integer_become_offsets) {
    static const uint8_t types[] = {ITEM_I1, ITEM_U1, ITEM_I2, ITEM_U2,
                                    ITEM_I4, ITEM_U4, ITEM_I8, ITEM_U8};
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        unsigned size = 1u << i / 2;
        memset(arena, 0, 64);
        for (unsigned k = 0; k < 3; k++)
            arena[IN + k * size] = (uint8_t)(k + 100);
        struct job job = offsets_job(types[i], 3 * size, 3);
        cr_assert_eq(run(&job), 0, "%s", result.error);
        int64_t got[4];
        memcpy(got, arena + OUT, sizeof(got));
        cr_assert(got[0] == 0 && got[1] == 100 && got[2] == 201 && got[3] == 303, "type %u", i);
    }
    struct job job = offsets_job(ITEM_I4, 0, 0);
    cr_assert_eq(run(&job), 0);
}

Test(assemble, stages_bytes_of_a_client) {
    static uint8_t staging[4096] = "xxhello";
    static uint8_t *stagings[] = {NULL, staging};
    tables.stagings = stagings;
    tables.n_staging_bytes = sizeof(staging);
    struct job job = {.kind = JOB_STAGE,
                      .staging = 1,
                      .in_off = 2,
                      .in_bytes = 5,
                      .out_off = OUT,
                      .out_bytes = 5};
    cr_assert_eq(run(&job), 0);
    cr_assert_eq(memcmp(arena + OUT, "hello\xee", 6), 0);
}
