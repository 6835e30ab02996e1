/* The index: what is added is found until it is removed, full lines refuse, and foreign words cost
 * nothing but a look. */
#include "../../proto/index.h"

#include <criterion/criterion.h>

#define N_RECORDS 131072 /* half of the words */

static struct shm_index index_make(uint64_t n_records) {
    struct shm_index x = {.n_lines = index_n_lines(n_records)};
    x.words = aligned_alloc(4096, index_bytes(x.n_lines));
    for (uint64_t i = 0; i < x.n_lines * INDEX_LINE_WORDS; i++)
        atomic_init(&x.words[i], 0);
    return x;
}

/* splitmix64 */
static uint64_t hash_of(uint64_t i) {
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static bool finds(struct shm_index x, uint64_t hash, uint32_t record) {
    uint32_t found;
    for (unsigned at = 0; index_next(x, hash, &at, &found);)
        if (found == record)
            return true;
    return false;
}

Test(index, a_key_whose_lines_are_full_is_refused) {
    struct shm_index x = index_make(1);
    uint64_t hash = hash_of(7);
    for (uint32_t i = 0; i < 2 * INDEX_LINE_WORDS; i++)
        cr_assert(index_add(x, hash, i));
    cr_assert_not(index_add(x, hash, 99));
    cr_assert_not(finds(x, hash, 99));
    cr_assert(index_remove(x, hash, 3));
    cr_assert(index_add(x, hash, 99), "its place is free again");
    cr_assert(finds(x, hash, 99));
    free(x.words);
}

Test(index, removing_what_is_not_there_changes_nothing) {
    struct shm_index x = index_make(1);
    cr_assert_not(index_remove(x, hash_of(1), 5));
    cr_assert(index_add(x, hash_of(1), 5));
    cr_assert_not(index_remove(x, hash_of(1), 6));
    cr_assert_not(index_remove(x, hash_of(2), 5));
    cr_assert(finds(x, hash_of(1), 5));
    free(x.words);
}

Test(index, every_key_of_a_full_table_is_found) {
    struct shm_index x = index_make(N_RECORDS);
    uint32_t found, n_refused = 0, n_foreign = 0;
    for (uint32_t i = 0; i < N_RECORDS; i++)
        n_refused += !index_add(x, hash_of(i), i);
    cr_assert_eq(n_refused, 0, "two lines of eight at half load");
    for (uint32_t i = 0; i < N_RECORDS; i++)
        cr_assert(finds(x, hash_of(i), i));
    for (uint32_t i = N_RECORDS; i < 2 * N_RECORDS; i++)
        for (unsigned at = 0; index_next(x, hash_of(i), &at, &found);)
            n_foreign++;
    cr_assert_leq(n_foreign, 2, "half a hash is enough to pass nearly all by");
    for (uint32_t i = 0; i < N_RECORDS; i++)
        cr_assert(index_remove(x, hash_of(i), i));
    for (uint64_t i = 0; i < x.n_lines * INDEX_LINE_WORDS; i++)
        cr_assert_eq(atomic_load(&x.words[i]), 0);
    free(x.words);
}

Test(index, both_lines_of_a_key_lie_in_one_page) {
    struct shm_index x = index_make(N_RECORDS);
    for (uint32_t i = 0; i < 10000; i++) {
        uintptr_t a = (uintptr_t)index_word(x, hash_of(i), 0);
        uintptr_t b = (uintptr_t)index_word(x, hash_of(i), INDEX_LINE_WORDS);
        cr_assert_eq(a / 4096, b / 4096);
        cr_assert_neq(a / 64, b / 64);
        cr_assert_lt(b, (uintptr_t)x.words + index_bytes(x.n_lines));
    }
    free(x.words);
}
