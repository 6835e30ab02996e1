/* Names and values of the counters, by number.
 *
 * The counters are plain uint64_t members: code that counts writes `metrics->baskets_decoded++`,
 * and the only code that goes over all of them is the status reply. Both the struct and the table
 * here come from metrics.def, so they cannot disagree.
 */
#include "metrics.h"

#include <stddef.h>

#include "../proto/base.h"

struct metric {
    struct metric_info info;
    size_t offset; /* in struct metrics */
};

static const struct metric table[] = {
#define METRIC(name, unit, text) {{#name, unit, text}, offsetof(struct metrics, name)},
#include "metrics.def"
#undef METRIC
};

const struct metric_info *metric_info(unsigned i) {
    return i < ARRAY_LEN(table) ? &table[i].info : NULL;
}

uint64_t metric_value(const struct metrics *m, unsigned i) {
    return i < ARRAY_LEN(table) ? *(const uint64_t *)((const char *)m + table[i].offset) : 0;
}
