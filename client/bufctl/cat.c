/* bufctl cat: the values of one branch, one entry a line.
 *
 * A list is a list, an entry of several items too, and lists of those nest; strings are quoted. The
 * output is written as it is made, so that `| head` costs what it shows; with --json it is one
 * array of entries.
 */
#include "target.h"
#include "text.h"
#include "value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LEVELS 3

/* What is printed. List i of a level has elements [offsets[i], offsets[i + 1]) of the next level;
 * the values are in groups of n_per_entry. */
struct shown {
    const struct bufferd_view *values;
    const int64_t *offsets[MAX_LEVELS];
    unsigned n_levels;
    uint64_t n_entries;
    unsigned n_per_entry;
    bool is_string, is_json;
};

static void print_group(const struct shown *s, uint64_t first) {
    if (s->n_per_entry != 1)
        putchar('[');
    for (unsigned i = 0; i < s->n_per_entry; i++) {
        if (i > 0)
            fputs(", ", stdout);
        value_print(stdout, s->values->data, first + i, s->values->item_type, s->is_json);
    }
    if (s->n_per_entry != 1)
        putchar(']');
}

/* What is not UTF-8 shows as what each byte would be in Latin-1. */
static void print_text(const char *text, size_t n) {
    json_t *string = json_stringn(text, n);
    if (string) {
        json_dumpf(string, stdout, JSON_ENCODE_ANY);
        json_decref(string);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
            putchar(c);
        else
            printf("\\u%04x", c);
    }
    putchar('"');
}

static void print_element(const struct shown *s, unsigned level, uint64_t i) {
    if (level == s->n_levels) {
        print_group(s, i * s->n_per_entry);
        return;
    }
    int64_t first = s->offsets[level][i], end = s->offsets[level][i + 1];
    if (s->is_string && level + 1 == s->n_levels) {
        print_text((const char *)s->values->data + first, (size_t)(end - first));
        return;
    }
    putchar('[');
    for (int64_t k = first; k < end; k++) {
        if (k > first)
            fputs(", ", stdout);
        print_element(s, level + 1, (uint64_t)k);
    }
    putchar(']');
}

static void print_values(const struct shown *s) {
    if (s->is_json)
        putchar('[');
    for (uint64_t e = 0; e < s->n_entries && !ferror(stdout); e++) {
        if (s->is_json && e > 0)
            fputs(",\n ", stdout);
        print_element(s, 0, e);
        if (!s->is_json)
            putchar('\n');
    }
    if (s->is_json)
        puts("]");
}

/* Offsets of n lists that start at 0 and never fall. */
static bool offsets_fit(const struct bufferd_view *view, uint64_t n) {
    const int64_t *offsets = view->data;
    if (view->n_bytes % sizeof(int64_t) || view->n_bytes / sizeof(int64_t) != n + 1 || offsets[0])
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (offsets[i + 1] < offsets[i])
            return false;
    return true;
}

/* The buffers must hold what the range says, so that no line reads beyond them. */
static bool sizes_fit(const struct shown *s, const struct bufferd_result *offsets) {
    uint64_t n_items = s->n_entries;
    for (unsigned i = 0; i < s->n_levels; i++) {
        if (!offsets_fit(&offsets[i].view, n_items))
            return false;
        n_items = (uint64_t)s->offsets[i][n_items];
    }
    uint64_t unit = bufferd_item_bytes(s->values->item_type) * s->n_per_entry;
    return unit && s->values->n_bytes / unit == n_items && s->values->n_bytes % unit == 0;
}

static int write_raw(const struct bufferd_view *v) {
    if (v->n_bytes)
        fwrite(v->data, 1, v->n_bytes, stdout);
    return BUFCTL_DONE;
}

