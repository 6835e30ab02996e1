/* ROOT's compression blocks: a chain of 9-byte headers and payloads, each with its own algorithm.
 */
#ifndef BUFFERD_CODEC_H
#define BUFFERD_CODEC_H

#include "../../proto/base.h"

enum {
    CODEC_E_CORRUPT = 1,     /* bad header, checksum, or sizes that do not add up */
    CODEC_E_UNSUPPORTED = 2, /* an algorithm that nobody writes today */
};

#define CODEC_ERROR_BYTES 256

/* The decompressors' state, kept and reused; one per worker thread. */
struct codec;

int codec_new(struct codec **cp);
struct codec *codec_free(struct codec *c);

/* Walk a chain's headers without unpacking: do the blocks fill n_dst bytes, and exactly the source?
 * For callers that allocate n_dst only then. Return: 0 or CODEC_E_*. */
int codec_check(size_t n_dst, const uint8_t *src, size_t n_src, char *error);

/* Uncompress a whole chain into exactly n_dst bytes, checked first; stored == raw size is the
 * caller's case (memcpy). `error` (CODEC_ERROR_BYTES, may be NULL) says what and at which byte of
 * the source. Return: 0, CODEC_E_*, or negative errno. */
int codec_unpack(struct codec *c, uint8_t *dst, size_t n_dst, const uint8_t *src, size_t n_src,
                 char *error);

/* "zstd 1.5.4", one line per library, for `status`; i from 0, NULL at the end. */
const char *codec_version(unsigned i, char *text, size_t n_text);

#endif
