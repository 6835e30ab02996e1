/* Buffers: evicted between two steps, put, found, given back, many at once, and by many threads. */
#include "server.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- evicted in between ---- */

Test(client_buffers, evicted_is_absent_and_held_is_held, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", MiB, 7), w;
    uint32_t record = v.record;
    uint64_t version = v.version;
    struct bufferd_evicted e = evict_all(b);
    cr_assert_eq(e.n_freed, 0);
    cr_assert_eq(e.n_held, 1);
    bufferd_view_copy(&w, &v);
    bufferd_release(&v);
    cr_assert_eq(evict_all(b).n_held, 1, "the copy is a pin of its own");
    cr_assert(is_filled(&w, 7));
    bufferd_release(&w);
    evict_all(b);
    cr_assert_eq(bufferd_pin(&w, b, record, version), BUFFERD_E_ABSENT);
    cr_assert_eq(get_one(b, &w, "x"), BUFFERD_E_ABSENT);
    cr_assert_eq(bufferd_pin(&w, b, UINT32_MAX, 1), BUFFERD_E_ABSENT);
}

Test(client_buffers, release_of_a_retired_buffer_frees_it, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", MiB, 7);
    char key[BUFFERD_KEY_BYTES];
    const char *keys[] = {key};
    struct bufferd_clear_result cleared;
    bufferd_key_named(key, "x");
    OK(bufferd_clear(b, &cleared, keys, 1, false, 5000, &error));
    cr_assert_eq(cleared.outcome, BUFFERD_HELD_BY_YOU);
    cr_assert(is_filled(&v, 7));
    bufferd_release(&v);
    struct bufferd_entry *list;
    size_t n;
    OK(bufferd_ls(b, &list, &n, NULL, 5000, &error)); /* comes after the notification */
    cr_assert_eq(n, 0);
    bufferd_entries_free(list, n);
    OK(bufferd_clear(b, &cleared, keys, 1, false, 5000, &error));
    cr_assert_eq(cleared.outcome, BUFFERD_NOT_THERE);
}

/* ---- by key ---- */

Test(client_buffers, a_key_finds_what_another_session_made, .timeout = 60) {
    SERVER s = server_new();
    SESSION maker = connect_to(&s);
    SESSION b = connect_to(&s);
    char name[300], key[BUFFERD_KEY_BYTES];
    memset(name, 'n', sizeof(name)); /* too long to lie in the record */
    name[sizeof(name) - 1] = 0;
    bufferd_key_named(key, name);
    struct bufferd_view made = put_filled(maker, "x", MiB, 7), v, w;
    struct bufferd_view long_one = put_filled(maker, name, 100, 8);
    uint64_t n_requests = figure(b, "requests");
    cr_assert_eq(bufferd_pin_key(&v, b, "named/x"), 0);
    cr_assert_eq(v.version, made.version);
    cr_assert(is_filled(&v, 7));
    cr_assert_eq(bufferd_pin_key(&w, b, key), 0);
    cr_assert(is_filled(&w, 8));
    bufferd_release(&w);
    cr_assert_eq(bufferd_pin_key(&w, b, "named/y"), BUFFERD_E_ABSENT);
    key[strlen(key) - 1] = 'm';
    cr_assert_eq(bufferd_pin_key(&w, b, key), BUFFERD_E_ABSENT);
    cr_assert_eq(bufferd_pin_key(&w, b, ""), BUFFERD_E_ABSENT);
    cr_assert_eq(figure(b, "requests"), n_requests + 1, "nobody was asked");
    bufferd_release(&long_one);
    bufferd_release(&made);
    OK(bufferd_trim(maker, NULL, 5000, &error));
    cr_assert_eq(evict_all(b).n_held, 1, "what was found is pinned");
    bufferd_release(&v);
    cr_assert_eq(figure(b, "buffers_indexed"), 1);
    evict_all(b);
    cr_assert_eq(bufferd_pin_key(&v, b, "named/x"), BUFFERD_E_ABSENT);
    cr_assert_eq(figure(b, "buffers_indexed"), 0);
}

Test(client_buffers, a_key_finds_the_newest_version_and_never_a_cleared_one, .timeout = 60) {
    SERVER s = server_new();
    SESSION maker = connect_to(&s);
    SESSION b = connect_to(&s);
    const char *keys[] = {"named/x"};
    struct bufferd_clear_result cleared;
    struct bufferd_view old = put_filled(maker, "x", 100, 1), fresh, v;
    OK(bufferd_put(maker, &fresh, NULL, "named/x", BUFFERD_UINT8, "ab", 2, BUFFERD_REPLACE, 5000,
                   &error));
    cr_assert_eq(bufferd_pin_key(&v, b, "named/x"), 0);
    cr_assert_eq(v.version, fresh.version);
    bufferd_release(&v);
    OK(bufferd_clear(maker, &cleared, keys, 1, false, 5000, &error));
    cr_assert_eq(cleared.outcome, BUFFERD_HELD_BY_YOU);
    cr_assert_eq(bufferd_pin_key(&v, b, "named/x"), BUFFERD_E_ABSENT);
    bufferd_release(&fresh);
    bufferd_release(&old);
}

