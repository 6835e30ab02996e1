/* ROOT's "L4" blocks: a big-endian XXH64 of the rest, then one raw LZ4 block.
 *
 * A raw block carries neither length nor checksum of its own, so the hash is checked first: LZ4
 * would unpack many damaged blocks without a complaint.
 */
#include "method.h"

#include <lz4.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define HASH_BYTES 8

static const char *lz4_unpack(void *state, uint8_t *dst, size_t n_dst, const uint8_t *src,
                              size_t n_src) {
    if (n_src < HASH_BYTES)
        return "too short for its checksum";
    XXH64_canonical_t stored;
    memcpy(&stored, src, HASH_BYTES);
    if (XXH64(src + HASH_BYTES, n_src - HASH_BYTES, 0) != XXH64_hashFromCanonical(&stored))
        return "wrong checksum";
    /* A block's sizes have 24 bits each. */
    int n = LZ4_decompress_safe((const char *)src + HASH_BYTES, (char *)dst,
                                (int)(n_src - HASH_BYTES), (int)n_dst);
    return n >= 0 && (size_t)n == n_dst ? NULL : "damaged block";
}

static void lz4_version(char *text, size_t n_text) {
    snprintf(text, n_text, "lz4 %s", LZ4_versionString());
}

const struct codec_method codec_lz4 = {
    .tag = "L4",
    .number = 1,
    .name = "lz4",
    .unpack = lz4_unpack,
    .version = lz4_version,
};
