/* Lists of keys, cut into requests. */
#ifndef BUFFERD_KEYS_H
#define BUFFERD_KEYS_H

#include "../proto/message.h"

bool key_is_too_long(const char *key);

/* The keys numbered todo[0], todo[1], ... that fit into one request. batch has room for
 * WIRE_MAX_MATERIALIZE and borrows the keys. Return: how many of todo were taken; at least one. */
size_t keys_batch(struct msg_key *batch, const char *const *keys, const size_t *todo,
                  size_t n_todo);

#endif
