/* Every allocation of a reader is charged to its caller's bound before it happens, so a file that
 * claims much is refused before it costs anything. Charges are not given back: an answer is made
 * once, and the sum of what it allocated on the way is the bound that is easy to reason about.
 */
#include "memory.h"
#include "source.h"

#include <errno.h>

int memory_charge(struct memory *m, uint64_t n_bytes) {
    if (n_bytes > m->left)
        return SOURCE_E_TOO_LARGE;
    m->left -= n_bytes;
    return 0;
}

int memory_alloc(struct memory *m, void **pp, uint64_t n_bytes) {
    int r = memory_charge(m, n_bytes);
    if (r)
        return r;
    void *p = malloc(MAX(n_bytes, 1));
    if (!p)
        return -ENOMEM;
    *pp = p;
    return 0;
}

int memory_grow(struct memory *m, void **pp, uint64_t *capacityp, uint64_t n, size_t item_bytes) {
    if (n <= *capacityp)
        return 0;
    uint64_t capacity = MAX(n, *capacityp + *capacityp / 2), n_bytes;
    capacity = MAX(capacity, 16);
    if (MUL_OVERFLOW(capacity, item_bytes, &n_bytes))
        return SOURCE_E_TOO_LARGE;
    int r = memory_charge(m, n_bytes - *capacityp * item_bytes);
    if (r)
        return r;
    void *p = realloc(*pp, n_bytes);
    if (!p)
        return -ENOMEM;
    *pp = p;
    *capacityp = capacity;
    return 0;
}
