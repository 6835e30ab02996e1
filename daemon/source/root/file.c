/* The header of a ROOT file (io/doc/TFile/header.md) and whole objects behind keys.
 *
 * fVersion is signed: some writers leave a negative number there, and those files have the small
 * header. Sizes from the file are compared with the file before anything is allocated, and a
 * compressed object is allocated only after its blocks add up to it.
 */
#include "file.h"
#include "../fault.h"

#include <errno.h>
#include <string.h>

#define HEADER_MAX_BYTES 128
#define BIG_VERSION 1000000
#define UUID_BYTES 16

int root_read(const struct source *s, void *dst, uint64_t n, uint64_t off, char *error) {
    int r = io_read(&s->io, dst, n, off);
    unsigned long long count = n, place = off;
    switch (r) {
    case 0:
        return 0;
    case IO_E_SHORT:
        return fault(error, SOURCE_E_CORRUPT, "%llu bytes at byte %llu: the file ends at byte %llu",
                     count, place, (unsigned long long)s->io.identity.n_bytes);
    case IO_E_CHANGED:
        return fault(error, SOURCE_E_CHANGED, "the file has changed since it was opened");
    default:
        return fault(error, r, "read of %llu bytes at byte %llu: %s", count, place, strerror(-r));
    }
}

static void header_parse(struct source *s, struct cursor *c) {
    cursor_skip(c, 4); /* "root" */
    int32_t version = cursor_i4(c);
    int32_t begin = cursor_i4(c);
    s->is_big = version >= BIG_VERSION;
    unsigned seek_bytes = s->is_big ? 8 : 4;
    cursor_skip(c, 2 * seek_bytes + 8); /* fEND, fSeekFree, fNbytesFree, nfree */
    int32_t name_bytes = cursor_i4(c);
    cursor_skip(c, 5); /* fUnits, fCompress */
    s->streamers_off = s->is_big ? cursor_u8(c) : cursor_u4(c);
    cursor_skip(c, 6); /* fNbytesInfo, the UUID's version */
    const uint8_t *uuid = cursor_bytes(c, UUID_BYTES);
    if (!uuid)
        return;
    memcpy(s->uuid, uuid, UUID_BYTES);
    if (begin <= 0 || name_bytes <= 0)
        cursor_fail(c, "fBEGIN is %d, fNbytesName is %d", begin, name_bytes);
    else
        s->directory_off = (uint64_t)begin + (uint64_t)name_bytes;
}

int root_header_read(struct source *s, char *error) {
    uint8_t bytes[HEADER_MAX_BYTES];
    uint64_t n = MIN(s->io.identity.n_bytes, sizeof(bytes));
    int r = root_read(s, bytes, n, 0, error);
    if (r)
        return r;
    if (n < 4 || memcmp(bytes, "root", 4) != 0)
        return fault(error, SOURCE_E_NOT_ROOT, "no ROOT file: it does not begin with \"root\"");
    struct cursor c = {.data = bytes, .n_bytes = n, .what = "the file header", .error = error};
    header_parse(s, &c);
    return c.has_failed ? SOURCE_E_CORRUPT : 0;
}

static int object_unpack(struct codec *codec, struct memory *m, const struct root_key *k,
                         const uint8_t *stored, uint8_t **datap, char *error) {
    uint64_t n_stored = k->n_bytes - k->key_bytes;
    int r = codec_check(k->obj_bytes, stored, n_stored, error);
    if (r)
        return r == CODEC_E_UNSUPPORTED ? SOURCE_E_UNSUPPORTED : SOURCE_E_CORRUPT;
    CLEANUP(cleanup_free) void *data = NULL;
    r = memory_alloc(m, &data, k->obj_bytes);
    if (r)
        return fault(error, r, "no memory for %u bytes", k->obj_bytes);
    r = codec_unpack(codec, data, k->obj_bytes, stored, n_stored, error);
    if (r)
        return r < 0 ? r : SOURCE_E_CORRUPT;
    *datap = TAKE_PTR(data);
    return 0;
}

static int object_read(const struct source *s, struct codec *codec, struct memory *m,
                       const struct root_key *k, uint8_t **datap, char *error) {
    uint64_t n_stored = k->n_bytes - k->key_bytes, off;
    if (ADD_OVERFLOW(k->seek, (uint64_t)k->key_bytes, &off) ||
        !range_is_inside(off, n_stored, s->io.identity.n_bytes))
        return fault(error, SOURCE_E_CORRUPT, "%llu bytes lie outside of the file (%llu bytes)",
                     (unsigned long long)n_stored, (unsigned long long)s->io.identity.n_bytes);
    CLEANUP(cleanup_free) void *stored = NULL;
    int r = memory_alloc(m, &stored, n_stored);
    if (r)
        return fault(error, r, "no memory for %llu bytes", (unsigned long long)n_stored);
    r = root_read(s, stored, n_stored, off, error);
    if (r)
        return r;
    if (n_stored != k->obj_bytes)
        return object_unpack(codec, m, k, stored, datap, error);
    *datap = TAKE_PTR(stored);
    return 0;
}

int root_object_read(const struct source *s, struct codec *codec, struct memory *m,
                     const struct root_key *k, uint8_t **datap, char *error) {
    int r = object_read(s, codec, m, k, datap, error);
    if (r)
        fault_add_place(error, "the %.*s at byte %llu", (int)MIN(k->class_name.len, 64),
                        k->class_name.ptr, (unsigned long long)k->seek);
    return r;
}
