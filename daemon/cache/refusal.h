/* Why there is no room, for people. */
#ifndef BUFFERD_REFUSAL_H
#define BUFFERD_REFUSAL_H

#include "inside.h"

/* No victim was found: what is in the way? Looks at every entry and every pin; the cache keeps the answer. */
void refusal_note(struct cache *c);
/* Why there is no room for n_bytes, by the last note. */
void refusal_explain(const struct cache *c, uint64_t n_bytes, char why[REFUSAL_BYTES]);

#endif
