/* Mutant: the daemon retires by a release store, which its scan may overtake. */
#define pin_retire pin_retire_of_protocol
#include "../../proto/shm.h"
#undef pin_retire

static inline void pin_retire(struct shm_record *r, uint64_t version) {
    atomic_store_explicit(&r->version, version & ~VERSION_READY, memory_order_release);
}
