/* One compression algorithm of ROOT's blocks; codec_<name>.c each. For codec.c alone. */
#ifndef BUFFERD_CODEC_METHOD_H
#define BUFFERD_CODEC_METHOD_H

#include "../../proto/base.h"

struct codec_method {
    char tag[2];    /* the first two bytes of a block */
    uint8_t number; /* and its third */
    bool has_state;
    const char *name;
    /* The state of one thread; NULL when out of memory. Without has_state both are NULL. */
    void *(*state_new)(void);
    void (*state_free)(void *state);
    /* Fill exactly n_dst bytes. Return: NULL, or a static text that says what is wrong. */
    const char *(*unpack)(void *state, uint8_t *dst, size_t n_dst, const uint8_t *src,
                          size_t n_src);
    void (*version)(char *text, size_t n_text);
};

extern const struct codec_method codec_zlib, codec_lzma, codec_lz4, codec_zstd;

#endif
