/* Evaluates the first bracket of a title as uproot does (interpretation/identify.py).
 *
 * Two or three numbers, the first two of which may be sums, products, pi and twopi. Bits outside of
 * 2 to 32 mean 32; "[0, 0, bits]" means no range but a mantissa of so many bits. No bracket, or one
 * that holds a single number or name (an array's length), means no range: a Double32_t is stored as
 * a float then, a Float16_t with 12 bits. Anything else is refused.
 */
#include "range.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_TEXT_BYTES 128
#define MAX_DEPTH 16
#define DEFAULT_BITS 12

struct expression {
    const char *p;
    unsigned depth;
    bool has_failed;
};

static double sum_read(struct expression *e);

static void blanks_skip(struct expression *e) {
    while (*e->p == ' ')
        e->p++;
}

static double name_read(struct expression *e) {
    size_t n = strspn(e->p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    double value = 0;
    if (n == 2 && strncasecmp(e->p, "pi", 2) == 0)
        value = 3.141592653589793;
    else if (n == 5 && strncasecmp(e->p, "twopi", 5) == 0)
        value = 6.283185307179586;
    else
        e->has_failed = true;
    e->p += n;
    return value;
}

/* Decimal only: what strtod() reads besides has another meaning to uproot or none. */
static double number_read(struct expression *e) {
    size_t n = strspn(e->p, "0123456789.");
    char *end;
    if (n == 0 || (e->p[0] == '0' && n > 1 && e->p[1] != '.') ||
        strchr("xX", e->p[n] ? e->p[n] : ' ')) {
        e->has_failed = true;
        return 0;
    }
    double value = strtod(e->p, &end);
    e->has_failed |= end < e->p + n || !isfinite(value);
    e->p = end;
    return value;
}

static double factor_read(struct expression *e) {
    double value = 0;
    blanks_skip(e);
    if (e->has_failed || ++e->depth > MAX_DEPTH) {
        e->has_failed = true;
        return 0;
    }
    if (*e->p == '-') {
        e->p++;
        value = -factor_read(e);
    } else if (*e->p == '(') {
        e->p++;
        value = sum_read(e);
        e->has_failed |= *e->p != ')';
        e->p += *e->p == ')';
    } else if ((*e->p >= '0' && *e->p <= '9') || *e->p == '.') {
        value = number_read(e);
    } else {
        value = name_read(e);
    }
    e->depth--;
    blanks_skip(e);
    return value;
}

static double product_read(struct expression *e) {
    double value = factor_read(e);
    while (!e->has_failed && (*e->p == '*' || *e->p == '/')) {
        char op = *e->p++;
        double other = factor_read(e);
        e->has_failed |= op == '/' && other == 0;
        if (!e->has_failed)
            value = op == '*' ? value * other : value / other;
    }
    return value;
}

static double sum_read(struct expression *e) {
    double value = product_read(e);
    while (!e->has_failed && (*e->p == '+' || *e->p == '-')) {
        char op = *e->p++;
        double other = product_read(e);
        value = op == '+' ? value + other : value - other;
    }
    return value;
}

static bool without_range(struct range *out, bool is_double) {
    *out = is_double ? (struct range){.coding = CODING_FLOAT}
                     : (struct range){.coding = CODING_TRUNCATED, .n_bits = DEFAULT_BITS};
    return true;
}

static bool with_range(struct range *out, double low, double high, unsigned long bits) {
    bool is_truncated = low == 0 && high == 0;
    if (bits < 2 || bits > 32)
        bits = 32;
    if ((is_truncated && bits > 23) || (!is_truncated && high <= low) || !isfinite(high - low))
        return false;
    *out = (struct range){.coding = is_truncated ? CODING_TRUNCATED : CODING_RANGE,
                          .n_bits = (uint8_t)bits,
                          .low = low,
                          .step = (high - low) / (double)(1ull << bits)};
    return true;
}

static bool list_parse(struct range *out, const char *text) {
    struct expression e = {.p = text};
    double low = sum_read(&e), high = 0;
    unsigned long bits = 0;
    if (*e.p != ',')
        return false;
    e.p++;
    high = sum_read(&e);
    if (*e.p == ',') {
        e.p++;
        blanks_skip(&e);
        size_t n = strspn(e.p, "0123456789");
        e.has_failed |= n == 0 || n > 4 || (e.p[0] == '0' && n > 1);
        bits = strtoul(e.p, NULL, 10);
        e.p += n;
        blanks_skip(&e);
    }
    return !e.has_failed && *e.p == '\0' && with_range(out, low, high, bits);
}

bool range_parse(struct range *out, struct str title, bool is_double) {
    const char *left = title.len ? memchr(title.ptr, '[', title.len) : NULL;
    const char *right = title.len ? memchr(title.ptr, ']', title.len) : NULL;
    char text[MAX_TEXT_BYTES];
    if (!left || !right)
        return without_range(out, is_double);
    if (right < left || (size_t)(right - left) > sizeof(text))
        return false;
    size_t n = (size_t)(right - left) - 1;
    memcpy(text, left + 1, n);
    text[n] = '\0';
    if (strlen(text) != n)
        return false;
    if (n > 0 && !strchr(text, ',') &&
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == n)
        return without_range(out, is_double);
    return list_parse(out, text);
}
