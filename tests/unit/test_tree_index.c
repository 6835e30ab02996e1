/* Tree indexes: every way in which one can be wrong, then lookups. */
#include "../../proto/tree_index.h"
#include "../../proto/wire.h"

#include <criterion/criterion.h>
#include <string.h>

/* A counter with three baskets (one of no entries, one embedded), a jagged column, a group. */
struct blob {
    struct tree_index x;
    struct tree_column columns[4];
    struct tree_basket baskets[4];
    char strings[64];
    uint8_t embedded[32];
};
static struct blob b;

enum { EMPTY, N, PT, GROUP, GROUP_PT, PATH };
static const char texts[] = "\0n\0pt\0group\0group/pt\0dir/tree;1";
static const uint32_t text_offs[] = {0, 1, 3, 6, 12, 21};

static struct tree_column column(uint32_t name, uint8_t kind, uint64_t first, uint64_t n_baskets) {
    return (struct tree_column){.name = text_offs[name],
                                .n_per_entry = 1,
                                .n_entries = 20,
                                .first_basket = first,
                                .n_baskets = n_baskets,
                                .kind = kind,
                                .item_type = ITEM_I4};
}

static void setup(void) {
    memset(&b, 0, sizeof(b));
    b.x = (struct tree_index){
        .magic = TREE_INDEX_MAGIC,
        .version = TREE_INDEX_VERSION,
        .n_bytes = sizeof(b),
        .n_public_bytes = offsetof(struct blob, embedded),
        .n_entries = 20,
        .kind = TREE_TTREE,
        .path = text_offs[PATH],
        .n_columns = 4,
        .n_baskets = 4,
        .columns_off = offsetof(struct blob, columns),
        .baskets_off = offsetof(struct blob, baskets),
        .strings_off = offsetof(struct blob, strings),
        .strings_bytes = sizeof(b.strings),
        .embedded_off = offsetof(struct blob, embedded),
        .embedded_bytes = sizeof(b.embedded),
    };
    memcpy(b.strings, texts, sizeof(texts));
    b.columns[0] = column(N, COLUMN_FLAT, 0, 3);
    b.columns[1] = column(GROUP, COLUMN_NONE, 3, 0);
    b.columns[2] = column(GROUP_PT, COLUMN_JAGGED, 3, 1);
    b.columns[2].counter = 1;
    b.columns[2].parent = 2;
    b.columns[3] = column(PT, COLUMN_NONE, 3, 0);
    b.baskets[0] = (struct tree_basket){.n_entries = 15, .file_off = 1000, .stored_bytes = 50};
    b.baskets[1] = (struct tree_basket){.first_entry = 15};
    b.baskets[2] = (struct tree_basket){.first_entry = 15,
                                        .n_entries = 5,
                                        .stored_bytes = 20,
                                        .raw_bytes = 20,
                                        .border_bytes = 20,
                                        .flags = BASKET_EMBEDDED | BASKET_PLANNED,
                                        .is_embedded = 1};
    b.baskets[3] = (struct tree_basket){.n_entries = 20};
}

TestSuite(tree_index, .init = setup);

