/* The arena on real shared memory, with small and with huge pages: nobody is handed a hole, memory
 * goes back to the system, and no live byte is ever lost. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../daemon/arena/arena.h"
#include "forbid.h"
#include "namespace.h"

#define MIB (1ull << 20)
#define N_BYTES (64 * MIB)
#define UNIT (64ull << 10)
#define DECAY_MS 60000
#define CANNOT 77 /* exit status: not on this machine */

/* A loop: an eventfd that the helper rings, and a clock that the test moves. */
struct loop {
    struct arena *a;
    int event;
    uint64_t now_ms;
    char root[64]; /* of a pretended /proc */
};

struct cold {
    int n_calls, status;
};

static void on_wake(void *ctx) {
    struct loop *loop = ctx;
    eventfd_write(loop->event, 1);
}

static void on_ready(void *ctx, int status) {
    struct cold *cold = ctx;
    cold->n_calls++;
    cold->status = status;
}

static void on_trimmed(void *ctx, uint64_t n_bytes) {
    *(uint64_t *)ctx = n_bytes;
}

static struct arena_stats stats_of(const struct loop *loop) {
    struct arena_stats s;
    arena_get_stats(loop->a, &s);
    cr_assert_eq(s.live_bytes + s.stock_bytes + s.hole_bytes, arena_bytes(loop->a));
    return s;
}

/* Wait for one wake and dispatch. False: none came. */
static bool loop_turn(struct loop *loop, int timeout_ms) {
    eventfd_t value;
    bool has_event = poll(&(struct pollfd){.fd = loop->event, .events = POLLIN}, 1, timeout_ms) > 0;
    if (has_event)
        eventfd_read(loop->event, &value);
    arena_dispatch(loop->a, loop->now_ms);
    return has_event;
}

/* Until the helper has been silent. */
static void loop_settle(struct loop *loop) {
    loop_turn(loop, 0);
    while (loop_turn(loop, 100))
        ;
}

static void loop_wait(struct loop *loop, const struct cold *cold) {
    for (int i = 0; i < 100 && cold->n_calls == 0; i++)
        loop_turn(loop, 1000);
    cr_assert_eq(cold->n_calls, 1);
}

static void loop_open(struct loop *loop, uint64_t n_bytes, uint64_t stock_bytes, bool wants_huge) {
    struct backing b;
    if (!wants_huge)
        cr_assert(unshare_forbid());
    cr_assert_eq(backing_open(&b, n_bytes, NULL), 0, "%s", b.why);
    if (wants_huge && !b.has_huge_pages)
        cr_skip_test("no huge pages here");
    loop->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->now_ms = 1000000;
    struct arena_options options = {.stock_bytes = stock_bytes,
                                    .decay_ms = DECAY_MS,
                                    .wake = on_wake,
                                    .ctx = loop,
                                    .system_root = loop->root};
    cr_assert_eq(arena_new(&loop->a, &b, &options), 0);
    cr_assert_eq(b.fd, -1);
    loop_settle(loop);
}

static void loop_close(struct loop *loop) {
    loop->a = arena_free(loop->a);
    close(loop->event);
}

/* No page of the range is a hole, as the kernel sees it. */
static void check_populated(const struct loop *loop, uint64_t off, uint64_t n_bytes) {
    off_t hole = lseek(arena_backing(loop->a)->fd, (off_t)off, SEEK_HOLE);
    cr_assert_geq((uint64_t)hole, off + n_bytes, "a hole was handed out");
}

static uint64_t alloc_ready(struct loop *loop, uint64_t n_bytes) {
    struct cold cold = {0};
    uint64_t off = UINT64_MAX;
    int r = arena_alloc(loop->a, &off, n_bytes, on_ready, &cold);
    cr_assert(r == 0 || r == ARENA_E_COLD, "%d", r);
    if (r == ARENA_E_COLD)
        loop_wait(loop, &cold);
    cr_assert_eq(cold.status, 0);
    check_populated(loop, off, n_bytes);
    return off;
}

static uint64_t trim(struct loop *loop) {
    uint64_t n_bytes = UINT64_MAX;
    cr_assert_eq(arena_trim(loop->a, on_trimmed, &n_bytes), 0);
    for (int i = 0; i < 100 && n_bytes == UINT64_MAX; i++)
        loop_turn(loop, 1000);
    return n_bytes;
}

