/* What each policy keeps: traces of users on the real cache and arena, without the bytes.
 *
 *     policies [ARENA_MIB]
 *
 * Buffers cost what unpacking their bytes takes (RATES); the user then works on them, hits or not. Hits
 * are pins, of which no request tells the cache. The trace's time runs as on a node whose memory is
 * NODE_BYTES, so that what takes minutes there takes minutes of the ticks here. For each trace and policy
 * one line of JSON: the part of the bytes asked for that was there, and of the seconds of unpacking that
 * was saved. `late` is the hit ratio of the second half, when a policy knows its users.
 */
#include <math.h>
#include <stdio.h>

#include "node.h"

#define NODE_BYTES (16e9)
#define WORK_RATE 200e6 /* bytes a second that a user gets through */
#define MIN_BYTES 64e3
#define MAX_BYTES 4e6

enum codec { LZ4, ZSTD, LZMA };
static const double rates[] = {[LZ4] = 1300e6, [ZSTD] = 600e6, [LZMA] = 30e6}; /* bytes a second */

struct set {
    uint64_t first, n; /* keys */
    enum codec codec;
};

struct play {
    struct node node;
    uint64_t seed, next_key;
    double time_scale, ms;
    double budget; /* bytes */
    double asked_bytes, hit_bytes, asked_seconds, saved_seconds;
    double half_asked, half_hit; /* bytes, at half time */
};

static double key_bytes(uint64_t key) {
    uint64_t seed = key * 7919;
    return MIN_BYTES * exp(node_uniform(&seed) * log(MAX_BYTES / MIN_BYTES));
}

/* A set of so many times the budget. */
static struct set set_make(struct play *p, double part, enum codec codec) {
    struct set set = {.first = p->next_key, .codec = codec};
    for (double n = 0; n < part * p->budget; set.n++)
        n += key_bytes(p->next_key++);
    return set;
}

static void pass_time(struct play *p, double seconds) {
    p->ms += seconds * 1e3 * p->time_scale;
    node_set_time(&p->node, 1000000 + (uint64_t)p->ms);
}

static void ask(struct play *p, const struct set *set, uint64_t i) {
    uint64_t key = set->first + i % set->n;
    double n_bytes = floor(key_bytes(key)), cost = n_bytes / rates[set->codec];
    struct cache_entry *e = node_find(&p->node, key);
    p->asked_bytes += n_bytes;
    p->asked_seconds += cost;
    if (e) {
        p->hit_bytes += n_bytes;
        p->saved_seconds += cost;
        node_hit(&p->node, e);
    } else {
        pass_time(p, cost);
        e = node_reserve(&p->node, key, (uint64_t)n_bytes, (uint64_t)(cost * 1e9));
        if (!e)
            exit(1);
        node_publish(e);
        cache_hold(e); /* it is granted */
        node_hit(&p->node, e);
        cache_unhold(e);
    }
    pass_time(p, n_bytes / WORK_RATE);
}

static void ask_all(struct play *p, const struct set *set) {
    for (uint64_t i = 0; i < set->n; i++)
        ask(p, set, i);
}

/* Some of a set more often than others. */
static void ask_some(struct play *p, const struct set *set, uint64_t n) {
    while (n--) {
        double u = node_uniform(&p->seed);
        ask(p, set, (uint64_t)((double)set->n * u * u * u));
    }
}

static void half_time(struct play *p) {
    p->half_asked = p->asked_bytes;
    p->half_hit = p->hit_bytes;
}

/* ---- traces ---- */

/* One analysis again and again, over half as much again as there is room for. */
static void trace_cyclic(struct play *p) {
    struct set set = set_make(p, 1.5, LZ4);
    for (int pass = 0; pass < 12; pass++) {
        if (pass == 6)
            half_time(p);
        ask_all(p, &set);
    }
}

/* Two users with sets of their own and one in common, one twice as fast as the other. */
static void trace_two_users(struct play *p) {
    struct set a = set_make(p, 0.4, ZSTD), b = set_make(p, 0.9, LZ4), both = set_make(p, 0.3, ZSTD);
    uint64_t n = 12 * b.n;
    for (uint64_t i = 0; i < n; i++) {
        if (i == n / 2)
            half_time(p);
        ask(p, &b, i);
        ask(p, i / both.n % 2 ? &both : &a, 2 * i);
        ask(p, i / both.n % 2 ? &both : &a, 2 * i + 1);
        if (i / both.n % 3 == 0)
            ask(p, &both, i);
    }
}