Test(client_buffers, a_key_is_found_when_the_daemon_is_stopped_or_gone, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view v = put_filled(b, "x", 100, 7);
    bufferd_release(&v);
    server_signal(&s, SIGSTOP);
    cr_assert_eq(bufferd_pin_key(&v, b, "named/x"), 0);
    bufferd_release(&v);
    server_signal(&s, SIGKILL);
    cr_assert_eq(bufferd_pin_key(&v, b, "named/x"), 0);
    cr_assert(is_filled(&v, 7));
    bufferd_release(&v);
}

/* ---- put and get ---- */

Test(client_buffers, arrays_of_all_sizes_come_back, .timeout = 60) {
    static const uint64_t sizes[] = {0, 1, 4095, 4096, MiB, 5 * MiB + 3, 20 * MiB};
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    SESSION c = connect_to(&s);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char key[BUFFERD_KEY_BYTES], name[32];
        const char *keys[] = {key};
        uint8_t *data = malloc(sizes[i] + 1);
        struct bufferd_view v;
        struct bufferd_result result;
        snprintf(name, sizeof(name), "size/%zu", i);
        bufferd_key_named(key, name);
        for (uint64_t k = 0; k < sizes[i]; k++)
            data[k] = (uint8_t)(k * 31 + k / 4096);
        OK(bufferd_put(b, &v, NULL, key, BUFFERD_BYTES, data, sizes[i], 0, 5000, &error));
        OK(bufferd_get(c, &result, keys, 1, 5000, &error));
        cr_assert_eq(result.code, 0, "%s", result.text);
        cr_assert_eq(v.n_bytes, sizes[i]);
        cr_assert_eq(memcmp(v.data, data, sizes[i]), 0);
        cr_assert_eq(memcmp(result.view.data, data, sizes[i]), 0);
        cr_assert_eq(bufferd_view_offset(&v), bufferd_view_offset(&result.view), "shared");
        bufferd_release(&v);
        bufferd_release(&result.view);
        free(data);
    }
}

Test(client_buffers, first_put_wins_unless_it_replaces, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_view first = put_filled(b, "x", 100, 1), second, third;
    bool was_present = false;
    OK(bufferd_put(b, &second, &was_present, "named/x", BUFFERD_UINT8, "ab", 2, 0, 5000, &error));
    cr_assert(was_present);
    cr_assert_eq(second.version, first.version);
    OK(bufferd_put(b, &third, &was_present, "named/x", BUFFERD_INT16, "ab", 2, BUFFERD_REPLACE,
                   5000, &error));
    cr_assert_not(was_present);
    cr_assert_eq(third.n_bytes, 2);
    cr_assert_eq(third.item_type, BUFFERD_INT16);
    cr_assert(is_filled(&first, 1));
    bufferd_release(&first);
    bufferd_release(&second);
    bufferd_release(&third);
}

Test(client_buffers, bad_puts_are_told, .timeout = 60) {
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_error error;
    char longer[3000];
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 1] = 0;
    cr_expect_eq(bufferd_put(b, NULL, NULL, "named/x", 99, "a", 1, 0, 1000, &error), -EINVAL);
    cr_expect_eq(bufferd_put(b, NULL, NULL, "named/x", BUFFERD_INT32, "abc", 3, 0, 1000, &error),
                 -EINVAL);
    cr_expect_eq(bufferd_put(b, NULL, NULL, longer, BUFFERD_UINT8, "a", 1, 0, 1000, &error),
                 BUFFERD_E_BAD_KEY);
    cr_expect_eq(bufferd_put(b, NULL, NULL, "column/x", BUFFERD_UINT8, "a", 1, 0, 1000, &error),
                 BUFFERD_E_BAD_KEY);
    cr_expect(strlen(error.text) > 0);
    uint8_t *large = calloc(1, 200 * MiB);
    int rc =
        bufferd_put(b, NULL, NULL, "named/l", BUFFERD_UINT8, large, 200 * MiB, 0, 5000, &error);
    cr_expect(rc == BUFFERD_E_TOO_LARGE || rc == BUFFERD_E_FULL, "%d", rc);
    free(large);
    cr_expect_eq(bufferd_evict(b, &(struct bufferd_evicted){0}, NULL, 1000, &error), -EINVAL);
}

