/* The log: what may not get through, what may not block, and what a line looks like. */
#include "../../daemon/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct piped {
    struct log log;
    int read_fd;
};

static struct piped piped(enum log_level level) {
    int fds[2];
    cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    return (struct piped){.log = {.fd = fds[1], .level = level}, .read_fd = fds[0]};
}

static const char *read_all(struct piped *p) {
    static char text[1 << 18];
    ssize_t n, at = 0;
    while ((n = read(p->read_fd, text + at, sizeof(text) - 1 - (size_t)at)) > 0)
        at += n;
    text[at] = 0;
    return text;
}

Test(log, a_file_name_cannot_forge_a_line_or_talk_to_the_terminal) {
    struct piped p = piped(LOG_INFO);
    log_write(&p.log, LOG_INFO, "open", "file=%s", "a\nb\x1b[2J\"c\\d\xff\x7f");
    const char *text = read_all(&p);
    cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1, "one line: %s", text);
    cr_assert(strstr(text, " info open file=a\\x0ab\\x1b[2J\\\"c\\\\d\\xff\\x7f\n"), "%s", text);
}

Test(log, a_long_line_is_cut_at_one_kib_and_says_so) {
    struct piped p = piped(LOG_INFO);
    char long_text[4000];
    memset(long_text, '\n', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = 0;
    log_write(&p.log, LOG_INFO, "x", "%s", long_text);
    const char *text = read_all(&p);
    cr_assert_leq(strlen(text), 1024);
    cr_assert_geq(strlen(text), 1016);
    cr_assert_str_eq(text + strlen(text) - 4, "...\n");

    log_write(&p.log, LOG_INFO, "x", "%.980s", "y");
    memset(long_text, 'y', sizeof(long_text) - 1);
    log_write(&p.log, LOG_INFO, "x", "%.900s", long_text);
    text = read_all(&p);
    cr_assert_eq(strstr(text, "..."), NULL, "what fits is whole: %s", text);
}

Test(log, a_reader_that_does_not_read_costs_lines_and_never_blocks) {
    struct piped p = piped(LOG_INFO);
    fcntl(p.log.fd, F_SETFL, 0); /* blocking, as an inherited stderr is */
    for (unsigned i = 0; i < 5000; i++)
        log_write(&p.log, LOG_INFO, "flood", "i=%u", i);
    cr_assert_gt(p.log.n_dropped, 0);
    read_all(&p);
    log_write(&p.log, LOG_INFO, "after", "x=1");
    const char *text = read_all(&p);
    cr_assert(strstr(text, "warn log-dropped lines="), "%s", text);
    cr_assert(strstr(text, "info after x=1\n"), "%s", text);
    cr_assert_eq(p.log.n_dropped, 0);
}

Test(log, a_file_that_cannot_be_opened_is_an_error) {
    struct log l;
    cr_assert_eq(log_open(&l, "/nowhere/at/all", LOG_INFO), -ENOENT);
}

Test(log, levels_above_the_chosen_one_are_silent) {
    struct piped p = piped(LOG_WARN);
    log_write(&p.log, LOG_INFO, "no", "x=1");
    log_write(&p.log, LOG_DEBUG, "no", "x=1");
    cr_assert_str_eq(read_all(&p), "");
    log_write(&p.log, LOG_ERROR, "yes", "%s", "");
    const char *text = read_all(&p);
    int year, month, day, hour, minute, second, ms, end = 0;
    sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ error yes\n%n", &year, &month, &day, &hour, &minute,
           &second, &ms, &end);
    cr_assert_eq((size_t)end, strlen(text), "%s", text);
}

Test(log, a_file_is_appended_to) {
    char path[] = "/tmp/test_log_XXXXXX";
    int fd = mkstemp(path);
    for (int i = 0; i < 2; i++) {
        struct log l;
        cr_assert_eq(log_open(&l, path, LOG_DEBUG), 0);
        log_write(&l, LOG_DEBUG, "line", "i=%d", i);
        log_close(&l);
        log_write(&l, LOG_DEBUG, "closed", "i=%d", i); /* no descriptor, no harm */
    }
    unlink(path);
    char text[512] = "";
    cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
    cr_assert(strstr(text, "debug line i=0\n") && strstr(text, "debug line i=1\n"), "%s", text);
    close(fd);
}

Test(log, levels_have_names) {
    cr_assert_str_eq(log_level_name(LOG_ERROR), "error");
    cr_assert_str_eq(log_level_name(LOG_DEBUG), "debug");
    cr_assert_null(log_level_name(LOG_DEBUG + 1));
}
