/* Why there is no room, for people. */
#ifndef BUFFERD_REFUSAL_H
#define BUFFERD_REFUSAL_H

#include "inside.h"

#define REFUSAL_BYTES 256

/* Nothing could go that would make room for n_bytes. Looks at every entry and every pin. */
void refusal_explain(struct cache *c, uint64_t n_bytes, char why[REFUSAL_BYTES]);

#endif
