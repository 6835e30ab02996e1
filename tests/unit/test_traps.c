/* Traps of ROOT files that uproot can neither write nor read: the others are in
 * tests/python/test_traps.py. */
#include "../tools/reader.h"
#include "rootfile.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define ARENA_BYTES (1u << 20)

static struct rootfile *file;
static struct out *tree, *embedded;
static struct rootfile_branch branches[2];
static struct reader reader;
static const int32_t *data;
static uint64_t n_bytes;

static void setup(void) {
    file = calloc(1, sizeof(*file));
    tree = calloc(1, sizeof(*tree));
    embedded = calloc(2, sizeof(*embedded));
    memset(branches, 0, sizeof(branches));
    branches[0] =
        (struct rootfile_branch){.name = "n", .leaves = {{"TLeafI", "n", 1, 0, 0}}, .n_leaves = 1};
    rootfile_begin(file, 63000);
}

static void teardown(void) {
    reader_deinit(&reader);
    free(file);
    free(tree);
    free(embedded);
}

TestSuite(traps, .init = setup, .fini = teardown);

static void open_tree(unsigned n_branches, uint64_t n_entries) {
    rootfile_tree(tree, 20, n_entries, branches, n_branches);
    rootfile_object(file, "TTree", "tree", 1, tree->bytes, (uint32_t)tree->n, (uint32_t)tree->n);
    cr_assert_eq(reader_init(&reader, rootfile_end(file), ARENA_BYTES), 0);
    cr_assert_eq(reader_describe(&reader, "tree", 1 << 20), 0, "%s", reader.last.error);
}

static int values(uint32_t column, uint64_t start, uint64_t stop) {
    void *p;
    int r = reader_values(&reader, column, start, stop, &p, &n_bytes);
    data = p;
    return r;
}

static void put4(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* The flag alone says whether a table follows; the sizes in the header fit both. */
Test(traps, t4_the_flag_of_an_embedded_basket) {
    static const uint32_t offsets[] = {0, 4, 8};
    uint8_t numbers[12];
    for (uint32_t i = 0; i < 3; i++)
        put4(numbers + 4 * i, i + 1);
    branches[1] = branches[0];
    branches[1].name = "m";
    for (unsigned i = 0; i < 2; i++) {
        rootfile_embedded(&embedded[i], numbers, 12, i ? offsets : NULL, 3, i ? 11 : 12);
        branches[i].n_entries = 3;
        branches[i].embedded = &embedded[i];
    }
    open_tree(2, 3);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(values(i, 1, 3), 0, "%s", reader.last.error);
        cr_assert(n_bytes == 8 && data[0] == 2 && data[1] == 3);
    }
}

static void put_basket(struct rootfile_branch *b, const uint32_t *numbers, uint32_t n_numbers,
                       const uint32_t *offsets, uint32_t n_entries) {
    uint8_t payload[256];
    uint32_t border = 4 * n_numbers, n = border;
    for (uint32_t i = 0; i < n_numbers; i++)
        put4(payload + 4 * i, numbers[i]);
    if (offsets) {
        put4(payload + n, n_entries + 1);
        for (uint32_t i = 0; i <= n_entries; i++)
            put4(payload + n + 4 + 4 * i,
                 i < n_entries ? offsets[i] + ROOTFILE_BASKET_KEY_BYTES : 0);
        n += 8 + 4 * n_entries;
    }
    b->n_entries = n_entries;
    b->n_baskets = 1;
    rootfile_basket(file, &b->baskets[0], payload, n, n, border, n_entries);
}

Test(traps, t14_jagged_with_fixed_dimensions) {
    static const uint32_t counts[] = {1, 0, 2}, numbers[] = {1, 2, 3, 4, 5, 6};
    static const uint32_t offsets[] = {0, 8, 8};
    for (unsigned with_table = 0; with_table < 2; with_table++) {
        branches[1] = (struct rootfile_branch){
            .name = "x", .leaves = {{"TLeafI", "x[n][2]", 2, 0, 1}}, .n_leaves = 1};
        put_basket(&branches[0], counts, 3, NULL, 3);
        put_basket(&branches[1], numbers, 6, with_table ? offsets : NULL, 3);
        open_tree(2, 3);
        cr_assert_eq(tree_index_columns(reader.index)[1].n_per_entry, 2);
        cr_assert_eq(values(1, 0, 3), 0, "%s", reader.last.error);
        cr_assert(n_bytes == 24 && data[0] == 1 && data[5] == 6);
        cr_assert_eq(values(1, 1, 3), 0, "%s", reader.last.error);
        cr_assert(n_bytes == 16 && data[0] == 3 && data[3] == 6);
        if (!with_table) {
            teardown();
            setup();
        }
    }
}

Test(traps, t16_a_branch_with_other_entries_than_its_tree) {
    static const uint32_t numbers[] = {7, 8, 9};
    for (uint64_t n_entries = 2; n_entries <= 4; n_entries += 2) {
        put_basket(&branches[0], numbers, 3, NULL, 3);
        open_tree(1, n_entries);
        cr_assert_eq(reader.index->n_entries, n_entries);
        cr_assert_eq(tree_index_columns(reader.index)[0].n_entries, 3);
        cr_assert_eq(values(0, 0, 3), 0, "%s", reader.last.error);
        cr_assert(n_bytes == 12 && data[2] == 9);
        cr_assert_eq(values(0, 0, 4), -ERANGE, "what is not there is no zero");
        if (n_entries < 4) {
            teardown();
            setup();
        }
    }
}