#define REFUSES(change)                                                                            \
    do {                                                                                           \
        setup();                                                                                   \
        change;                                                                                    \
        cr_assert_not(tree_index_check(&b.x, sizeof(b)), #change);                                 \
    } while (0)

Test(tree_index, refuses_a_wrong_layout) {
    REFUSES(b.x.magic++);
    REFUSES(b.x.version++);
    REFUSES(b.x.n_bytes++);
    REFUSES(b.x.n_public_bytes = b.x.n_bytes + 8);
    REFUSES(b.x.n_public_bytes = 8);
    REFUSES(b.x.columns_off += 4);
    REFUSES(b.x.columns_off = UINT64_MAX - 7);
    REFUSES(b.x.n_columns = UINT32_MAX);
    REFUSES(b.x.baskets_off = b.x.n_public_bytes);
    REFUSES(b.x.n_baskets = UINT64_MAX / 48 + 2);
    REFUSES(b.x.strings_off = b.x.n_public_bytes - 8);
    REFUSES(b.x.embedded_off = 8);
    REFUSES(b.x.embedded_bytes++);
    cr_assert_not(tree_index_check(&b.x, sizeof(b.x) - 1));
    cr_assert_not(tree_index_check(&b.x, sizeof(b) - 1));
}

Test(tree_index, refuses_strings_that_do_not_end) {
    REFUSES(b.strings[sizeof(b.strings) - 1] = 'x');
    REFUSES(b.strings[0] = 'x');
    REFUSES(b.x.strings_bytes = 0);
    REFUSES(b.x.path = sizeof(b.strings));
    REFUSES(b.x.title = UINT32_MAX);
    REFUSES(b.columns[3].name = sizeof(b.strings));
    REFUSES(b.columns[3].title = sizeof(b.strings));
    REFUSES(b.columns[3].class_name = sizeof(b.strings));
    REFUSES(b.columns[3].type_name = sizeof(b.strings));
    REFUSES(b.columns[3].reason = sizeof(b.strings));
}

Test(tree_index, refuses_wrong_columns) {
    REFUSES(b.columns[0].kind = COLUMN_JAGGED + 1);
    REFUSES(b.columns[0].item_type = N_ITEM_TYPES);
    REFUSES(b.columns[0].n_per_entry = 0);
    REFUSES(b.columns[0].parent = 5);
    REFUSES(b.columns[0].counter = 1);
    REFUSES(b.columns[2].counter = 0);
    REFUSES(b.columns[2].counter = 5);
    REFUSES(b.columns[2].counter = 3);
    REFUSES(b.columns[0].item_type = ITEM_F4);
    REFUSES(b.columns[0].item_type = ITEM_BOOL);
    REFUSES(b.columns[0].n_per_entry = 2);
}

Test(tree_index, refuses_wrong_baskets) {
    REFUSES(b.columns[0].n_baskets = 5);
    REFUSES(b.columns[0].first_basket = UINT64_MAX);
    REFUSES(b.columns[0].n_baskets = 2);
    REFUSES(b.columns[0].n_entries = 21);
    REFUSES(b.baskets[0].first_entry = 1);
    REFUSES(b.baskets[1].first_entry = 14);
    REFUSES(b.baskets[0].border_bytes = 1);
    REFUSES(b.baskets[0].is_embedded = 1);
    REFUSES(b.baskets[2].is_embedded = 0);
    REFUSES(b.baskets[2].file_off = 13);
    REFUSES(b.baskets[2].file_off = UINT64_MAX);
    REFUSES(b.baskets[2].stored_bytes = 19);
    REFUSES(b.baskets[2].key_bytes = 1);
    REFUSES(b.baskets[2].flags = BASKET_EMBEDDED);
}

Test(tree_index, accepts_a_sound_one_whole_and_published) {
    cr_assert(tree_index_check(&b.x, sizeof(b)));
    cr_assert(tree_index_check(&b.x, b.x.n_public_bytes));
    cr_assert_str_eq(tree_index_string(&b.x, b.x.path), "dir/tree;1");
}

static int64_t find(const char *name) {
    return tree_index_find(&b.x, (struct str){name, (uint32_t)strlen(name)});
}

Test(tree_index, finds_paths_before_bare_names) {
    cr_assert_eq(find("n"), 0);
    cr_assert_eq(find("group/pt"), 2);
    cr_assert_eq(find("pt"), 3, "the full path wins over an earlier last component");
    b.columns[3].name = text_offs[N];
    cr_assert_eq(find("pt"), 2);
    cr_assert_eq(find("n"), 0, "the first of two equal ones");
    cr_assert_eq(find("grou"), -1);
    cr_assert_eq(find("groups"), -1);
    cr_assert_eq(find(""), -1);
    cr_assert_eq(tree_index_find(&b.x, (struct str){"n\0x", 3}), -1);
    cr_assert_eq(tree_index_find(&b.x, (struct str){"nxx", 1}), 0);
}

static void span(uint64_t start, uint64_t stop, uint64_t first, uint64_t last) {
    uint64_t f, l;
    tree_index_span(&b.x, &b.columns[0], start, stop, &f, &l);
    cr_assert_eq(l - f, last - first, "[%d, %d)", (int)start, (int)stop);
    if (first != last)
        cr_assert_eq(f, first, "[%d, %d)", (int)start, (int)stop);
}

Test(tree_index, spans_the_baskets_of_a_range) {
    span(0, 20, 0, 3);
    span(0, 15, 0, 1);
    span(14, 15, 0, 1);
    span(14, 16, 0, 3);
    span(15, 16, 2, 3);
    span(19, 100, 2, 3);
    span(0, 0, 0, 0);
    span(7, 7, 0, 0);
    span(9, 7, 0, 0);
    span(20, 30, 0, 0);
    uint64_t f, l;
    tree_index_span(&b.x, &b.columns[2], 3, 4, &f, &l);
    cr_assert(f == 3 && l == 4, "numbers are those of the tree's table");
}
