/* The record table and the sessions' pin tables, from the daemon's side (proto/shm.h has the
 * layout). */
#ifndef BUFFERD_PIN_H
#define BUFFERD_PIN_H

#include "../../proto/shm.h"

struct space;

enum {
    PIN_E_FULL = 1, /* no record number, or no room for a long key */
};

/* One session's pin table: a sealed memfd that the client maps read-write. */
struct pin_table {
    struct pin_table *prev, *next; /* in pin_records.tables */
    int fd;                        /* owned */
    void *base;                    /* owned mapping */
    uint64_t n_bytes;
    struct shm_pins pins;
    int pid;          /* of the client, and its name; for people */
    const char *name; /* borrowed; NULL: unknown */
};

struct pin_records {
    int fd;        /* owned, read-write */
    int client_fd; /* owned, read-only */
    uint8_t *base; /* owned mapping */
    uint64_t n_bytes, n_records;
    struct shm_header *header;
    struct shm_record *records;
    struct shm_index index;
    char *keys;               /* the key heap */
    struct space *key_space;  /* owned; in SHM_KEY_UNITs */
    uint64_t *taken;          /* owned: bitmap of record numbers in use */
    uint64_t first_free_word; /* no free number before it */
    uint64_t next_version;    /* never reused */
    uint64_t n_scans;
    uint64_t n_indexed;       /* records that clients find by their key */
    uint64_t n_index_full;    /* published records that found no place in the index */
    struct pin_table *tables; /* borrowed list, one per session */
};

int pin_records_init(struct pin_records *r, uint64_t n_records);
void pin_records_deinit(struct pin_records *r);

int pin_table_new(struct pin_table **tp, struct pin_records *r);
/* The session has ended: its counts are gone with it. */
struct pin_table *pin_table_free(struct pin_table *t, struct pin_records *r);

/* Take the lowest free number. The record is not ready. Return: 0, PIN_E_FULL. */
int pin_record_take(struct pin_records *r, uint32_t *numberp);
/* Fill a taken record, make it ready under a new version, and let it be found by its key. The key
 * stays the caller's. Return: 0, PIN_E_FULL. */
struct pin_record_info {
    struct str key;
    uint64_t key_hash, source_id, offset, n_bytes;
    uint32_t parent; /* record number + 1; 0: none */
    uint8_t item_type;
};
int pin_record_publish(struct pin_records *r, uint32_t number, const struct pin_record_info *info,
                       uint64_t *versionp);
/* A number that is not ready and that no session pins is free again. */
void pin_record_drop(struct pin_records *r, uint32_t number);

/* Who pins a record. */
struct pin_scan {
    uint64_t n_pins, n_sessions;
    uint64_t n_own; /* of the session that asks */
    uint32_t tick;  /* the newest pin of all; 0: never */
};
void pin_record_scan(struct pin_records *r, uint32_t number, const struct pin_table *own,
                     struct pin_scan *out);
/* Every record that one session pins; `tick` is of its last pin there. Pages that were never flagged cost
 * a bit. */
void pin_table_walk(const struct pin_table *t, const struct pin_records *r,
                    void (*each)(void *ctx, uint32_t number, uint32_t tick), void *ctx);
/* Retire before scan. True: nobody pins it and nobody ever will again. False: it is as it was. */
bool pin_record_try_retire(struct pin_records *r, uint32_t number, uint64_t version,
                           struct pin_scan *scanp);
/* Retire it for good although it is pinned. */
void pin_record_retire(struct pin_records *r, uint32_t number, uint64_t version);

void pin_records_set_tick(struct pin_records *r, uint32_t tick);

#endif
