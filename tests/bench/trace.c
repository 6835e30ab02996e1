/* How full the arena gets, and how fast it is filled, under eviction.
 *
 *     trace [ARENA_MIB [OPERATIONS [POLICY]]]
 *
 * A set of buffers twice as large as the arena, sizes spread evenly over their logarithm, is asked for,
 * some more often than others. What is not there is reserved (others are evicted) and filled: both
 * together are the all-in time. Beside it, in the same run: the same copy into fresh pages of 4 KiB, and
 * into fresh pages of the kind that the arena has. Live is the mean over all operations after the arena
 * was full for the first time. Prints one line of JSON for each trace.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node.h"

#define SOURCE_BYTES                                                                               \
    (256u << 10) /* what is copied lies in a near cache, as what was decoded does */
#define FRESH_BYTES (512ull << 20)
#define MAX_PINS 4096
#define OPERATION_MS 20

struct trace {
    const char *name;
    double min_bytes, max_bytes;
    double pinned; /* part of the arena */
};

static const struct trace traces[] = {
    {"10 KB to 64 MB", 10e3, 64e6, 0},
    {"10 KB to 4 MB", 10e3, 4e6, 0},
    {"10 KB to 64 MB, 5 % pinned", 10e3, 64e6, 0.05},
};

struct run {
    struct node node;
    const struct trace *trace;
    uint64_t seed;
    double *sizes; /* owned; by key */
    uint64_t n_keys;
    struct cache_entry *pins[MAX_PINS]; /* a ring, oldest at first_pin */
    unsigned first_pin, n_pins;
    uint64_t pinned_bytes;
    uint64_t n_hits, n_misses, n_full, made_bytes, n_live;
    double made_seconds, live;
    bool is_full;    /* something was evicted */
    uint8_t *source; /* owned */
};

static void copy(uint8_t *dst, uint64_t n_bytes, const uint8_t *source) {
    for (uint64_t at = 0; at < n_bytes; at += SOURCE_BYTES)
        memcpy(dst + at, source, MIN(n_bytes - at, SOURCE_BYTES));
}

static void make_keys(struct run *r, uint64_t n_bytes) {
    double sum = 0, ratio = log(r->trace->max_bytes / r->trace->min_bytes);
    uint64_t capacity = 0;
    while (sum < (double)n_bytes) {
        if (r->n_keys == capacity) {
            capacity = MAX(capacity * 2, 1024);
            r->sizes = realloc(r->sizes, capacity * sizeof(*r->sizes));
            if (!r->sizes)
                exit(1);
        }
        r->sizes[r->n_keys] = r->trace->min_bytes * exp(node_uniform(&r->seed) * ratio);
        sum += r->sizes[r->n_keys++];
    }
}

/* Now and then what is asked for stays pinned, for as long as the share allows. */
static void pin_some(struct run *r, struct cache_entry *e) {
    uint64_t max_bytes = (uint64_t)(r->trace->pinned * (double)arena_bytes(r->node.arena));
    if (max_bytes == 0 || node_random(&r->seed) % 8)
        return;
    while (r->n_pins && (r->pinned_bytes + e->n_bytes > max_bytes || r->n_pins == MAX_PINS)) {
        struct cache_entry *oldest = r->pins[r->first_pin];
        r->pinned_bytes -= oldest->n_bytes;
        node_unpin(&r->node, oldest);
        r->first_pin = (r->first_pin + 1) % MAX_PINS;
        r->n_pins--;
    }
    node_pin(&r->node, e);
    r->pinned_bytes += e->n_bytes;
    r->pins[(r->first_pin + r->n_pins++) % MAX_PINS] = e;
}

static struct cache_entry *make(struct run *r, uint64_t key) {
    uint64_t n_bytes = (uint64_t)r->sizes[key];
    double started = node_seconds();
    struct cache_entry *e = node_reserve(&r->node, key, n_bytes, n_bytes);
    if (!e) {
        r->n_full++;
        return NULL;
    }
    copy(arena_base(r->node.arena) + e->offset, n_bytes, r->source);
    node_publish(e);
    double seconds = node_seconds() - started;
    struct cache_stats s;
    if (!r->is_full) {
        cache_get_stats(r->node.cache, &s);
        r->is_full = s.n_evicted > 0;
    }
    if (r->is_full) { /* the first fill is of fresh pages */
        r->made_seconds += seconds;
        r->made_bytes += n_bytes;
    }
    return e;
}

