/* The record table and the pin tables as daemon and clients see them, and the pin protocol's
 * accesses.
 *
 * Record table file (daemon writes, clients map read-only):
 *     struct shm_header, padded to SHM_PAGE; struct shm_record[n_records]; the index (index.h);
 *     the key heap.
 * Pin table file (one per session, that client writes, the daemon reads):
 *     one bit per page of counters, padded to SHM_PAGE; struct shm_pin[n_records].
 *
 * The protocol (daemon/DESIGN.md, section 3). Pin before re-check, retire before scan: in any order
 * of these four accesses either the daemon sees the pin or the client sees the retirement.
 *
 *     client  pin_take    v = version, ready?   count += 1   version still v?
 *                         else count -= 1: a miss
 *     daemon  pin_retire  version = v without ready
 *             pin_count   of every session; all 0: the bytes may be reused
 */
#ifndef BUFFERD_SHM_H
#define BUFFERD_SHM_H

#include <stdatomic.h>

#include "base.h"
#include "index.h"

#define SHM_MAGIC 0x3264666275ull /* "ubfd2" */
#define SHM_PAGE 4096
#define SHM_KEY_UNIT 16 /* the key heap is handed out in these */

struct shm_header {
    uint64_t magic;
    uint64_t n_records;
    uint64_t records_off; /* bytes from the start of the file */
    uint64_t keys_off;    /* of the key heap */
    uint64_t keys_bytes;
    uint64_t index_off;     /* of the index */
    uint64_t index_lines;   /* a power of two */
    _Atomic uint32_t tick;  /* seconds of the daemon's monotonic clock: the coarse time of a pin */
    _Atomic uint32_t alive; /* 0 once the daemon has stopped in order */
};

#define SHM_INLINE_KEY_BYTES 72

/* A buffer's entry. `version` is a never-reused number << 1 | ready. The other fields are read only
 * while the record is pinned. */
struct shm_record {
    _Atomic uint64_t version;
    uint64_t offset;    /* in the arena, bytes */
    uint64_t n_bytes;   /* of the buffer; the arena holds it padded to pages */
    uint64_t source_id; /* 0: none */
    uint64_t key_hash;
    uint32_t parent;  /* of an alias: record number + 1; 0: none */
    uint32_t key_off; /* in the heap, SHM_KEY_UNITs, when the key is longer than inline */
    uint16_t key_bytes;
    uint8_t item_type; /* enum item_type */
    uint8_t reserved[5];
    char key[SHM_INLINE_KEY_BYTES];
};
_Static_assert(sizeof(struct shm_record) == 128, "records are two cache lines");

struct shm_pin {
    _Atomic uint32_t count;
    _Atomic uint32_t tick; /* of the last pin: recency, a hint that is trusted for nothing else */
};

#define SHM_PINS_PER_PAGE (SHM_PAGE / sizeof(struct shm_pin))

#define VERSION_READY 1ull

static inline uint64_t shm_pins_bitmap_bytes(uint64_t n_records) {
    uint64_t n_pages = (n_records + SHM_PINS_PER_PAGE - 1) / SHM_PINS_PER_PAGE;
    return round_up((n_pages + 7) / 8, SHM_PAGE);
}

static inline uint64_t shm_pins_bytes(uint64_t n_records) {
    return shm_pins_bitmap_bytes(n_records) +
           round_up(n_records * sizeof(struct shm_pin), SHM_PAGE);
}

/* One mapped pin table. */
struct shm_pins {
    _Atomic uint64_t *bitmap;
    struct shm_pin *pins;
};

static inline struct shm_pins shm_pins_at(void *base, uint64_t n_records) {
    return (struct shm_pins){
        .bitmap = base,
        .pins = (struct shm_pin *)((char *)base + shm_pins_bitmap_bytes(n_records)),
    };
}

/* client: access 1 to 3. False: a miss, and nothing is held. */
static inline bool pin_take(struct shm_pins pins, struct shm_record *r, uint64_t i,
                            uint64_t version, uint32_t tick) {
    if (atomic_load_explicit(&r->version, memory_order_acquire) != version ||
        !(version & VERSION_READY))
        return false;
    uint64_t page = i / SHM_PINS_PER_PAGE, bit = 1ull << (page & 63);
    if (!(atomic_load_explicit(&pins.bitmap[page / 64], memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(&pins.bitmap[page / 64], bit, memory_order_seq_cst);
    atomic_fetch_add_explicit(&pins.pins[i].count, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&r->version, memory_order_seq_cst) == version) {
        atomic_store_explicit(&pins.pins[i].tick, tick, memory_order_relaxed);
        return true;
    }
    atomic_fetch_sub_explicit(&pins.pins[i].count, 1, memory_order_release);
    return false;
}

/* client: drop one count. True: it was the last one and the record is retired, so tell the daemon
 * `released`. */
static inline bool pin_drop(struct shm_pins pins, struct shm_record *r, uint64_t i,
                            uint64_t version) {
    if (atomic_fetch_sub_explicit(&pins.pins[i].count, 1, memory_order_seq_cst) != 1)
        return false;
    return atomic_load_explicit(&r->version, memory_order_seq_cst) != version;
}

/* daemon: retire a ready record. */
static inline void pin_retire(struct shm_record *r, uint64_t version) {
    atomic_store_explicit(&r->version, version & ~VERSION_READY, memory_order_seq_cst);
}

/* daemon: counts of one session on record i; a page that was never flagged is a hole and is not
 * touched. */
static inline uint32_t pin_count(struct shm_pins pins, uint64_t i, uint32_t *tickp) {
    uint64_t page = i / SHM_PINS_PER_PAGE;
    if (!(atomic_load_explicit(&pins.bitmap[page / 64], memory_order_seq_cst) >> (page & 63) & 1))
        return 0;
    uint32_t n = atomic_load_explicit(&pins.pins[i].count, memory_order_seq_cst);
    if (tickp)
        *tickp = atomic_load_explicit(&pins.pins[i].tick, memory_order_relaxed);
    return n;
}

#endif