/* MemAvailable as the helper reads it. */
static void pretend_available(struct loop *loop, uint64_t n_bytes) {
    char path[128];
    if (!loop->root[0]) {
        snprintf(loop->root, sizeof(loop->root), "/tmp/test-arena-XXXXXX");
        cr_assert_not_null(mkdtemp(loop->root));
        snprintf(path, sizeof(path), "%s/proc", loop->root);
        cr_assert_eq(mkdir(path, 0700), 0);
    }
    snprintf(path, sizeof(path), "%s/proc/meminfo", loop->root);
    FILE *f = fopen(path, "w");
    fprintf(f, "MemTotal: 99999999 kB\nMemAvailable: %lu kB\n", (unsigned long)(n_bytes / 1024));
    fclose(f);
}

static void pretend_end(struct loop *loop) {
    char path[128];
    snprintf(path, sizeof(path), "%s/proc/meminfo", loop->root);
    unlink(path);
    snprintf(path, sizeof(path), "%s/proc", loop->root);
    rmdir(path);
    rmdir(loop->root);
}

/* --- limits and failures --- */

Test(arena, full_leaves_the_out_parameter) {
    struct loop loop = {0};
    uint64_t off = 77;
    loop_open(&loop, N_BYTES, 0, false);
    cr_assert_eq(arena_alloc(loop.a, &off, N_BYTES + 1, on_ready, NULL), ARENA_E_FULL);
    cr_assert_eq(arena_alloc(loop.a, &off, UINT64_MAX, on_ready, NULL), ARENA_E_FULL);
    uint64_t all = alloc_ready(&loop, N_BYTES);
    cr_assert_eq(arena_alloc(loop.a, &off, 1, on_ready, NULL), ARENA_E_FULL);
    cr_assert_eq(off, 77);
    cr_assert_eq(stats_of(&loop).live_bytes, N_BYTES);
    cr_assert_eq(stats_of(&loop).largest_bytes, 0);
    arena_give_back(loop.a, all, N_BYTES);
    cr_assert_eq(stats_of(&loop).largest_bytes, N_BYTES);
    loop_close(&loop);
}

Test(arena, no_headroom_is_enomem_and_leaves_no_page) {
    struct loop loop = {0};
    struct cold cold = {0};
    uint64_t off;
    pretend_available(&loop, 70 * MIB); /* 64 MiB are kept in reserve */
    loop_open(&loop, N_BYTES, 32 * MIB, false);
    cr_assert_eq(stats_of(&loop).file_bytes, 0, "the stock took the reserve");
    cr_assert_eq(arena_alloc(loop.a, &off, 8 * MIB, on_ready, &cold), ARENA_E_COLD);
    loop_wait(&loop, &cold);
    cr_assert_eq(cold.status, -ENOMEM);
    cr_assert_eq(stats_of(&loop).file_bytes, 0);
    cr_assert_eq(stats_of(&loop).live_bytes, 8 * MIB, "the range is still the caller's");
    arena_give_back(loop.a, off, 8 * MIB);
    cr_assert_eq(stats_of(&loop).live_bytes, 0);
    cr_assert_eq(stats_of(&loop).stock_bytes, 0, "a hole counts as populated");
    off = alloc_ready(&loop, 4 * MIB); /* this much there is */
    arena_give_back(loop.a, off, 4 * MIB);
    pretend_available(&loop, 1024 * MIB);
    loop.now_ms += 5000;
    loop_settle(&loop);
    cr_assert_eq(stats_of(&loop).stock_bytes, 32 * MIB, "the stock was not tried again");
    loop_close(&loop);
    pretend_end(&loop);
}

/* By a child, which mounts a tmpfs of 32 MiB. The number of the step that failed; 0: none. */
static int full_file_system_try(void) {
    struct loop loop = {.event = eventfd(0, EFD_NONBLOCK)};
    struct arena_options options = {.decay_ms = DECAY_MS, .wake = on_wake, .ctx = &loop};
    struct arena_stats stats;
    struct backing b;
    struct cold cold = {0};
    uint64_t off;
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !ids_map(uid, gid) ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("arena", "/tmp", "tmpfs", 0, "size=32m"))
        return CANNOT;
    if (backing_open(&b, 32 * MIB, "/tmp") || arena_new(&loop.a, &b, &options))
        return 1;
    int other = open("/tmp/other", O_CREAT | O_RDWR, 0600);
    if (fallocate(other, 0, 0, 20 * MIB))
        return 2;
    if (arena_alloc(loop.a, &off, 16 * MIB, on_ready, &cold) != ARENA_E_COLD)
        return 3;
    while (cold.n_calls == 0)
        loop_turn(&loop, 1000);
    arena_get_stats(loop.a, &stats);
    if (cold.status != -ENOSPC)
        return 4;
    return stats.file_bytes == 0 && stats.populated_bytes == 0 ? 0 : 5;
}

