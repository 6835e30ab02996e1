/* Byte swaps of every size, length and alignment, against the obvious loop. */
#include "../../daemon/loader/swap.h"

#include <criterion/criterion.h>
#include <string.h>

Test(swap, is_the_obvious_loop) {
    uint8_t src[300], dst[300], expected[300];
    for (unsigned i = 0; i < sizeof(src); i++)
        src[i] = (uint8_t)(i * 7 + 1);
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned n = 0; n * size <= 260; n++) {
            for (unsigned shift = 0; shift < 4; shift++) {
                memset(dst, 0xee, sizeof(dst));
                memset(expected, 0xee, sizeof(expected));
                for (unsigned i = 0; i < n * size; i++)
                    expected[shift + i] = src[3 - shift + i / size * size + size - 1 - i % size];
                swap_copy(dst + shift, src + 3 - shift, n * size, size);
                cr_assert_arr_eq(dst, expected, sizeof(dst), "%u items of %u", n, size);
            }
        }
    }
}
