/* Mutant: the daemon does not look at the counters. */
#define pin_count pin_count_of_protocol
#include "../../proto/shm.h"
#undef pin_count

static inline uint32_t pin_count(struct shm_pins pins, uint64_t i, uint32_t *tickp) {
    if (tickp)
        *tickp = 0;
    return 0;
}
