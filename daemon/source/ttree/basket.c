/* Baskets on disk: their keys, their stored bytes, their payloads.
 *
 * A basket's key area is longer than a plain key's: the numbers of the basket follow. They end
 * exactly at fKeylen, so they are read from the tail, which is right with and without the extra
 * byte of iobits in front of them (TBasket::Streamer). The payload is the values up to fLast -
 * fKeylen, then perhaps a table of entry offsets.
 *
 * What the tree said about the basket (its size, its entries) has to be what its key says: a basket
 * of another length would shift every value behind it.
 */
#include "../fault.h"
#include "../root/key.h"
#include "ttree.h"

#include <errno.h>
#include <string.h>

#define KEY_TAIL_BYTES 9     /* i4 fNevBuf, i4 fLast, u1 flag */
#define KEY_READ_BYTES 512   /* more than any key of a plain branch */
#define MERGE_GAP_BYTES 4096 /* keys no farther apart are read at once */
#define MERGE_MAX_BYTES (64 * 1024)
#define BLOCK_MIN_BYTES 10 /* a compression block: its header and a byte */
#define BLOCK_MAX_RAW_BYTES 0xffffffu

/* Complete the basket from the first n bytes of its key; n reaches beyond fKeylen. */
static void key_apply(struct cursor *c, struct tree_basket *b) {
    struct root_key k;
    root_key_read(c, &k);
    if (c->has_failed)
        return;
    if (k.n_bytes != b->stored_bytes || k.key_bytes < c->pos + KEY_TAIL_BYTES) {
        cursor_fail(c, "its key says %u bytes, %u of them the key; the tree says %u bytes",
                    k.n_bytes, k.key_bytes, b->stored_bytes);
        return;
    }
    cursor_seek(c, k.key_bytes - KEY_TAIL_BYTES);
    uint32_t n_entries = cursor_u4(c), last = cursor_u4(c);
    uint32_t border = last - k.key_bytes;
    if (c->has_failed)
        return;
    if (n_entries != b->n_entries)
        cursor_fail(c, "its key says %d entries, the tree says %u", (int32_t)n_entries,
                    b->n_entries);
    else if (last < k.key_bytes || border > k.obj_bytes)
        cursor_fail(c, "its values end at byte %d of %u", (int32_t)border, k.obj_bytes);
    else if (k.obj_bytes > SOURCE_MAX_BASKET_BYTES)
        cursor_fail(c, "it claims %u uncompressed bytes, the limit is %u", k.obj_bytes,
                    SOURCE_MAX_BASKET_BYTES);
    else if (k.obj_bytes - border > 2 * (8 + 4 * (uint64_t)n_entries + 4))
        cursor_fail(c, "it claims %u bytes of offsets for %u entries", k.obj_bytes - border,
                    n_entries);
    if (c->has_failed)
        return;
    b->raw_bytes = k.obj_bytes;
    b->border_bytes = border;
    b->key_bytes = k.key_bytes;
    b->flags |= BASKET_PLANNED;
    if (border < k.obj_bytes)
        b->flags |= BASKET_HAS_OFFSETS;
}

/* A compressed payload is blocks of at most 16 MiB each, none shorter than its header. */
static void sizes_check(struct cursor *c, const struct tree_basket *b) {
    uint64_t stored = b->stored_bytes - b->key_bytes;
    uint64_t most = stored / BLOCK_MIN_BYTES * BLOCK_MAX_RAW_BYTES;
    if (!c->has_failed && stored != b->raw_bytes && b->raw_bytes > most)
        cursor_fail(c, "it claims %u uncompressed bytes from %llu stored ones", b->raw_bytes,
                    (unsigned long long)stored);
}

/* `bytes`: n of them, from the basket's start. Return: 0 or SOURCE_E_CORRUPT. */
static int key_read(struct tree_basket *b, const uint8_t *bytes, uint64_t n, char *error) {
    struct tree_basket completed = *b;
    struct cursor c = {.data = bytes,
                       .n_bytes = MIN(n, b->stored_bytes),
                       .what = "the basket",
                       .error = error,
                       .origin = b->file_off};
    key_apply(&c, &completed);
    sizes_check(&c, &completed);
    if (c.has_failed)
        return SOURCE_E_CORRUPT;
    *b = completed;
    return 0;
}

static bool key_is_longer(const uint8_t *bytes, uint64_t n, uint16_t *lengthp) {
    if (n < 16)
        return false;
    *lengthp = (uint16_t)(bytes[14] << 8 | bytes[15]); /* fKeylen */
    return *lengthp > n;
}

/* A key longer than what is read at once. */
static int long_key_read(const struct source *s, struct tree_basket *b, uint16_t n, char *error) {
    uint8_t bytes[UINT16_MAX];
    int r = root_read(s, bytes, MIN(n, b->stored_bytes), b->file_off, error);
    return r ? r : key_read(b, bytes, n, error);
}

