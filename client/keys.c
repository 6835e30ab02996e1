/* Lists of keys, cut into requests.
 *
 * A request has at most WIRE_MAX_MATERIALIZE keys and WIRE_MAX_REQUEST_BYTES bytes; any one key
 * that is not too long by itself fits. Callers say which keys by number, so that they can leave
 * some out and ask again for others.
 */
#include "keys.h"

#include <string.h>

#include "session.h"

#define FRAME_OVERHEAD_BYTES 128 /* what a frame holds beside its keys, generously */
#define KEY_OVERHEAD_BYTES 6     /* of one key: an array of one, and the length of its text */

bool key_is_too_long(const char *key) {
    return strnlen(key, WIRE_MAX_KEY_BYTES + 1) > WIRE_MAX_KEY_BYTES;
}

size_t keys_batch(struct msg_key *batch, const char *const *keys, const size_t *todo,
                  size_t n_todo) {
    size_t n_bytes = FRAME_OVERHEAD_BYTES, n = 0;
    while (n < n_todo && n < WIRE_MAX_MATERIALIZE) {
        struct str text = str_cut(keys[todo[n]], WIRE_MAX_KEY_BYTES);
        n_bytes += text.len + KEY_OVERHEAD_BYTES;
        if (n && n_bytes > WIRE_MAX_REQUEST_BYTES)
            break;
        batch[n++].text = text;
    }
    return n;
}
