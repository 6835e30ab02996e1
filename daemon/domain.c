/* One uid's share of the daemon, and the staging files of its sessions.
 *
 * A domain is the boundary of access: whoever may map its arena may read all of it. A staging file
 * is a memfd of fixed size, sealed against resizing, that one client maps writable; the daemon
 * reads it through a mapping of its own, on workers. A client that punches a hole into it, or
 * writes while a put runs, spoils nothing but its own array.
 */
#include "domain.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "metrics.h"
#include "util/memory.h"

#define MIN_INDEX_BYTES (64ull << 20)
#define FORGET_BATCH 256        /* files a second */
#define LOW_BYTES (96ull << 20) /* less headroom than this is pressure */

int domain_new(struct domain **dp, uid_t uid, struct arena *arena, const struct policy_kind *policy,
               struct loader *loader, struct job_tables *tables, struct metrics *metrics) {
    struct domain *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->uid = uid;
    d->tables = tables;
    d->n_stagings = WIRE_MAX_SESSIONS;
    tables->arena = arena_base(arena);
    tables->n_arena_bytes = arena_bytes(arena);
    tables->n_staging_bytes = DOMAIN_STAGING_BYTES;
    tables->stagings = calloc(d->n_stagings, sizeof(*tables->stagings));
    int rc = tables->stagings ? pin_records_init(&d->records, DOMAIN_RECORDS) : -ENOMEM;
    if (!rc)
        rc = cache_new(&d->cache, arena, &d->records, policy);
    if (!rc)
        rc = sources_new(&d->sources, loader, tables, metrics,
                         MAX(MIN_INDEX_BYTES, arena_bytes(arena) / 8));
    if (rc) {
        domain_free(d);
        return rc;
    }
    d->arena = arena;
    d->materialize = (struct materialize){
        .cache = d->cache,
        .sources = d->sources,
        .loader = loader,
        .metrics = metrics,
    };
    *dp = d;
    return 0;
}

struct domain *domain_free(struct domain *d) {
    if (!d)
        return NULL;
    cache_free(d->cache);
    sources_free(d->sources);
    if (d->records.base)
        pin_records_deinit(&d->records);
    free(d->tables->stagings);
    d->tables->stagings = NULL;
    free(d);
    return NULL;
}

static void on_relieved(void *ctx, uint64_t n_bytes) {
    struct domain *d = ctx;
    d->is_trimming = false;
}

static int compare_ids(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Files that nobody has open are forgotten when there are many, and their buffers with them. One look
 * at the cache serves a batch of files. */
static void forget_files(struct domain *d) {
    uint64_t ids[FORGET_BATCH];
    bool is_needed[FORGET_BATCH] = {false};
    if (sources_n_files(d->sources) < SOURCES_MAX_FILES / 2)
        return;
    uint32_t n = sources_oldest_unused(d->sources, ids, FORGET_BATCH);
    qsort(ids, n, sizeof(ids[0]), compare_ids);
    for (uint64_t i = 0; i < cache_n_records(d->cache); i++) {
        struct cache_entry *e = cache_at(d->cache, (uint32_t)i);
        uint64_t *id = e ? bsearch(&e->source_id, ids, n, sizeof(ids[0]), compare_ids) : NULL;
        if (id && (e->state != CACHE_READY || !cache_evict(e)))
            is_needed[id - ids] = true;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!is_needed[i])
            sources_forget(d->sources, ids[i]);
}

/* Others need memory: free pages go back, then buffers that nobody uses, the least used first. */
static void relieve(struct domain *d) {
    struct arena_stats a;
    uint64_t headroom;
    if (d->is_trimming || memory_headroom(NULL, &headroom) || headroom >= LOW_BYTES)
        return;
    arena_get_stats(d->arena, &a);
    uint64_t n_missing = LOW_BYTES - headroom;
    if (a.stock_bytes < n_missing)
        cache_shrink(d->cache, n_missing - a.stock_bytes);
    d->is_trimming = arena_trim(d->arena, on_relieved, d) == 0;
}

void domain_tick(struct domain *d, uint64_t now_ms) {
    cache_set_time(d->cache, now_ms);
    pin_records_set_tick(&d->records, (uint32_t)(now_ms / 1000));
    cache_sweep(d->cache);
    relieve(d);
    forget_files(d);
    materialize_tick(&d->materialize);
}

int staging_new(struct staging **sp, struct domain *d) {
    uint32_t number = 0;
    while (number < d->n_stagings && d->tables->stagings[number])
        number++;
    if (number == d->n_stagings)
        return -EMFILE;
    CLEANUP(cleanup_free) struct staging *s = calloc(1, sizeof(*s));
    CLEANUP(cleanup_close)
    int fd = memfd_create("bufferd-staging", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (!s)
        return -ENOMEM;
    if (fd < 0 || ftruncate(fd, DOMAIN_STAGING_BYTES) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    s->base = mmap(NULL, DOMAIN_STAGING_BYTES, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (s->base == MAP_FAILED)
        return -errno;
    s->number = number;
    s->fd = TAKE_FD(fd);
    s->n_uses = 1;
    d->tables->stagings[number] = s->base;
    *sp = TAKE_PTR(s);
    return 0;
}

void staging_unuse(struct staging *s, struct domain *d) {
    if (!s || --s->n_uses)
        return;
    d->tables->stagings[s->number] = NULL;
    munmap(s->base, DOMAIN_STAGING_BYTES);
    close(s->fd);
    free(s);
}
