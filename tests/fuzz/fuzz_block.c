/* A chain of compression blocks: the first three bytes are the object's length, the rest the chain.
 */
#include "../../daemon/codec/codec.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char error[CODEC_ERROR_BYTES] = "";
    struct codec *codec;
    if (n < 3 || codec_new(&codec) != 0)
        return 0;
    size_t n_dst = data[0] | (size_t)data[1] << 8 | (size_t)(data[2] & 0x3f) << 16;
    uint8_t *dst = malloc(n_dst + 1);
    int r = codec_unpack(codec, dst, n_dst, data + 3, n - 3, error);
    assert(r == 0 || error[0]);
    assert(strnlen(error, sizeof(error)) < sizeof(error));
    free(dst);
    codec_free(codec);
    return 0;
}
