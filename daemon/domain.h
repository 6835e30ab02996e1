/* One uid: its arena, record table, cache and files. Nothing is shared between domains. */
#ifndef BUFFERD_DOMAIN_H
#define BUFFERD_DOMAIN_H

#include <sys/types.h>

#include "materialize.h"

#define DOMAIN_RECORDS (1u << 20)
#define DOMAIN_STAGING_BYTES (16ull << 20)

struct domain {
    uid_t uid;
    struct arena *arena; /* borrowed */
    struct pin_records records;
    struct cache *cache;       /* owned */
    struct sources *sources;   /* owned */
    struct job_tables *tables; /* borrowed: what the workers see */
    struct materialize materialize;
    uint32_t n_stagings; /* places in tables->stagings */
    bool is_trimming;    /* under memory pressure */
};

/* The tables are filled here, and are the loader's too. Return: 0 or negative errno. */
int domain_new(struct domain **dp, uid_t uid, struct arena *arena, const struct policy_kind *policy,
               struct loader *loader, struct job_tables *tables, struct metrics *metrics);
/* No client may be left, and no job. */
struct domain *domain_free(struct domain *d);
/* Once a second: clocks, retired records, loads that wait for memory. now_ms: monotonic. */
void domain_tick(struct domain *d, uint64_t now_ms);

/* A session's staging file: the client writes arrays there, a worker copies them into the arena. */
struct staging {
    uint32_t number; /* in job_tables.stagings */
    int fd;          /* owned */
    uint8_t *base;   /* owned mapping */
    unsigned n_uses; /* jobs that read it, and the client */
};
int staging_new(struct staging **sp, struct domain *d);
void staging_unuse(struct staging *s, struct domain *d);

#endif
