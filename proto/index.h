/* The index in front of the record table: from a key's hash to the records that may hold the key,
 * so that a process finds what another one made without asking.
 *
 * It lies in the record table's file (proto/shm.h): lines of eight words, a power of two of them.
 * A key may be in two lines, both of one page, so that a lookup costs one miss of the TLB. A word
 * is 0, or the hash's upper half and a record number + 1. Only the daemon writes, whole words, and
 * words never move. A reader may see a word too early, too late, or of another key with the same
 * upper half: so a word is only a hint. The record's version and the pin decide whether there is a
 * buffer, and the full key in the pinned record whether it is the one.
 */
#ifndef BUFFERD_INDEX_H
#define BUFFERD_INDEX_H

#include <stdatomic.h>

#include "base.h"

#define INDEX_LINE_WORDS 8
#define INDEX_PAGE_LINES 64 /* of 64 bytes */

struct shm_index {
    _Atomic uint64_t *words;
    uint64_t n_lines; /* a power of two, at least INDEX_PAGE_LINES */
};

/* At most half of the words are in use. */
static inline uint64_t index_n_lines(uint64_t n_records) {
    uint64_t n = INDEX_PAGE_LINES;
    while (n * INDEX_LINE_WORDS < 2 * n_records)
        n *= 2;
    return n;
}

static inline uint64_t index_bytes(uint64_t n_lines) {
    return n_lines * INDEX_LINE_WORDS * sizeof(uint64_t);
}

/* One of the 16 words that may belong to the hash. */
static inline _Atomic uint64_t *index_word(struct shm_index x, uint64_t hash, unsigned at) {
    uint64_t line = hash & (x.n_lines - 1);
    if (at >= INDEX_LINE_WORDS) /* another one of the same page */
        line ^= 1 + (hash >> 24) % (INDEX_PAGE_LINES - 1);
    return &x.words[line * INDEX_LINE_WORDS + at % INDEX_LINE_WORDS];
}

static inline uint64_t index_word_of(uint64_t hash, uint32_t record) {
    return (hash & ~(uint64_t)UINT32_MAX) | (record + 1u);
}

/* The next record that may hold the key; start with *atp = 0. False: there are no more. */
static inline bool index_next(struct shm_index x, uint64_t hash, unsigned *atp, uint32_t *recordp) {
    while (*atp < 2 * INDEX_LINE_WORDS) {
        uint64_t word = atomic_load_explicit(index_word(x, hash, (*atp)++), memory_order_acquire);
        if ((uint32_t)word && word >> 32 == hash >> 32) {
            *recordp = (uint32_t)word - 1;
            return true;
        }
    }
    return false;
}

/* Words of the line from `at` on that are in use. */
static inline unsigned index_line_load(struct shm_index x, uint64_t hash, unsigned at) {
    unsigned n = 0;
    for (unsigned i = at; i < at + INDEX_LINE_WORDS; i++)
        n += atomic_load_explicit(index_word(x, hash, i), memory_order_relaxed) != 0;
    return n;
}

/* Write over the first such word from `at` on. */
static inline bool index_replace(struct shm_index x, uint64_t hash, unsigned at, uint64_t old,
                                 uint64_t word) {
    for (; at < 2 * INDEX_LINE_WORDS; at++) {
        _Atomic uint64_t *w = index_word(x, hash, at);
        if (atomic_load_explicit(w, memory_order_relaxed) == old) {
            atomic_store_explicit(w, word, memory_order_release);
            return true;
        }
    }
    return false;
}

/* daemon: the record may be found from now on. Into the emptier line, so that hardly any is full
 * before all are. False: both lines are full. */
static inline bool index_add(struct shm_index x, uint64_t hash, uint32_t record) {
    bool is_second = index_line_load(x, hash, INDEX_LINE_WORDS) < index_line_load(x, hash, 0);
    return index_replace(x, hash, is_second ? INDEX_LINE_WORDS : 0, 0, index_word_of(hash, record));
}

/* daemon: it is found no more. False: it was not there. */
static inline bool index_remove(struct shm_index x, uint64_t hash, uint32_t record) {
    return index_replace(x, hash, 0, index_word_of(hash, record), 0);
}

#endif
