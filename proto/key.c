/* Buffer keys: a small grammar whose only valid texts are the canonical ones.
 *
 * Keys are compared, hashed and stored as bytes everywhere, so two texts for one buffer would be
 * two buffers. The parser therefore refuses what the printer would not print: leading zeros, quoted
 * bytes that need no quoting, lower-case hex in a quote, a tree without its cycle. Splitting at '/'
 * is exact because a '/' inside a component is always quoted.
 *
 * The glob is our own: fnmatch() takes exponential time on patterns like "*a*a*a*b", and patterns
 * come from clients while the daemon's one thread waits. This one goes back to the last star only,
 * which costs at most text times pattern, and is the same language: '*' and '?' match '/' too.
 */
#include "key.h"

#include <errno.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define N_MAX_PARTS 6

static const char *const kind_names[] = {
    [KEY_COLUMN] = "column",   [KEY_EDGE] = "edge",   [KEY_INDEX] = "index",
    [KEY_DERIVED] = "derived", [KEY_NAMED] = "named",
};
/* Components of each kind, its name included. */
static const unsigned kind_parts[] = {
    [KEY_COLUMN] = 6, [KEY_EDGE] = 5, [KEY_INDEX] = 3, [KEY_DERIVED] = 3, [KEY_NAMED] = 2,
};
static const char *const verb_names[] = {
    [VERB_DATA] = "data",
    [VERB_OFFSETS] = "offsets",
    [VERB_OFFSETS1] = "offsets1",
    [VERB_OFFSETS2] = "offsets2",
};

/* ---- printing ---- */

struct printer {
    char *at, *end; /* end leaves room for the NUL */
    bool is_full;
};

static void put_char(struct printer *p, char c) {
    if (p->at == p->end)
        p->is_full = true;
    else
        *p->at++ = c;
}

static void put_text(struct printer *p, const char *text) {
    while (*text)
        put_char(p, *text++);
}

static bool char_is_plain(unsigned char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("_.~;,!#@-", c));
}

static void put_quoted(struct printer *p, struct str s) {
    static const char hex[] = "0123456789ABCDEF";
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (char_is_plain(c)) {
            put_char(p, (char)c);
        } else {
            put_char(p, '%');
            put_char(p, hex[c >> 4]);
            put_char(p, hex[c & 15]);
        }
    }
}

static void put_number(struct printer *p, uint64_t n) {
    char digits[20];
    unsigned i = 0;
    do
        digits[i++] = (char)('0' + n % 10);
    while (n /= 10);
    while (i)
        put_char(p, digits[--i]);
}

static void put_source(struct printer *p, uint64_t source_id) {
    for (int shift = 60; shift >= 0; shift -= 4)
        put_char(p, "0123456789abcdef"[source_id >> shift & 15]);
}

int key_print(char *text, const struct key *k) {
    struct printer p = {.at = text, .end = text + WIRE_MAX_KEY_BYTES};
    put_text(&p, kind_names[k->kind]);
    if (k->kind != KEY_NAMED) {
        put_char(&p, '/');
        put_source(&p, k->source_id);
    }
    if (k->kind == KEY_COLUMN || k->kind == KEY_EDGE || k->kind == KEY_INDEX) {
        put_char(&p, '/');
        put_quoted(&p, k->tree);
    }
    if (k->kind == KEY_COLUMN) {
        put_char(&p, '/');
        put_number(&p, k->start);
        put_char(&p, '-');
        put_number(&p, k->stop);
    }
    if (k->kind != KEY_INDEX) {
        put_char(&p, '/');
        put_quoted(&p, k->name);
    }
    if (k->kind == KEY_COLUMN) {
        put_char(&p, '/');
        put_text(&p, verb_names[k->verb]);
    } else if (k->kind == KEY_EDGE) {
        put_char(&p, '/');
        put_number(&p, k->basket);
    }
    if (p.is_full)
        return -ENAMETOOLONG;
    *p.at = 0;
    return (int)(p.at - text);
}

/* ---- parsing ---- */

