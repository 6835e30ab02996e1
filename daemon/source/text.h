/* A growing table of NUL-terminated UTF-8 strings, named by their offsets. */
#ifndef BUFFERD_TEXT_H
#define BUFFERD_TEXT_H

#include "../../proto/base.h"
#include "memory.h"

struct text {
    struct memory *memory; /* borrowed */
    char *bytes;           /* owned */
    uint64_t n_bytes, capacity;
};

/* Offset 0 is the empty string. Return: 0, SOURCE_E_TOO_LARGE, or -ENOMEM. */
int text_init(struct text *t, struct memory *m);
void text_deinit(struct text *t);

/* Add a string made of up to three pieces, cleaned. Pieces may lie in the table itself.
 * Return: 0, SOURCE_E_TOO_LARGE, or -ENOMEM. */
int text_add(struct text *t, uint32_t *offp, struct str a, struct str b, struct str c);

/* Copy and clean: NUL and what is no UTF-8 become '?'. The length stays. */
void text_clean(char *dst, struct str s);

static inline struct str text_at(const struct text *t, uint32_t off) {
    const char *s = t->bytes + off;
    return (struct str){s, (uint32_t)__builtin_strlen(s)};
}
static inline struct str str_of(const char *s) {
    return (struct str){s, (uint32_t)__builtin_strlen(s)};
}
static inline bool str_is(struct str s, const char *text) {
    return s.len == __builtin_strlen(text) && __builtin_memcmp(s.ptr, text, s.len) == 0;
}
static inline bool str_begins(struct str s, const char *text) {
    return s.len >= __builtin_strlen(text) &&
           __builtin_memcmp(s.ptr, text, __builtin_strlen(text)) == 0;
}

#endif
