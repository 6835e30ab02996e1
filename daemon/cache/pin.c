/* Record table and pin tables.
 *
 * The record table is one memfd that only the daemon can write: sealed against resizing and against
 * new writable mappings, and handed out through a descriptor that was opened read-only. A pin table
 * is one memfd per session, sealed against resizing, which that client alone maps writable. Nothing
 * that a client writes is used as an index, a size or an offset: a count is only compared with
 * zero, or summed up for people, and the tick is a hint.
 *
 * A record is made ready by storing its new version last, and a version is never given out twice,
 * so a client that holds an old (record, version) pair can only miss. Fields change only while the
 * record is not ready and nobody pins it; a reader looks at them only while it pins.
 *
 * A record is in the index (proto/index.h) from its publication until it is retired for good. One
 * whose two lines are full is left out: clients then ask for it, which is counted.
 *
 * Numbers are given out lowest first, so that sessions touch few pages of their tables. A page of
 * counters whose bit is clear is a hole of the file, and is never read: reading would allocate it.
 */
#include "pin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <utlist.h>

#include "../arena/space.h"

#define KEY_HEAP_BYTES (64ull << 20)

/* A memfd of that size, mapped; sparse, sealed against resizing. */
static int table_create(int *fdp, void **basep, const char *name, uint64_t n_bytes,
                        int extra_seals) {
    CLEANUP(cleanup_close) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0) < 0 || ftruncate(fd, (off_t)n_bytes) < 0)
        return -errno;
    void *base = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | extra_seals) < 0) {
        int r = -errno;
        munmap(base, n_bytes);
        return r;
    }
    *fdp = TAKE_FD(fd);
    *basep = base;
    return 0;
}

