/* The verbs: what is made from a whole column instead of read from a file.
 *
 * Counts to offsets: n counts become n + 1 int64, the running sum from 0. A negative count, or a
 * sum beyond int64, can only come from a damaged file, and whoever indexed with it would read
 * elsewhere.
 */
#include "assemble.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int refuse(char *error, uint64_t i, const char *what) {
    snprintf(error, SOURCE_ERROR_BYTES, "the count of entry %" PRIu64 " %s", i, what);
    return JOB_E_CORRUPT;
}

/* Buffers start on pages, so items are aligned. */
#define COUNTS_LOOP(name, type)                                                                    \
    static int name(int64_t *out, const void *in, uint64_t n, char *error) {                       \
        const type *counts = in;                                                                   \
        int64_t sum = 0;                                                                           \
        out[0] = 0;                                                                                \
        for (uint64_t i = 0; i < n; i++) {                                                         \
            if ((int64_t)counts[i] < 0)                                                            \
                return refuse(error, i, "is negative or too large");                               \
            if (ADD_OVERFLOW(sum, (int64_t)counts[i], &sum))                                       \
                return refuse(error, i, "makes the sum too large");                                \
            out[i + 1] = sum;                                                                      \
        }                                                                                          \
        return 0;                                                                                  \
    }

COUNTS_LOOP(offsets_i1, int8_t)
COUNTS_LOOP(offsets_u1, uint8_t)
COUNTS_LOOP(offsets_i2, int16_t)
COUNTS_LOOP(offsets_u2, uint16_t)
COUNTS_LOOP(offsets_i4, int32_t)
COUNTS_LOOP(offsets_u4, uint32_t)
COUNTS_LOOP(offsets_i8, int64_t)
COUNTS_LOOP(offsets_u8, uint64_t)

static const struct {
    int (*run)(int64_t *out, const void *in, uint64_t n, char *error);
    unsigned item_bytes;
} to_offsets[N_ITEM_TYPES] = {
    [ITEM_I1] = {offsets_i1, 1}, [ITEM_U1] = {offsets_u1, 1}, [ITEM_I2] = {offsets_i2, 2},
    [ITEM_U2] = {offsets_u2, 2}, [ITEM_I4] = {offsets_i4, 4}, [ITEM_U4] = {offsets_u4, 4},
    [ITEM_I8] = {offsets_i8, 8}, [ITEM_U8] = {offsets_u8, 8},
};

int transform_run(uint8_t verb, uint8_t item_type, uint8_t *out, uint64_t n_out_bytes,
                  const uint8_t *in, uint64_t n_in_bytes, char *error) {
    if (verb == JOB_VERB_SAME && n_in_bytes == n_out_bytes) {
        memcpy(out, in, n_in_bytes);
        return 0;
    }
    if (verb != JOB_VERB_COUNTS_TO_OFFSETS || item_type >= N_ITEM_TYPES ||
        !to_offsets[item_type].run) {
        snprintf(error, SOURCE_ERROR_BYTES, "verb %u is not for items of type %u", verb, item_type);
        return JOB_E_UNSUPPORTED;
    }
    uint64_t n = n_in_bytes / to_offsets[item_type].item_bytes;
    if (n_in_bytes % to_offsets[item_type].item_bytes || n_out_bytes % 8 ||
        n_out_bytes / 8 != n + 1) {
        snprintf(error, SOURCE_ERROR_BYTES,
                 "%" PRIu64 " bytes of counts do not make %" PRIu64 " bytes of offsets", n_in_bytes,
                 n_out_bytes);
        return JOB_E_CORRUPT;
    }
    return to_offsets[item_type].run((int64_t *)(void *)out, in, n, error);
}
