/* What a client maps of the arena counts as its memory, also when the buffer is gone: so a clear takes the
 * pages out of its page table.
 *
 * Whole units only (2 MiB with huge pages, else 64 KiB), so that no huge page is mapped in pieces; ranges
 * that touch are joined first, since buffers that were made together lie together. A page that is taken
 * out although somebody here still reads it comes back by itself.
 */
#include "drop.h"

#include <sys/mman.h>

struct drop_range drop_range_of(const struct bufferd *b, uint64_t offset, uint64_t n_bytes) {
    if (!range_is_inside(offset, n_bytes, b->arena.n_bytes))
        return (struct drop_range){0, 0};
    return (struct drop_range){offset, round_up(offset + n_bytes, SHM_PAGE)};
}

static int compare_ranges(const void *a, const void *b) {
    const struct drop_range *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

static void drop_one(const struct bufferd *b, struct drop_range range) {
    uint64_t unit = b->has_huge_pages ? DROP_HUGE_PAGE : DROP_UNIT;
    uint64_t start = round_up(range.start, unit), stop = range.stop / unit * unit;
    if (start < stop)
        madvise((char *)b->arena.base + start, stop - start, MADV_DONTNEED);
}

void drop_ranges(const struct bufferd *b, struct drop_range *ranges, size_t n) {
    struct drop_range joined = {0, 0};
    qsort(ranges, n, sizeof(*ranges), compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].start > joined.stop) {
            drop_one(b, joined);
            joined = ranges[i];
        }
        joined.stop = MAX(joined.stop, ranges[i].stop);
    }
    drop_one(b, joined);
}