/* ---- many keys ---- */

static const char **many_keys(size_t n, const char *format) {
    const char **keys = malloc(n * sizeof(*keys));
    for (size_t i = 0; i < n; i++) {
        char *key = malloc(400);
        snprintf(key, 400, format, (int)i);
        keys[i] = key;
    }
    return keys;
}

static void many_keys_free(const char **keys, size_t n) {
    for (size_t i = 0; i < n; i++)
        free((char *)keys[i]);
    free(keys);
}

#define LONG_NAME                                                                                  \
    "a-name-that-is-so-long-that-not-even-the-allowed-number-of-them-fits-into-one-request-to-"    \
    "the-"                                                                                         \
    "daemon-which-has-to-be-split-by-bytes-before-it-is-split-by-number"

Test(client_buffers, any_number_of_keys, .timeout = 60) {
    enum { N = 2500 };
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    const char **keys = many_keys(N, "named/" LONG_NAME "-%d");
    struct bufferd_result *results = calloc(N, sizeof(*results));
    for (size_t i = 0; i < N; i += 500)
        OK(bufferd_put(b, NULL, NULL, keys[i], BUFFERD_INT32, &(int){(int)i}, 4, 0, 5000, &error));
    free((char *)keys[7]);
    char *longer = calloc(1, 3000); /* than any key may be */
    keys[7] = memset(longer, 'a', 2999);
    OK(bufferd_get(b, results, keys, N, 5000, &error));
    for (size_t i = 0; i < N; i++) {
        if (i % 500 == 0) {
            cr_assert_eq(results[i].code, 0, "%zu: %s", i, results[i].text);
            cr_assert_eq(*(const int *)results[i].view.data, (int)i);
        } else {
            cr_assert_eq(results[i].code, i == 7 ? BUFFERD_E_BAD_KEY : BUFFERD_E_ABSENT,
                         "%zu: %d %s", i, results[i].code, results[i].text);
            cr_assert_null(results[i].view.session);
        }
        bufferd_release(&results[i].view);
    }
    struct bufferd_clear_result *cleared = calloc(N, sizeof(*cleared));
    OK(bufferd_clear(b, cleared, keys, N, false, 5000, &error));
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(cleared[i].outcome, i % 500 ? BUFFERD_NOT_THERE : BUFFERD_FREED, "%zu", i);
    free(cleared);
    free(results);
    many_keys_free(keys, N);
}

Test(client_buffers, prefetch_of_more_than_one_request, .timeout = 60) {
    enum { N = 1500 };
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    const char **keys = many_keys(N, "column/00000000000000ff/T;1/0-1/" LONG_NAME "-%d/data");
    struct bufferd_scope scope;
    uint64_t id;
    OK(bufferd_prefetch(b, &id, keys, N, 1, 5000, &error));
    OK(bufferd_scope_wait(b, &scope, id, 5000, &error));
    cr_assert_eq(scope.n_total, N);
    cr_assert_eq(scope.n_failed, N);
    cr_assert_gt(scope.n_failures, 256, "each part lists its own");
    cr_assert_eq(scope.failures[0].index, 0);
    for (size_t i = 1; i < scope.n_failures; i++)
        cr_assert_gt(scope.failures[i].index, scope.failures[i - 1].index);
    cr_assert_eq(scope.failures[0].code, BUFFERD_E_NO_SOURCE, "%s", scope.failures[0].text);
    bufferd_scope_deinit(&scope);
    OK(bufferd_scope_cancel(b, &scope, id, 5000, &error));
    bufferd_scope_deinit(&scope);
    cr_assert_neq(bufferd_scope_status(b, &scope, id + 1, 5000, NULL), 0);
    many_keys_free(keys, N);
}

Test(client_buffers, lists_are_whole, .timeout = 60) {
    enum { N = 700 };
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    const char **keys = many_keys(N, "named/n%d");
    for (size_t i = 0; i < N; i++)
        OK(bufferd_put(b, NULL, NULL, keys[i], BUFFERD_INT32, &i, 4, 0, 5000, &error));
    struct bufferd_entry *list;
    size_t n;
    OK(bufferd_ls(b, &list, &n, NULL, 5000, &error));
    cr_assert_eq(n, N);
    cr_assert_eq(list[0].n_bytes, 4);
    cr_assert_str_eq(list[0].state, "ready");
    bufferd_entries_free(list, n);
    OK(bufferd_ls(b, &list, &n, "named/n1?", 5000, &error));
    cr_assert_eq(n, 10);
    bufferd_entries_free(list, n);
    many_keys_free(keys, N);
}

/* ---- everything at once ---- */

