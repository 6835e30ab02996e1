/* Trees and branches of other versions than tree.c and branch.c know. */
#ifndef BUFFERD_EVOLVED_H
#define BUFFERD_EVOLVED_H

#include "model.h"

/* The cursor stands behind the object's version. False: the file does not say what follows, or lacks
 * what has to be known; the caller goes to the object's end. */
bool evolved_tree_read(struct model *m, uint16_t version);
bool evolved_branch_read(struct model *m, uint32_t number, uint16_t version);
bool evolved_element_read(struct model *m, uint32_t number, uint16_t version);

#endif
