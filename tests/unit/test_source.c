/* Whole files: damaged ones and claims that cannot hold, then what is read of sound ones. The same
 * against real files and uproot is tests/python/test_reader.py.
 */
#include "../../daemon/source/source.h"
#include "rootfile.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <zstd.h>

#define MAX_BYTES (8u << 20)

static struct rootfile *file;
static struct out *tree, *embedded;
static struct codec *codec;
static struct source *source;
static struct source_blob blob;
static struct tree_index *index_;
static char error[SOURCE_ERROR_BYTES];
static struct rootfile_branch branches[3];

static const struct rootfile_branch counter_branch = {
    .name = "n", .leaves = {{"TLeafI", "n", 1, 0, 0}}, .n_leaves = 1};

static void setup(void) {
    file = calloc(1, sizeof(*file));
    tree = calloc(1, sizeof(*tree));
    embedded = calloc(1, sizeof(*embedded));
    cr_assert_eq(codec_new(&codec), 0);
    memset(branches, 0, sizeof(branches));
    memset(error, 0, sizeof(error));
}

static void forget(void) {
    source = source_free(source);
    free(blob.data);
    blob = (struct source_blob){0};
    index_ = NULL;
}

static void teardown(void) {
    forget();
    codec_free(codec);
    free(file);
    free(tree);
    free(embedded);
}

TestSuite(source, .init = setup, .fini = teardown);

static int open_fd(int fd) {
    struct io_identity identity;
    cr_assert_eq(io_identify(&identity, fd), 0);
    int r = source_open(&source, fd, &identity, error);
    if (r)
        close(fd);
    return r;
}

static void open_file(void) {
    cr_assert_eq(open_fd(rootfile_end(file)), 0, "%s", error);
}

static int describe(const char *name) {
    free(blob.data);
    blob.data = NULL;
    int r = source_describe(source, codec, name, &blob, MAX_BYTES, error);
    index_ = blob.data;
    return r;
}

static void put_tree(unsigned n_branches, uint64_t n_entries) {
    rootfile_tree(tree, 20, n_entries, branches, n_branches);
    rootfile_object(file, "TTree", "tree", 1, tree->bytes, (uint32_t)tree->n, (uint32_t)tree->n);
}

static const struct tree_column *column(unsigned i) {
    return tree_index_columns(index_) + i;
}

static const char *reason(unsigned i) {
    return tree_index_string(index_, column(i)->reason);
}

/* ---- files ---- */

Test(source, refuses_other_files) {
    static const char *const texts[] = {"r", "rootx",
                                        "toor and more than enough bytes for a header"};
    static const int outcomes[] = {SOURCE_E_NOT_ROOT, SOURCE_E_CORRUPT, SOURCE_E_NOT_ROOT};
    for (unsigned i = 0; i < 3; i++) {
        struct rootfile *f = file;
        rootfile_begin(f, 63000);
        int fd = rootfile_end(f);
        cr_assert_eq(ftruncate(fd, 0), 0);
        cr_assert_eq(pwrite(fd, texts[i], strlen(texts[i]), 0), (ssize_t)strlen(texts[i]));
        cr_assert_eq(open_fd(fd), outcomes[i], "%s: %s", texts[i], error);
        cr_assert(error[0]);
    }
}

Test(source, reads_both_headers_and_a_negative_version) {
    static const int versions[] = {63000, 1063000, -1003736};
    for (unsigned i = 0; i < 3; i++) {
        rootfile_begin(file, versions[i]);
        put_tree(0, 7);
        open_file();
        cr_assert_eq(source->is_big, i == 1);
        cr_assert_eq(memcmp(source->uuid, "0123456789abcdef", 16), 0);
        cr_assert_eq(describe("tree"), 0, "%s", error);
        cr_assert_eq(index_->n_entries, 7);
        cr_assert_str_eq(tree_index_string(index_, index_->path), "tree;1");
        cr_assert_str_eq(tree_index_string(index_, index_->title), "a title");
        forget();
    }
}

