/* FILE[:TREE[/BRANCH]] into a source, a described tree and a branch name.
 *
 * A file name may hold colons, and a tree's path and a branch's may both hold slashes, so nothing
 * is split blindly: the file is the longest prefix in front of a colon that exists, the tree is the
 * longest of the file's own trees that the rest begins with. Which names there are is said whenever
 * none fits.
 */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many bytes of `word` name a file; 0: none. */
static size_t file_length(const char *word) {
    size_t n = strlen(word);
    for (;;) {
        struct stat st;
        char *name = strndup(word, n);
        bool is_there = name && n > 0 && stat(name, &st) == 0 && !S_ISDIR(st.st_mode);
        free(name);
        if (is_there)
            return n;
        do {
            if (n == 0)
                return 0;
            n--;
        } while (word[n] != ':');
    }
}

bool target_is_file(const char *word) {
    return file_length(word) > 0;
}

static int target_split(struct target *t, const char *word) {
    size_t n = file_length(word);
    if (n == 0) {
        size_t colon = strcspn(word, ":");
        return report(BUFCTL_REFUSED, "%.*s: no such file", (int)colon, word);
    }
    t->file = strndup(word, n);
    t->rest = word[n] == ':' && word[n + 1] ? strdup(word + n + 1) : NULL;
    return BUFCTL_DONE;
}

int target_open(struct target *t, struct bufferd *b, const char *word) {
    struct bufferd_error error = {0};
    *t = (struct target){0};
    int r = target_split(t, word);
    if (r)
        return r;
    int fd = open(t->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return report(BUFCTL_REFUSED, "%s: %s", t->file, strerror(errno));
    char *label = realpath(t->file, NULL);
    r = bufferd_open(b, &t->source, fd, label ? label : t->file, -1, &error);
    free(label);
    close(fd);
    if (r == 0)
        r = bufferd_trees(b, &t->trees, &t->n_trees, t->source.source_id, -1, &error);
    if (r == 0)
        return BUFCTL_DONE;
    error.code = r;
    return report_error(t->file, &error);
}

/* Length of the tree's path in front of `rest`, with or without the cycle; 0 when it is not there.
 */
static size_t tree_prefix(const char *rest, const struct bufferd_tree_name *name) {
    size_t full = strlen(name->path), bare = full;
    const char *cycle = strrchr(name->path, ';');
    if (cycle)
        bare = (size_t)(cycle - name->path);
    if (!strncmp(rest, name->path, full) && (rest[full] == '/' || !rest[full]))
        return full;
    if (name->is_newest && !strncmp(rest, name->path, bare) && (rest[bare] == '/' || !rest[bare]))
        return bare;
    return 0;
}

const struct bufferd_tree_name *target_find_tree(const struct target *t, const char **behindp) {
    const struct bufferd_tree_name *best = NULL;
    size_t n_best = 0;
    const char *rest = t->rest;
    if (!rest)
        return NULL;
    rest += strspn(rest, "/");
    for (size_t i = 0; i < t->n_trees; i++) {
        size_t n = tree_prefix(rest, &t->trees[i]);
        if (n > n_best) {
            n_best = n;
            best = &t->trees[i];
        }
    }
    if (best)
        *behindp = rest[n_best] == '/' && rest[n_best + 1] ? rest + n_best + 1 : NULL;
    return best;
}

/* The file's only tree in its newest cycle, or NULL. */
static const struct bufferd_tree_name *only_tree(const struct target *t) {
    const struct bufferd_tree_name *only = NULL;
    for (size_t i = 0; i < t->n_trees; i++) {
        if (!t->trees[i].is_newest)
            continue;
        if (only)
            return NULL;
        only = &t->trees[i];
    }
    return only;
}

static int no_tree(const struct target *t) {
    if (t->n_trees == 0)
        return report(BUFCTL_REFUSED, "%s: the file holds no tree", t->file);
    if (t->rest)
        report(0, "%s: no tree %s; there are:", t->file, t->rest);
    else
        report(0, "%s: several trees; name one as FILE:TREE. There are:", t->file);
    for (size_t i = 0; i < t->n_trees && i < 20; i++)
        fprintf(stderr, "        %s\n", t->trees[i].path);
    if (t->n_trees > 20)
        fprintf(stderr, "        and %zu more (`bufctl tree %s`)\n", t->n_trees - 20, t->file);
    return BUFCTL_REFUSED;
}

int target_describe(struct target *t, struct bufferd *b) {
    struct bufferd_error error = {0};
    const struct bufferd_tree_name *name = t->rest ? target_find_tree(t, &t->branch) : only_tree(t);
    if (!name)
        return no_tree(t);
    int r = bufferd_describe(b, &t->tree, t->source.source_id, name->path, -1, &error);
    if (r == 0)
        return BUFCTL_DONE;
    error.code = r;
    return report_error(t->file, &error);
}

void target_deinit(struct target *t) {
    bufferd_tree_free(t->tree);
    bufferd_tree_names_free(t->trees, t->n_trees);
    free(t->file);
    free(t->rest);
    *t = (struct target){0};
}

/* A decimal number up to `end`; false when it is none. Nothing at all leaves *np. */
static bool number_parse(uint64_t *np, const char *text, const char *end) {
    if (text == end)
        return true;
    char *stop;
    errno = 0;
    unsigned long long n = strtoull(text, &stop, 10);
    if (errno || stop != end || *text < '0' || *text > '9')
        return false;
    *np = n;
    return true;
}

int entries_parse(uint64_t *startp, uint64_t *stopp, const char *text, uint64_t n_entries) {
    uint64_t start = 0, stop = n_entries;
    if (text) {
        const char *colon = strchr(text, ':');
        if (!colon || !number_parse(&start, text, colon) ||
            !number_parse(&stop, colon + 1, text + strlen(text)))
            return report(BUFCTL_USAGE, "--entries %s: give a range, as 0:1000, 500: or :20", text);
    }
    if (start > stop || stop > n_entries)
        return report(BUFCTL_REFUSED,
                      "entries %" PRIu64 ":%" PRIu64 " are not inside of the tree's %" PRIu64,
                      start, stop, n_entries);
    *startp = start;
    *stopp = stop;
    return BUFCTL_DONE;
}

int target_run(const struct args *args,
               int (*show)(struct target *t, struct bufferd *b, const struct args *args)) {
    struct bufferd *b = NULL;
    struct target t = {0};
    int r = session_open(&b, args, true);
    if (r)
        return r;
    r = show(&t, b, args);
    target_deinit(&t);
    bufferd_unref(b);
    return r;
}
