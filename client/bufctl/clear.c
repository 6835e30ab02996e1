/* bufctl clear: give back buffers that nobody needs any more.
 *
 * Clearing is polite where evicting is not: what another client's open file may still use is kept
 * (and is the first to go when room is needed) unless --force is given, what is held stays until it
 * is dropped. The daemon clears by key, so a file, its trees and branches are first looked up with
 * ls. Indexes are left alone unless the pattern asks for them: they are small and save the next
 * analysis its first read.
 */
#include "branches.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcome_names[] = {
    [BUFFERD_FREED] = "freed",
    [BUFFERD_HELD_BY_YOU] = "held by you",
    [BUFFERD_HELD_BY_OTHERS] = "held by others",
    [BUFFERD_KEPT] = "kept",
    [BUFFERD_NOT_THERE] = "gone already",
};
enum { N_OUTCOMES = sizeof(outcome_names) / sizeof(outcome_names[0]), CLEAR_KEYS = 1024 };

static bool branch_is_wanted(const char *key, char *const *words, size_t n_words) {
    if (n_words == 0)
        return true;
    struct key_parts p;
    key_parts_init(&p, key);
    bool is_wanted = false;
    for (size_t i = 0; i < n_words && !is_wanted; i++)
        is_wanted = branch_matches(p.name, words[i]);
    key_parts_deinit(&p);
    return is_wanted;
}

/* The buffers under a pattern, of these branches only. */
static int collect(struct key_list *list, struct bufferd *b, const char *pattern, const char *tree,
                   char *const *words, size_t n_words) {
    struct bufferd_error error = {0};
    struct bufferd_entry *entries = NULL;
    size_t n_entries = 0;
    error.code = bufferd_ls(b, &entries, &n_entries, pattern, -1, &error);
    if (error.code)
        return report_error(NULL, &error);
    bool has_indexes = strncmp(pattern, "index/", 6) == 0;
    for (size_t i = 0; i < n_entries; i++) {
        struct key_parts p;
        key_parts_init(&p, entries[i].key);
        bool is_wanted =
            (has_indexes || strcmp(p.kind, "index") != 0) && (!tree || !strcmp(p.tree, tree));
        key_parts_deinit(&p);
        if (is_wanted && branch_is_wanted(entries[i].key, words, n_words))
            key_list_add(list, entries[i].key);
    }
    bufferd_entries_free(entries, n_entries);
    return BUFCTL_DONE;
}

static int collect_file(struct key_list *list, struct bufferd *b, const struct args *args) {
    struct target t = {0};
    char pattern[64];
    int r = target_open(&t, b, args->words[0]);
    if (r == 0 && (t.rest || args->n_words > 1))
        r = target_describe(&t, b);
    if (r == 0 && t.branch)
        r = report(BUFCTL_USAGE, "clear takes FILE:TREE and then the branches");
    snprintf(pattern, sizeof(pattern), "*/%016" PRIx64 "/*", t.source.source_id);
    if (r == 0)
        r = collect(list, b, pattern, t.tree ? bufferd_tree_path(t.tree) : NULL, args->words + 1,
                    args->n_words - 1);
    target_deinit(&t);
    return r;
}

static void print_outcomes(const struct bufferd_clear_result *sums, const uint64_t *counts,
                           bool is_json) {
    char size[TEXT_BYTES];
    json_t *o = is_json ? json_object() : NULL;
    for (size_t i = 0; i < N_OUTCOMES; i++) {
        if (is_json) {
            json_t *part = json_object();
            json_object_set_new(part, "n_buffers", json_integer((json_int_t)counts[i]));
            json_object_set_new(part, "n_bytes", json_integer((json_int_t)sums[i].n_bytes));
            json_object_set_new(o, outcome_names[i], part);
        } else if (counts[i] || i == BUFFERD_FREED) {
            printf("%-14s  %6llu buffers  %10s\n", outcome_names[i], (unsigned long long)counts[i],
                   human_bytes(size, sums[i].n_bytes));
        }
    }
    if (is_json)
        json_print(o);
}

static int clear_keys(struct bufferd *b, const struct key_list *list, const struct args *args) {
    struct bufferd_clear_result sums[N_OUTCOMES] = {0}, *results;
    uint64_t counts[N_OUTCOMES] = {0};
    struct bufferd_error error = {0};
    results = calloc(CLEAR_KEYS, sizeof(*results));
    if (!results)
        abort();
    for (size_t i = 0; i < list->n_keys && !error.code; i += CLEAR_KEYS) {
        size_t n = list->n_keys - i < CLEAR_KEYS ? list->n_keys - i : CLEAR_KEYS;
        error.code = bufferd_clear(b, results, (const char *const *)list->keys + i, n, args->force,
                                   -1, &error);
        for (size_t k = 0; k < n && !error.code; k++) {
            int outcome = results[k].outcome;
            if (outcome < 0 || outcome >= N_OUTCOMES)
                continue;
            counts[outcome]++;
            sums[outcome].n_bytes += results[k].n_bytes;
        }
    }
    free(results);
    if (error.code)
        return report_error(NULL, &error);
    print_outcomes(sums, counts, args->json);
    return BUFCTL_DONE;
}

static int run(const struct args *args) {
    struct bufferd *b = NULL;
    struct key_list list = {0};
    bool is_file = target_is_file(args->words[0]);
    if (!is_file && args->n_words > 1)
        return report(BUFCTL_REFUSED, "%s: no such file", args->words[0]);
    int r = session_open(&b, args, false);
    if (r)
        return r;
    r = is_file ? collect_file(&list, b, args) : collect(&list, b, args->words[0], NULL, NULL, 0);
    if (r == 0 && list.n_keys == 0)
        r = report(BUFCTL_REFUSED, "no buffer of %s in the cache; `bufctl ls` lists them",
                   args->words[0]);
    if (r == 0)
        r = clear_keys(b, &list, args);
    key_list_deinit(&list);
    bufferd_unref(b);
    return r;
}

const struct command command_clear = {
    .name = "clear",
    .usage = "clear FILE[:TREE] [BRANCH...] | PATTERN [--force] [--json] [--socket PATH]",
    .summary = "Give back buffers that are done with",
    .text = "Says how many were freed, are held by clients, or are kept because another client\n"
            "has the file open (--force frees those too). BRANCH may be a shell glob; PATTERN is\n"
            "one over keys and file paths, as for ls; quote them.",
    .options = OPTION_FORCE,
    .min_words = 1,
    .max_words = SIZE_MAX,
    .run = run,
};
