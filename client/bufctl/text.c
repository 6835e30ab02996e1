/* Numbers, JSON strings and buffer keys as text.
 *
 * Sizes are binary units with one digit after the point below 100, so that a column of them can be
 * compared at a glance. A key (PROTOCOL.md) is split at its slashes first and unquoted after that:
 * a quoted slash never splits. Whatever a daemon sends is only shown here, so malformed text is
 * shown as it is and nothing is ever an error.
 */
#include "text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *human_bytes(char out[TEXT_BYTES], uint64_t n_bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)n_bytes;
    size_t i = 0;
    while (value >= 999.95 && i + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        i++;
    }
    snprintf(out, TEXT_BYTES, i == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[i]);
    return out;
}

const char *human_ns(char out[TEXT_BYTES], uint64_t ns) {
    static const struct {
        double ns;
        const char *unit;
    } units[] = {{86400e9, "d"}, {3600e9, "h"}, {60e9, "min"}, {1e9, "s"}, {1e6, "ms"}};
    size_t i = 0;
    while (i + 1 < sizeof(units) / sizeof(units[0]) && (double)ns < units[i].ns)
        i++;
    double value = (double)ns / units[i].ns;
    snprintf(out, TEXT_BYTES, value >= 9.95 ? "%.0f %s" : "%.1f %s", value, units[i].unit);
    return out;
}

const char *human_count(char out[TEXT_BYTES], uint64_t n) {
    char digits[TEXT_BYTES];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), at = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

json_t *json_text(const char *text) {
    if (!text)
        return json_null();
    json_t *node = json_string(text);
    if (node)
        return node;
    char *ascii = strdup(text);
    if (!ascii)
        return json_null();
    for (char *c = ascii; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    node = json_string(ascii);
    free(ascii);
    return node;
}

void json_print(json_t *document) {
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The unquoted piece, owned by the caller. */
static char *unquote(const char *piece, size_t n) {
    char *out = malloc(n + 1);
    if (!out)
        abort();
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        int high = i + 2 < n && piece[i] == '%' ? hex_digit(piece[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(piece[i + 2]) : -1;
        out[at++] = low >= 0 ? (char)(high << 4 | low) : piece[i];
        i += low >= 0 ? 2 : 0;
    }
    out[at] = '\0';
    return out;
}

/* The piece before the next slash; *atp moves behind it. */
static char *next_piece(const char **atp) {
    size_t n = strcspn(*atp, "/");
    char *piece = unquote(*atp, n);
    *atp += n + ((*atp)[n] == '/');
    return piece;
}

static void next_short(char *out, size_t n_out, const char **atp) {
    char *piece = next_piece(atp);
    snprintf(out, n_out, "%s", piece);
    free(piece);
}

void key_parts_init(struct key_parts *p, const char *key) {
    const char *at = key;
    *p = (struct key_parts){0};
    next_short(p->kind, sizeof(p->kind), &at);
    bool has_tree =
        !strcmp(p->kind, "column") || !strcmp(p->kind, "edge") || !strcmp(p->kind, "index");
    if (has_tree || !strcmp(p->kind, "derived"))
        free(next_piece(&at));
    p->tree = has_tree ? next_piece(&at) : unquote("", 0);
    if (!strcmp(p->kind, "column"))
        next_short(p->range, sizeof(p->range), &at);
    p->name = next_piece(&at);
    if (!strcmp(p->kind, "column"))
        next_short(p->verb, sizeof(p->verb), &at);
    else if (!strcmp(p->kind, "edge"))
        snprintf(p->range, sizeof(p->range), "basket %s", at);
}

void key_parts_deinit(struct key_parts *p) {
    free(p->tree);
    free(p->name);
}
