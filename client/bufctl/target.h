/* What a person names: FILE[:TREE[/BRANCH]], entry ranges, branch patterns. */
#ifndef BUFCTL_TARGET_H
#define BUFCTL_TARGET_H

#include "command.h"

/* A file shown to the daemon, and a tree of it. */
struct target {
    char *file; /* owned */
    char *rest; /* owned: what stands behind the colon, NULL when nothing does */
    struct bufferd_source source;
    struct bufferd_tree_name *trees; /* owned */
    size_t n_trees;
    struct bufferd_tree *tree; /* owned; NULL until target_describe() */
    const char *branch;        /* borrowed from rest: behind the tree's path; NULL: none */
};

/* True when `word` starts with the name of a file: all of it, or what is left of a colon. */
bool target_is_file(const char *word);

/* Split the word, open the file and list its trees. All of these have told the person already when
 * they do not return BUFCTL_DONE; target_deinit() is right after every outcome. */
int target_open(struct target *t, struct bufferd *b, const char *word);
/* Describe the tree that the word names; with no name, the only one that the file has. */
int target_describe(struct target *t, struct bufferd *b);
/* The tree list's entry that `rest` begins with; NULL when there is none. *behindp: what follows.
 */
const struct bufferd_tree_name *target_find_tree(const struct target *t, const char **behindp);
void target_deinit(struct target *t);

/* A whole command on one target: open a session (start a daemon if none runs), show, close. */
int target_run(const struct args *args,
               int (*show)(struct target *t, struct bufferd *b, const struct args *args));

/* "A:B", "A:", ":B" or NULL into a range inside of n_entries. */
int entries_parse(uint64_t *startp, uint64_t *stopp, const char *text, uint64_t n_entries);

#endif
