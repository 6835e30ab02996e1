/* The one place where bytes of a file's metadata become numbers.
 *
 * Invariant: pos <= n_bytes, and no byte at or after n_bytes is read. Nothing here allocates;
 * strings point into the bytes that the cursor reads.
 */
#include "cursor.h"
#include "../fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_CLASS_NAME_BYTES 1024

void cursor_fail(struct cursor *c, const char *format, ...) {
    if (c->has_failed)
        return;
    c->has_failed = true;
    char text[SOURCE_ERROR_BYTES / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fault(c->error, 0, "%s, byte %llu: %s", c->what, (unsigned long long)(c->origin + c->pos),
          text);
}

const uint8_t *cursor_bytes(struct cursor *c, uint64_t n) {
    if (c->has_failed)
        return NULL;
    if (n > c->n_bytes - c->pos) {
        cursor_fail(c, "%llu bytes wanted, %llu are left", (unsigned long long)n,
                    (unsigned long long)(c->n_bytes - c->pos));
        return NULL;
    }
    const uint8_t *p = c->data + c->pos;
    c->pos += n;
    return p;
}

void cursor_skip(struct cursor *c, uint64_t n) {
    cursor_bytes(c, n);
}

void cursor_seek(struct cursor *c, uint64_t pos) {
    if (c->has_failed)
        return;
    if (pos > c->n_bytes)
        cursor_fail(c, "position %llu is outside", (unsigned long long)pos);
    else
        c->pos = pos;
}

uint8_t cursor_u1(struct cursor *c) {
    const uint8_t *p = cursor_bytes(c, 1);
    return p ? *p : 0;
}

uint16_t cursor_u2(struct cursor *c) {
    const uint8_t *p = cursor_bytes(c, 2);
    return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

uint32_t cursor_u4(struct cursor *c) {
    const uint8_t *p = cursor_bytes(c, 4);
    return p ? be4(p) : 0;
}

uint64_t cursor_u8(struct cursor *c) {
    const uint8_t *p = cursor_bytes(c, 8);
    return p ? be8(p) : 0;
}

double cursor_f8(struct cursor *c) {
    uint64_t bits = cursor_u8(c);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

struct str cursor_str(struct cursor *c) {
    uint32_t len = cursor_u1(c);
    if (len == 255)
        len = cursor_u4(c);
    const uint8_t *p = cursor_bytes(c, len);
    return p ? (struct str){(const char *)p, len} : (struct str){0};
}

struct str cursor_class_name(struct cursor *c) {
    if (c->has_failed)
        return (struct str){0};
    const char *p = (const char *)c->data + c->pos;
    size_t room = MIN(c->n_bytes - c->pos, MAX_CLASS_NAME_BYTES), len = strnlen(p, room);
    if (len == room) {
        cursor_fail(c, "a class name does not end");
        return (struct str){0};
    }
    cursor_skip(c, len + 1);
    return (struct str){p, (uint32_t)len};
}
