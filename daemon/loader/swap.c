/* The byte swap between ROOT's order and the machine's, fused with the copy to the destination.
 *
 * Plain loops, since compilers vectorise them; with AVX2, which no build may assume, a swap is a
 * shuffle of 32 bytes and runs at the speed of a copy. Each loop exists twice from one source, and
 * the processor is asked once per call: a call moves a whole basket.
 */
#include "swap.h"

#include <endian.h>
#include <string.h>

#define SWAP_LOOP(name, type, from_big, target)                                                    \
    target static void name(uint8_t *restrict dst, const uint8_t *restrict src, size_t n) {        \
        for (size_t i = 0; i < n; i++) {                                                           \
            type x;                                                                                \
            memcpy(&x, src + i * sizeof(x), sizeof(x));                                            \
            x = from_big(x);                                                                       \
            memcpy(dst + i * sizeof(x), &x, sizeof(x));                                            \
        }                                                                                          \
    }

SWAP_LOOP(swap2, uint16_t, be16toh, )
SWAP_LOOP(swap4, uint32_t, be32toh, )
SWAP_LOOP(swap8, uint64_t, be64toh, )

#ifdef __x86_64__
#define AVX2 __attribute__((target("avx2")))
SWAP_LOOP(swap2_wide, uint16_t, be16toh, AVX2)
SWAP_LOOP(swap4_wide, uint32_t, be32toh, AVX2)
SWAP_LOOP(swap8_wide, uint64_t, be64toh, AVX2)

static bool is_wide(void) {
    return __builtin_cpu_supports("avx2");
}
#else
#define swap2_wide swap2
#define swap4_wide swap4
#define swap8_wide swap8

static bool is_wide(void) {
    return false;
}
#endif

void swap_copy(void *dst, const void *src, size_t n_bytes, unsigned item_bytes) {
    bool wide = is_wide();
    if (n_bytes == 0)
        return;
    switch (item_bytes) {
    case 2:
        (wide ? swap2_wide : swap2)(dst, src, n_bytes / 2);
        break;
    case 4:
        (wide ? swap4_wide : swap4)(dst, src, n_bytes / 4);
        break;
    case 8:
        (wide ? swap8_wide : swap8)(dst, src, n_bytes / 8);
        break;
    default:
        memcpy(dst, src, n_bytes);
    }
}
