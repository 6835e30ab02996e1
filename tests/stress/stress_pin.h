/* What both sides of the pin stress share: the tables, what is written into buffers, the counts. */
#ifndef BUFFERD_STRESS_PIN_H
#define BUFFERD_STRESS_PIN_H

#include <string.h>

#include "../../proto/key.h"
#include "../../proto/shm.h"

#define N_CLIENTS 3
#define N_KEYS 40     /* more than there is room for */
#define N_ROOM 32     /* buffers of one page each */
#define MAX_WORDS 512 /* of one buffer */

/* Anonymous shared memory, one writer per field. */
struct tally {
    _Atomic uint64_t n_hits, n_misses, n_words, n_wrong;
    char padding[64];
};

/* What a client gets from the daemon: descriptors, as over the socket, and its number. */
struct client_args {
    int records_fd, pins_fd, arena_fd;
    int released_fd; /* a pipe to the daemon: record numbers */
    uint64_t n_records, records_bytes, arena_bytes;
    uint64_t seed;
    struct tally *tally;
};

/* Pins and checks until it is killed. */
_Noreturn void client_main(const struct client_args *args);

static inline uint64_t stress_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline struct str stress_key(char text[static 32], unsigned number) {
    memcpy(text, "named/stress-00", 16);
    text[13] = (char)('0' + number / 10);
    text[14] = (char)('0' + number % 10);
    return (struct str){text, 15};
}

static inline uint64_t stress_n_words(unsigned key) {
    return 8 + (key * 12345u) % (MAX_WORDS - 8);
}

/* Every word says whose it is: of which key, in which version, and where. */
static inline uint64_t stress_word(unsigned key, uint64_t version, uint64_t position) {
    return (version << 24 ^ (uint64_t)key << 12 ^ position) * 0x9e3779b97f4a7c15ull;
}

#endif
