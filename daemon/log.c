/* The log.
 *
 * A line is built in one buffer and leaves by one write() on an O_APPEND descriptor, so that lines
 * of two daemons in one file do not mix. The loop must never wait for whoever reads the log: stderr
 * may be a pipe that nobody empties. POLLOUT on a pipe promises PIPE_BUF bytes (4 KiB), and a line
 * is at most 1 KiB, so a poll() without a timeout before each write is enough; a line that finds no
 * room is counted and the next one that does says how many are missing.
 *
 * File names, tree names and client names reach the log. All that is not printable ASCII is written
 * as \xNN: a new line would forge an entry, an escape sequence would talk to the operator's
 * terminal.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOG_LINE_BYTES 1024
#define LOG_CUT "...\n" /* ends a line that was too long */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

const char *log_level_name(unsigned level) {
    return level < ARRAY_LEN(level_names) ? level_names[level] : NULL;
}

int log_open(struct log *l, const char *path, enum log_level level) {
    int fd = STDERR_FILENO;
    if (path) {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd < 0)
            return -errno;
    }
    *l = (struct log){.fd = fd, .level = level};
    return 0;
}

void log_close(struct log *l) {
    if (l->fd > STDERR_FILENO)
        close(l->fd);
    l->fd = -1;
}

struct line {
    char text[LOG_LINE_BYTES];
    size_t n;
};

/* One byte of the message; false when the line is full. */
static bool line_put(struct line *line, unsigned char c) {
    char escaped[5];
    const char *text = escaped;
    size_t n = 1;
    if (c == '"' || c == '\\')
        n = (size_t)snprintf(escaped, sizeof(escaped), "\\%c", c);
    else if (c < 0x20 || c > 0x7e)
        n = (size_t)snprintf(escaped, sizeof(escaped), "\\x%02x", c);
    else
        escaped[0] = (char)c;
    if (line->n + n > LOG_LINE_BYTES - strlen(LOG_CUT))
        return false;
    memcpy(line->text + line->n, text, n);
    line->n += n;
    return true;
}

static bool line_add(struct line *line, const char *text) {
    for (; *text; text++)
        if (!line_put(line, (unsigned char)*text))
            return false;
    return true;
}

static void line_begin(struct line *line, enum log_level level) {
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    line->n = strftime(line->text, sizeof(line->text), "%Y-%m-%dT%H:%M:%S", &utc);
    line->n += (size_t)snprintf(line->text + line->n, sizeof(line->text) - line->n, ".%03ldZ %s ",
                                now.tv_nsec / 1000000, level_names[level]);
}

static void line_end(struct line *line, bool is_cut) {
    const char *end = is_cut ? LOG_CUT : "\n";
    memcpy(line->text + line->n, end, strlen(end));
    line->n += strlen(end);
}

static bool has_room(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

static bool write_line(struct log *l, const struct line *line) {
    return has_room(l->fd) && write(l->fd, line->text, line->n) == (ssize_t)line->n;
}

static void write_dropped(struct log *l) {
    struct line line;
    line_begin(&line, LOG_WARN);
    line.n += (size_t)snprintf(line.text + line.n, sizeof(line.text) - line.n,
                               "log-dropped lines=%" PRIu64, l->n_dropped);
    line_end(&line, false);
    if (write_line(l, &line))
        l->n_dropped = 0;
}

void log_write(struct log *l, enum log_level level, const char *event, const char *format, ...) {
    if (level > l->level || l->fd < 0)
        return;
    char message[LOG_LINE_BYTES];
    va_list args;
    va_start(args, format);
    int n_message = vsnprintf(message, sizeof(message), format, args);
    va_end(args);

    struct line line;
    line_begin(&line, level);
    bool is_whole = line_add(&line, event) && (n_message <= 0 || line_add(&line, " ")) &&
                    line_add(&line, message) && n_message < (int)sizeof(message);
    line_end(&line, !is_whole);
    if (l->n_dropped)
        write_dropped(l);
    if (l->n_dropped || !write_line(l, &line))
        l->n_dropped++;
}