static bool str_is(struct str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

/* Split at every '/'. Return: how many parts there are, N_MAX_PARTS + 1 when too many. */
static unsigned split(struct str text, struct str parts[N_MAX_PARTS]) {
    unsigned n = 0;
    for (;;) {
        if (n == N_MAX_PARTS)
            return n + 1;
        const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
        uint32_t len = slash ? (uint32_t)(slash - text.ptr) : text.len;
        parts[n++] = (struct str){text.ptr, len};
        if (!slash)
            return n;
        text = (struct str){slash + 1, text.len - len - 1};
    }
}

static int hex_value(char c, bool is_upper) {
    if (c >= '0' && c <= '9')
        return c - '0';
    char first = is_upper ? 'A' : 'a';
    return c >= first && c < first + 6 ? c - first + 10 : -1;
}

static bool parse_source(uint64_t *out, struct str s) {
    uint64_t n = 0;
    if (s.len != 16)
        return false;
    for (uint32_t i = 0; i < s.len; i++) {
        int digit = hex_value(s.ptr[i], false);
        if (digit < 0)
            return false;
        n = n << 4 | (uint64_t)digit;
    }
    *out = n;
    return true;
}

static bool parse_number(uint64_t *out, struct str s) {
    uint64_t n = 0;
    if (s.len == 0 || (s.len > 1 && s.ptr[0] == '0'))
        return false;
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' || MUL_OVERFLOW(n, 10u, &n) ||
            ADD_OVERFLOW(n, (uint64_t)(s.ptr[i] - '0'), &n))
            return false;
    }
    *out = n;
    return true;
}

static bool parse_range(uint64_t *startp, uint64_t *stopp, struct str s) {
    const char *dash = s.len ? memchr(s.ptr, '-', s.len) : NULL;
    if (!dash)
        return false;
    uint32_t len = (uint32_t)(dash - s.ptr);
    return parse_number(startp, (struct str){s.ptr, len}) &&
           parse_number(stopp, (struct str){dash + 1, s.len - len - 1}) && *startp <= *stopp;
}

/* Unquote one component to *scratch and move that on. Unquoting never lengthens, so the scratch
 * space is large enough. */
static bool parse_quoted(struct str *out, char **scratch, struct str s) {
    char *to = *scratch;
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '%') {
            if (s.len - i < 3)
                return false;
            int high = hex_value(s.ptr[i + 1], true), low = hex_value(s.ptr[i + 2], true);
            if (high < 0 || low < 0 || (high | low) == 0 ||
                char_is_plain((unsigned char)(high << 4 | low)))
                return false;
            c = (unsigned char)(high << 4 | low);
            i += 2;
        } else if (!char_is_plain(c)) {
            return false;
        }
        *to++ = (char)c;
    }
    *out = (struct str){*scratch, (uint32_t)(to - *scratch)};
    *scratch = to;
    return out->len > 0;
}

static bool parse_tree(struct str *out, char **scratch, struct str s) {
    if (!parse_quoted(out, scratch, s))
        return false;
    const char *semicolon = memrchr(out->ptr, ';', out->len);
    if (!semicolon || semicolon == out->ptr)
        return false;
    uint64_t cycle;
    uint32_t len = (uint32_t)(semicolon - out->ptr) + 1;
    return parse_number(&cycle, (struct str){semicolon + 1, out->len - len});
}

static bool parse_verb(enum key_verb *out, struct str s) {
    for (unsigned i = 0; i < ARRAY_LEN(verb_names); i++) {
        if (str_is(s, verb_names[i])) {
            *out = (enum key_verb)i;
            return true;
        }
    }
    return false;
}

/* What follows the kind and, but for named, the source. */
static bool parse_rest(struct key *k, char *scratch, const struct str *parts) {
    switch (k->kind) {
    case KEY_COLUMN:
        return parse_tree(&k->tree, &scratch, parts[2]) &&
               parse_range(&k->start, &k->stop, parts[3]) &&
               parse_quoted(&k->name, &scratch, parts[4]) && parse_verb(&k->verb, parts[5]);
    case KEY_EDGE:
        return parse_tree(&k->tree, &scratch, parts[2]) &&
               parse_quoted(&k->name, &scratch, parts[3]) && parse_number(&k->basket, parts[4]);
    case KEY_INDEX:
        return parse_tree(&k->tree, &scratch, parts[2]);
    case KEY_DERIVED:
        return parse_quoted(&k->name, &scratch, parts[2]);
    case KEY_NAMED:
        return parse_quoted(&k->name, &scratch, parts[1]);
    }
    return false;
}