static void step(struct run *r) {
    double u = node_uniform(&r->seed);
    uint64_t key = (uint64_t)((double)r->n_keys * u * u);
    node_set_time(&r->node, r->node.now_ms + OPERATION_MS);
    struct cache_entry *e = node_find(&r->node, key);
    r->n_hits += e != NULL;
    r->n_misses += e == NULL;
    if (e)
        node_hit(&r->node, e);
    else
        e = make(r, key);
    if (e)
        pin_some(r, e);
    if (!r->is_full)
        return;
    struct arena_stats s;
    arena_get_stats(r->node.arena, &s);
    r->live += (double)s.live_bytes;
    r->n_live++;
}

/* GB/s into pages that nobody has touched. */
static double fresh_rate(const struct run *r, int fd, uint8_t *base, uint64_t n_bytes) {
    double started = node_seconds();
    copy(base, n_bytes, r->source);
    double rate = (double)n_bytes / (node_seconds() - started) / 1e9;
    munmap(base, n_bytes);
    close(fd);
    return rate;
}

static double fresh_small_rate(const struct run *r) {
    int fd = memfd_create("fresh", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, FRESH_BYTES))
        exit(1);
    uint8_t *base = mmap(NULL, FRESH_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        exit(1);
    return fresh_rate(r, fd, base, FRESH_BYTES);
}

static double fresh_arena_rate(const struct run *r) {
    struct backing b;
    if (backing_open(&b, FRESH_BYTES, NULL))
        exit(1);
    close(b.client_fd);
    return fresh_rate(r, b.fd, b.base, b.n_bytes);
}

static void print(const struct run *r, double fresh_small, double fresh_arena) {
    double rate = (double)r->made_bytes / r->made_seconds / 1e9;
    double arena = (double)arena_bytes(r->node.arena);
    printf("{\"trace\": \"%s\", \"operations\": %llu, \"buffers\": %llu, \"hits\": %.3f, "
           "\"full\": %llu, \"live\": %.4f, \"fill_gb_s\": %.2f, \"fresh_4k_gb_s\": %.2f, "
           "\"fresh_arena_gb_s\": %.2f, \"huge_pages\": %d}\n",
           r->trace->name, (unsigned long long)(r->n_hits + r->n_misses),
           (unsigned long long)r->n_keys, (double)r->n_hits / (double)(r->n_hits + r->n_misses),
           (unsigned long long)r->n_full, r->live / (double)MAX(r->n_live, 1) / arena, rate,
           fresh_small, fresh_arena, arena_backing(r->node.arena)->has_huge_pages);
    fflush(stdout);
}

static void run_trace(const struct trace *trace, uint64_t arena_bytes_wanted, uint64_t n_operations,
                      const struct policy_kind *policy) {
    struct run *r = calloc(1, sizeof(*r));
    uint8_t *source = malloc(SOURCE_BYTES);
    if (!r || !source)
        exit(1);
    *r = (struct run){.trace = trace, .seed = 1, .source = source};
    memset(source, 7, SOURCE_BYTES);
    double fresh_small = 0, fresh_arena = 0;
    for (int i = 0; i < 3; i++) { /* the best of three */
        fresh_small = fmax(fresh_small, fresh_small_rate(r));
        fresh_arena = fmax(fresh_arena, fresh_arena_rate(r));
    }
    node_init(&r->node, arena_bytes_wanted, policy);
    make_keys(r, 2 * arena_bytes_wanted);
    for (uint64_t i = 0; i < n_operations; i++)
        step(r);
    print(r, fresh_small, fresh_arena);
    for (; r->n_pins; r->n_pins--, r->first_pin = (r->first_pin + 1) % MAX_PINS)
        node_unpin(&r->node, r->pins[r->first_pin]);
    node_deinit(&r->node);
    free(r->sizes);
    free(source);
    free(r);
}

int main(int argc, char **argv) {
    uint64_t arena_mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 4096;
    uint64_t n_operations = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    const struct policy_kind *policy = policy_find(argc > 3 ? argv[3] : NULL);
    if (arena_mib < 256 || n_operations == 0 || !policy) {
        fprintf(stderr, "usage: trace [ARENA_MIB [OPERATIONS [POLICY]]]\n");
        return 2;
    }
    for (unsigned i = 0; i < ARRAY_LEN(traces); i++)
        run_trace(&traces[i], arena_mib << 20, n_operations, policy);
    return 0;
}
