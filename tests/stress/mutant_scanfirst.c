/* Mutant: the daemon looks at the counters before it retires, and not again. The linker puts this in
 * the place of pin.c's. */
#include "../../daemon/cache/pin.h"

bool __wrap_pin_record_try_retire(struct pin_records *r, uint32_t number, uint64_t version,
                                  struct pin_scan *scanp);

bool __wrap_pin_record_try_retire(struct pin_records *r, uint32_t number, uint64_t version,
                                  struct pin_scan *scanp) {
    pin_record_scan(r, number, NULL, scanp);
    if (scanp->n_pins)
        return false;
    pin_record_retire(r, number, version);
    return true;
}
