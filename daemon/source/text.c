/* Names from files go to people and to Python, which both want UTF-8 that ends where it seems to
 * end. A file may hold anything, so strings are cleaned on their way into the table, byte for byte:
 * equal lengths keep concatenated paths simple.
 */
#include "text.h"
#include "source.h"

#include <string.h>

int text_init(struct text *t, struct memory *m) {
    *t = (struct text){.memory = m};
    uint32_t off;
    return text_add(t, &off, (struct str){0}, (struct str){0}, (struct str){0});
}

void text_deinit(struct text *t) {
    free(t->bytes);
    *t = (struct text){0};
}

/* Length of the UTF-8 sequence at p, 0 when there is none (RFC 3629, section 4). */
static unsigned utf8_length(const uint8_t *p, size_t n) {
    if (p[0] >= 1 && p[0] < 0x80)
        return 1;
    unsigned len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len)
        return 0;
    for (unsigned i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool is_short = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool is_surrogate = p[0] == 0xed && p[1] > 0x9f;
    bool is_high = p[0] == 0xf4 && p[1] > 0x8f;
    return is_short || is_surrogate || is_high ? 0 : len;
}

void text_clean(char *dst, struct str s) {
    const uint8_t *p = (const uint8_t *)s.ptr;
    for (uint32_t i = 0; i < s.len;) {
        unsigned len = utf8_length(p + i, s.len - i);
        if (len)
            memmove(dst + i, p + i, len);
        else
            dst[i] = '?';
        i += MAX(len, 1);
    }
}

/* A piece may lie in the table, which moves when it grows. */
static struct str piece_after_growth(const struct text *t, const char *before, uint64_t n_before,
                                     struct str s) {
    uintptr_t at = (uintptr_t)s.ptr, base = (uintptr_t)before;
    if (before && at >= base && at < base + n_before)
        s.ptr = t->bytes + (at - base);
    return s;
}

int text_add(struct text *t, uint32_t *offp, struct str a, struct str b, struct str c) {
    uint64_t off = t->n_bytes, n = off + a.len + (uint64_t)b.len + c.len + 1;
    const char *before = t->bytes;
    if (n > UINT32_MAX)
        return SOURCE_E_TOO_LARGE;
    int r = memory_grow(t->memory, (void **)&t->bytes, &t->capacity, n, 1);
    if (r)
        return r;
    struct str pieces[] = {a, b, c};
    char *p = t->bytes + off;
    for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
        text_clean(p, piece_after_growth(t, before, off, pieces[i]));
        p += pieces[i].len;
    }
    *p = '\0';
    t->n_bytes = n;
    *offp = (uint32_t)off;
    return 0;
}
