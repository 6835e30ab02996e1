/* Wall time, and the time that all threads of this process had a processor: on a machine that
 * others use as well, the second says what the first cannot. */
#ifndef BUFFERD_CLOCK_H
#define BUFFERD_CLOCK_H

#include <time.h>

struct clock {
    double wall, cpu; /* seconds */
};

static inline double clock_read(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline struct clock clock_now(void) {
    return (struct clock){clock_read(CLOCK_MONOTONIC), clock_read(CLOCK_PROCESS_CPUTIME_ID)};
}

static inline struct clock clock_since(const struct clock *start) {
    struct clock now = clock_now();
    return (struct clock){now.wall - start->wall, now.cpu - start->cpu};
}

#endif
