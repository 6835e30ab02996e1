/* The table of counters: complete, in order, and bounded. */
#include "../../daemon/metrics.h"

#include <criterion/criterion.h>
#include <string.h>

Test(metrics, the_table_ends_where_the_struct_does) {
    unsigned n = 0;
    while (metric_info(n))
        n++;
    cr_assert_eq(n, sizeof(struct metrics) / sizeof(uint64_t));
    cr_assert_null(metric_info(n + 1000));
    struct metrics m;
    memset(&m, 0xff, sizeof(m));
    cr_assert_eq(metric_value(&m, n), 0);
}

Test(metrics, every_counter_has_its_own_value_name_and_text) {
    struct metrics m = {0};
    m.sessions_opened = 1;
    m.bytes_read = 2;
    m.grants_expired = 3;
    uint64_t sum = 0;
    for (unsigned i = 0; metric_info(i); i++) {
        const struct metric_info *info = metric_info(i);
        cr_assert(*info->name && *info->text, "%s", info->name);
        if (!strcmp(info->name, "bytes_read")) {
            cr_assert_eq(metric_value(&m, i), 2);
            cr_assert_str_eq(info->unit, "bytes");
        }
        sum += metric_value(&m, i);
    }
    cr_assert_eq(sum, 6);
}
