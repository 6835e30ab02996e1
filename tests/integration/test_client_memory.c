/* What a client maps of the arena is given back by clear, in whole huge pages. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server.h"

#define N 4
#define BIG (65 * MiB + 12345)

/* Bytes of this process in the mapping that holds `at`, as the kernel counts them. */
struct usage {
    uint64_t rss, pmd; /* of that: in huge pages, mapped whole */
};

static struct usage usage_of(const void *at) {
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512], name[64];
    uint64_t start, stop, n;
    bool is_here = false;
    struct usage usage = {0, 0};
    cr_assert_not_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &stop) == 2)
            is_here = start <= (uint64_t)at && (uint64_t)at < stop;
        else if (is_here && sscanf(line, "%63[^:]: %" SCNu64 " kB", name, &n) == 2) {
            usage.rss += strcmp(name, "Rss") == 0 ? n << 10 : 0;
            bool is_pmd = strcmp(name, "ShmemPmdMapped") == 0 || strcmp(name, "FilePmdMapped") == 0;
            usage.pmd += is_pmd ? n << 10 : 0;
        }
    }
    fclose(f);
    return usage;
}

static const void *arena_of(const struct bufferd_view *v) {
    return (const char *)v->data - bufferd_view_offset(v);
}

static uint64_t unit_bytes(struct bufferd *b) {
    return figure(b, "arena_unit_bytes");
}

static int clear_one(struct bufferd *b, const char *key) {
    struct bufferd_clear_result cleared;
    OK(bufferd_clear(b, &cleared, &key, 1, false, 5000, &error));
    return cleared.outcome;
}

/* All of b's grants are acknowledged by then. */
static void expect_rss(struct bufferd *b, const void *arena, uint64_t n_bytes, unsigned n_buffers) {
    struct usage usage = usage_of(arena);
    uint64_t slack = 2ull * n_buffers * unit_bytes(b);
    cr_assert_leq(usage.rss, n_bytes + slack, "%" PRIu64 " bytes are mapped, not %" PRIu64,
                  usage.rss, n_bytes);
    cr_assert_geq(usage.rss + slack, n_bytes);
    if (figure(b, "arena_huge_pages"))
        cr_assert_eq(usage.pmd, usage.rss, "%" PRIu64 " of %" PRIu64 " in whole huge pages",
                     usage.pmd, usage.rss);
}

static void clear_big_ones(const char *arena_dir) {
    SERVER s = server_new_with("512M", arena_dir);
    SESSION b = connect_to(&s);
    static const char *const names[N] = {"a", "b", "c", "d"};
    struct bufferd_view views[N];
    for (unsigned i = 0; i < N; i++) {
        views[i] = put_filled(b, names[i], BIG, (uint8_t)i);
        cr_assert(is_filled(&views[i], (uint8_t)i));
    }
    const void *arena = arena_of(&views[0]);
    expect_rss(b, arena, N * BIG, N);

    bufferd_release(&views[1]);
    cr_assert_eq(clear_one(b, "named/b"), BUFFERD_FREED);
    expect_rss(b, arena, (N - 1) * BIG, N);

    cr_assert_eq(clear_one(b, "named/c"), BUFFERD_HELD_BY_YOU);
    expect_rss(b, arena, (N - 1) * BIG, N);
    cr_assert(is_filled(&views[2], 2));
    bufferd_release(&views[2]);
    expect_rss(b, arena, (N - 2) * BIG, N);

    SESSION other = connect_to(&s);
    struct bufferd_view theirs;
    cr_assert_eq(get_one(other, &theirs, "d"), 0);
    cr_assert(is_filled(&theirs, 3));
    bufferd_release(&views[3]);
    cr_assert_eq(clear_one(b, "named/d"), BUFFERD_HELD_BY_OTHERS);
    expect_rss(b, arena, BIG, N);
    cr_assert(is_filled(&theirs, 3), "theirs is a mapping of its own");
    bufferd_release(&theirs);
    cr_assert(is_filled(&views[0], 0));
    bufferd_release(&views[0]);
}

Test(client_memory, clear_unmaps_what_it_freed, .timeout = 120) {
    clear_big_ones(NULL);
}

Test(client_memory, clear_unmaps_small_pages, .timeout = 120) {
    if (access("/dev/shm", W_OK))
        cr_skip_test("/dev/shm is not ours to use");
    clear_big_ones("/dev/shm"); /* mounted without huge pages on most machines */
}

Test(client_memory, small_neighbours_are_unmapped_together, .timeout = 120) {
    SERVER s = server_new_with("128M", NULL);
    SESSION b = connect_to(&s);
    enum { N_SMALL = 64 };
    char names[N_SMALL][16];
    const char *keys[N_SMALL];
    char texts[N_SMALL][32];
    struct bufferd_clear_result cleared[N_SMALL];
    const void *arena = NULL;
    for (unsigned i = 0; i < N_SMALL; i++) {
        snprintf(names[i], sizeof(names[i]), "%u", i);
        snprintf(texts[i], sizeof(texts[i]), "named/%u", i);
        keys[i] = texts[i];
        struct bufferd_view v = put_filled(b, names[i], MiB / 2, (uint8_t)i);
        cr_assert(is_filled(&v, (uint8_t)i));
        arena = arena_of(&v);
        bufferd_release(&v);
    }
    expect_rss(b, arena, N_SMALL * MiB / 2, 1);
    OK(bufferd_clear(b, cleared, keys, N_SMALL, false, 5000, &error));
    expect_rss(b, arena, 0, 1);
}
