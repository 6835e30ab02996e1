/* Mutant: the client does not look at the version again once it has pinned. */
#define pin_take pin_take_of_protocol
#include "../../proto/shm.h"
#undef pin_take

static inline bool pin_take(struct shm_pins pins, struct shm_record *r, uint64_t i,
                            uint64_t version, uint32_t tick) {
    if (atomic_load_explicit(&r->version, memory_order_acquire) != version ||
        !(version & VERSION_READY))
        return false;
    atomic_fetch_or_explicit(pins.bitmap, 1ull << i / SHM_PINS_PER_PAGE, memory_order_seq_cst);
    atomic_fetch_add_explicit(&pins.pins[i].count, 1, memory_order_seq_cst);
    return true;
}
