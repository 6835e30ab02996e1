/* ROOT's "XZ" blocks: a complete .xz file each, its checks included.
 *
 * The stream is kept: a decoder that is set up on a used stream takes over its memory, and that
 * memory is most of what a small block costs. The dictionary a block claims is bounded, since
 * liblzma allocates it before it has seen a byte of data.
 */
#include "method.h"

#include <lzma.h>
#include <stdio.h>

#define FAST_VERSION 50060000u        /* liblzma's number for 5.6.0: a decoder without branches */
#define MAX_DECODER_BYTES (96u << 20) /* preset 9 takes 65 MiB; ROOT's blocks hold 16 MiB */

static void *xz_new(void) {
    static const lzma_stream empty = LZMA_STREAM_INIT;
    lzma_stream *stream = malloc(sizeof(*stream));
    if (stream)
        *stream = empty;
    return stream;
}

static void xz_free(void *state) {
    if (state)
        lzma_end(state);
    free(state);
}

static const char *xz_unpack(void *state, uint8_t *dst, size_t n_dst, const uint8_t *src,
                             size_t n_src) {
    lzma_stream *stream = state;
    if (lzma_stream_decoder(stream, MAX_DECODER_BYTES, 0) != LZMA_OK)
        return "out of memory";
    stream->next_in = src;
    stream->avail_in = n_src;
    stream->next_out = dst;
    stream->avail_out = n_dst;
    switch (lzma_code(stream, LZMA_FINISH)) {
    case LZMA_STREAM_END:
        return stream->avail_out == 0 ? NULL : "ends before the block is full";
    case LZMA_OK:
    case LZMA_BUF_ERROR:
        return stream->avail_out == 0 ? "holds more than the block says" : "cut off";
    case LZMA_MEM_ERROR:
        return "out of memory";
    case LZMA_MEMLIMIT_ERROR:
        return "wants a dictionary of more than 96 MiB";
    default:
        return "damaged stream";
    }
}

static void xz_version(char *text, size_t n_text) {
    bool is_slow = lzma_version_number() < FAST_VERSION;
    snprintf(text, n_text, "liblzma %s%s", lzma_version_string(),
             is_slow ? " (5.8 is 1.3x faster, same ABI)" : "");
}

const struct codec_method codec_lzma = {
    .tag = "XZ",
    .number = 0,
    .has_state = true,
    .name = "lzma",
    .state_new = xz_new,
    .state_free = xz_free,
    .unpack = xz_unpack,
    .version = xz_version,
};
