/* Options: what is refused and where, what wins over what, and what is worked out. */
#include "../../daemon/config.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

struct loaded {
    int status;
    struct config config;
    char error[CONFIG_ERROR_BYTES];
};

/* Words up to NULL. */
static struct loaded load(const char *first, ...) {
    struct loaded l = {.error = ""};
    char *argv[16] = {"bufferd"};
    int argc = 1;
    va_list words;
    va_start(words, first);
    for (const char *w = first; w; w = va_arg(words, const char *))
        argv[argc++] = (char *)w;
    va_end(words);
    l.status = config_load(&l.config, argc, argv, l.error);
    return l;
}

static void expect_refused(struct loaded l, const char *text) {
    cr_assert_eq(l.status, CONFIG_E_USAGE, "%d", l.status);
    cr_assert(strstr(l.error, text), "%s", l.error);
}

static char *write_file(const char *text, size_t n) {
    static char path[64];
    strcpy(path, "/tmp/test_config_XXXXXX");
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, text, n), (ssize_t)n);
    close(fd);
    return path;
}

static struct loaded load_file(const char *text) {
    char *path = write_file(text, strlen(text));
    struct loaded l = load("--config", path, NULL);
    unlink(path);
    return l;
}

Test(config, wrong_flags_are_refused) {
    expect_refused(load("--nothing", NULL), "unknown option --nothing");
    expect_refused(load("-m", "4G", NULL), "unknown option -m");
    expect_refused(load("--", NULL), "unknown option --");
    expect_refused(load("-", NULL), "unknown option -");
    expect_refused(load("", NULL), "unknown option ");
    expect_refused(load("=", NULL), "unknown option =");
    expect_refused(load("memory", "4G", NULL), "unknown option memory");
    expect_refused(load("--mem", "4G", NULL), "unknown option --mem");
    expect_refused(load("--memory", NULL), "--memory needs a value: SIZE");
    expect_refused(load("--memory=", NULL), "--memory needs a value");
    expect_refused(load("--memory", "", NULL), "--memory needs a value");
}

Test(config, wrong_values_are_refused) {
    expect_refused(load("--memory", "much", NULL), "--memory much: ");
    expect_refused(load("--memory", "1K", NULL), "out of bounds, must be from 8388608 to");
    expect_refused(load("--memory", "101%", NULL), "--memory 101%: ");
    expect_refused(load("--workers", "0", NULL), "must be from 1 to 1024");
    expect_refused(load("--workers", "1025", NULL), "must be from 1 to 1024");
    expect_refused(load("--workers", "-1", NULL), "not a number");
    expect_refused(load("--workers", "2x", NULL), "not a number");
    expect_refused(load("--workers", "99999999999999999999", NULL), "not a number");
    expect_refused(load("--log-level", "loud", NULL), "not one of error, warn, info, debug");
    expect_refused(load("--policy", "lr", NULL), "not one of cost|s3fifo|lru");
    expect_refused(load("--policy", "lru|", NULL), "not one of");
    expect_refused(load("--memory", "64M", "--stock", "65M", NULL), "stock is larger than memory");
}

Test(config, a_socket_path_that_does_not_fit_is_refused) {
    char path[300];
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[108] = 0;
    expect_refused(load("--socket", path, NULL), "the path is too long (108 bytes, 107 at most)");
    path[107] = 0;
    struct loaded l = load("--socket", path, NULL);
    cr_assert_eq(l.status, 0);
    config_deinit(&l.config);
}

Test(config, a_wrong_file_is_refused_with_its_line) {
    expect_refused(load("--config", "/nowhere/at/all", NULL), "/nowhere/at/all: No such file");
    expect_refused(load("--config", "/tmp", NULL), "/tmp: ");
    expect_refused(load_file("# fine\n\nmemory = 64M\nnonsense\n"), ":4: not a line `key = value`");
    expect_refused(load_file("memory = 64M\nmemroy = 64M\n"), ":2: unknown key memroy");
    expect_refused(load_file("--memory = 64M"), ":1: unknown key --memory");
    expect_refused(load_file("config = other"), ":1: unknown key config");
    expect_refused(load_file("= 3"), ":1: unknown key ");
    expect_refused(load_file("workers ="), ":1: workers needs a value: N");
    expect_refused(load_file("workers = many"), ":1: workers: not a number");
    expect_refused(load_file("workers = 5000"), ":1: workers: out of bounds");
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "socket = /", 10);
    text[sizeof(text) - 1] = 0;
    expect_refused(load_file(text), ":1: the line is too long");
    memset(text, 'k', 2000);
    memcpy(text + 2000, "=1", 3);
    expect_refused(load_file(text), ":1: unknown key kkk");
}

