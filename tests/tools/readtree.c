/* readtree: list the trees of a ROOT file and write columns to stdout. A developer's tool, and the
 * side of the comparison with other readers that is written in C.
 *
 *   readtree FILE                              trees and columns, tab-separated
 *   readtree FILE TREE COLUMN START STOP [--offsets]   values in native byte order
 *   readtree FILE -                            commands from stdin, one a line: TREE, COLUMN,
 * START, STOP, values|offsets|offsets1|offsets2, tab-separated; each is answered by "ok ITEM BYTES" and the bytes, or
 * "error STATUS TEXT" readtree --scan FILE...                    read all of it, say how much could
 * be read
 *
 * COLUMN is a name, or #N for column number N.
 */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES (512ull << 20)
#define ARENA_BYTES (8ull << 30)

#define ITEM(id, name, typestr, bytes) typestr,
static const char *const item_types[] = {
#include "../../proto/items.def"
};
#undef ITEM

static int complain(const struct reader *r, const char *what) {
    fprintf(stderr, "%s: %s (%d)\n", what, r->last.error, r->last.status);
    return 1;
}

static void column_print(const struct tree_index *x, uint32_t i) {
    static const char *const kinds[] = {"none", "flat", "jagged", "lists"};
    const struct tree_column *c = tree_index_columns(x) + i;
    uint64_t n_embedded = 0;
    for (uint64_t k = 0; k < c->n_baskets; k++)
        n_embedded += tree_index_baskets(x)[c->first_basket + k].is_embedded;
    printf("column\t%u\t%s\t%s\t%s\t%u\t%llu\t%d\t%s\t%s\t%llu\t%llu\t%u\t%u\t%u\t%s\n", i,
           tree_index_string(x, c->name), kinds[c->kind], item_types[c->item_type], c->n_per_entry,
           (unsigned long long)c->n_entries, (int)c->counter - 1,
           tree_index_string(x, c->type_name), tree_index_string(x, c->class_name),
           (unsigned long long)c->n_baskets, (unsigned long long)n_embedded, c->flags,
           c->layout.n_levels, c->parent, tree_index_string(x, c->reason));
}

static void tree_print(struct reader *r, const char *path, const char *class_name, bool is_newest) {
    int status = reader_describe(r, path, MAX_BYTES);
    printf("tree\t%s\t%s\t%d\t", path, class_name, is_newest);
    if (status) {
        printf("error\t%d\t%s\n", status, r->last.error);
        return;
    }
    printf("%llu\t%u\t%s\n", (unsigned long long)r->index->n_entries, r->index->n_columns,
           tree_index_string(r->index, r->index->path));
    for (uint32_t i = 0; i < r->index->n_columns; i++)
        column_print(r->index, i);
}

static int list_run(struct reader *r) {
    struct source_blob list;
    if (reader_list(r, &list, MAX_BYTES))
        return complain(r, "list");
    uint64_t n;
    memcpy(&n, list.data, 8);
    const char *bytes = list.data;
    const struct source_tree *t = (const void *)(bytes + 8);
    for (uint64_t i = 0; i < n; i++)
        tree_print(r, bytes + t[i].path, bytes + t[i].class_name, t[i].is_newest);
    free(list.data);
    return 0;
}

static int64_t column_find(const struct tree_index *x, const char *name) {
    if (name[0] == '#' && strspn(name + 1, "0123456789") == strlen(name + 1))
        return strtoll(name + 1, NULL, 10) < x->n_columns ? strtoll(name + 1, NULL, 10) : -1;
    return tree_index_find(x, (struct str){name, (uint32_t)strlen(name)});
}

struct answer {
    void *data;
    uint64_t n_bytes;
    const char *item;
};

static int command_run(struct reader *r, struct answer *out, const char *tree, const char *column,
                       const char *start, const char *stop, const char *what) {
    if (!r->index || strcmp(tree_index_string(r->index, r->index->path), tree) != 0) {
        int status = reader_describe(r, tree, MAX_BYTES);
        if (status)
            return status;
    }
    int64_t i = column_find(r->index, column);
    if (i < 0) {
        snprintf(r->last.error, sizeof(r->last.error), "no column %s", column);
        return r->last.status = -ENOENT;
    }
    uint64_t first = strtoull(start, NULL, 10), last = strtoull(stop, NULL, 10);
    bool wants_offsets = strncmp(what, "offsets", 7) == 0;
    out->item = wants_offsets ? "<i8" : item_types[tree_index_columns(r->index)[i].item_type];
    if (wants_offsets && what[7])
        return reader_list_offsets(r, (uint32_t)i, (unsigned)(what[7] - '0'), first, last,
                                   &out->data, &out->n_bytes);
    return (wants_offsets ? reader_offsets : reader_values)(r, (uint32_t)i, first, last, &out->data,
                                                            &out->n_bytes);
}

static int commands_run(struct reader *r) {
    CLEANUP(cleanup_free) char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    while ((n = getline(&line, &capacity, stdin)) > 0) {
        char *fields[5], *rest = line;
        line[n - 1] = '\0';
        for (int i = 0; i < 5; i++)
            if (!(fields[i] = strsep(&rest, "\t")))
                return 1;
        struct answer a = {0};
        int status = command_run(r, &a, fields[0], fields[1], fields[2], fields[3], fields[4]);
        if (status) {
            printf("error %d %s\n", status, r->last.error);
        } else {
            printf("ok %s %llu\n", a.item, (unsigned long long)a.n_bytes);
            fwrite(a.data, 1, a.n_bytes, stdout);
        }
        fflush(stdout);
    }
    return 0;
}

static int scan_run(int n, char **files) {
    for (int i = 0; i < n; i++) {
        struct reader r;
        uint64_t n_failed = 0, n_read = 0;
        int status = reader_init(&r, open(files[i], O_RDONLY | O_CLOEXEC), ARENA_BYTES);
        if (status == 0)
            n_read = reader_scan(&r, MAX_BYTES, &n_failed);
        printf("%s\t%d\t%llu\t%llu\t%s\n", files[i], status, (unsigned long long)n_read,
               (unsigned long long)n_failed, r.last.error);
        reader_deinit(&r);
    }
    return 0;
}

static int file_run(struct reader *r, int argc, char **argv) {
    if (argc == 2)
        return list_run(r);
    if (argc == 3)
        return commands_run(r);
    struct answer a = {0};
    if (command_run(r, &a, argv[2], argv[3], argv[4], argv[5], argc == 7 ? "offsets" : "values"))
        return complain(r, argv[3]);
    return fwrite(a.data, 1, a.n_bytes, stdout) == a.n_bytes ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--scan") == 0)
        return scan_run(argc - 2, argv + 2);
    if (argc < 2 || argc == 4 || argc == 5 || argc > 7) {
        fprintf(stderr, "usage: readtree FILE [- | TREE COLUMN START STOP [--offsets]]\n"
                        "       readtree --scan FILE...\n");
        return 2;
    }
    struct reader r;
    int failed = 1;
    if (reader_init(&r, open(argv[1], O_RDONLY | O_CLOEXEC), ARENA_BYTES))
        complain(&r, argv[1]);
    else
        failed = file_run(&r, argc, argv);
    reader_deinit(&r);
    return failed;
}