Test(source, survives_every_truncation) {
    rootfile_begin(file, 63000);
    branches[0] = counter_branch;
    put_tree(1, 0);
    int whole = rootfile_end(file);
    size_t n = file->all.n, n_good = 0;
    for (size_t k = 1; k < n; k += 3) {
        int fd = fcntl(whole, F_DUPFD_CLOEXEC, 0);
        cr_assert_eq(ftruncate(fd, (off_t)k), 0);
        cr_assert_eq(pwrite(fd, file->all.bytes, k, 0), (ssize_t)k);
        if (open_fd(fd) == 0) {
            n_good += describe("tree") == 0;
            cr_assert(error[0] || index_);
        }
        forget();
    }
    cr_assert_eq(n_good, 0, "the list of keys comes last");
    close(whole);
}

Test(source, notices_a_changed_file) {
    rootfile_begin(file, 63000);
    put_tree(0, 0);
    open_file();
    cr_assert_eq(ftruncate(source->io.fd, (off_t)file->all.n + 1), 0);
    cr_assert_eq(describe("tree"), SOURCE_E_CHANGED, "%s", error);
}

/* ---- directories ---- */

static const struct source_tree *list(uint64_t *n) {
    free(blob.data);
    blob.data = NULL;
    cr_assert_eq(source_list(source, codec, &blob, MAX_BYTES, error), 0, "%s", error);
    memcpy(n, blob.data, 8);
    return (void *)((char *)blob.data + 8);
}

Test(source, lists_cycles_directories_and_ntuples) {
    uint32_t n_bytes;
    rootfile_begin(file, 63000);
    put_tree(0, 5);
    uint64_t keys = rootfile_keys(file, &n_bytes);
    rootfile_tree(tree, 20, 1, NULL, 0);
    rootfile_object(file, "TTree", "t", 1, tree->bytes, (uint32_t)tree->n, (uint32_t)tree->n);
    rootfile_subdirectory(file, "dir", keys, n_bytes);
    rootfile_tree(tree, 19, 2, NULL, 0);
    rootfile_object(file, "TTree", "t", 3, tree->bytes, (uint32_t)tree->n, (uint32_t)tree->n);
    rootfile_object(file, "ROOT::RNTuple", "r", 1, "x", 1, 1);
    rootfile_object(file, "TH1F", "h", 1, "x", 1, 1);
    open_file();
    uint64_t n;
    const struct source_tree *t = list(&n);
    static const char *const paths[] = {"t;1", "dir/tree;1", "t;3", "r;1"};
    cr_assert_eq(n, 4);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_str_eq((char *)blob.data + t[i].path, paths[i]);
        cr_assert_eq(t[i].is_newest, i != 0);
    }
    cr_assert_str_eq((char *)blob.data + t[3].class_name, "ROOT::RNTuple");
    static const struct {
        const char *name;
        uint64_t n_entries;
    } wanted[] = {{"t", 2}, {"t;1", 1}, {"t;3", 2}, {"dir/tree", 5}, {"/dir/tree;1", 5}};
    for (unsigned i = 0; i < ARRAY_LEN(wanted); i++) {
        cr_assert_eq(describe(wanted[i].name), 0, "%s", error);
        cr_assert_eq(index_->n_entries, wanted[i].n_entries, "%s", wanted[i].name);
    }
    static const char *const absent[] = {"t;2", "tree", "dir",     "dir/", "",
                                         "/",   "h",    "t;65539", "dir/t"};
    for (unsigned i = 0; i < ARRAY_LEN(absent); i++)
        cr_assert_eq(describe(absent[i]), SOURCE_E_NO_TREE, "%s", absent[i]);
    cr_assert_eq(describe("r"), SOURCE_E_UNSUPPORTED);
    cr_assert(strstr(error, "ROOT::RNTuple"));
}

Test(source, does_not_follow_directories_in_circles) {
    rootfile_begin(file, 63000);
    size_t at = file->all.n;
    rootfile_subdirectory(file, "loop", 0, 0);
    put_tree(0, 5);
    open_file();
    /* The subdirectory's record gets the root's list of keys, which holds the subdirectory. */
    uint8_t *record = file->all.bytes + at + ROOTFILE_TREE_KEY_BYTES;
    memcpy(record, file->all.bytes + file->directory, 42);
    int fd = source->io.fd;
    cr_assert_eq(pwrite(fd, file->all.bytes, file->all.n, 0), (ssize_t)file->all.n);
    cr_assert_eq(io_identify(&source->io.identity, fd), 0);
    uint64_t n;
    list(&n);
    cr_assert_eq(n, 1);
}