/* Files of two kinds, each alone nearly as large as the memory. */
static void trace_two_codecs(struct play *p) {
    struct set slow = set_make(p, 0.8, LZMA), fast = set_make(p, 0.8, LZ4);
    for (int pass = 0; pass < 12; pass++) {
        if (pass == 6)
            half_time(p);
        for (uint64_t i = 0; i < slow.n; i++) {
            ask(p, &slow, i);
            ask(p, &fast, i);
        }
    }
}

/* The same with uses at random. */
static void trace_two_codecs_random(struct play *p) {
    struct set slow = set_make(p, 1.5, LZMA), fast = set_make(p, 1.5, LZ4);
    for (int pass = 0; pass < 12; pass++) {
        if (pass == 6)
            half_time(p);
        for (uint64_t i = 0; i < slow.n; i++) {
            ask_some(p, &slow, 1);
            ask_some(p, &fast, 1);
        }
    }
}

/* Somebody works on a set that fits; others read through theirs, once. */
static void trace_scans(struct play *p) {
    struct set work = set_make(p, 0.7, ZSTD);
    ask_all(p, &work);
    for (int round = 0; round < 12; round++) {
        if (round == 6)
            half_time(p);
        struct set scan = set_make(p, 1.2, LZ4);
        for (uint64_t i = 0; i < scan.n; i++) {
            ask(p, &scan, i);
            ask(p, &work, i);
        }
    }
}

/* Another set every few passes. */
static void trace_changes(struct play *p) {
    for (int task = 0; task < 6; task++) {
        struct set set = set_make(p, 0.8, ZSTD);
        if (task == 3)
            half_time(p);
        for (int pass = 0; pass < 4; pass++)
            ask_all(p, &set);
    }
}

/* Some of it more often than the rest, no order. */
static void trace_random(struct play *p) {
    struct set set = set_make(p, 4, ZSTD);
    ask_some(p, &set, 6 * set.n);
    half_time(p);
    ask_some(p, &set, 6 * set.n);
}

static const struct {
    const char *name;
    void (*run)(struct play *p);
} traces[] = {
    {"cyclic scan of 1.5 budgets", trace_cyclic},
    {"two users", trace_two_users},
    {"LZMA beside LZ4, in order", trace_two_codecs},
    {"LZMA beside LZ4, at random", trace_two_codecs_random},
    {"one-off scans beside work", trace_scans},
    {"another set every 4 passes", trace_changes},
    {"at random", trace_random},
};

static void play(unsigned i, uint64_t n_bytes, const struct policy_kind *policy) {
    struct play p = {.seed = 1,
                     .next_key = 1,
                     .time_scale = NODE_BYTES / (double)n_bytes,
                     .budget = (double)n_bytes};
    node_init(&p.node, n_bytes, policy);
    double started = node_seconds();
    traces[i].run(&p);
    double late = (p.hit_bytes - p.half_hit) / (p.asked_bytes - p.half_asked);
    printf("{\"trace\": \"%s\", \"policy\": \"%s\", \"hits\": %.3f, \"late\": %.3f, "
           "\"asked_seconds\": %.2f, \"saved_seconds\": %.2f, \"wall_seconds\": %.2f}\n",
           traces[i].name, policy->name, p.hit_bytes / p.asked_bytes, late,
           p.asked_seconds * p.time_scale, p.saved_seconds * p.time_scale,
           node_seconds() - started);
    fflush(stdout);
    node_deinit(&p.node);
}

int main(int argc, char **argv) {
    uint64_t arena_mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 512;
    if (arena_mib < 64) {
        fprintf(stderr, "usage: policies [ARENA_MIB]\n");
        return 2;
    }
    for (unsigned i = 0; i < ARRAY_LEN(traces); i++)
        for (unsigned k = 0; policy_at(k); k++)
            play(i, arena_mib << 20, policy_at(k));
    return 0;
}
