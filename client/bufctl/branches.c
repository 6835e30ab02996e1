/* Branch names and globs into keys.
 *
 * Offsets are asked for under the counter's name, so that the many branches that share a counter
 * ask once. A glob passes over branches that cannot be read; a plain name that cannot is an error.
 */
#include "branches.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

void key_list_add(struct key_list *list, const char *key) {
    if (list->n_keys == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->keys = realloc(list->keys, list->capacity * sizeof(*list->keys));
        if (!list->keys)
            abort();
    }
    char *copy = strdup(key);
    if (!copy)
        abort();
    list->keys[list->n_keys++] = copy;
}

void key_list_deinit(struct key_list *list) {
    for (size_t i = 0; i < list->n_keys; i++)
        free(list->keys[i]);
    free(list->keys);
    *list = (struct key_list){0};
}

bool branch_matches(const char *name, const char *word) {
    const char *slash = strrchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    return !strcmp(name, word) || !strcmp(last, word) || fnmatch(word, name, 0) == 0 ||
           fnmatch(word, last, 0) == 0;
}

static void key_list_add_once(struct key_list *list, const char *key) {
    for (size_t i = 0; i < list->n_keys; i++)
        if (!strcmp(list->keys[i], key))
            return;
    key_list_add(list, key);
}

/* Return: 0 or -ENAMETOOLONG. */
static int add_keys(struct key_list *list, const struct target *t, const struct bufferd_column *c,
                    uint64_t start, uint64_t stop) {
    char key[BUFFERD_KEY_BYTES];
    uint64_t id = t->source.source_id;
    const char *tree = bufferd_tree_path(t->tree);
    if (c->counter) {
        int r = bufferd_key_column(key, id, tree, start, stop, c->counter, BUFFERD_OFFSETS);
        if (r)
            return r;
        key_list_add_once(list, key);
    }
    for (unsigned i = 0; i < c->n_levels; i++) {
        int r = bufferd_key_column(key, id, tree, start, stop, c->name, BUFFERD_OFFSETS + (int)i);
        if (r)
            return r;
        key_list_add_once(list, key);
    }
    int r = bufferd_key_column(key, id, tree, start, stop, c->name, BUFFERD_DATA);
    if (r == 0)
        key_list_add_once(list, key);
    return r;
}

static int unreadable(const struct target *t, const char *word, const struct bufferd_column *c) {
    const char *tree = bufferd_tree_path(t->tree);
    if (!c)
        return report(BUFCTL_REFUSED, "%s has no branch %s; `bufctl tree '%s:%s'` lists them", tree,
                      word, t->file, tree);
    return report(BUFCTL_REFUSED, "%s: not supported: %s", c->name,
                  c->reason ? c->reason : "it only holds other branches");
}

static int word_to_keys(struct key_list *list, const struct target *t, const char *word,
                        uint64_t start, uint64_t stop) {
    size_t n_matched = 0;
    struct bufferd_column c, unread = {0};
    int64_t exact = bufferd_tree_find(t->tree, word);
    size_t first = exact < 0 ? 0 : (size_t)exact;
    size_t end = exact < 0 ? bufferd_tree_n_columns(t->tree) : first + 1;
    for (size_t i = first; i < end; i++) {
        if (bufferd_tree_column(t->tree, i, &c) || (exact < 0 && !branch_matches(c.name, word)))
            continue;
        if (c.reason || !c.has_data) {
            unread = c;
            continue;
        }
        n_matched++;
        if (add_keys(list, t, &c, start, stop))
            return report(BUFCTL_REFUSED, "%s: the name is too long", c.name);
    }
    return n_matched ? BUFCTL_DONE : unreadable(t, word, unread.name ? &unread : NULL);
}

int branches_to_keys(struct key_list *list, const struct target *t, char *const *words,
                     size_t n_words, uint64_t start, uint64_t stop) {
    int r = BUFCTL_DONE;
    for (size_t i = 0; i < n_words && r == BUFCTL_DONE; i++)
        r = word_to_keys(list, t, words[i], start, stop);
    return r;
}