static int group_plan(const struct source *s, struct tree_basket *b, uint64_t n,
                      const uint8_t *bytes, char *error) {
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *key = bytes + (b[i].file_off - b[0].file_off);
        uint64_t n_key = MIN(KEY_READ_BYTES, b[i].stored_bytes);
        uint16_t length = 0;
        int r = key_is_longer(key, n_key, &length) ? long_key_read(s, &b[i], length, error)
                                                   : key_read(&b[i], key, n_key, error);
        if (r)
            return r;
    }
    return 0;
}

/* How many baskets from b on have keys that lie close enough together for one read. */
static uint64_t group_size(const struct tree_basket *b, uint64_t n, uint64_t *n_bytesp) {
    uint64_t i = 1, end = MIN(KEY_READ_BYTES, b[0].stored_bytes);
    for (; i < n; i++) {
        uint64_t off = b[i].file_off - b[0].file_off;
        uint64_t next = off + MIN(KEY_READ_BYTES, b[i].stored_bytes);
        if (b[i].is_embedded || b[i].file_off < b[i - 1].file_off ||
            b[i].file_off - b[i - 1].file_off > MERGE_GAP_BYTES || next > MERGE_MAX_BYTES)
            break;
        end = MAX(end, next);
    }
    *n_bytesp = end;
    return i;
}

int ttree_plan(const struct source *s, struct tree_basket *baskets, uint64_t n, char *error) {
    CLEANUP(cleanup_free) uint8_t *bytes = malloc(MERGE_MAX_BYTES);
    if (!bytes)
        return fault(error, -ENOMEM, "no memory for basket keys");
    for (uint64_t i = 0; i < n;) {
        uint64_t n_bytes, n_group = 1;
        int r = 0;
        if (!baskets[i].is_embedded) {
            n_group = group_size(&baskets[i], n - i, &n_bytes);
            r = root_read(s, bytes, n_bytes, baskets[i].file_off, error);
            if (r == 0)
                r = group_plan(s, &baskets[i], n_group, bytes, error);
        }
        if (r)
            return r;
        i += n_group;
    }
    return 0;
}

static int planned_check(const struct tree_basket *said, const struct tree_basket *now,
                         char *error) {
    if (!(said->flags & BASKET_PLANNED) ||
        (said->raw_bytes == now->raw_bytes && said->border_bytes == now->border_bytes &&
         said->key_bytes == now->key_bytes))
        return 0;
    return fault(error, SOURCE_E_CHANGED, "the basket at byte %llu is not what it was",
                 (unsigned long long)now->file_off);
}

int ttree_read_ahead(const struct source *s, struct source_bounce *packed, uint64_t off, uint64_t n,
                     char *error) {
    packed->n_held = 0;
    int r = source_bounce_reserve(packed, n);
    if (r)
        return fault(error, r, "no memory for %llu stored bytes", (unsigned long long)n);
    r = root_read(s, packed->data, n, off, error);
    if (r)
        return r;
    packed->off = off;
    packed->n_held = n;
    return 0;
}

int ttree_find_basket(const struct source_bounce *packed, struct tree_basket *basket, char *error) {
    struct tree_basket completed = *basket;
    int r = key_read(&completed, packed->data + (basket->file_off - packed->off),
                     basket->stored_bytes, error);
    if (r == 0)
        r = planned_check(basket, &completed, error);
    if (r == 0)
        *basket = completed;
    return r;
}

int ttree_fetch_basket(const struct source *s, struct source_bounce *packed,
                       struct tree_basket *basket, uint64_t *n_readp, char *error) {
    if (!range_is_inside(basket->file_off, basket->stored_bytes, s->io.identity.n_bytes) ||
        basket->stored_bytes > SOURCE_MAX_BASKET_BYTES)
        return fault(error, SOURCE_E_CORRUPT,
                     "the basket at byte %llu, %u bytes, is outside of the file or too large",
                     (unsigned long long)basket->file_off, basket->stored_bytes);
    int r = ttree_read_ahead(s, packed, basket->file_off, basket->stored_bytes, error);
    if (r == 0)
        r = ttree_find_basket(packed, basket, error);
    if (r)
        return r;
    *n_readp = basket->stored_bytes;
    return 0;
}

int ttree_unpack_basket(struct codec *codec, const struct source_bounce *packed,
                        const struct tree_basket *basket, uint8_t *dst, char *error) {
    const uint8_t *src = packed->data + (basket->file_off - packed->off) + basket->key_bytes;
    size_t n_src = basket->stored_bytes - basket->key_bytes;
    if (n_src == basket->raw_bytes) {
        if (n_src > 0)
            memcpy(dst, src, n_src);
        return 0;
    }
    int r = codec_unpack(codec, dst, basket->raw_bytes, src, n_src, error);
    if (r == 0)
        return 0;
    fault_add_place(error, "the basket at byte %llu, after its key",
                    (unsigned long long)basket->file_off);
    if (r < 0)
        return r;
    return r == CODEC_E_UNSUPPORTED ? SOURCE_E_UNSUPPORTED : SOURCE_E_CORRUPT;
}
