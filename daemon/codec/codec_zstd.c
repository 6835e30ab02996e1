/* ROOT's "ZS" blocks: one Zstandard frame each.
 *
 * The context is kept, since its tables cost more than a small block. Unpacking into one buffer
 * needs no window memory, whatever window the frame claims.
 */
#include "method.h"

#include <stdio.h>
#include <zstd.h>

static void *zstd_new(void) {
    return ZSTD_createDCtx();
}

static void zstd_free(void *state) {
    ZSTD_freeDCtx(state);
}

static const char *zstd_unpack(void *state, uint8_t *dst, size_t n_dst, const uint8_t *src,
                               size_t n_src) {
    size_t n = ZSTD_decompressDCtx(state, dst, n_dst, src, n_src);
    if (ZSTD_isError(n))
        return ZSTD_getErrorName(n);
    return n == n_dst ? NULL : "ends before the block is full";
}

static void zstd_version(char *text, size_t n_text) {
    snprintf(text, n_text, "zstd %s", ZSTD_versionString());
}

const struct codec_method codec_zstd = {
    .tag = "ZS",
    .number = 1,
    .has_state = true,
    .name = "zstd",
    .state_new = zstd_new,
    .state_free = zstd_free,
    .unpack = zstd_unpack,
    .version = zstd_version,
};
