/* Lists, records and short floats: lies about lengths first, then what they become. */
#include "../../daemon/loader/assemble.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#define ARENA_BYTES 65536u
#define OUT 32768u

static uint8_t arena[ARENA_BYTES] __attribute__((aligned(64)));
static const struct job_tables tables = {.arena = arena, .n_arena_bytes = ARENA_BYTES};
static struct worker worker;
static struct job_result result;
static uint32_t n_bytes;

static void setup(void) {
    cr_assert_eq(worker_init(&worker, &tables), 0);
    memset(arena, 0xee, sizeof(arena));
    n_bytes = 0;
}

static void teardown(void) {
    worker_deinit(&worker);
}

TestSuite(lists, .init = setup, .fini = teardown);

static void put(uint32_t value, unsigned n) {
    while (n-- > 0)
        arena[n_bytes++] = (uint8_t)(value >> 8 * n);
}

static int run(struct job job, uint8_t kind, uint64_t start, uint64_t stop) {
    job.kind = kind;
    job.slice_start = start;
    job.slice_stop = stop;
    job_run(&worker, &job, &result);
    cr_assert(result.status == 0 || result.error[0]);
    return result.status;
}

static struct job job_of(uint8_t kind, uint8_t item_type, struct column_layout layout,
                         uint64_t n_entries, uint32_t border) {
    struct tree_column c = {
        .kind = kind, .item_type = item_type, .n_per_entry = 1, .layout = layout};
    cr_assert(tree_column_check_layout(&c));
    return (struct job){.item_type = item_type,
                        .column_kind = kind,
                        .layout = layout,
                        .n_per_entry = 1,
                        .basket_entries = n_entries,
                        .raw_bytes = n_bytes,
                        .border_bytes = border,
                        .basket_flags =
                            BASKET_PLANNED | (border < n_bytes ? BASKET_HAS_OFFSETS : 0),
                        .value_start = JOB_DERIVE,
                        .value_stop = JOB_DERIVE,
                        .in_bytes = n_bytes,
                        .out_off = OUT};
}

static const struct column_layout lists_of_lists = {
    .n_levels = 2, .levels = {LEVEL_COUNT, LEVEL_COUNT}, .header_bytes = 6};

/* Entries {{1, 2}, {}} and {{3}} of vector<vector<int16>>. */
static struct job nested_job(void) {
    put(0x40000000 | (2 + 4 + 4 + 4 + 4), 4);
    put(9, 2);
    put(2, 4);
    put(2, 4);
    put(1, 2);
    put(2, 2);
    put(0, 4);
    put(0x40000000 | (2 + 4 + 4 + 2), 4);
    put(9, 2);
    put(1, 4);
    put(1, 4);
    put(3, 2);
    return job_of(COLUMN_LISTS, ITEM_I2, lists_of_lists, 2, n_bytes);
}

Test(lists, refuses_lengths_that_lie) {
    static const struct {
        uint32_t at, value;
    } lies[] = {
        {0, 0x40000013},  {0, 0x40000011},  {0, 0x12},       {0, 0x40000000},  {0, 0x7fffffff},
        {6, 3},           {6, 1},           {6, UINT32_MAX}, {10, 3},          {10, 1},
        {10, UINT32_MAX}, {10, 0x7fffffff}, {18, 1},         {22, 0x4000000b}, {32, 2},
    };
    for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
        n_bytes = 0;
        struct job job = nested_job();
        uint32_t end = n_bytes;
        n_bytes = lies[i].at;
        put(lies[i].value, 4);
        n_bytes = end;
        cr_assert_eq(run(job, JOB_CUT, 0, 2), JOB_E_CORRUPT, "lie %u", i);
        job.out_bytes = 6;
        cr_assert_eq(run(job, JOB_COPY, 0, 2), JOB_E_CORRUPT, "lie %u", i);
        cr_assert_eq(arena[OUT + 6], 0xee, "not a byte more");
    }
}

Test(lists, refuses_what_was_streamed_member_by_member) {
    struct job job = nested_job();
    arena[4] = 0x40;
    cr_assert_eq(run(job, JOB_CUT, 0, 1), JOB_E_UNSUPPORTED);
}

Test(lists, refuses_room_of_another_size) {
    struct job job = nested_job();
    for (uint64_t n = 0; n <= 16; n++) {
        job.out_bytes = n;
        cr_assert_eq(run(job, JOB_COPY, 0, 2), n == 6 ? 0 : JOB_E_CORRUPT);
        cr_assert_eq(arena[OUT + 6], 0xee);
    }
    job.verb = JOB_VERB_LIST_ENDS;
    job.level = 1;
    job.out_bytes = 16;
    cr_assert_eq(run(job, JOB_COPY, 0, 2), JOB_E_CORRUPT);
    job.out_bytes = 32;
    cr_assert_eq(run(job, JOB_COPY, 0, 2), JOB_E_CORRUPT);
}

