/* TKey (io/doc/TFile/datarecord.md). Baskets add a tail of their own to the key area, which is why
 * what follows the title is left unread here.
 */
#include "key.h"

#define HAS_WIDE_SEEKS 1000

void root_key_read(struct cursor *c, struct root_key *k) {
    int32_t n_bytes = cursor_i4(c);
    int16_t version = cursor_i2(c);
    int32_t obj_bytes = cursor_i4(c);
    cursor_skip(c, 4); /* fDatime */
    int16_t key_bytes = cursor_i2(c);
    uint16_t cycle = cursor_u2(c);
    uint64_t seek;
    if (version > HAS_WIDE_SEEKS) {
        seek = cursor_u8(c);
        cursor_skip(c, 8);
    } else {
        seek = cursor_u4(c);
        cursor_skip(c, 4);
    }
    *k = (struct root_key){.cycle = cycle, .seek = seek};
    k->class_name = cursor_str(c);
    k->name = cursor_str(c);
    k->title = cursor_str(c);
    if (c->has_failed)
        return;
    if (n_bytes <= 0 || obj_bytes < 0 || key_bytes <= 0 || key_bytes > n_bytes) {
        cursor_fail(c, "a key with sizes %d (all), %d (key), %d (object)", n_bytes, key_bytes,
                    obj_bytes);
        return;
    }
    k->n_bytes = (uint32_t)n_bytes;
    k->obj_bytes = (uint32_t)obj_bytes;
    k->key_bytes = (uint16_t)key_bytes;
}
