/* Titles say what fLen does not: which dimension is the counter, and what the fixed ones are.
 *
 * Only the first bracket may name a counter. A bracket with commas is no dimension but the range of
 * a Double32_t or Float16_t. What cannot be told for sure is odd, and its column is refused.
 */
#include "dimensions.h"

#include <stdio.h>
#include <string.h>

static bool is_number(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return n > 0 && n < 9 && p[0] != '0';
}

static void dimension_add(struct dimensions *d, const char *p, size_t n) {
    if (!is_number(p, n)) {
        d->is_odd |= d->has_any; /* only the first may be a counter */
        d->has_counter = true;
    } else {
        size_t used = strlen(d->text);
        d->is_odd |= used + n + 3 > sizeof(d->text);
        if (!d->is_odd)
            snprintf(d->text + used, sizeof(d->text) - used, "[%.*s]", (int)n, p);
        d->product = MIN(d->product * strtoul(p, NULL, 10), (uint64_t)DIMENSIONS_MAX_PRODUCT + 1);
    }
    d->has_any = true;
}

struct dimensions dimensions_parse(struct str title) {
    struct dimensions d = {.product = 1};
    const char *p = title.ptr, *end = p + title.len;
    while (p < end && *p != '[' && *p != ']')
        p++;
    while (p < end && *p == '[') {
        const char *start = ++p;
        while (p < end && *p != '[' && *p != ']')
            p++;
        if (p == end || *p != ']' || p == start) {
            d.is_odd = true;
            return d;
        }
        if (memchr(start, ',', (size_t)(p - start)))
            d.has_range = true;
        else
            dimension_add(&d, start, (size_t)(p - start));
        p++;
    }
    for (; p < end; p++)
        d.is_odd |= *p == '[';
    return d;
}
