/* Mutant: the client counts by a plain load, add and store, which the re-check may overtake. */
#define pin_take pin_take_of_protocol
#include "../../proto/shm.h"
#undef pin_take

static inline bool pin_take(struct shm_pins pins, struct shm_record *r, uint64_t i,
                            uint64_t version, uint32_t tick) {
    if (atomic_load_explicit(&r->version, memory_order_acquire) != version ||
        !(version & VERSION_READY))
        return false;
    uint64_t page = i / SHM_PINS_PER_PAGE, bit = 1ull << (page & 63);
    if (!(atomic_load_explicit(&pins.bitmap[page / 64], memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(&pins.bitmap[page / 64], bit, memory_order_seq_cst);
    uint32_t n = atomic_load_explicit(&pins.pins[i].count, memory_order_relaxed);
    atomic_store_explicit(&pins.pins[i].count, n + 1, memory_order_relaxed);
    if (atomic_load_explicit(&r->version, memory_order_acquire) == version)
        return true;
    atomic_fetch_sub_explicit(&pins.pins[i].count, 1, memory_order_release);
    return false;
}
