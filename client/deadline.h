/* Points in time on the monotonic clock, in milliseconds. */
#ifndef BUFFERD_DEADLINE_H
#define BUFFERD_DEADLINE_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define DEADLINE_NEVER INT64_MAX

static inline int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A negative timeout never passes. */
static inline int64_t deadline_after(int timeout_ms) {
    return timeout_ms < 0 ? DEADLINE_NEVER : now_ms() + timeout_ms;
}

/* Milliseconds until then: 0 when it has passed, at most INT_MAX. */
static inline int deadline_left_ms(int64_t deadline) {
    if (deadline == DEADLINE_NEVER)
        return INT_MAX;
    int64_t left = deadline - now_ms();
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static inline struct timespec deadline_timespec(int64_t deadline) {
    if (deadline == DEADLINE_NEVER)
        deadline = now_ms() + INT_MAX;
    return (struct timespec){.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};
}

static inline void sleep_ms(int ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

#endif
