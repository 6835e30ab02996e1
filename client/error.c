/* Names, texts and keys: the parts of the interface that need no session.
 *
 * Outcomes below 100 are the wire's errors under the same numbers, which the assertions below keep
 * true; item types are the wire's as well. Every failure ends in fail(), so that no path forgets
 * to fill the caller's error.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../proto/key.h"
#include "../proto/wire.h"
#include "api.h"

#define ERROR(id, name, text)                                                                      \
    _Static_assert((int)BUFFERD_E_##id == (int)WIRE_E_##id, "same numbers as the wire");
#include "../proto/errors.def"
#undef ERROR
_Static_assert((int)WIRE_N_ERRORS <= 100, "100 and up are this side's");
_Static_assert((int)BUFFERD_FLOAT64 == (int)ITEM_F8, "same item types as the wire");
_Static_assert((int)BUFFERD_FLOAT64 + 1 == (int)N_ITEM_TYPES, "all item types of the wire");
_Static_assert((int)BUFFERD_OFFSETS == (int)VERB_OFFSETS &&
                   (int)BUFFERD_OFFSETS2 == (int)VERB_OFFSETS2,
               "same verbs as the wire");
_Static_assert(BUFFERD_KEY_BYTES == WIRE_MAX_KEY_BYTES + 1, "room for any key");

int fail(struct bufferd_error *error, int code, const char *format, ...) {
    if (!error)
        return code;
    va_list args;
    va_start(args, format);
    error->code = code;
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    size_t n = strlen(error->text);
    if (code < 0)
        snprintf(error->text + n, sizeof(error->text) - n, ": %s", strerror(-code));
    return code;
}

void wire_error_describe(char *text, size_t n_text, unsigned code, struct str detail) {
    if (detail.len)
        snprintf(text, n_text, "%s: %.*s", wire_error_text(code), (int)detail.len, detail.ptr);
    else
        snprintf(text, n_text, "%s", wire_error_text(code));
}

int outcome_of_wire(uint64_t code) {
    return code < WIRE_N_ERRORS ? (int)code : BUFFERD_E_INTERNAL;
}

API const char *bufferd_error_name(int code) {
    if (code >= 0 && code < WIRE_N_ERRORS)
        return wire_error_name((unsigned)code);
    switch (code) {
    case BUFFERD_E_GONE:
        return "gone";
    case BUFFERD_E_TIMEOUT:
        return "timeout";
    case BUFFERD_E_UNTRUSTED:
        return "untrusted";
    }
    const char *name = code < 0 ? strerrorname_np(-code) : NULL;
    return name ? name : "?";
}

API const char *bufferd_item_name(int item_type) {
    return item_name((unsigned)item_type);
}

API const char *bufferd_item_typestr(int item_type) {
    return item_typestr((unsigned)item_type);
}

API size_t bufferd_item_bytes(int item_type) {
    return item_bytes((unsigned)item_type);
}

static struct str str_of(const char *text) {
    return (struct str){text, (uint32_t)strnlen(text, UINT32_MAX)};
}

API int bufferd_key_column(char *key, uint64_t source_id, const char *tree, uint64_t start,
                           uint64_t stop, const char *branch, int verb) {
    struct key k = {
        .kind = KEY_COLUMN,
        .source_id = source_id,
        .tree = str_of(tree),
        .start = start,
        .stop = stop,
        .name = str_of(branch),
        .verb = verb > BUFFERD_DATA && verb <= BUFFERD_OFFSETS2 ? (enum key_verb)verb : VERB_DATA,
    };
    int n = key_print(key, &k);
    return n < 0 ? n : 0;
}

API int bufferd_key_derived(char *key, uint64_t source_id, const char *name) {
    struct key k = {.kind = KEY_DERIVED, .source_id = source_id, .name = str_of(name)};
    int n = key_print(key, &k);
    return n < 0 ? n : 0;
}

API int bufferd_key_named(char *key, const char *name) {
    struct key k = {.kind = KEY_NAMED, .name = str_of(name)};
    int n = key_print(key, &k);
    return n < 0 ? n : 0;
}
