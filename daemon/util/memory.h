/* How much memory this process may use and how much is left, cgroups (v1, v2) included.
 *
 * `root` is put before every path that is read (/proc, /sys); NULL or "" is the machine itself.
 * Safe on any thread.
 */
#ifndef BUFFERD_MEMORY_H
#define BUFFERD_MEMORY_H

#include "../../proto/base.h"

/* The least limit of all ancestor cgroups and of the machine's memory. Return: 0 or negative
 * errno. */
int memory_limit(const char *root, uint64_t *n_bytesp);

/* What could still be allocated: the least over all ancestor cgroups of (limit - usage + inactive
 * file pages), and MemAvailable. Return: 0 or negative errno. */
int memory_headroom(const char *root, uint64_t *n_bytesp);

#endif