Test(source, memory_is_bounded) {
    rootfile_begin(file, 63000);
    branches[0] = counter_branch;
    put_tree(1, 0);
    open_file();
    uint64_t enough = 0;
    for (uint64_t max = 0; enough == 0; max += 500) {
        int r = source_describe(source, codec, "tree", &blob, max, error);
        cr_assert(r == 0 || r == SOURCE_E_TOO_LARGE, "%d %s", r, error);
        cr_assert(r == 0 || error[0]);
        enough = r == 0 ? max : 0;
    }
    cr_assert(enough > 5000);
    free(blob.data);
    blob.data = NULL;
    cr_assert_eq(source_list(source, codec, &blob, 100, error), SOURCE_E_TOO_LARGE);
    cr_assert_eq(source_list(source, codec, &blob, 36000, error), 0, "%s", error);
}

Test(source, a_claimed_size_costs_nothing) {
    /* 16 MiB of zeros in 520 bytes, said to be 2 GiB. */
    static uint8_t zeros[0xffffff], packed[4096] = "ZS\1";
    size_t n = ZSTD_compress(packed + 9, sizeof(packed) - 9, zeros, sizeof(zeros), 3);
    for (int i = 0; i < 3; i++) {
        packed[3 + i] = (uint8_t)(n >> 8 * i);
        packed[6 + i] = 0xff;
    }
    rootfile_begin(file, 63000);
    rootfile_object(file, "TTree", "huge", 1, packed, (uint32_t)n + 9, 0x7fffffff);
    rootfile_object(file, "TTree", "bomb", 1, packed, (uint32_t)n + 9, 0xffffff);
    open_file();
    cr_assert_eq(describe("huge"), SOURCE_E_CORRUPT);
    cr_assert(strstr(error, "end") || strstr(error, "cut off"), "%s", error);
    cr_assert_eq(describe("bomb"), SOURCE_E_TOO_LARGE);
    cr_assert_eq(source_describe(source, codec, "bomb", &blob, 64 << 20, error),
                 SOURCE_E_UNSUPPORTED, "zeros are a tree of version 0");
}

/* ---- trees ---- */

Test(source, refuses_old_trees_by_version) {
    rootfile_begin(file, 63000);
    rootfile_tree(tree, 5, 0, NULL, 0);
    rootfile_object(file, "TTree", "tree", 1, tree->bytes, (uint32_t)tree->n, (uint32_t)tree->n);
    open_file();
    cr_assert_eq(describe("tree"), SOURCE_E_UNSUPPORTED);
    cr_assert(strstr(error, "version 5"), "%s", error);
}

Test(source, survives_every_damaged_byte_of_a_tree) {
    rootfile_begin(file, 63000);
    branches[0] = counter_branch;
    branches[1] = (struct rootfile_branch){
        .name = "x", .leaves = {{"TLeafF", "x[n]", 1, 0, 1}}, .n_leaves = 1};
    put_tree(2, 0);
    size_t at = file->all.n - tree->n;
    open_file();
    for (size_t i = 0; i < tree->n; i++) {
        for (unsigned k = 0; k < 3; k++) {
            uint8_t byte = (uint8_t[]){0xff, 0x00, 0x41}[k];
            cr_assert_eq(pwrite(source->io.fd, &byte, 1, (off_t)(at + i)), 1);
            io_identify(&source->io.identity, source->io.fd);
            error[0] = '\0';
            int r = describe("tree");
            cr_assert(r == 0 || error[0], "byte %zu", i);
        }
        cr_assert_eq(pwrite(source->io.fd, tree->bytes + i, 1, (off_t)(at + i)), 1);
    }
}

