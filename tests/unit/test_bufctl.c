/* bufctl's text: what people type and what they are shown. */
#include "../../client/bufctl/branches.h"
#include "../../client/bufctl/target.h"
#include "../../client/bufctl/text.h"
#include "../../client/bufctl/value.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- entry ranges ---- */

static int parse(const char *text, uint64_t *startp, uint64_t *stopp) {
    return entries_parse(startp, stopp, text, 100);
}

Test(entries, what_is_no_range_is_wrong_usage) {
    const char *const texts[] = {"",     "5",    "a:b",  "1:2:3", "-1:5",
                                 "1:-1", " 1:5", "1 :5", "1:5x",  "99999999999999999999:",
                                 "+1:2"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint64_t start = 7, stop = 8;
        cr_assert_eq(parse(texts[i], &start, &stop), BUFCTL_USAGE, "%s", texts[i]);
        cr_assert(start == 7 && stop == 8);
    }
}

Test(entries, what_lies_outside_is_refused) {
    uint64_t start, stop;
    cr_assert_eq(parse("0:101", &start, &stop), BUFCTL_REFUSED);
    cr_assert_eq(parse("60:50", &start, &stop), BUFCTL_REFUSED);
    cr_assert_eq(parse("101:", &start, &stop), BUFCTL_REFUSED);
}

Test(entries, either_end_may_be_left_out) {
    uint64_t start, stop;
    cr_assert(parse(NULL, &start, &stop) == 0 && start == 0 && stop == 100);
    cr_assert(parse(":", &start, &stop) == 0 && start == 0 && stop == 100);
    cr_assert(parse("10:", &start, &stop) == 0 && start == 10 && stop == 100);
    cr_assert(parse(":20", &start, &stop) == 0 && start == 0 && stop == 20);
    cr_assert(parse("10:10", &start, &stop) == 0 && start == 10 && stop == 10);
    cr_assert(parse("0:100", &start, &stop) == 0 && start == 0 && stop == 100);
}

/* ---- files and trees ---- */