int pin_records_init(struct pin_records *r, uint64_t n_records) {
    *r = (struct pin_records){.fd = -1, .client_fd = -1, .n_records = n_records, .next_version = 1};
    uint64_t n_lines = index_n_lines(n_records);
    uint64_t index_off = SHM_PAGE + round_up(n_records * sizeof(struct shm_record), SHM_PAGE);
    uint64_t keys_off = index_off + index_bytes(n_lines);
    r->n_bytes = keys_off + KEY_HEAP_BYTES;
    void *base;
    int rc = table_create(&r->fd, &base, "bufferd-records", r->n_bytes, F_SEAL_FUTURE_WRITE);
    if (rc)
        return rc;
    r->base = base;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
    /* Mode 0 stops other users; the owner opens it here for reading, before anything can be written
     * through it. */
    if (fchmod(r->fd, 0400) < 0)
        rc = -errno;
    else if ((r->client_fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        rc = -errno;
    else if (fchmod(r->fd, 0) < 0)
        rc = -errno;
    r->taken = calloc((n_records + 63) / 64, sizeof(uint64_t));
    int no_space = space_new(&r->key_space, KEY_HEAP_BYTES / SHM_KEY_UNIT);
    if (!rc && (!r->taken || no_space))
        rc = -ENOMEM;
    if (rc) {
        pin_records_deinit(r);
        return rc;
    }
    r->header = base;
    r->records = (struct shm_record *)(r->base + SHM_PAGE);
    r->index = (struct shm_index){(_Atomic uint64_t *)(r->base + index_off), n_lines};
    r->keys = (char *)r->base + keys_off;
    *r->header = (struct shm_header){
        .magic = SHM_MAGIC,
        .n_records = n_records,
        .records_off = SHM_PAGE,
        .keys_off = keys_off,
        .keys_bytes = KEY_HEAP_BYTES,
        .index_off = index_off,
        .index_lines = n_lines,
    };
    atomic_store(&r->header->alive, 1);
    return 0;
}

void pin_records_deinit(struct pin_records *r) {
    if (r->header)
        atomic_store(&r->header->alive, 0);
    if (r->base)
        munmap(r->base, r->n_bytes);
    if (r->fd >= 0)
        close(r->fd);
    if (r->client_fd >= 0)
        close(r->client_fd);
    space_free(r->key_space);
    free(r->taken);
    *r = (struct pin_records){.fd = -1, .client_fd = -1};
}

int pin_table_new(struct pin_table **tp, struct pin_records *r) {
    CLEANUP(cleanup_free) struct pin_table *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->n_bytes = shm_pins_bytes(r->n_records);
    int rc = table_create(&t->fd, &t->base, "bufferd-pins", t->n_bytes, 0);
    if (rc)
        return rc;
    t->pins = shm_pins_at(t->base, r->n_records);
    DL_APPEND(r->tables, t);
    *tp = TAKE_PTR(t);
    return 0;
}

struct pin_table *pin_table_free(struct pin_table *t, struct pin_records *r) {
    if (!t)
        return NULL;
    DL_DELETE(r->tables, t);
    munmap(t->base, t->n_bytes);
    close(t->fd);
    free(t);
    return NULL;
}

int pin_record_take(struct pin_records *r, uint32_t *numberp) {
    uint64_t n_words = (r->n_records + 63) / 64;
    for (uint64_t w = r->first_free_word; w < n_words; w++) {
        if (r->taken[w] == UINT64_MAX)
            continue;
        uint64_t number = w * 64 + (uint64_t)__builtin_ctzll(~r->taken[w]);
        if (number >= r->n_records)
            break;
        r->first_free_word = w;
        r->taken[w] |= 1ull << (number & 63);
        *numberp = (uint32_t)number;
        return 0;
    }
    return PIN_E_FULL;
}

int pin_record_publish(struct pin_records *r, uint32_t number, const struct pin_record_info *info,
                       uint64_t *versionp) {
    struct shm_record *record = &r->records[number];
    char *key = record->key;
    uint64_t key_off = 0;
    if (info->key.len > SHM_INLINE_KEY_BYTES) {
        if (space_alloc(r->key_space, &key_off, (info->key.len + SHM_KEY_UNIT - 1) / SHM_KEY_UNIT))
            return PIN_E_FULL;
        key = r->keys + key_off * SHM_KEY_UNIT;
    }
    memcpy(key, info->key.ptr, info->key.len);
    record->offset = info->offset;
    record->n_bytes = info->n_bytes;
    record->source_id = info->source_id;
    record->key_hash = info->key_hash;
    record->parent = info->parent;
    record->key_off = (uint32_t)key_off;
    record->key_bytes = (uint16_t)info->key.len;
    record->item_type = info->item_type;
    *versionp = r->next_version++ << 1 | VERSION_READY;
    atomic_store_explicit(&record->version, *versionp, memory_order_seq_cst);
    bool is_indexed = index_add(r->index, info->key_hash, number);
    r->n_indexed += is_indexed;
    r->n_index_full += !is_indexed;
    return 0;
}

/* A record that is not in the index, or never was published, is not found there. */
static void unindex(struct pin_records *r, uint32_t number) {
    r->n_indexed -= index_remove(r->index, r->records[number].key_hash, number);
}

void pin_record_drop(struct pin_records *r, uint32_t number) {
    struct shm_record *record = &r->records[number];
    unindex(r, number);
    if (record->key_bytes > SHM_INLINE_KEY_BYTES)
        space_give_back(r->key_space, record->key_off,
                        (record->key_bytes + SHM_KEY_UNIT - 1u) / SHM_KEY_UNIT);
    record->key_bytes = 0;
    r->taken[number / 64] &= ~(1ull << (number & 63));
    r->first_free_word = MIN(r->first_free_word, number / 64);
}

void pin_record_scan(struct pin_records *r, uint32_t number, const struct pin_table *own,
                     struct pin_scan *out) {
    *out = (struct pin_scan){0};
    r->n_scans++;
    struct pin_table *t;
    DL_FOREACH (r->tables, t) {
        uint32_t tick = 0;
        uint32_t n = pin_count(t->pins, number, &tick);
        out->n_pins += n;
        out->n_sessions += n > 0;
        if (t == own)
            out->n_own = n;
        out->tick = MAX(out->tick, tick);
    }
}

void pin_table_walk(const struct pin_table *t, const struct pin_records *r,
                    void (*each)(void *ctx, uint32_t number, uint32_t tick), void *ctx) {
    for (uint64_t i = 0; i < r->n_records; i++) {
        uint64_t page = i / SHM_PINS_PER_PAGE;
        uint32_t tick;
        if (!(atomic_load_explicit(&t->pins.bitmap[page / 64], memory_order_relaxed) >>
                  (page & 63) &
              1))
            i = (page + 1) * SHM_PINS_PER_PAGE - 1;
        else if (pin_count(t->pins, i, &tick))
            each(ctx, (uint32_t)i, tick);
    }
}

bool pin_record_try_retire(struct pin_records *r, uint32_t number, uint64_t version,
                           struct pin_scan *scanp) {
    struct shm_record *record = &r->records[number];
    pin_retire(record, version);
    pin_record_scan(r, number, NULL, scanp);
    if (scanp->n_pins == 0)
        return true;
    atomic_store_explicit(&record->version, version, memory_order_seq_cst);
    return false;
}

void pin_record_retire(struct pin_records *r, uint32_t number, uint64_t version) {
    pin_retire(&r->records[number], version);
    unindex(r, number);
}

void pin_records_set_tick(struct pin_records *r, uint32_t tick) {
    atomic_store_explicit(&r->header->tick, tick, memory_order_relaxed);
}