Test(source, says_why_a_branch_is_not_read) {
    static const struct {
        struct rootfile_branch branch;
        const char *reason;
    } cases[] = {
        {{.name = "c", .leaves = {{"TLeafQ", "c", 1, 0, 0}}, .n_leaves = 1}, "TLeafQ"},
        {{.name = "d", .leaves = {{"TLeafD32", "d[1,0,8]", 1, 0, 0}}, .n_leaves = 1}, "range"},
        {{.name = "d", .leaves = {{"TLeafD32", "d[0,1/0]", 1, 0, 0}}, .n_leaves = 1}, "range"},
        {{.name = "d", .leaves = {{"TLeafF16", "d[0,0,24]", 1, 0, 0}}, .n_leaves = 1}, "range"},
        {{.name = "d", .leaves = {{"TLeafD32", "d[2][0,1]", 2, 0, 0}}, .n_leaves = 1}, "range"},
        {{.name = "none"}, "without leaves"},
        {{.name = "two",
          .leaves = {{"TLeafI", "a", 1, 0, 0}, {"TLeafC", "b", 1, 0, 0}},
          .n_leaves = 2},
         "a leaf list"},
        {{.name = "z", .leaves = {{"TLeafI", "z[3", 3, 0, 0}}, .n_leaves = 1}, "unclear"},
        {{.name = "y", .leaves = {{"TLeafI", "y[3]", 4, 0, 0}}, .n_leaves = 1}, "length 4"},
        {{.name = "w", .leaves = {{"TLeafI", "w", 2, 0, 0}}, .n_leaves = 1}, "length 2"},
        {{.name = "v", .leaves = {{"TLeafI", "v[n]", 1, 0, 0}}, .n_leaves = 1}, "unclear"},
        {{.name = "u", .leaves = {{"TLeafI", "u[3][n]", 3, 0, 77}}, .n_leaves = 1}, "unclear"},
        {{.name = "t", .leaves = {{"TLeafI", "t[n]", 1, 0, 77}}, .n_leaves = 1}, "counter"},
        {{.name = "s", .leaves = {{"TLeafI", "s", 1, 0, 0}}, .n_leaves = 1, .n_entries = 3},
         "0 entries"},
        {{.name = "r",
          .leaves = {{"TLeafI", "r", 1, 0, 0}},
          .n_leaves = 1,
          .n_entries = 3,
          .baskets = {{0, 1u << 30, 80}},
          .n_baskets = 1},
         "outside"},
        {{.name = "q",
          .leaves = {{"TLeafI", "q", 1, 0, 0}},
          .n_leaves = 1,
          .n_entries = 3,
          .baskets = {{0, 100, 80}, {5, 100, 80}},
          .n_baskets = 2},
         "entries"},
        {{.name = "p",
          .leaves = {{"TLeafI", "p", 1, 0, 0}},
          .n_leaves = 1,
          .n_entries = 3,
          .baskets = {{1, 100, 80}},
          .n_baskets = 1},
         "starts at entry 1"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        rootfile_begin(file, 63000);
        branches[0] = cases[i].branch;
        put_tree(1, 3);
        open_file();
        cr_assert_eq(describe("tree"), 0, "%s: %s", cases[i].branch.name, error);
        cr_assert_eq(column(0)->kind, COLUMN_NONE, "%s", cases[i].branch.name);
        cr_assert(strstr(reason(0), cases[i].reason), "%s: %s", cases[i].branch.name, reason(0));
        forget();
    }
}

Test(source, a_counter_has_to_be_an_integer_of_this_tree) {
    rootfile_begin(file, 63000);
    branches[0] = counter_branch;
    branches[0].leaves[0].class_name = "TLeafF";
    branches[1] = (struct rootfile_branch){
        .name = "x", .leaves = {{"TLeafF", "x[n]", 1, 0, 1}}, .n_leaves = 1};
    put_tree(2, 0);
    open_file();
    cr_assert_eq(describe("tree"), 0, "%s", error);
    cr_assert_eq(column(0)->kind, COLUMN_FLAT);
    cr_assert_eq(column(1)->kind, COLUMN_NONE);
    cr_assert(strstr(reason(1), "counter n"), "%s", reason(1));
}

Test(source, describes_flat_and_jagged_branches) {
    rootfile_begin(file, 63000);
    branches[0] = counter_branch;
    branches[1] = (struct rootfile_branch){
        .name = "x", .leaves = {{"TLeafS", "x[n][2]", 2, 1, 1}}, .n_leaves = 1};
    branches[2] = (struct rootfile_branch){
        .name = "y\xff", .leaves = {{"TLeafL", "y[2][3]/L", 6, 0, 0}}, .n_leaves = 1};
    put_tree(3, 0);
    open_file();
    cr_assert_eq(describe("tree"), 0, "%s", error);
    cr_assert(tree_index_check(index_, blob.n_bytes));
    cr_assert_eq(index_->n_columns, 3);
    cr_assert(column(0)->kind == COLUMN_FLAT && column(0)->item_type == ITEM_I4);
    cr_assert(column(1)->kind == COLUMN_JAGGED && column(1)->item_type == ITEM_U2);
    cr_assert(column(1)->counter == 1 && column(1)->n_per_entry == 2);
    cr_assert(column(2)->kind == COLUMN_FLAT && column(2)->n_per_entry == 6);
    cr_assert_str_eq(tree_index_string(index_, column(0)->type_name), "int32_t");
    cr_assert_str_eq(tree_index_string(index_, column(1)->type_name), "uint16_t[][2]");
    cr_assert_str_eq(tree_index_string(index_, column(2)->type_name), "int64_t[2][3]");
    cr_assert_str_eq(tree_index_string(index_, column(2)->name), "y?", "names become UTF-8");
}

/* ---- baskets ---- */

static const uint8_t values[12] = {0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3};

static void one_basket(uint32_t raw_bytes, uint32_t border, uint32_t n_in_key) {
    rootfile_begin(file, 63000);
    branches[0] = counter_branch;
    branches[0].n_entries = 3;
    branches[0].n_baskets = 1;
    rootfile_basket(file, &branches[0].baskets[0], values, 12, raw_bytes, border, n_in_key);
    put_tree(1, 3);
    open_file();
    cr_assert_eq(describe("tree"), 0, "%s", error);
}

Test(source, refuses_baskets_that_are_not_as_the_tree_says) {
    static const struct {
        uint32_t raw_bytes, border, n_in_key;
        const char *text;
    } cases[] = {
        {12, 12, 4, "entries"},
        {12, 13, 3, "end at byte 13"},
        {12, UINT32_MAX - 60, 3, "end at byte"},
        {0x7fffffff, 12, 3, "limit"},
        {SOURCE_MAX_BASKET_BYTES, 12, 3, "bytes of offsets for 3 entries"},
        {SOURCE_MAX_BASKET_BYTES, SOURCE_MAX_BASKET_BYTES - 12, 3, "stored ones"},
        {0xf0000000, 12, 3, "sizes"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        one_basket(cases[i].raw_bytes, cases[i].border, cases[i].n_in_key);
        struct tree_basket b = tree_index_baskets(index_)[0];
        cr_assert_eq(source_plan(source, &b, 1, error), SOURCE_E_CORRUPT, "case %u", i);
        cr_assert(strstr(error, cases[i].text), "case %u: %s", i, error);
        cr_assert(strstr(error, "the basket, byte 2"), "%s", error);
        cr_assert_eq(b.flags, 0);
        struct source_bounce packed = {0};
        uint64_t n_read = 0;
        cr_assert_eq(source_fetch_basket(source, &packed, &b, &n_read, error), SOURCE_E_CORRUPT);
        source_bounce_deinit(&packed);
        forget();
    }
}

Test(source, plans_fetches_and_unpacks_a_basket) {
    one_basket(12, 12, 3);
    struct tree_basket b = tree_index_baskets(index_)[0], planned = b;
    cr_assert_eq(source_plan(source, &planned, 1, error), 0, "%s", error);
    cr_assert_eq(planned.flags, BASKET_PLANNED);
    cr_assert(planned.raw_bytes == 12 && planned.border_bytes == 12);
    cr_assert_eq(planned.key_bytes, ROOTFILE_BASKET_KEY_BYTES);
    struct source_bounce packed = {0};
    uint8_t raw[12];
    uint64_t n_read;
    cr_assert_eq(source_fetch_basket(source, &packed, &b, &n_read, error), 0, "%s", error);
    cr_assert_eq(n_read, ROOTFILE_BASKET_KEY_BYTES + 12);
    cr_assert_eq(memcmp(&b, &planned, sizeof(b)), 0, "a fetch completes as a plan does");
    cr_assert_eq(source_unpack_basket(codec, &packed, &b, raw, error), 0);
    cr_assert_arr_eq(raw, values, 12);
    planned.border_bytes = 8;
    cr_assert_eq(source_fetch_basket(source, &packed, &planned, &n_read, error), SOURCE_E_CHANGED);
    source_bounce_deinit(&packed);
}

Test(source, plans_many_baskets_near_and_far) {
    static uint8_t payload[30000];
    rootfile_begin(file, 63000);
    branches[0] = counter_branch;
    branches[0].n_entries = 1 + 7500 + 1 + 2;
    branches[0].n_baskets = 4;
    const uint32_t sizes[] = {4, 30000, 4, 8};
    uint64_t entry = 0;
    for (unsigned i = 0; i < 4; i++) {
        rootfile_basket(file, &branches[0].baskets[i], payload, sizes[i], sizes[i], sizes[i],
                        sizes[i] / 4);
        branches[0].baskets[i].entry = entry;
        entry += sizes[i] / 4;
    }
    put_tree(1, entry);
    open_file();
    cr_assert_eq(describe("tree"), 0, "%s", error);
    cr_assert_eq(column(0)->n_baskets, 4, "%s", reason(0));
    struct tree_basket b[4];
    memcpy(b, tree_index_baskets(index_), sizeof(b));
    cr_assert_eq(source_plan(source, b, 4, error), 0, "%s", error);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(b[i].raw_bytes, sizes[i]);
}

static void one_embedded(uint32_t border, const uint32_t *offsets, uint32_t n, uint8_t flag) {
    rootfile_begin(file, 63000);
    rootfile_embedded(embedded, values, border, offsets, n, flag);
    branches[0] = counter_branch;
    branches[0].n_entries = 3;
    branches[0].embedded = embedded;
    put_tree(1, 3);
    open_file();
    cr_assert_eq(describe("tree"), 0, "%s", error);
}

Test(source, refuses_embedded_baskets_that_cannot_be) {
    static const uint32_t offsets[] = {0, 4, 8, 8};
    static const struct {
        uint32_t border, n;
        const uint32_t *offsets;
        uint8_t flag;
    } cases[] = {{12, 2, NULL, 12},         {12, 4, NULL, 12},   {12, 3, NULL, 0},
                 {12, 3, NULL, 52},         {12, 3, NULL, 11},   {8000, 3, NULL, 12},
                 {0xf0000000, 3, NULL, 12}, {12, 4, offsets, 11}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        one_embedded(MIN(cases[i].border, 12), cases[i].offsets, cases[i].n, cases[i].flag);
        if (cases[i].border > 12) { /* patch fLast */
            forget();
            for (int k = 0; k < 4; k++)
                embedded->bytes[ROOTFILE_BASKET_KEY_BYTES - 5 + k] =
                    (uint8_t)(cases[i].border >> (24 - 8 * k));
            rootfile_begin(file, 63000);
            put_tree(1, 3);
            open_file();
            cr_assert_eq(describe("tree"), 0, "%s", error);
        }
        cr_assert_eq(column(0)->kind, COLUMN_NONE, "case %u", i);
        cr_assert_eq(index_->n_baskets, 0);
        cr_assert_eq(index_->embedded_bytes, 0);
        forget();
    }
}

Test(source, keeps_embedded_baskets_in_the_index) {
    static const uint32_t offsets[] = {0, 4, 8};
    static const uint8_t table[] = {0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 12};
    for (unsigned with_table = 0; with_table < 2; with_table++) {
        one_embedded(12, with_table ? offsets : NULL, 3, with_table ? 11 : 92);
        const struct tree_basket *b = tree_index_baskets(index_);
        cr_assert_eq(column(0)->n_baskets, 1, "%s", reason(0));
        cr_assert_eq(b->is_embedded, 1);
        cr_assert(b->n_entries == 3 && b->border_bytes == 12);
        cr_assert_eq(b->raw_bytes, with_table ? 12 + sizeof(table) : 12);
        const uint8_t *p = (uint8_t *)index_ + index_->embedded_off + b->file_off;
        cr_assert_arr_eq(p, values, 12);
        if (with_table)
            cr_assert_arr_eq(p + 12, table, sizeof(table));
        cr_assert(index_->n_public_bytes + b->raw_bytes <= index_->n_bytes);
        forget();
    }
}
