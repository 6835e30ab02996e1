/* Builds the error texts. A deep function knows what is wrong, its callers know where: each of them
 * may put its own place in front, so that a text reads "branch Jet_pt: basket 3: ...". A text that
 * grows too long loses its end.
 */
#include "fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault(char *error, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, SOURCE_ERROR_BYTES, format, args);
    va_end(args);
    return code;
}

void fault_add_place(char *error, const char *format, ...) {
    char place[SOURCE_ERROR_BYTES], text[SOURCE_ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(place, sizeof(place) / 2, format, args);
    va_end(args);
    memcpy(text, error, sizeof(text));
    text[sizeof(text) - 1] = '\0';
    size_t n = strlen(place), room = SOURCE_ERROR_BYTES - n - 3;
    memcpy(error, place, n);
    memcpy(error + n, ": ", 2);
    size_t rest = strnlen(text, room);
    memcpy(error + n + 2, text, rest);
    error[n + 2 + rest] = '\0';
}
