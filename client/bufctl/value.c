/* One value as text, exact: an integer as it is, a float in the fewest digits that give it back.
 */
#include "value.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void print_double(FILE *out, double value, int min_digits, bool is_float, bool is_json) {
    char text[40];
    if (!isfinite(value)) {
        fputs(is_json ? "null" : isnan(value) ? "nan" : value > 0 ? "inf" : "-inf", out);
        return;
    }
    for (int digits = min_digits; digits <= min_digits + 3; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (is_float ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

/* The bytes need not be aligned. */
#define READ(type)                                                                                 \
    ({                                                                                             \
        type value_;                                                                               \
        memcpy(&value_, (const char *)data + i * sizeof(value_), sizeof(value_));                  \
        value_;                                                                                    \
    })

void value_print(FILE *out, const void *data, uint64_t i, int item_type, bool is_json) {
    switch (item_type) {
    case BUFFERD_BOOL:
        fputs(READ(uint8_t) ? "true" : "false", out);
        break;
    case BUFFERD_INT8:
        fprintf(out, "%d", READ(int8_t));
        break;
    case BUFFERD_INT16:
        fprintf(out, "%d", READ(int16_t));
        break;
    case BUFFERD_UINT16:
        fprintf(out, "%u", READ(uint16_t));
        break;
    case BUFFERD_INT32:
        fprintf(out, "%" PRId32, READ(int32_t));
        break;
    case BUFFERD_UINT32:
        fprintf(out, "%" PRIu32, READ(uint32_t));
        break;
    case BUFFERD_INT64:
        fprintf(out, "%" PRId64, READ(int64_t));
        break;
    case BUFFERD_UINT64:
        fprintf(out, "%" PRIu64, READ(uint64_t));
        break;
    case BUFFERD_FLOAT32:
        print_double(out, (double)READ(float), 6, true, is_json);
        break;
    case BUFFERD_FLOAT64:
        print_double(out, READ(double), 15, false, is_json);
        break;
    default: /* bytes, uint8 */
        fprintf(out, "%u", READ(uint8_t));
    }
}
