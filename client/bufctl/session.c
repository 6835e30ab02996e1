/* The session with the daemon, and what people are told when something fails.
 *
 * Commands that only look at what is cached never start a daemon: an empty one would answer as if
 * the cache were empty, which is not what was asked. Every outcome that a person can do something
 * about has a line of advice here; the exit code follows from the outcome alone, so that scripts
 * can tell "there is no daemon" (3) from "it said no" (1).
 */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int code;
    const char *text;
} advice[] = {
    {BUFFERD_E_VERSION, "stop the old daemon (it ends on SIGTERM) and try again"},
    {BUFFERD_E_DENIED, "each user needs a daemon of their own; leave out --socket to get one"},
    {BUFFERD_E_LIMIT, "ask for fewer branches or entries at once"},
    {BUFFERD_E_NO_TREE, "`bufctl tree FILE` lists the trees of a file"},
    {BUFFERD_E_NO_COLUMN, "`bufctl tree FILE:TREE` lists the branches"},
    {BUFFERD_E_RANGE, "`bufctl tree FILE:TREE` says how many entries there are"},
    {BUFFERD_E_UNSUPPORTED, "uproot reads it; `bufferd.open` in Python does so by itself"},
    {BUFFERD_E_CHANGED, "the file is being written; try again when that is done"},
    {BUFFERD_E_FULL, "make room with `bufctl evict`, or start bufferd with a larger --memory"},
    {BUFFERD_E_TOO_LARGE, "ask for fewer entries, or start bufferd with a larger --memory"},
    {BUFFERD_E_GONE, "start one with `bufferd`; an analysis that uses it does so by itself"},
    {BUFFERD_E_UNTRUSTED, "remove that socket, or name the right one with --socket"},
};

static const char *advice_for(int code) {
    for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
        if (advice[i].code == code)
            return advice[i].text;
    return NULL;
}

int report(int exit_code, const char *format, ...) {
    va_list list;
    fflush(stdout);
    fputs("bufctl: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return exit_code;
}

int report_error(const char *what, const struct bufferd_error *error) {
    const char *text = error->text[0]    ? error->text
                       : error->code < 0 ? strerror(-error->code)
                                         : bufferd_error_name(error->code);
    const char *more = advice_for(error->code);
    report(0, "%s%s%s", what ? what : "", what ? ": " : "", text);
    if (more)
        fprintf(stderr, "        %s\n", more);
    return error->code == BUFFERD_E_GONE ? BUFCTL_NO_DAEMON : BUFCTL_REFUSED;
}

int session_open(struct bufferd **bp, const struct args *args, bool may_start) {
    struct bufferd_options options = {
        .socket = args->socket,
        .client = "bufctl",
        .no_autostart = !may_start,
    };
    struct bufferd_error error = {0};
    int r = bufferd_connect(bp, &options, &error);
    if (r == 0)
        return BUFCTL_DONE;
    error.code = r;
    const char *socket = args->socket ? args->socket : getenv("BUFFERD_SOCKET");
    bool is_named = socket && socket[0];
    if (r != BUFFERD_E_GONE || (may_start && !is_named))
        return report_error(NULL, &error);
    report(0, "no bufferd is running%s%s", is_named ? " at " : "", is_named ? socket : "");
    fprintf(stderr, "        %s\n", advice_for(BUFFERD_E_GONE));
    return BUFCTL_NO_DAEMON;
}