int key_parse(struct key *kp, struct key_scratch *scratch, struct str text) {
    struct str parts[N_MAX_PARTS];
    struct key k = {0};
    unsigned kind = 0;
    if (text.len > WIRE_MAX_KEY_BYTES)
        return KEY_E_MALFORMED;
    unsigned n = split(text, parts);
    while (kind < ARRAY_LEN(kind_names) && !str_is(parts[0], kind_names[kind]))
        kind++;
    if (kind == ARRAY_LEN(kind_names) || n != kind_parts[kind])
        return KEY_E_MALFORMED;
    k.kind = (enum key_kind)kind;
    if (k.kind != KEY_NAMED && !parse_source(&k.source_id, parts[1]))
        return KEY_E_MALFORMED;
    if (!parse_rest(&k, scratch->bytes, parts))
        return KEY_E_MALFORMED;
    *kp = k;
    return 0;
}

uint64_t key_hash(struct str text) {
    return XXH3_64bits(text.ptr, text.len);
}

const char *key_verb_name(enum key_verb verb) {
    return (unsigned)verb < ARRAY_LEN(verb_names) ? verb_names[verb] : "?";
}

/* ---- globs ---- */

/* Match c against the set that begins at pattern[*ip] == '['. An unclosed '[' is an ordinary
 * character. On return *ip is the last character of what was used. */
static bool set_matches(struct str pattern, uint32_t *ip, unsigned char c) {
    uint32_t i = *ip + 1;
    bool is_negated = i < pattern.len && (pattern.ptr[i] == '!' || pattern.ptr[i] == '^');
    bool is_in = false;
    i += is_negated;
    if (i + 1 >= pattern.len || !memchr(pattern.ptr + i + 1, ']', pattern.len - i - 1))
        return c == '[';
    for (uint32_t first = i; i < pattern.len; i++) {
        unsigned char low = (unsigned char)pattern.ptr[i];
        if (low == ']' && i > first) {
            *ip = i;
            return is_in != is_negated;
        }
        unsigned char high = low;
        if (i + 2 < pattern.len && pattern.ptr[i + 1] == '-' && pattern.ptr[i + 2] != ']') {
            high = (unsigned char)pattern.ptr[i + 2];
            i += 2;
        }
        is_in |= low <= c && c <= high;
    }
    return c == '[';
}

/* Match one character against the pattern at *ip (not a star) and move that on. */
static bool char_matches(struct str pattern, uint32_t *ip, char c) {
    bool matches;
    if (*ip == pattern.len)
        return false;
    if (pattern.ptr[*ip] == '[') {
        matches = set_matches(pattern, ip, (unsigned char)c);
    } else {
        bool is_escaped = pattern.ptr[*ip] == '\\' && *ip + 1 < pattern.len;
        *ip += is_escaped;
        matches = (!is_escaped && pattern.ptr[*ip] == '?') || pattern.ptr[*ip] == c;
    }
    ++*ip;
    return matches;
}

bool key_matches(struct str text, struct str pattern) {
    uint32_t i = 0, k = 0;                         /* in the text, in the pattern */
    uint32_t star_i = 0, star_k = pattern.len + 1; /* where the last star stands and began */
    while (i < text.len) {
        if (k < pattern.len && pattern.ptr[k] == '*') {
            star_i = i;
            star_k = ++k;
        } else if (char_matches(pattern, &k, text.ptr[i])) {
            i++;
        } else if (star_k <= pattern.len) { /* let the last star take one more */
            i = ++star_i;
            k = star_k;
        } else {
            return false;
        }
    }
    while (k < pattern.len && pattern.ptr[k] == '*')
        k++;
    return k == pattern.len;
}
