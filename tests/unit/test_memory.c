/* Limits and headroom, on recorded trees of /proc and /sys and on this machine. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "../../daemon/util/memory.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static uint64_t limit_of(const char *tree) {
    char root[512];
    uint64_t n = 0;
    snprintf(root, sizeof(root), "%s/cgroup/%s", TEST_DATA, tree);
    cr_assert_eq(memory_limit(root, &n), 0);
    return n;
}

static uint64_t headroom_of(const char *tree) {
    char root[512];
    uint64_t n = 0;
    snprintf(root, sizeof(root), "%s/cgroup/%s", TEST_DATA, tree);
    cr_assert_eq(memory_headroom(root, &n), 0);
    return n;
}

Test(memory, no_meminfo_is_an_error) {
    uint64_t n = 77;
    cr_assert_eq(memory_limit(TEST_DATA "/cgroup/absent", &n), -ENOENT);
    cr_assert_eq(memory_headroom(TEST_DATA "/cgroup/absent", &n), -ENOENT);
    cr_assert_eq(n, 77);
}

Test(memory, damaged_files_limit_nothing) {
    cr_assert_eq(limit_of("damaged"), 800000 * 1024ull);
    cr_assert_eq(headroom_of("damaged"), 500000 * 1024ull);
}

Test(memory, no_cgroups) {
    cr_assert_eq(limit_of("none"), 1000000 * 1024ull);
    cr_assert_eq(headroom_of("none"), 500000 * 1024ull);
}

/* The parent of the job's cgroup is tighter than the job's own. */
Test(memory, v1_takes_the_least_of_all_ancestors) {
    cr_assert_eq(limit_of("v1"), 2 * GIB);
    cr_assert_eq(headroom_of("v1"), 2 * GIB - 1800 * MIB + 100 * MIB);
}

Test(memory, v2_counts_memory_high) {
    cr_assert_eq(limit_of("v2"), 8 * GIB);
    cr_assert_eq(headroom_of("v2"), 8 * GIB - 6 * GIB + 1 * GIB);
}

Test(memory, a_container_sees_its_cgroup_as_the_root) {
    cr_assert_eq(limit_of("container"), 512 * MIB);
    cr_assert_eq(headroom_of("container"), 0, "usage above the limit is no headroom");
}

Test(memory, this_machine) {
    uint64_t limit = 0, headroom = 0;
    cr_assert_eq(memory_limit(NULL, &limit), 0);
    cr_assert_eq(memory_headroom("", &headroom), 0);
    cr_assert_gt(limit, 16 * MIB);
    cr_assert_leq(headroom, limit);
}