Test(lists, counts_and_writes_nested_lists) {
    static const int64_t ends[2][3] = {{12, 13}, {12, 12, 13}};
    struct job job = nested_job();
    int16_t values[3];
    cr_assert_eq(run(job, JOB_CUT, 0, 2), 0, "%s", result.error);
    cr_assert(result.n_lists[0] == 2 && result.n_lists[1] == 3 && result.n_lists[2] == 3);
    cr_assert_eq(run(job, JOB_CUT, 1, 2), 0);
    cr_assert(result.n_lists[0] == 1 && result.n_lists[1] == 1 && result.n_lists[2] == 1);
    job.out_bytes = 6;
    cr_assert_eq(run(job, JOB_COPY, 0, 2), 0, "%s", result.error);
    memcpy(values, arena + OUT, 6);
    cr_assert(values[0] == 1 && values[1] == 2 && values[2] == 3);
    job.verb = JOB_VERB_LIST_ENDS;
    job.base = 10;
    for (job.level = 0; job.level < 2; job.level++) {
        job.out_bytes = job.level ? 24 : 16;
        cr_assert_eq(run(job, JOB_COPY, 0, 2), 0, "%s", result.error);
        cr_assert(job.level || memcmp(arena + OUT, ends[0], 16) == 0);
        cr_assert(!job.level || memcmp(arena + OUT, ends[1], 24) == 0);
    }
}

Test(lists, strings_follow_each_other_or_a_table) {
    struct column_layout layout = {.n_levels = 1, .levels = {LEVEL_STRING}};
    put(1, 1);
    put('a', 1);
    put(255, 1);
    put(300, 4);
    for (int i = 0; i < 300; i++)
        put('b', 1);
    put(0, 1);
    uint32_t border = n_bytes;
    struct job job = job_of(COLUMN_LISTS, ITEM_U1, layout, 3, border);
    cr_assert_eq(run(job, JOB_CUT, 1, 3), 0, "%s", result.error);
    cr_assert(result.n_lists[0] == 2 && result.n_lists[1] == 300);
    job.basket_entries = 2;
    cr_assert_eq(run(job, JOB_CUT, 0, 2), JOB_E_CORRUPT, "bytes after the last entry");
    put(4, 4);
    put(0, 4);
    put(2, 4);
    put(307, 4);
    put(0, 4);
    job = job_of(COLUMN_LISTS, ITEM_U1, layout, 3, border);
    cr_assert_eq(run(job, JOB_CUT, 1, 3), 0, "%s", result.error);
    cr_assert(result.n_lists[0] == 2 && result.n_lists[1] == 300);
    arena[border + 8 + 3] = 1;
    cr_assert_eq(run(job, JOB_CUT, 0, 1), JOB_E_CORRUPT, "longer than the table says");
}

Test(lists, the_rest_needs_an_end_and_null_pointers_are_empty) {
    struct column_layout layout = {.n_levels = 1, .levels = {LEVEL_REST}, .header_bytes = 1};
    put(0, 1);
    put(1, 1);
    put(7, 2);
    uint32_t border = n_bytes;
    struct job job = job_of(COLUMN_LISTS, ITEM_I2, layout, 2, border);
    cr_assert_eq(run(job, JOB_CUT, 0, 2), JOB_E_CORRUPT, "no table");
    put(3, 4);
    put(0, 4);
    put(1, 4);
    put(0, 4);
    job = job_of(COLUMN_LISTS, ITEM_I2, layout, 2, border);
    cr_assert_eq(run(job, JOB_CUT, 0, 2), 0, "%s", result.error);
    cr_assert_eq(result.n_lists[1], 1);
    arena[1] = 0;
    cr_assert_eq(run(job, JOB_CUT, 0, 2), JOB_E_CORRUPT, "null with a value");
}

Test(lists, bits_of_an_object_may_have_two_bytes_more) {
    struct column_layout layout = {.unit_bytes = 4, .flags = LAYOUT_LONG_TAIL};
    uint32_t bits[2];
    put(5, 4);
    put(6, 4);
    put(99, 2);
    uint32_t border = n_bytes;
    put(3, 4);
    put(0, 4);
    put(4, 4);
    put(0, 4);
    struct job job = job_of(COLUMN_LISTS, ITEM_U4, layout, 2, border);
    cr_assert_eq(run(job, JOB_CUT, 0, 2), 0, "%s", result.error);
    cr_assert_eq(result.n_lists[0], 2);
    job.out_bytes = 8;
    cr_assert_eq(run(job, JOB_COPY, 0, 2), 0, "%s", result.error);
    memcpy(bits, arena + OUT, 8);
    cr_assert(bits[0] == 5 && bits[1] == 6);
    arena[border + 8 + 3] = 3;
    cr_assert_eq(run(job, JOB_CUT, 0, 2), JOB_E_CORRUPT, "three bytes are no bits");
}

