/* Finds the trees of a file: directories, subdirectories, cycles. */
#ifndef BUFFERD_DIRECTORY_H
#define BUFFERD_DIRECTORY_H

#include "file.h"

/* A tree's key, its cleaned path without the cycle. Return: 0 to go on, else what the walk returns.
 */
typedef int directory_tree_fn(void *ctx, const struct root_key *k, const char *path, char *error);

/* Call on_tree for each TTree and RNTuple, in file order. With `only`, a cleaned path without
 * cycle: those of that path alone. Trees whose path does not fit WIRE_MAX_NAME_BYTES, cycle
 * included, are left out: nobody could ask for them.
 * Return: 0, what on_tree returned, SOURCE_E_*, or negative errno. */
int directory_walk(const struct source *s, struct memory *m, const char *only,
                   directory_tree_fn *on_tree, void *ctx, char *error);

bool directory_class_is_ttree(struct str class_name);
bool directory_class_is_rntuple(struct str class_name);

#endif
