/* What it takes to open a file and to describe its tree: the first time, and when others did before.
 *
 *     describe SOCKET TREE ROUNDS FILE...
 *
 * Each FILE has to be one that the daemon has not seen. "cold": from the open file to the last
 * column of its tree; "cached": describing it again, a round trip; "find": one column by its name.
 * Prints one line of JSON, seconds (medians over files, rounds, and columns).
 */
#include "clock.h"

#include "bufferd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 10000 };

struct values {
    double items[MAX_VALUES];
    int n;
};

static void die(const char *what, const char *text) {
    fprintf(stderr, "describe: %s: %s\n", what, text);
    exit(1);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(struct values *v) {
    qsort(v->items, (size_t)v->n, sizeof(v->items[0]), by_size);
    return v->n ? v->items[v->n / 2] : 0;
}

static void add(struct values *v, const struct clock *started) {
    if (v->n < MAX_VALUES)
        v->items[v->n++] = clock_since(started).wall;
}

static void read_columns(const struct bufferd_tree *t) {
    struct bufferd_column c;
    for (size_t i = 0; i < bufferd_tree_n_columns(t); i++)
        if (bufferd_tree_column(t, i, &c))
            die("column", "cannot be read");
}

static struct bufferd_tree *describe(struct bufferd *b, uint64_t source_id, const char *name) {
    struct bufferd_error error;
    struct bufferd_tree *t;
    if (bufferd_describe(b, &t, source_id, name, -1, &error))
        die(name, error.text);
    return t;
}

int main(int argc, char **argv) {
    static struct values cold, cached, find;
    struct bufferd *b;
    struct bufferd_error error;
    struct bufferd_source source = {0};
    const struct bufferd_options options = {.socket = argc > 1 ? argv[1] : "",
                                            .no_autostart = true};
    if (argc < 5)
        die("usage", "describe SOCKET TREE ROUNDS FILE...");
    if (bufferd_connect(&b, &options, &error))
        die(argv[1], error.text);
    size_t n_columns = 0;
    for (int i = 4; i < argc; i++) {
        FILE *f = fopen(argv[i], "r");
        struct clock started = clock_now();
        if (!f || bufferd_open(b, &source, fileno(f), argv[i], -1, &error))
            die(argv[i], f ? error.text : "cannot open it");
        struct bufferd_tree *t = describe(b, source.source_id, argv[2]);
        read_columns(t);
        add(&cold, &started);
        n_columns = bufferd_tree_n_columns(t);
        bufferd_tree_free(t);
        fclose(f);
    }
    for (int i = 0; i < atoi(argv[3]); i++) {
        struct clock started = clock_now();
        struct bufferd_tree *t = describe(b, source.source_id, argv[2]);
        add(&cached, &started);
        bufferd_tree_free(t);
    }
    struct bufferd_tree *t = describe(b, source.source_id, argv[2]);
    for (size_t i = 0; i < n_columns; i++) {
        struct bufferd_column c;
        bufferd_tree_column(t, i, &c);
        struct clock started = clock_now();
        if (bufferd_tree_find(t, c.name) != (int64_t)i)
            die(c.name, "found elsewhere");
        add(&find, &started);
    }
    bufferd_tree_free(t);
    printf("{\"columns\": %zu, \"cold\": %.9f, \"cached\": %.9f, \"find\": %.9f}\n", n_columns,
           median(&cold), median(&cached), median(&find));
    bufferd_unref(b);
    return 0;
}
