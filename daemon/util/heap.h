/* The daemon's heap: what the allocator says of itself. Which one it is, the build decides. */
#ifndef BUFFERD_HEAP_H
#define BUFFERD_HEAP_H

#include <stdint.h>

struct heap_stats {
    const char *name;         /* static: "jemalloc 5.3.0" */
    uint64_t allocated_bytes; /* by the program; 0: the allocator does not say */
    uint64_t resident_bytes;  /* from the system */
};
void heap_get_stats(struct heap_stats *out);

#endif
