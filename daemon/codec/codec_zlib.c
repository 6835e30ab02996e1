/* ROOT's "ZL" blocks: one zlib stream each, header and Adler-32 included.
 *
 * libdeflate unpacks whole buffers only, which is all that a block is, and is about twice as fast
 * as zlib at that. Bytes after the stream are tolerated as ROOT tolerates them; the checksum
 * vouches for what was written.
 */
#include "method.h"

#include <libdeflate.h>
#include <stdio.h>

static void *zlib_new(void) {
    return libdeflate_alloc_decompressor();
}

static void zlib_free(void *state) {
    libdeflate_free_decompressor(state);
}

static const char *zlib_unpack(void *state, uint8_t *dst, size_t n_dst, const uint8_t *src,
                               size_t n_src) {
    size_t n_in, n_out;
    switch (libdeflate_zlib_decompress_ex(state, src, n_src, dst, n_dst, &n_in, &n_out)) {
    case LIBDEFLATE_SUCCESS:
        return n_out == n_dst ? NULL : "ends before the block is full";
    case LIBDEFLATE_INSUFFICIENT_SPACE:
        return "holds more than the block says";
    default:
        return "damaged stream";
    }
}

static void zlib_version(char *text, size_t n_text) {
    snprintf(text, n_text, "libdeflate %s", LIBDEFLATE_VERSION_STRING);
}

const struct codec_method codec_zlib = {
    .tag = "ZL",
    .number = 8,
    .has_state = true,
    .name = "zlib",
    .state_new = zlib_new,
    .state_free = zlib_free,
    .unpack = zlib_unpack,
    .version = zlib_version,
};
