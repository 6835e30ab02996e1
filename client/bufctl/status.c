/* bufctl status: the daemon's settings and counters, as it names them.
 *
 * Nothing is interpreted but the unit, so that a counter that a newer daemon has shows up by
 * itself.
 */
#include "command.h"
#include "text.h"

#include <string.h>

static json_t *figure_json(const struct bufferd_figure *f) {
    return f->text[0] ? json_text(f->text) : json_integer((json_int_t)f->value);
}

static const char *figure_text(char room[TEXT_BYTES], const struct bufferd_figure *f) {
    if (f->text[0])
        return f->text;
    if (!strcmp(f->unit, "bytes"))
        return human_bytes(room, f->value);
    if (!strcmp(f->unit, "ns"))
        return human_ns(room, f->value);
    if (!strcmp(f->unit, "ms"))
        return human_ns(room, f->value * 1000000);
    snprintf(room, TEXT_BYTES, "%llu%s%s", (unsigned long long)f->value, f->unit[0] ? " " : "",
             f->unit);
    return room;
}

static void print_table(const struct bufferd_figure *figures, size_t n_figures) {
    static const char *const titles[] = {"NAME", "VALUE"};
    static const enum table_align aligns[] = {TABLE_LEFT, TABLE_LEFT};
    struct table *t = table_new(2, titles, aligns);
    char room[TEXT_BYTES];
    for (size_t i = 0; i < n_figures; i++) {
        table_cell(t, figures[i].name);
        table_cell(t, figure_text(room, &figures[i]));
    }
    table_print(t, stdout);
    table_free(t);
}

/* A name that comes several times is a list. */
static void add_figure(json_t *document, const char *name, json_t *value) {
    json_t *present = json_object_get(document, name);
    if (!present) {
        json_object_set_new(document, name, value);
        return;
    }
    if (!json_is_array(present)) {
        json_t *list = json_array();
        json_array_append(list, present);
        json_object_set_new(document, name, list);
        present = list;
    }
    json_array_append_new(present, value);
}

static void print_json(const struct bufferd_figure *figures, size_t n_figures) {
    json_t *document = json_object();
    for (size_t i = 0; i < n_figures; i++)
        add_figure(document, figures[i].name, figure_json(&figures[i]));
    json_print(document);
}

static int run(const struct args *args) {
    struct bufferd *b = NULL;
    struct bufferd_error error = {0};
    struct bufferd_figure *figures = NULL;
    size_t n_figures = 0;
    int r = session_open(&b, args, false);
    if (r)
        return r;
    error.code = bufferd_status(b, &figures, &n_figures, -1, &error);
    if (error.code)
        r = report_error(NULL, &error);
    else if (args->json)
        print_json(figures, n_figures);
    else
        print_table(figures, n_figures);
    bufferd_figures_free(figures, n_figures);
    bufferd_unref(b);
    return r;
}

const struct command command_status = {
    .name = "status",
    .usage = "status [--json] [--socket PATH]",
    .summary = "Show the daemon's settings and counters",
    .run = run,
};
