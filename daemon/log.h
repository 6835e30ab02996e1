/* The log: one line an event, `time level event key=value ...`, to stderr or a file. Loop thread
 * only. */
#ifndef BUFFERD_LOG_H
#define BUFFERD_LOG_H

#include "../proto/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
    int fd; /* owned unless it is stderr */
    enum log_level level;
    uint64_t n_dropped; /* lines that found no room since the last one that did */
};

/* "error", "warn", "info", "debug"; NULL after the last. */
const char *log_level_name(unsigned level);

/* path NULL: stderr. Return: 0 or negative errno. */
int log_open(struct log *l, const char *path, enum log_level level);
void log_close(struct log *l);

/* `event` is one word ("session-open"); the format holds key=value pairs. Bytes outside of
 * printable ASCII, quotes and backslashes in the formatted text are escaped, so that no file name
 * can forge a line; a line is cut at 1 KiB. */
void log_write(struct log *l, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
