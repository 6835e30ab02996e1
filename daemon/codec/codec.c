/* The chain of compression blocks that ROOT writes for one object.
 *
 * A block is a 9-byte header (two tag letters, a method byte, then the compressed and the
 * uncompressed size in 24 bits, little-endian) and its payload; an object above 16 MiB is several
 * of them, and each names its own algorithm (core/zip/src/RZip.cxx in ROOT).
 *
 * Invariants: the whole chain is walked before the first byte is unpacked, so that sizes which do
 * not add up cost nothing; every algorithm then has to fill exactly what its header claims, inside
 * the caller's destination. What is in `dst` after an error is undefined.
 *
 * A codec holds one state per algorithm, made on first use and kept: it belongs to one thread.
 */
#include "codec.h"
#include "method.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HEADER_BYTES 9

static const struct codec_method *const methods[] = {&codec_zlib, &codec_lzma, &codec_lz4,
                                                     &codec_zstd};

struct codec {
    void *states[ARRAY_LEN(methods)]; /* owned; NULL before the first use */
};

struct block {
    unsigned method; /* index into methods */
    size_t n_packed, n_unpacked;
};

static __attribute__((format(printf, 3, 4))) int fail(char *error, int code, const char *format,
                                                      ...) {
    if (error) {
        va_list args;
        va_start(args, format);
        vsnprintf(error, CODEC_ERROR_BYTES, format, args);
        va_end(args);
    }
    return code;
}

int codec_new(struct codec **cp) {
    struct codec *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    *cp = c;
    return 0;
}

struct codec *codec_free(struct codec *c) {
    if (!c)
        return NULL;
    for (unsigned i = 0; i < ARRAY_LEN(methods); i++)
        if (c->states[i])
            methods[i]->state_free(c->states[i]);
    free(c);
    return NULL;
}

static size_t size24(const uint8_t *p) {
    return p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16;
}

static int method_find(unsigned *ip, const uint8_t *header, size_t pos, char *error) {
    for (unsigned i = 0; i < ARRAY_LEN(methods); i++) {
        if (memcmp(header, methods[i]->tag, 2) == 0 && header[2] == methods[i]->number) {
            *ip = i;
            return 0;
        }
    }
    if (memcmp(header, "CS", 2) == 0)
        return fail(error, CODEC_E_UNSUPPORTED,
                    "compression block at byte %zu: the old \"CS\" deflate is not read", pos);
    return fail(error, CODEC_E_CORRUPT, "no compression block at byte %zu: %02x %02x %02x", pos,
                header[0], header[1], header[2]);
}

/* The header at `pos`; the payload lies inside the source. */
static int block_parse(struct block *bp, const uint8_t *src, size_t n_src, size_t pos,
                       char *error) {
    struct block b;
    if (n_src - pos < HEADER_BYTES)
        return fail(error, CODEC_E_CORRUPT, "compression block cut off at byte %zu of %zu", pos,
                    n_src);
    int r = method_find(&b.method, src + pos, pos, error);
    if (r)
        return r;
    b.n_packed = size24(src + pos + 3);
    b.n_unpacked = size24(src + pos + 6);
    if (b.n_packed > n_src - pos - HEADER_BYTES)
        return fail(error, CODEC_E_CORRUPT,
                    "compression block at byte %zu claims %zu bytes, %zu are left", pos, b.n_packed,
                    n_src - pos - HEADER_BYTES);
    if (b.n_unpacked == 0)
        return fail(error, CODEC_E_CORRUPT, "compression block at byte %zu claims to be empty",
                    pos);
    *bp = b;
    return 0;
}

int codec_check(size_t n_dst, const uint8_t *src, size_t n_src, char *error) {
    size_t n_out = 0, pos = 0;
    while (n_out < n_dst) {
        struct block b;
        int r = block_parse(&b, src, n_src, pos, error);
        if (r)
            return r;
        pos += HEADER_BYTES + b.n_packed;
        if (b.n_unpacked > n_dst - n_out)
            return fail(error, CODEC_E_CORRUPT,
                        "compression blocks hold more than the object's %zu bytes", n_dst);
        n_out += b.n_unpacked;
    }
    if (pos != n_src)
        return fail(error, CODEC_E_CORRUPT,
                    "compression blocks end at byte %zu, the object's data at %zu", pos, n_src);
    return 0;
}

static int block_unpack(struct codec *c, const struct block *b, uint8_t *dst, const uint8_t *src,
                        size_t pos, char *error) {
    const struct codec_method *m = methods[b->method];
    if (m->has_state && !c->states[b->method]) {
        c->states[b->method] = m->state_new();
        if (!c->states[b->method])
            return fail(error, -ENOMEM, "%s: out of memory", m->name);
    }
    const char *wrong =
        m->unpack(c->states[b->method], dst, b->n_unpacked, src + pos + HEADER_BYTES, b->n_packed);
    if (wrong)
        return fail(error, CODEC_E_CORRUPT, "%s block at byte %zu: %s", m->name, pos, wrong);
    return 0;
}

int codec_unpack(struct codec *c, uint8_t *dst, size_t n_dst, const uint8_t *src, size_t n_src,
                 char *error) {
    int r = codec_check(n_dst, src, n_src, error);
    if (r)
        return r;
    for (size_t n_out = 0, pos = 0; n_out < n_dst;) {
        struct block b;
        r = block_parse(&b, src, n_src, pos, error);
        if (r == 0)
            r = block_unpack(c, &b, dst + n_out, src, pos, error);
        if (r)
            return r;
        pos += HEADER_BYTES + b.n_packed;
        n_out += b.n_unpacked;
    }
    return 0;
}

const char *codec_version(unsigned i, char *text, size_t n_text) {
    if (i >= ARRAY_LEN(methods))
        return NULL;
    methods[i]->version(text, n_text);
    return text;
}