struct stress {
    struct server *server;
    struct bufferd *b;
    unsigned number;
    int64_t end;
    uint64_t n_done, n_wrong;
};

static void *stress_client(void *arg) {
    struct stress *t = arg;
    uint64_t state = 88172645463325252ull + t->number;
    while (now_ms() < t->end) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        uint8_t which = state % 6;
        uint64_t n_bytes = (which + 1) * MiB;
        char name[16];
        struct bufferd_view v, w;
        snprintf(name, sizeof(name), "s%u", which);
        if (get_one(t->b, &v, name))
            v = put_filled(t->b, name, n_bytes, which);
        bufferd_view_copy(&w, &v);
        bufferd_release(&v);
        t->n_wrong += !is_filled(&w, which) || w.n_bytes != n_bytes;
        bufferd_release(&w);
        t->n_done++;
        if (state % 13 == 0)
            evict_all(t->b);
    }
    return NULL;
}

Test(client_buffers, threads_and_sessions_under_eviction, .timeout = 60) {
    enum { N = 6 };
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    SESSION c = connect_to(&s);
    struct stress stress[N];
    pthread_t threads[N];
    for (unsigned i = 0; i < N; i++) {
        stress[i] = (struct stress){&s, i % 2 ? b : c, i, now_ms() + 3000, 0, 0};
        pthread_create(&threads[i], NULL, stress_client, &stress[i]);
    }
    for (unsigned i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_gt(stress[i].n_done, 0);
        cr_expect_eq(stress[i].n_wrong, 0);
    }
    OK(bufferd_trim(b, NULL, 5000, &error));
    OK(bufferd_trim(c, NULL, 5000, &error));
    cr_assert_eq(evict_all(b).n_held, 0);
}

/* ---- a file ---- */

Test(client_buffers, column_of_a_file, .timeout = 60) {
    const char *path = getenv("BUFFERD_TEST_FILE");
    if (!path)
        cr_skip_test("BUFFERD_TEST_FILE does not name a NanoAOD file");
    SERVER s = server_new();
    SESSION b = connect_to(&s);
    struct bufferd_source source, again;
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    OK(bufferd_open(b, &source, fd, path, 5000, &error));
    OK(bufferd_open(b, &again, fd, path, 5000, &error));
    cr_assert_eq(source.source_id, again.source_id);
    struct bufferd_tree_name *names;
    size_t n_names;
    OK(bufferd_trees(b, &names, &n_names, source.source_id, 5000, &error));
    cr_assert_gt(n_names, 0);
    bufferd_tree_names_free(names, n_names);
    struct bufferd_tree *t;
    cr_assert_eq(bufferd_describe(b, &t, source.source_id, "Nothing", 5000, NULL),
                 BUFFERD_E_NO_TREE);
    OK(bufferd_describe(b, &t, source.source_id, "Events", 5000, &error));
    cr_assert_str_eq(bufferd_tree_path(t), "Events;1");
    cr_assert_str_eq(bufferd_tree_kind(t), "TTree");
    int64_t i = bufferd_tree_find(t, "Jet_pt");
    struct bufferd_column column;
    cr_assert_geq(i, 0);
    cr_assert_eq(bufferd_tree_column(t, (size_t)i, &column), 0);
    cr_assert_eq(bufferd_tree_column(t, bufferd_tree_n_columns(t), &column), -EINVAL);
    cr_assert_str_eq(column.counter, "nJet");
    cr_assert_null(column.reason);
    char data_key[BUFFERD_KEY_BYTES], offsets_key[BUFFERD_KEY_BYTES];
    uint64_t n = bufferd_tree_n_entries(t), n_made;
    bufferd_key_column(data_key, source.source_id, bufferd_tree_path(t), 0, n, "Jet_pt", 0);
    bufferd_key_column(offsets_key, source.source_id, bufferd_tree_path(t), 0, n, "Jet_pt",
                       BUFFERD_OFFSETS);
    const char *keys[] = {data_key, offsets_key};
    struct bufferd_result r[2];
    OK(bufferd_materialize(b, r, keys, 2, 0, &n_made, 5000, &error));
    cr_assert_eq(r[0].code, 0, "%s", r[0].text);
    cr_assert_eq(r[1].code, 0, "%s", r[1].text);
    const int64_t *offsets = r[1].view.data;
    cr_assert_eq(r[1].view.n_bytes, (n + 1) * 8);
    cr_assert_eq(offsets[0], 0);
    cr_assert_eq((uint64_t)offsets[n] * 4, r[0].view.n_bytes);
    cr_assert_eq(r[0].view.item_type, BUFFERD_FLOAT32);
    bufferd_release(&r[0].view);
    bufferd_release(&r[1].view);
    bufferd_tree_free(t);
}
