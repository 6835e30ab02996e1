/* Shared files that the daemon hands out: asked for, checked, mapped. */
#ifndef BUFFERD_MAPS_H
#define BUFFERD_MAPS_H

#include <sys/stat.h>

#include "session.h"

/* Ask for map `what` (enum wire_map) of n_bytes, as announced, and map it. *st (may be NULL) is the
 * file's. Return: 0, BUFFERD_E_*, or negative errno. */
int map_fetch(struct mapping *mp, struct stat *st, struct line *l, const struct socket_trust *trust,
              unsigned what, uint64_t n_bytes, int64_t deadline, struct bufferd_error *error);
void map_drop(struct mapping *m);

#endif