Test(arena, a_full_file_system_is_enospc_and_leaves_no_page) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(full_file_system_try());
    int status = -1;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) == CANNOT)
        cr_skip_test("no namespaces here");
    cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
}

/* A small wish beside a big one that fails in the same unit. */
Test(arena, a_neighbours_failure_is_not_mine) {
    struct loop loop = {0};
    struct cold big = {0}, small = {0};
    uint64_t off, off2;
    pretend_available(&loop, 70 * MIB);
    loop_open(&loop, N_BYTES, 0, false);
    cr_assert_eq(arena_alloc(loop.a, &off, 8 * MIB + ARENA_PAGE, on_ready, &big), ARENA_E_COLD);
    cr_assert_eq(arena_alloc(loop.a, &off2, ARENA_PAGE, on_ready, &small), ARENA_E_COLD);
    loop_wait(&loop, &big);
    loop_wait(&loop, &small);
    cr_assert_eq(big.status, -ENOMEM);
    cr_assert_eq(small.status, 0);
    check_populated(&loop, off2, ARENA_PAGE);
    arena_give_back(loop.a, off, 8 * MIB + ARENA_PAGE);
    cr_assert_eq(stats_of(&loop).stock_bytes, UNIT - ARENA_PAGE);
    loop_close(&loop);
    pretend_end(&loop);
}

Test(arena, free_with_callbacks_due) {
    struct loop loop = {0};
    struct cold cold = {0};
    uint64_t off, n_trimmed = 77;
    loop_open(&loop, N_BYTES, 8 * MIB, false);
    cr_assert_eq(arena_alloc(loop.a, &off, 20 * MIB, on_ready, &cold), ARENA_E_COLD);
    cr_assert_eq(arena_trim(loop.a, on_trimmed, &n_trimmed), 0);
    loop_close(&loop);
    cr_assert_eq(cold.n_calls, 0);
    cr_assert_eq(n_trimmed, 77);
    cr_assert_null(arena_free(NULL));
}

/* --- stock, trim, decay --- */

Test(arena, cold_without_a_stock) {
    struct loop loop = {0};
    struct cold first = {0}, second = {0};
    uint64_t off, off2;
    loop_open(&loop, N_BYTES, 0, false);
    cr_assert_eq(stats_of(&loop).file_bytes, 0);
    cr_assert_eq(arena_alloc(loop.a, &off, 5000, on_ready, &first), ARENA_E_COLD);
    cr_assert_eq(arena_alloc(loop.a, &off2, 5000, on_ready, &second), ARENA_E_COLD); /* same unit */
    cr_assert_eq(first.n_calls, 0, "called back before the next dispatch");
    loop_wait(&loop, &first);
    loop_wait(&loop, &second);
    cr_assert(first.status == 0 && second.status == 0 && off != off2);
    check_populated(&loop, off, 5000);
    check_populated(&loop, off2, 5000);
    cr_assert_eq(stats_of(&loop).file_bytes, UNIT);
    cr_assert_eq(stats_of(&loop).populated_bytes, UNIT);
    cr_assert_eq(arena_alloc(loop.a, &off, 5000, on_ready, &first), 0, "the unit's rest is warm");
    loop_close(&loop);
}

Test(arena, the_stock_is_filled_and_refilled) {
    struct loop loop = {0};
    uint64_t off;
    loop_open(&loop, N_BYTES, 8 * MIB, false);
    cr_assert_eq(stats_of(&loop).stock_bytes, 8 * MIB);
    cr_assert_eq(stats_of(&loop).file_bytes, 8 * MIB);
    cr_assert_eq(arena_alloc(loop.a, &off, 8 * MIB, on_ready, NULL), 0, "at once from the stock");
    check_populated(&loop, off, 8 * MIB);
    loop_turn(&loop, 0);
    loop_settle(&loop);
    cr_assert_eq(stats_of(&loop).stock_bytes, 8 * MIB);
    cr_assert_eq(stats_of(&loop).file_bytes, 16 * MIB);
    loop_close(&loop);
}

