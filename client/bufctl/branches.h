/* Branches by name or pattern into the keys of their buffers. */
#ifndef BUFCTL_BRANCHES_H
#define BUFCTL_BRANCHES_H

#include "target.h"

struct key_list {
    char **keys; /* owned */
    size_t n_keys, capacity;
};
/* Copy the key to the end; memory that is not there aborts. */
void key_list_add(struct key_list *list, const char *key);
void key_list_deinit(struct key_list *list);

/* True when the branch is `word`, when its last component is, or when one of them matches the glob.
 */
bool branch_matches(const char *name, const char *word);

/* Keys of the readable branches that the words match: data and, for jagged ones, offsets. A name
 * that matches nothing, or names what cannot be read, is reported. */
int branches_to_keys(struct key_list *list, const struct target *t, char *const *words,
                     size_t n_words, uint64_t start, uint64_t stop);

#endif