Test(config, help_and_version_win_over_what_follows) {
    cr_assert_eq(load("--help", "--nothing", NULL).status, CONFIG_E_HELP);
    cr_assert_eq(load("--memory", "64M", "--version", NULL).status, CONFIG_E_VERSION);
}

Test(config, flags_win_over_the_file_and_the_file_over_presets) {
    const char text[] = "  memory=64M\r\n#workers = 9\n\tdecay = 7 \nlog-level = debug\n"
                        "log-file = /some where/a = b\nsocket = /from/file";
    char *path = write_file(text, strlen(text));
    struct loaded l = load("--decay=8", "--config", path, "--socket", "/from/flag", "--workers",
                           "3", "--socket", "/from/last", NULL);
    unlink(path);
    cr_assert_eq(l.status, 0, "%s", l.error);
    cr_assert_eq(l.config.memory, 64 << 20);
    cr_assert_eq(l.config.workers, 3);
    cr_assert_eq(l.config.decay, 8);
    cr_assert_eq(l.config.log_level, LOG_DEBUG);
    cr_assert_str_eq(l.config.log_file, "/some where/a = b");
    cr_assert_str_eq(l.config.socket, "/from/last");
    cr_assert(!l.config.socket_is_default);
    config_deinit(&l.config);
}

Test(config, what_is_not_given_is_worked_out) {
    setenv("XDG_RUNTIME_DIR", "/tmp", 1);
    struct loaded l = load(NULL);
    cr_assert_eq(l.status, 0, "%s", l.error);
    cr_assert_str_eq(l.config.socket, "/tmp/bufferd/socket");
    cr_assert(l.config.socket_is_default);
    cr_assert_geq(l.config.workers, 1);
    cr_assert_gt(l.config.memory, 8 << 20);
    cr_assert_leq(l.config.stock, 256 << 20);
    cr_assert_eq(l.config.decay, 60);
    cr_assert_eq(l.config.idle_exit, 0);
    cr_assert_eq(l.config.log_level, LOG_INFO);
    cr_assert_null(l.config.arena_dir);
    cr_assert_null(l.config.log_file);
    uint64_t quarter = l.config.memory;
    config_deinit(&l.config);

    unsetenv("XDG_RUNTIME_DIR");
    char expected[64];
    snprintf(expected, sizeof(expected), "/tmp/bufferd-%u/socket", (unsigned)geteuid());
    l = load("--memory", "50%", "--stock", "0", NULL);
    cr_assert_str_eq(l.config.socket, expected);
    const char *unusable[] = {"", "relative", "/nowhere/at/all"};
    for (size_t i = 0; i < ARRAY_LEN(unusable); i++) {
        setenv("XDG_RUNTIME_DIR", unusable[i], 1);
        struct loaded other = load(NULL);
        cr_assert_str_eq(other.config.socket, expected);
        config_deinit(&other.config);
    }
    cr_assert_eq(l.config.stock, 0);
    cr_assert_leq(l.config.memory - 2 * quarter, 1);
    config_deinit(&l.config);
    l = load("--memory", "64M", NULL);
    cr_assert_eq(l.config.stock, 8 << 20);
    config_deinit(&l.config);
}

Test(config, help_names_every_option_and_fits_a_terminal) {
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    config_print_help(out);
    fclose(out);
#define CONFIG(kind, field, flag, argument, preset, min, max, help)                                \
    cr_assert(strstr(text, "  --" flag " " argument), flag);
#include "../../daemon/config.def"
#undef CONFIG
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        cr_assert_leq(strlen(line), 79, "%s", line);
    free(text);
}