static int show(const struct bufferd_result *results, size_t n_results, struct shown *s,
                const struct args *args) {
    for (size_t i = 0; i < n_results; i++) {
        if (results[i].code == 0)
            continue;
        struct bufferd_error error = {.code = results[i].code};
        snprintf(error.text, sizeof(error.text), "%s", results[i].text);
        return report_error(args->words[0], &error);
    }
    s->values = &results[0].view;
    for (unsigned i = 0; i < s->n_levels; i++)
        s->offsets[i] = results[i + 1].view.data;
    if (!sizes_fit(s, results + 1))
        return report(BUFCTL_REFUSED, "%s: the daemon's buffers do not fit the range",
                      args->words[0]);
    if (args->raw)
        return write_raw(s->values);
    print_values(s);
    return BUFCTL_DONE;
}

static int show_range(struct bufferd *b, const struct target *t, const struct bufferd_column *c,
                      const struct args *args) {
    char keys[1 + MAX_LEVELS][BUFFERD_KEY_BYTES];
    const char *const key_list[] = {keys[0], keys[1], keys[2], keys[3]};
    struct bufferd_result results[1 + MAX_LEVELS] = {0};
    struct bufferd_error error = {0};
    uint64_t start, stop, id = t->source.source_id;
    unsigned n_levels = c->counter ? 1 : c->n_levels;
    size_t n_keys = 1 + n_levels;
    int r = entries_parse(&start, &stop, args->entries, c->n_entries);
    if (r)
        return r;
    const char *tree = bufferd_tree_path(t->tree);
    error.code = bufferd_key_column(keys[0], id, tree, start, stop, c->name, BUFFERD_DATA);
    for (unsigned i = 0; i < n_levels && !error.code; i++)
        error.code = bufferd_key_column(keys[1 + i], id, tree, start, stop, c->name,
                                        BUFFERD_OFFSETS + (int)i);
    if (!error.code)
        error.code = bufferd_materialize(b, results, key_list, n_keys, BUFFERD_WAIT_MEMORY, NULL,
                                         -1, &error);
    if (error.code)
        return report_error(args->words[0], &error);
    struct shown s = {.n_levels = n_levels,
                      .n_entries = stop - start,
                      .n_per_entry = c->n_per_entry,
                      .is_string = c->is_string,
                      .is_json = args->json};
    r = show(results, n_keys, &s, args);
    for (size_t i = 0; i < n_keys; i++)
        if (results[i].code == 0)
            bufferd_release(&results[i].view);
    return r;
}

static int show_branch(struct target *t, struct bufferd *b, const struct args *args) {
    struct bufferd_column c;
    int r = target_open(t, b, args->words[0]);
    if (r == 0)
        r = target_describe(t, b);
    if (r)
        return r;
    if (!t->branch)
        return report(BUFCTL_USAGE, "cat takes FILE:TREE/BRANCH; `bufctl tree %s` lists branches",
                      args->words[0]);
    int64_t i = bufferd_tree_find(t->tree, t->branch);
    if (i < 0 || bufferd_tree_column(t->tree, (size_t)i, &c))
        return report(BUFCTL_REFUSED, "%s has no branch %s; `bufctl tree %s:%s` lists them",
                      bufferd_tree_path(t->tree), t->branch, t->file, bufferd_tree_path(t->tree));
    if (c.reason || !c.has_data)
        return report(BUFCTL_REFUSED, "%s: not supported: %s", c.name,
                      c.reason ? c.reason : "it only holds other branches");
    return show_range(b, t, &c, args);
}

static int run(const struct args *args) {
    return target_run(args, show_branch);
}

const struct command command_cat = {
    .name = "cat",
    .usage = "cat FILE:TREE/BRANCH [--entries A:B] [--raw] [--json] [--socket PATH]",
    .summary = "Print the values of a branch, one entry a line",
    .text = "Jagged entries are lists, strings are quoted. With --json the output is one array, in "
            "which nan and inf\n"
            "are null. --raw writes the values' bytes in native order (of a jagged branch: its\n"
            "content). Starts a daemon of your own if none is running.",
    .options = OPTION_ENTRIES | OPTION_RAW,
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
