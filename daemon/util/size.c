/* Sizes come from flags, files and the environment, so a wrong one gets a sentence that can be
 * shown as it is. Whole numbers only: "1.5G" would have to be rounded, and "1536M" says it exactly.
 * Zero is a size; whether it makes sense is the caller's to say.
 */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

__attribute__((format(printf, 2, 3))) static int size_fail(char *error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, SIZE_ERROR_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

/* Bytes of one "K", "Mi", "GiB"; 0: no such unit. */
static uint64_t unit_bytes(const char *unit) {
    static const char letters[] = "kmgt";
    if (!*unit || !strcasecmp(unit, "b"))
        return 1;
    const char *letter = strchr(letters, tolower((unsigned char)*unit));
    if (!letter || (unit[1] && strcasecmp(unit + 1, "b") && strcasecmp(unit + 1, "ib")))
        return 0;
    return 1024ull << 10 * (letter - letters);
}

int size_parse(const char *text, uint64_t whole, uint64_t *n_bytesp, char error[SIZE_ERROR_BYTES]) {
    char *unit;
    if (!isdigit((unsigned char)*text))
        return size_fail(error, "'%.40s' is not a size; write 512M, 4G or 25%%", text);
    errno = 0;
    uint64_t number = strtoull(text, &unit, 10), n_bytes;
    if (!strcmp(unit, "%")) {
        if (number > 100)
            return size_fail(error, "'%.40s' is more than 100%%", text);
        *n_bytesp = whole / 100 * number + whole % 100 * number / 100;
        return 0;
    }
    if (*unit == '.')
        return size_fail(error, "'%.40s' is not a whole number; write 1536M for 1.5G", text);
    if (!unit_bytes(unit))
        return size_fail(error, "'%.20s' has no unit K, M, G, T or %%, but '%.20s'", text, unit);
    if (errno == ERANGE || MUL_OVERFLOW(number, unit_bytes(unit), &n_bytes))
        return size_fail(error, "'%.40s' is too large", text);
    *n_bytesp = n_bytes;
    return 0;
}