/* The stock and free whole units go; units that a live range touches stay. */
static void trim_gives_back_exactly(bool wants_huge) {
    struct loop loop = {0};
    loop_open(&loop, N_BYTES, 8 * MIB, wants_huge);
    uint64_t unit = arena_backing(loop.a)->unit_bytes;
    uint64_t a = alloc_ready(&loop, 3 * unit + ARENA_PAGE), b = alloc_ready(&loop, 10 * MIB);
    memset(arena_base(loop.a) + a, 0xa5, 3 * unit + ARENA_PAGE);
    memset(arena_base(loop.a) + b, 0x5a, 10 * MIB);
    arena_give_back(loop.a, b, 10 * MIB);
    loop_settle(&loop);
    uint64_t before = stats_of(&loop).file_bytes;
    uint64_t freed = trim(&loop);
    cr_assert_eq(stats_of(&loop).file_bytes, 4 * unit);
    cr_assert_eq(before - stats_of(&loop).file_bytes, freed);
    cr_assert_eq(stats_of(&loop).punched_bytes, freed);
    cr_assert_eq(stats_of(&loop).stock_bytes, unit - ARENA_PAGE);
    for (uint64_t i = 0; i < 3 * unit + ARENA_PAGE; i++)
        cr_assert_eq(arena_base(loop.a)[a + i], 0xa5);
    loop.now_ms += 10000;
    loop_settle(&loop);
    cr_assert_eq(stats_of(&loop).file_bytes, 4 * unit, "the stock came back after a trim");
    cr_assert_eq(trim(&loop), 0, "nothing is left to trim");
    alloc_ready(&loop, 2 * unit);
    loop_settle(&loop);
    cr_assert_geq(stats_of(&loop).stock_bytes, 8 * MIB - unit, "an allocation revives the stock");
    loop_close(&loop);
}

Test(arena, trim_gives_back_exactly_small_pages) {
    trim_gives_back_exactly(false);
}

Test(arena, trim_gives_back_exactly_huge_pages) {
    trim_gives_back_exactly(true);
}

Test(arena, what_is_being_populated_is_trimmed_too) {
    struct loop loop = {0};
    uint64_t off;
    loop_open(&loop, N_BYTES, 16 * MIB, false);
    cr_assert_eq(arena_alloc(loop.a, &off, 16 * MIB, on_ready, NULL), 0);
    arena_dispatch(loop.a, loop.now_ms); /* puts a populate of 16 MiB */
    cr_assert_eq(trim(&loop), 16 * MIB);
    cr_assert_eq(stats_of(&loop).file_bytes, 16 * MIB);
    loop_close(&loop);
}

/* Asked for while its punch is still queued: the order of the queue makes it whole again. */
Test(arena, pages_under_a_trim_can_be_had_again) {
    struct loop loop = {0};
    struct cold cold = {0};
    uint64_t n_trimmed = 0, off;
    loop_open(&loop, N_BYTES, 0, false);
    arena_give_back(loop.a, alloc_ready(&loop, N_BYTES), N_BYTES);
    cr_assert_eq(arena_trim(loop.a, on_trimmed, &n_trimmed), 0);
    for (int i = 0; i < 50; i++) {
        int r = arena_alloc(loop.a, &off, N_BYTES, on_ready, &cold);
        if (r == ARENA_E_COLD)
            loop_wait(&loop, &cold);
        cr_assert(r == 0 || cold.status == 0);
        cold = (struct cold){0};
        check_populated(&loop, off, N_BYTES);
        arena_give_back(loop.a, off, N_BYTES);
        loop_turn(&loop, 10);
        cr_assert_eq(arena_trim(loop.a, on_trimmed, &n_trimmed), 0);
    }
    loop_close(&loop);
}

static void decay_punches_above_the_stock(bool wants_huge) {
    struct loop loop = {0};
    loop_open(&loop, N_BYTES, 8 * MIB, wants_huge);
    uint64_t off = alloc_ready(&loop, 40 * MIB);
    loop_settle(&loop);
    arena_give_back(loop.a, off, 40 * MIB);
    uint64_t full = stats_of(&loop).file_bytes;
    cr_assert_geq(full, 40 * MIB);
    loop.now_ms += DECAY_MS - 1;
    loop_settle(&loop);
    cr_assert_eq(stats_of(&loop).file_bytes, full, "punched too early");
    uint64_t again = alloc_ready(&loop, 4 * MIB); /* used in between: starts anew */
    arena_give_back(loop.a, again, 4 * MIB);
    loop.now_ms += 1;
    loop_settle(&loop);
    cr_assert_leq(stats_of(&loop).file_bytes, 12 * MIB);
    cr_assert_geq(stats_of(&loop).stock_bytes, 8 * MIB, "the stock was punched");
    loop.now_ms += DECAY_MS;
    loop_settle(&loop);
    cr_assert_eq(stats_of(&loop).file_bytes, 8 * MIB);
    loop_close(&loop);
}

Test(arena, decay_punches_above_the_stock_small_pages) {
    decay_punches_above_the_stock(false);
}

Test(arena, decay_punches_above_the_stock_huge_pages) {
    decay_punches_above_the_stock(true);
}
