/* What the commands of bufctl share: their table entry, their arguments, how they fail. */
#ifndef BUFCTL_COMMAND_H
#define BUFCTL_COMMAND_H

#include "../bufferd.h"

enum bufctl_exit {
    BUFCTL_DONE = 0,
    BUFCTL_REFUSED = 1, /* the daemon refused, or there is no such thing */
    BUFCTL_USAGE = 2,
    BUFCTL_NO_DAEMON = 3,
};

/* Options, as bits: which ones a command takes. --help, --json and --socket are for all. */
enum {
    OPTION_ENTRIES = 1,
    OPTION_THREADS = 2,
    OPTION_RAW = 4,
    OPTION_ALL = 8,
    OPTION_FORCE = 16,
};

struct args { /* strings belong to argv */
    const char *socket, *entries;
    unsigned threads;
    bool json, raw, all, force;
    char **words;
    size_t n_words;
};

struct command {
    const char *name, *usage, *summary;
    const char *text; /* the rest of its --help */
    unsigned options; /* OPTION_* */
    size_t min_words, max_words;
    int (*run)(const struct args *args); /* returns enum bufctl_exit */
};

extern const struct command command_status, command_list, command_tree, command_cat,
    command_prefetch, command_clear, command_evict, command_trim;

/* Connect, or say what to do about it. `may_start`: a per-user daemon is started if none runs.
 * Return: enum bufctl_exit. */
int session_open(struct bufferd **bp, const struct args *args, bool may_start);

/* Say on stderr what failed and what to do. `what` (may be NULL) goes before the text.
 * Return: the exit code for it. */
int report_error(const char *what, const struct bufferd_error *error);
/* The same with a text of our own. Return: `exit_code`. */
int report(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
