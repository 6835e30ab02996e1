/* jemalloc is the daemon's heap: many small, long-lived things of all sizes, freed in any order. */
#include "heap.h"

#include <jemalloc/jemalloc.h>

static uint64_t read_size(const char *name) {
    size_t value = 0, n = sizeof(value);
    return mallctl(name, &value, &n, NULL, 0) == 0 ? value : 0;
}

void heap_get_stats(struct heap_stats *out) {
    uint64_t epoch = 1;
    size_t n = sizeof(epoch);
    mallctl("epoch", &epoch, &n, &epoch, n); /* the figures are those of the last epoch */
    *out = (struct heap_stats){
        .name = "jemalloc",
        .allocated_bytes = read_size("stats.allocated"),
        .resident_bytes = read_size("stats.resident"),
    };
}
