/* Sizes as people write them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "../../daemon/util/size.h"

#define WHOLE (1000ull << 20)

static const struct {
    const char *text;
    uint64_t n_bytes;
} good[] = {
    {"0", 0},
    {"4096", 4096},
    {"12b", 12},
    {"1K", 1024},
    {"512M", 512ull << 20},
    {"512m", 512ull << 20},
    {"512MB", 512ull << 20},
    {"512MiB", 512ull << 20},
    {"4G", 4ull << 30},
    {"2T", 2ull << 40},
    {"0%", 0},
    {"25%", 250ull << 20},
    {"100%", WHOLE},
    {"18446744073709551615", UINT64_MAX},
};

static const struct {
    const char *text, *says;
} bad[] = {
    {"", "not a size"},
    {"-1", "not a size"},
    {" 1", "not a size"},
    {"+1", "not a size"},
    {"G", "not a size"},
    {"%", "not a size"},
    {"1.5G", "1536M"},
    {"4 G", "no unit"},
    {"4X", "no unit"},
    {"4GG", "no unit"},
    {"4Gx", "no unit"},
    {"101%", "100%"},
    {"99999999999999999999%", "100%"},
    {"5%%", "no unit"},
    {"18446744073709551616", "too large"},
    {"16777216T", "too large"},
};

Test(size, bad_ones_say_why) {
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t n = 77;
        char error[SIZE_ERROR_BYTES] = "";
        cr_assert_eq(size_parse(bad[i].text, WHOLE, &n, error), -EINVAL, "%s", bad[i].text);
        cr_assert_not_null(strstr(error, bad[i].says), "%s: %s", bad[i].text, error);
        cr_assert_eq(n, 77);
    }
}

Test(size, long_text_is_cut) {
    char text[400], error[SIZE_ERROR_BYTES];
    uint64_t n;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    cr_assert_eq(size_parse(text, WHOLE, &n, error), -EINVAL);
    cr_assert_lt(strlen(error), sizeof(error));
    text[0] = '1';
    cr_assert_eq(size_parse(text, WHOLE, &n, error), -EINVAL);
}

Test(size, good_ones) {
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t n = 77;
        char error[SIZE_ERROR_BYTES];
        cr_assert_eq(size_parse(good[i].text, WHOLE, &n, error), 0, "%s", good[i].text);
        cr_assert_eq(n, good[i].n_bytes, "%s: %lu", good[i].text, (unsigned long)n);
    }
}

Test(size, percent_of_much_does_not_overflow) {
    uint64_t n;
    char error[SIZE_ERROR_BYTES];
    cr_assert_eq(size_parse("50%", UINT64_MAX, &n, error), 0);
    cr_assert_eq(n, UINT64_MAX / 100 * 50 + UINT64_MAX % 100 * 50 / 100);
}