static void make_file(const char *name) {
    int fd = open(name, O_CREAT | O_WRONLY, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
}

Test(target, a_file_is_the_longest_name_that_exists) {
    char directory[] = "/tmp/bufctl-test-XXXXXX";
    cr_assert(mkdtemp(directory) && chdir(directory) == 0);
    make_file("a.root");
    make_file("odd:name");
    cr_assert_eq(mkdir("folder", 0700), 0);
    cr_assert(target_is_file("a.root") && target_is_file("a.root:Events"));
    cr_assert(target_is_file("odd:name") && target_is_file("odd:name:Events/x:y"));
    cr_assert_not(target_is_file("odd"));
    cr_assert_not(target_is_file("folder:Events"));
    cr_assert_not(target_is_file("*/a.root"));
    cr_assert_not(target_is_file(""));
    cr_assert_not(target_is_file(":"));
    unlink("a.root");
    unlink("odd:name");
    rmdir("folder");
    cr_assert_eq(rmdir(directory), 0);
}

static const char *find(char *rest, const char **behindp) {
    struct bufferd_tree_name trees[] = {
        {.path = (char *)"Events;2", .is_newest = true},
        {.path = (char *)"Events;1"},
        {.path = (char *)"dir/Events/deep;1", .is_newest = true},
        {.path = (char *)"dir/Events;1", .is_newest = true},
    };
    struct target t = {.rest = rest, .trees = trees, .n_trees = 4};
    *behindp = NULL;
    const struct bufferd_tree_name *found = target_find_tree(&t, behindp);
    return found ? found->path : "none";
}

Test(target, the_longest_tree_wins) {
    const char *branch;
    cr_assert_str_eq(find((char *)"Event", &branch), "none");
    cr_assert_str_eq(find((char *)"Events2", &branch), "none");
    cr_assert_str_eq(find((char *)"Events;3", &branch), "none");
    cr_assert_str_eq(find((char *)"Events", &branch), "Events;2");
    cr_assert_null(branch);
    cr_assert_str_eq(find((char *)"Events;1/x/y", &branch), "Events;1");
    cr_assert_str_eq(branch, "x/y");
    cr_assert_str_eq(find((char *)"/dir/Events/pt", &branch), "dir/Events;1");
    cr_assert_str_eq(branch, "pt");
    cr_assert_str_eq(find((char *)"dir/Events/deep/pt", &branch), "dir/Events/deep;1");
    cr_assert_str_eq(branch, "pt");
    cr_assert_str_eq(find((char *)"Events/", &branch), "Events;2");
    cr_assert_null(branch);
}

Test(branches, a_name_its_last_part_or_a_glob) {
    cr_assert(branch_matches("Muon_pt", "Muon_pt") && branch_matches("Muon_pt", "Muon_*"));
    cr_assert(branch_matches("a/b.c", "b.c") && branch_matches("a/b.c", "a/b.c"));
    cr_assert(branch_matches("a/b.c", "b.*"));
    cr_assert_not(branch_matches("Muon_pt", "Muon"));
    cr_assert_not(branch_matches("a/b.c", "a"));
}

/* ---- keys ---- */

static void check_key(const char *key, const char *kind, const char *tree, const char *name,
                      const char *range, const char *verb) {
    struct key_parts p;
    key_parts_init(&p, key);
    cr_assert_str_eq(p.kind, kind);
    cr_assert_str_eq(p.tree, tree);
    cr_assert_str_eq(p.name, name);
    cr_assert_str_eq(p.range, range);
    cr_assert_str_eq(p.verb, verb);
    key_parts_deinit(&p);
}

Test(key_parts, malformed_keys_are_shown_as_they_are) {
    check_key("", "", "", "", "", "");
    check_key("column", "column", "", "", "", "");
    check_key("column/", "column", "", "", "", "");
    check_key("column/1/%", "column", "%", "", "", "");
    check_key("column/1/%4/0-1/%zz/data", "column", "%4", "%zz", "0-1", "data");
    check_key("edge/1/T", "edge", "T", "", "basket ", "");
}

Test(key_parts, quoted_slashes_do_not_split) {
    check_key("column/0000000000000001/dir%2FEvents;1/0-100/a%2Fb.c/offsets", "column",
              "dir/Events;1", "a/b.c", "0-100", "offsets");
    check_key("edge/0000000000000001/Events;1/pt/12", "edge", "Events;1", "pt", "basket 12", "");
    check_key("index/0000000000000001/Events;1", "index", "Events;1", "", "", "");
    check_key("derived/0000000000000001/x%20y", "derived", "", "x y", "", "");
    check_key("named/mine", "named", "", "mine", "", "");
}

/* ---- numbers ---- */

static void check_bytes(uint64_t n, const char *expected) {
    char text[TEXT_BYTES];
    cr_assert_str_eq(human_bytes(text, n), expected);
}

Test(human, sizes) {
    check_bytes(0, "0 B");
    check_bytes(999, "999 B");
    check_bytes(1023, "1.0 KiB");
    check_bytes(1536, "1.5 KiB");
    check_bytes(100ull << 20, "100 MiB");
    check_bytes(1023ull << 20, "1.0 GiB");
    check_bytes(UINT64_MAX, "16384 PiB");
}

Test(human, counts_and_times) {
    char text[TEXT_BYTES];
    cr_assert_str_eq(human_count(text, 0), "0");
    cr_assert_str_eq(human_count(text, 999), "999");
    cr_assert_str_eq(human_count(text, 1000), "1,000");
    cr_assert_str_eq(human_count(text, UINT64_MAX), "18,446,744,073,709,551,615");
    cr_assert_str_eq(human_ns(text, 0), "0.0 ms");
    cr_assert_str_eq(human_ns(text, 1500000000), "1.5 s");
    cr_assert_str_eq(human_ns(text, 90000000000), "1.5 min");
}

static void check_value(const void *data, int item_type, bool is_json, const char *expected) {
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    value_print(out, data, 0, item_type, is_json);
    fclose(out);
    cr_assert_str_eq(text, expected);
    free(text);
}

Test(value, floats_read_back_as_the_same_number) {
    check_value(&(float){0.1f}, BUFFERD_FLOAT32, false, "0.1");
    check_value(&(float){16777216}, BUFFERD_FLOAT32, false, "16777216");
    check_value(&(float){1.0f / 3}, BUFFERD_FLOAT32, false, "0.33333334");
    check_value(&(double){0.1}, BUFFERD_FLOAT64, false, "0.1");
    check_value(&(double){1.0 / 3}, BUFFERD_FLOAT64, false, "0.3333333333333333");
    check_value(&(double){0x1.fffffffffffffp+1023}, BUFFERD_FLOAT64, false,
                "1.7976931348623157e+308");
}

Test(value, json_has_no_word_for_nan) {
    check_value(&(float){NAN}, BUFFERD_FLOAT32, true, "null");
    check_value(&(float){NAN}, BUFFERD_FLOAT32, false, "nan");
    check_value(&(double){-INFINITY}, BUFFERD_FLOAT64, false, "-inf");
    check_value(&(double){INFINITY}, BUFFERD_FLOAT64, true, "null");
}

Test(value, integers_at_their_limits) {
    check_value(&(int8_t){INT8_MIN}, BUFFERD_INT8, false, "-128");
    check_value(&(uint8_t){255}, BUFFERD_UINT8, false, "255");
    check_value(&(uint8_t){255}, BUFFERD_BYTES, false, "255");
    check_value(&(int16_t){INT16_MIN}, BUFFERD_INT16, false, "-32768");
    check_value(&(uint16_t){UINT16_MAX}, BUFFERD_UINT16, false, "65535");
    check_value(&(int32_t){INT32_MIN}, BUFFERD_INT32, false, "-2147483648");
    check_value(&(uint32_t){UINT32_MAX}, BUFFERD_UINT32, false, "4294967295");
    check_value(&(int64_t){INT64_MIN}, BUFFERD_INT64, false, "-9223372036854775808");
    check_value(&(uint64_t){UINT64_MAX}, BUFFERD_UINT64, false, "18446744073709551615");
    check_value(&(uint8_t){2}, BUFFERD_BOOL, true, "true");
}

/* ---- tables and JSON ---- */

static const char *const titles[] = {"NAME", "SIZE"};
static const enum table_align aligns[] = {TABLE_LEFT, TABLE_RIGHT};

Test(table, columns_are_aligned_and_cannot_steer_a_terminal) {
    char *text = NULL;
    size_t n_bytes;
    struct table *t = table_new(2, titles, aligns);
    const char *const cells[] = {"a\x1b[2J", "1", "\xc3\xa9t\xc3\xa9 long", "1000"};
    for (size_t i = 0; i < 4; i++)
        table_cell(t, cells[i]);
    FILE *out = open_memstream(&text, &n_bytes);
    table_print(t, out);
    fclose(out);
    cr_assert_str_eq(text, "NAME      SIZE\n"
                           "a?[2J        1\n"
                           "\xc3\xa9t\xc3\xa9 long  1000\n");
    free(text);
    table_free(t);
}

Test(json, text_that_is_not_utf8_does_not_get_lost) {
    json_t *node = json_text("a\xff");
    cr_assert_str_eq(json_string_value(node), "a?");
    json_decref(node);
    node = json_text(NULL);
    cr_assert(json_is_null(node));
    json_decref(node);
}
