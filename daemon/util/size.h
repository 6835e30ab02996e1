/* Sizes as people write them: "512M", "4G", "25%". */
#ifndef BUFFERD_SIZE_H
#define BUFFERD_SIZE_H

#include "../../proto/base.h"

#define SIZE_ERROR_BYTES 128

/* A whole number and one of: nothing (bytes), K, M, G, T (powers of 1024; "MB" and "MiB" are the
 * same as "M"), % of `whole` (at most 100). `error` says what is wrong. Return: 0 or -EINVAL. */
int size_parse(const char *text, uint64_t whole, uint64_t *n_bytesp, char error[SIZE_ERROR_BYTES]);

#endif
