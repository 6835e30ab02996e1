/* bufctl ls: the buffers that the daemon holds.
 *
 * For people a key is shown as what it means: file, tree, branch, entries; scripts get the key
 * itself. Rows are sorted by file, tree, branch and range, so that the pieces of one column stand
 * together.
 */
#include "command.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

static int by_label_and_key(const void *a, const void *b) {
    const struct bufferd_entry *x = a, *y = b;
    int order = strcmp(x->label, y->label);
    return order ? order : strcmp(x->key, y->key);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static const char *what_it_is(const struct key_parts *p) {
    return p->verb[0] ? p->verb : p->kind;
}

static void add_row(struct table *t, const struct bufferd_entry *e) {
    char room[TEXT_BYTES];
    struct key_parts p;
    key_parts_init(&p, e->key);
    table_cell(t, e->label[0] ? base_name(e->label) : "-");
    table_cell(t, p.tree[0] ? p.tree : "-");
    table_cell(t, p.name[0] ? p.name : "-");
    table_cell(t, p.range[0] ? p.range : "-");
    table_cell(t, what_it_is(&p));
    table_cell(t, bufferd_item_name(e->item_type));
    table_cell(t, human_bytes(room, e->n_bytes));
    table_cell(t, e->state);
    table_cell(t, human_count(room, e->n_pins));
    table_cell(t, human_count(room, e->n_hits));
    table_cell(t, human_ns(room, e->idle_ms * 1000000));
    key_parts_deinit(&p);
}

static uint64_t total_bytes(const struct bufferd_entry *entries, size_t n_entries) {
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < n_entries; i++)
        n_bytes += entries[i].n_bytes;
    return n_bytes;
}

static void print_table(const struct bufferd_entry *entries, size_t n_entries) {
    static const char *const titles[] = {"FILE", "TREE",  "BRANCH", "ENTRIES", "WHAT", "TYPE",
                                         "SIZE", "STATE", "PINS",   "HITS",    "IDLE"};
    static const enum table_align aligns[] = {TABLE_LEFT,  TABLE_LEFT,  TABLE_LEFT,  TABLE_LEFT,
                                              TABLE_LEFT,  TABLE_LEFT,  TABLE_RIGHT, TABLE_LEFT,
                                              TABLE_RIGHT, TABLE_RIGHT, TABLE_RIGHT};
    char count[TEXT_BYTES], size[TEXT_BYTES];
    struct table *t = table_new(sizeof(titles) / sizeof(titles[0]), titles, aligns);
    for (size_t i = 0; i < n_entries; i++)
        add_row(t, &entries[i]);
    if (n_entries)
        table_print(t, stdout);
    table_free(t);
    printf("%s buffer%s, %s\n", human_count(count, n_entries), n_entries == 1 ? "" : "s",
           human_bytes(size, total_bytes(entries, n_entries)));
}

static json_t *entry_json(const struct bufferd_entry *e) {
    json_t *o = json_object();
    json_object_set_new(o, "key", json_text(e->key));
    json_object_set_new(o, "label", json_text(e->label));
    json_object_set_new(o, "state", json_text(e->state));
    json_object_set_new(o, "item_type", json_text(bufferd_item_name(e->item_type)));
    json_object_set_new(o, "n_bytes", json_integer((json_int_t)e->n_bytes));
    json_object_set_new(o, "n_pins", json_integer((json_int_t)e->n_pins));
    json_object_set_new(o, "n_sessions", json_integer((json_int_t)e->n_sessions));
    json_object_set_new(o, "n_hits", json_integer((json_int_t)e->n_hits));
    json_object_set_new(o, "age_ms", json_integer((json_int_t)e->age_ms));
    json_object_set_new(o, "idle_ms", json_integer((json_int_t)e->idle_ms));
    return o;
}

static void print_json(const struct bufferd_entry *entries, size_t n_entries) {
    json_t *document = json_object(), *list = json_array();
    for (size_t i = 0; i < n_entries; i++)
        json_array_append_new(list, entry_json(&entries[i]));
    json_object_set_new(document, "buffers", list);
    json_object_set_new(document, "n_bytes",
                        json_integer((json_int_t)total_bytes(entries, n_entries)));
    json_print(document);
}

static int run(const struct args *args) {
    struct bufferd *b = NULL;
    struct bufferd_error error = {0};
    struct bufferd_entry *entries = NULL;
    size_t n_entries = 0;
    int r = session_open(&b, args, false);
    if (r)
        return r;
    const char *pattern = args->n_words ? args->words[0] : NULL;
    error.code = bufferd_ls(b, &entries, &n_entries, pattern, -1, &error);
    if (error.code) {
        r = report_error(NULL, &error);
    } else {
        if (n_entries)
            qsort(entries, n_entries, sizeof(*entries), by_label_and_key);
        if (args->json)
            print_json(entries, n_entries);
        else
            print_table(entries, n_entries);
    }
    bufferd_entries_free(entries, n_entries);
    bufferd_unref(b);
    return r;
}

const struct command command_list = {
    .name = "ls",
    .usage = "ls [PATTERN] [--json] [--socket PATH]",
    .summary = "List the buffers in the cache",
    .text = "PATTERN is a shell glob over a buffer's key or its file's path, for example\n"
            "'*/nano.root' or '*/Muon_*/data'; quote it.",
    .max_words = 1,
    .run = run,
};