Test(lists, members_of_objects_have_to_be_objects) {
    struct column_layout layout = {.unit_bytes = 14,
                                   .member_off = 10,
                                   .flags = LAYOUT_FRAMED,
                                   .n_levels = 1,
                                   .levels = {LEVEL_COUNT}};
    uint32_t value;
    put(1, 4);
    put(0x4000000a, 4);
    put(0, 2);
    put(0xabcdef01, 4);
    put(77, 4);
    struct job job = job_of(COLUMN_LISTS, ITEM_U4, layout, 1, n_bytes);
    job.out_bytes = 4;
    cr_assert_eq(run(job, JOB_COPY, 0, 1), 0, "%s", result.error);
    memcpy(&value, arena + OUT, 4);
    cr_assert_eq(value, 77);
    arena[7] = 0x0b;
    cr_assert_eq(run(job, JOB_COPY, 0, 1), JOB_E_UNSUPPORTED);
    arena[7] = 0x0a;
    arena[9] = 1;
    cr_assert_eq(run(job, JOB_COPY, 0, 1), JOB_E_UNSUPPORTED, "a class with a version");
}

Test(lists, layouts_that_reach_beyond_their_unit_are_refused) {
    const struct tree_column bad[] = {
        {.kind = COLUMN_FLAT, .item_type = ITEM_I4, .layout = {.unit_bytes = 3}},
        {.kind = COLUMN_FLAT, .item_type = ITEM_I4, .layout = {.unit_bytes = 8, .member_off = 5}},
        {.kind = COLUMN_FLAT, .item_type = ITEM_I4, .layout = {.unit_bytes = 4, .coding = 1}},
        {.kind = COLUMN_FLAT, .item_type = ITEM_F8, .layout = {.coding = CODING_FLOAT}},
        {.kind = COLUMN_FLAT, .item_type = ITEM_F8, .layout = {.unit_bytes = 4, .coding = 9}},
        {.kind = COLUMN_FLAT,
         .item_type = ITEM_F4,
         .layout = {.unit_bytes = 3, .coding = CODING_TRUNCATED, .n_bits = 24}},
        {.kind = COLUMN_FLAT, .item_type = ITEM_I4, .layout = {.n_levels = 1, .levels = {1}}},
        {.kind = COLUMN_LISTS, .item_type = ITEM_I4, .layout = {.n_levels = 4}},
        {.kind = COLUMN_LISTS, .item_type = ITEM_I4, .layout = {.n_levels = 1, .levels = {4}}},
        {.kind = COLUMN_LISTS, .layout = {.n_levels = 2, .levels = {LEVEL_STRING, LEVEL_COUNT}}},
        {.kind = COLUMN_LISTS, .layout = {.n_levels = 2, .levels = {LEVEL_COUNT, LEVEL_REST}}},
        {.kind = COLUMN_LISTS, .layout = {.header_bytes = 5}},
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct tree_column c = bad[i];
        c.n_per_entry = 1;
        cr_assert(!tree_column_check_layout(&c), "layout %u", i);
    }
}

Test(lists, short_floats_are_what_uproot_makes_of_them) {
    double d;
    float f;
    put(0x80000000, 4);
    struct column_layout range = {.unit_bytes = 4,
                                  .coding = CODING_RANGE,
                                  .n_bits = 32,
                                  .low = -1,
                                  .step = 2.0 / 4294967296.0};
    struct job job = job_of(COLUMN_FLAT, ITEM_F8, range, 1, n_bytes);
    job.out_bytes = 8;
    cr_assert_eq(run(job, JOB_COPY, 0, 1), 0, "%s", result.error);
    memcpy(&d, arena + OUT, 8);
    cr_assert(d == 0);
    n_bytes = 0;
    put(0x3fc00000, 4);
    struct column_layout single = {.unit_bytes = 4, .coding = CODING_FLOAT};
    job = job_of(COLUMN_FLAT, ITEM_F8, single, 1, n_bytes);
    job.out_bytes = 8;
    cr_assert_eq(run(job, JOB_COPY, 0, 1), 0, "%s", result.error);
    memcpy(&d, arena + OUT, 8);
    cr_assert(d == 1.5);
    n_bytes = 0;
    put(127, 1);
    put(0x2800, 2); /* sign, and half of 12 bits */
    struct column_layout truncated = {.unit_bytes = 3, .coding = CODING_TRUNCATED, .n_bits = 12};
    job = job_of(COLUMN_FLAT, ITEM_F4, truncated, 1, n_bytes);
    job.out_bytes = 4;
    cr_assert_eq(run(job, JOB_COPY, 0, 1), 0, "%s", result.error);
    memcpy(&f, arena + OUT, 4);
    cr_assert(f == -1.5f, "%g", (double)f);
}
