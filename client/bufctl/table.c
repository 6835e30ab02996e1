/* Tables for people: cells are collected, widths follow from them, two spaces between columns.
 *
 * A cell's width is its number of code points, so that names outside ASCII stay aligned. Titles and
 * labels come from files; their control characters are replaced, so that no file can steer a
 * terminal.
 */
#include "text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct table {
    const char *const *titles;      /* borrowed from the caller */
    const enum table_align *aligns; /* borrowed from the caller */
    size_t n_columns;
    char **cells; /* owned, row by row */
    size_t n_cells, capacity;
};

struct table *table_new(size_t n_columns, const char *const *titles,
                        const enum table_align *aligns) {
    struct table *t = calloc(1, sizeof(*t));
    if (!t)
        abort();
    *t = (struct table){.titles = titles, .aligns = aligns, .n_columns = n_columns};
    return t;
}

void table_free(struct table *t) {
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}

void table_cell(struct table *t, const char *text) {
    if (t->n_cells == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 64;
        t->cells = realloc(t->cells, t->capacity * sizeof(*t->cells));
        if (!t->cells)
            abort();
    }
    char *cell = strdup(text ? text : "");
    if (!cell)
        abort();
    for (char *c = cell; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    t->cells[t->n_cells++] = cell;
}

static size_t width_of(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_row(const struct table *t, const char *const *cells, const size_t *widths,
                      FILE *out) {
    for (size_t i = 0; i < t->n_columns; i++) {
        int pad = (int)(widths[i] - width_of(cells[i]));
        bool is_last = i + 1 == t->n_columns;
        if (t->aligns[i] == TABLE_RIGHT)
            fprintf(out, "%*s%s", pad, "", cells[i]);
        else
            fprintf(out, "%s%*s", cells[i], is_last ? 0 : pad, "");
        fputs(is_last ? "\n" : "  ", out);
    }
}

void table_print(const struct table *t, FILE *out) {
    size_t *widths = calloc(t->n_columns, sizeof(*widths));
    if (!widths)
        abort();
    for (size_t i = 0; i < t->n_columns; i++)
        widths[i] = width_of(t->titles[i]);
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t w = width_of(t->cells[i]), c = i % t->n_columns;
        widths[c] = w > widths[c] ? w : widths[c];
    }
    print_row(t, t->titles, widths, out);
    for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns)
        print_row(t, (const char *const *)t->cells + i, widths, out);
    free(widths);
}
