/* A ROOT file's header, and reads of its bytes and objects. */
#ifndef BUFFERD_ROOT_FILE_H
#define BUFFERD_ROOT_FILE_H

#include "../memory.h"
#include "../source.h"
#include "key.h"

/* Fill uuid, directory_off, streamers_off and is_big from the header.
 * Return: 0, SOURCE_E_*, or negative errno. */
int root_header_read(struct source *s, char *error);

/* io_read() with the module's outcomes and a text. Return: 0, SOURCE_E_*, or negative errno. */
int root_read(const struct source *s, void *dst, uint64_t n, uint64_t off, char *error);

/* The uncompressed data of a key that lies at k->seek; owned by the caller.
 * Return: 0, SOURCE_E_*, or negative errno. */
int root_object_read(const struct source *s, struct codec *codec, struct memory *m,
                     const struct root_key *k, uint8_t **datap, char *error);

#endif
