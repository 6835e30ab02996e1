/* Keys: what is not canonical is refused; what is printed is parsed back. */
#include "../../proto/key.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define S(text) ((struct str){(text), (uint32_t)strlen(text)})
#define ID "00000000000000ff"

static int parse(const char *text) {
    struct key k;
    struct key_scratch scratch;
    /* An exact copy without a NUL, for the sanitizer. */
    uint32_t n = (uint32_t)strlen(text);
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    int rc = key_parse(&k, &scratch, (struct str){copy, n});
    free(copy);
    return rc;
}

Test(key, not_canonical_is_malformed) {
    static const char *const bad[] = {
        "",
        "/",
        "column",
        "Column/" ID "/Events;1/0-1/a/data",
        "column/ff/Events;1/0-1/a/data",
        "column/00000000000000FF/Events;1/0-1/a/data",
        "column/" ID "/Events/0-1/a/data",
        "column/" ID "/Events;/0-1/a/data",
        "column/" ID "/Events;01/0-1/a/data",
        "column/" ID "/;1/0-1/a/data",
        "column/" ID "//0-1/a/data",
        "column/" ID "/Events;1/00-1/a/data",
        "column/" ID "/Events;1/0-01/a/data",
        "column/" ID "/Events;1/2-1/a/data",
        "column/" ID "/Events;1/-1/a/data",
        "column/" ID "/Events;1/0-/a/data",
        "column/" ID "/Events;1/01/a/data",
        "column/" ID "/Events;1/0-1-2/a/data",
        "column/" ID "/Events;1/0-18446744073709551616/a/data",
        "column/" ID "/Events;1/0-1//data",
        "column/" ID "/Events;1/0-1/a/Data",
        "column/" ID "/Events;1/0-1/a/",
        "column/" ID "/Events;1/0-1/a",
        "column/" ID "/Events;1/0-1/a/data/",
        "column/" ID "/Events;1/0-1/a/b/data",
        "column/" ID "/Events;1/0-1/%41/data",
        "column/" ID "/Events;1/0-1/%2f/data",
        "column/" ID "/Events;1/0-1/%2/data",
        "column/" ID "/Events;1/0-1/%/data",
        "column/" ID "/Events;1/0-1/%G0/data",
        "column/" ID "/Events;1/0-1/a b/data",
        "column/" ID "/Events;1/0-1/a\xc3\xa9/data",
        " named/x",
        "named/",
        "named/a/b",
        "named",
        "derived/" ID,
        "derived/" ID "/",
        "derived//x",
        "edge/" ID "/Events;1/a/",
        "edge/" ID "/Events;1/a/-1",
        "edge/" ID "/Events;1/a/01",
        "index/" ID "/Events",
        "index/" ID "/Events;1/",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_eq(parse(bad[i]), KEY_E_MALFORMED, "%s", bad[i]);
}

Test(key, every_prefix_of_a_column_is_malformed) {
    char text[] = "column/" ID "/dir%2FEvents;1/0-10/a%2Fb/offsets";
    cr_assert_eq(parse(text), 0);
    for (size_t n = strlen(text); n-- > 0;) {
        text[n] = 0;
        cr_expect_eq(parse(text), KEY_E_MALFORMED, "%s", text);
    }
}

Test(key, length_is_limited) {
    static char name[WIRE_MAX_KEY_BYTES + 1];
    char text[WIRE_MAX_KEY_BYTES + 1];
    memset(name, 'a', sizeof(name));
    struct key k = {.kind = KEY_NAMED, .name = {name, WIRE_MAX_KEY_BYTES - 6}};
    cr_assert_eq(key_print(text, &k), WIRE_MAX_KEY_BYTES);
    cr_assert_eq(parse(text), 0);
    k.name.len++;
    cr_assert_eq(key_print(text, &k), -ENAMETOOLONG);
    memset(name, '/', sizeof(name));
    k.name.len = WIRE_MAX_NAME_BYTES;
    cr_assert_eq(key_print(text, &k), -ENAMETOOLONG);
    static char longer[WIRE_MAX_KEY_BYTES + 2];
    memset(longer, 'a', sizeof(longer) - 1);
    memcpy(longer, "named/", 6);
    cr_assert_eq(parse(longer), KEY_E_MALFORMED);
}

Test(key, texts_are_as_documented) {
    char text[WIRE_MAX_KEY_BYTES + 1];
    struct key k = {.kind = KEY_COLUMN,
                    .source_id = 0xfeed,
                    .tree = S("dir/Events;1"),
                    .name = S("Jet%pt[2]"),
                    .stop = UINT64_MAX,
                    .verb = VERB_OFFSETS};
    key_print(text, &k);
    cr_assert_str_eq(text, "column/000000000000feed/dir%2FEvents;1/0-18446744073709551615/"
                           "Jet%25pt%5B2%5D/offsets");
    k.kind = KEY_EDGE;
    k.basket = 12;
    key_print(text, &k);
    cr_assert_str_eq(text, "edge/000000000000feed/dir%2FEvents;1/Jet%25pt%5B2%5D/12");
    k.kind = KEY_INDEX;
    key_print(text, &k);
    cr_assert_str_eq(text, "index/000000000000feed/dir%2FEvents;1");
    k.kind = KEY_DERIVED;
    key_print(text, &k);
    cr_assert_str_eq(text, "derived/000000000000feed/Jet%25pt%5B2%5D");
    k.kind = KEY_NAMED;
    key_print(text, &k);
    cr_assert_str_eq(text, "named/Jet%25pt%5B2%5D");
    cr_assert_str_eq(key_verb_name(VERB_DATA), "data");
    cr_assert_str_eq(key_verb_name((enum key_verb)9), "?");
}

/* A fixed sequence, so that a failure can be repeated. */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static bool strs_are_equal(struct str a, struct str b) {
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static void check_round_trip(const struct key *k) {
    char text[WIRE_MAX_KEY_BYTES + 1], again[WIRE_MAX_KEY_BYTES + 1];
    struct key_scratch scratch;
    struct key back;
    int n = key_print(text, k);
    cr_assert_gt(n, 0);
    cr_assert_eq(key_parse(&back, &scratch, (struct str){text, (uint32_t)n}), 0, "%s", text);
    cr_assert_eq(back.kind, k->kind);
    cr_assert_eq(back.source_id, k->kind == KEY_NAMED ? 0 : k->source_id);
    if (k->kind != KEY_INDEX)
        cr_assert(strs_are_equal(back.name, k->name));
    if (k->kind == KEY_COLUMN) {
        cr_assert(strs_are_equal(back.tree, k->tree));
        cr_assert(back.start == k->start && back.stop == k->stop && back.verb == k->verb);
    }
    cr_assert_eq(key_print(again, &back), n);
    cr_assert_str_eq(again, text);
    cr_assert_eq(key_hash((struct str){text, (uint32_t)n}),
                 key_hash((struct str){again, (uint32_t)n}));
}

Test(key, nul_is_in_no_key) {
    const char text[] = "column/0000000000000001/T%00;1/0-10/x/data";
    struct key_scratch scratch;
    struct key k;
    cr_assert_eq(key_parse(&k, &scratch, (struct str){text, sizeof(text) - 1}), KEY_E_MALFORMED);
}

Test(key, random_keys_come_back) {
    uint64_t state = 88172645463325252ull;
    char tree[64], name[200];
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t n_tree = 1 + next_random(&state) % 60, n_name = 1 + next_random(&state) % 200;
        for (uint32_t k = 0; k < n_tree; k++)
            tree[k] = (char)(1 + next_random(&state) % 255);
        memcpy(tree + n_tree, ";7", 2);
        for (uint32_t k = 0; k < n_name; k++)
            name[k] = (char)(1 + next_random(&state) % 255);
        uint64_t a = next_random(&state) >> next_random(&state) % 64;
        uint64_t b = next_random(&state) >> next_random(&state) % 64;
        struct key k = {.kind = (enum key_kind)(next_random(&state) % 5),
                        .source_id = next_random(&state),
                        .tree = {tree, n_tree + 2},
                        .name = {name, n_name},
                        .start = MIN(a, b),
                        .stop = MAX(a, b),
                        .verb = (enum key_verb)(next_random(&state) % 3),
                        .basket = a};
        check_round_trip(&k);
    }
}

/* Whatever parses prints as the same bytes: there is one text for one key. */
Test(key, damaged_keys_are_refused_or_canonical) {
    static const char good[] = "column/" ID "/dir%2FEvents;1/0-10/a%2Fb/offsets";
    uint64_t state = 1234567;
    for (unsigned i = 0; i < 100000; i++) {
        char text[sizeof(good)], again[WIRE_MAX_KEY_BYTES + 1];
        memcpy(text, good, sizeof(good));
        for (unsigned k = 0; k <= i % 3; k++)
            text[next_random(&state) % (sizeof(good) - 1)] = (char)next_random(&state);
        struct key key;
        struct key_scratch scratch;
        if (key_parse(&key, &scratch, (struct str){text, sizeof(good) - 1}))
            continue;
        cr_assert_eq(key_print(again, &key), sizeof(good) - 1);
        cr_assert_eq(memcmp(text, again, sizeof(good) - 1), 0);
    }
}

Test(key, globs) {
    cr_expect(key_matches(S(""), S("")));
    cr_expect(key_matches(S(""), S("**")));
    cr_expect_not(key_matches(S(""), S("?")));
    cr_expect_not(key_matches(S("a"), S("")));
    cr_expect(key_matches(S("column/x/Jet_pt/data"), S("column/*/data")));
    cr_expect(key_matches(S("column/x/Jet_pt/data"), S("*Jet_*")));
    cr_expect_not(key_matches(S("column/x/Jet_pt/data"), S("*Jet_")));
    cr_expect(key_matches(S("abcabc"), S("*abc")));
    cr_expect(key_matches(S("aab"), S("a?b")));
    cr_expect(key_matches(S("a5"), S("a[0-9]")));
    cr_expect_not(key_matches(S("a5"), S("a[!0-9]")));
    cr_expect(key_matches(S("a]"), S("a[]]")));
    cr_expect(key_matches(S("a-"), S("a[x-]")));
    cr_expect(key_matches(S("a["), S("a[")));
    cr_expect(key_matches(S("a[!"), S("a[!")));
    cr_expect(key_matches(S("a*"), S("a\\*")));
    cr_expect_not(key_matches(S("ab"), S("a\\*")));
    cr_expect(key_matches(S("a\\"), S("a\\")));
    cr_expect(key_matches(S("\xff"), S("[\xf0-\xff]")));
}

Test(key, hostile_globs_take_no_time) {
    static char text[WIRE_MAX_KEY_BYTES], pattern[WIRE_MAX_NAME_BYTES];
    struct timespec start, end;
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = i % 2 ? 'a' : '*';
    pattern[sizeof(pattern) - 1] = 'b';
    clock_gettime(CLOCK_MONOTONIC, &start);
    cr_assert_not(
        key_matches((struct str){text, sizeof(text)}, (struct str){pattern, sizeof(pattern)}));
    memset(text, '[', sizeof(text));
    memset(pattern, '[', sizeof(pattern));
    pattern[0] = '*';
    pattern[sizeof(pattern) - 1] = 'b';
    cr_assert_not(
        key_matches((struct str){text, sizeof(text)}, (struct str){pattern, sizeof(pattern)}));
    clock_gettime(CLOCK_MONOTONIC, &end);
    cr_assert_lt(end.tv_sec - start.tv_sec, 3);
}
