/* bufctl tree: the trees of a file, and the branches of one of them with what bufferd can read.
 *
 * A file with one tree, or a word that names one, is shown branch by branch; else the trees are
 * listed.
 */
#include "target.h"
#include "text.h"

#include <inttypes.h>

static void print_trees(const struct target *t) {
    static const char *const titles[] = {"TREE", "CLASS", "TITLE"};
    static const enum table_align aligns[] = {TABLE_LEFT, TABLE_LEFT, TABLE_LEFT};
    struct table *table = table_new(3, titles, aligns);
    for (size_t i = 0; i < t->n_trees; i++) {
        table_cell(table, t->trees[i].path);
        table_cell(table, t->trees[i].class_name);
        table_cell(table, t->trees[i].title);
    }
    table_print(table, stdout);
    table_free(table);
}

static json_t *trees_json(const struct target *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->n_trees; i++) {
        json_t *o = json_object();
        json_object_set_new(o, "tree", json_text(t->trees[i].path));
        json_object_set_new(o, "class", json_text(t->trees[i].class_name));
        json_object_set_new(o, "title", json_text(t->trees[i].title));
        json_object_set_new(o, "newest", json_boolean(t->trees[i].is_newest));
        json_array_append_new(list, o);
    }
    return list;
}

static void add_row(struct table *table, const struct bufferd_column *c) {
    char room[TEXT_BYTES];
    table_cell(table, c->name);
    table_cell(table, c->type_name);
    table_cell(table, c->counter ? c->counter : "-");
    table_cell(table, human_count(room, c->n_entries));
    table_cell(table, human_count(room, c->n_baskets));
    table_cell(table, human_bytes(room, c->zip_bytes));
    table_cell(table, !c->has_data ? "(group)" : c->reason ? c->reason : "yes");
}

static void print_columns(const struct target *t) {
    static const char *const titles[] = {"BRANCH",  "TYPE", "COUNTER", "ENTRIES",
                                         "BASKETS", "ZIP",  "READABLE"};
    static const enum table_align aligns[] = {TABLE_LEFT,  TABLE_LEFT,  TABLE_LEFT, TABLE_RIGHT,
                                              TABLE_RIGHT, TABLE_RIGHT, TABLE_LEFT};
    char entries[TEXT_BYTES];
    struct table *table = table_new(sizeof(titles) / sizeof(titles[0]), titles, aligns);
    size_t n = bufferd_tree_n_columns(t->tree), n_read = 0, n_data = 0;
    for (size_t i = 0; i < n; i++) {
        struct bufferd_column c;
        if (bufferd_tree_column(t->tree, i, &c))
            continue;
        add_row(table, &c);
        n_data += c.has_data;
        n_read += c.has_data && !c.reason;
    }
    printf("%s %s, %s entries, %zu of %zu branches readable\n", bufferd_tree_kind(t->tree),
           bufferd_tree_path(t->tree), human_count(entries, bufferd_tree_n_entries(t->tree)),
           n_read, n_data);
    if (n)
        table_print(table, stdout);
    table_free(table);
}

static json_t *column_json(const struct bufferd_column *c) {
    json_t *o = json_object();
    bool is_supported = c->has_data && !c->reason;
    json_object_set_new(o, "name", json_text(c->name));
    json_object_set_new(o, "type", json_text(c->type_name));
    json_object_set_new(o, "supported", json_boolean(is_supported));
    json_object_set_new(o, "reason", json_text(c->reason));
    json_object_set_new(o, "has_data", json_boolean(c->has_data));
    json_object_set_new(o, "item_type",
                        is_supported ? json_text(bufferd_item_name(c->item_type)) : json_null());
    json_object_set_new(o, "items_per_entry", json_integer(c->n_per_entry));
    json_object_set_new(o, "counter", json_text(c->counter));
    json_object_set_new(o, "entries", json_integer((json_int_t)c->n_entries));
    json_object_set_new(o, "baskets", json_integer((json_int_t)c->n_baskets));
    json_object_set_new(o, "zip_bytes", json_integer((json_int_t)c->zip_bytes));
    json_object_set_new(o, "class", json_text(c->class_name));
    json_object_set_new(o, "title", json_text(c->title));
    return o;
}

static void add_columns(json_t *document, const struct target *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < bufferd_tree_n_columns(t->tree); i++) {
        struct bufferd_column c;
        if (!bufferd_tree_column(t->tree, i, &c))
            json_array_append_new(list, column_json(&c));
    }
    json_object_set_new(document, "tree", json_text(bufferd_tree_path(t->tree)));
    json_object_set_new(document, "title", json_text(bufferd_tree_title(t->tree)));
    json_object_set_new(document, "kind", json_text(bufferd_tree_kind(t->tree)));
    json_object_set_new(document, "entries",
                        json_integer((json_int_t)bufferd_tree_n_entries(t->tree)));
    json_object_set_new(document, "columns", list);
}

static json_t *file_json(const struct target *t) {
    char text[2 * sizeof(t->source.uuid) + 1];
    for (size_t i = 0; i < sizeof(t->source.uuid); i++)
        snprintf(text + 2 * i, 3, "%02x", t->source.uuid[i]);
    json_t *o = json_object();
    json_object_set_new(o, "file", json_text(t->file));
    json_object_set_new(o, "uuid", json_text(text));
    snprintf(text, sizeof(text), "%016" PRIx64, t->source.source_id);
    json_object_set_new(o, "source", json_text(text));
    json_object_set_new(o, "file_bytes", json_integer((json_int_t)t->source.file_bytes));
    json_object_set_new(o, "trees", trees_json(t));
    return o;
}

static size_t n_newest(const struct target *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_trees; i++)
        n += t->trees[i].is_newest;
    return n;
}

static int show(struct target *t, struct bufferd *b, const struct args *args) {
    int r = target_open(t, b, args->words[0]);
    if (r == 0 && (t->rest || n_newest(t) == 1))
        r = target_describe(t, b);
    if (r)
        return r;
    if (t->branch)
        return report(BUFCTL_USAGE, "tree takes FILE:TREE; `bufctl cat` shows a branch");
    if (args->json) {
        json_t *document = file_json(t);
        if (t->tree)
            add_columns(document, t);
        json_print(document);
    } else if (t->tree) {
        print_columns(t);
    } else {
        print_trees(t);
    }
    return BUFCTL_DONE;
}

static int run(const struct args *args) {
    return target_run(args, show);
}

const struct command command_tree = {
    .name = "tree",
    .usage = "tree FILE[:TREE] [--json] [--socket PATH]",
    .summary = "Show the trees of a file, or the branches of one tree",
    .text = "A tree is named with or without its cycle (dir/Events, dir/Events;1). A file with\n"
            "one tree needs no name. Starts a daemon of your own if none is running.",
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
