/* The daemon's counters, one struct; names, units and help come from metrics.def. */
#ifndef BUFFERD_METRICS_H
#define BUFFERD_METRICS_H

#include <stdint.h>

struct metrics {
#define METRIC(name, unit, text) uint64_t name;
#include "metrics.def"
#undef METRIC
};

struct metric_info {
    const char *name, *unit, *text;
};
/* The i-th counter; NULL at the end. */
const struct metric_info *metric_info(unsigned i);
/* Its value; 0 past the end. */
uint64_t metric_value(const struct metrics *m, unsigned i);

#endif
