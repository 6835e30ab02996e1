/* From argv to an exit code: 0 after a clean stop, 1 when it could not start or had to be forced, 2
 * for a wrong option.
 *
 * The order is the point. The arena's file may come from a child that makes its own user and mount
 * namespaces (arena/backing.c); that works only in a process without threads that is still
 * dumpable. After it the process is closed to ptrace, pidfd_getfd and /proc/PID/mem of its own
 * user: through it one client could reach another's descriptors. When all is taken down, that
 * protects nothing any more, and the leak checker of a sanitizer build needs it open.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "config.h"
#include "log.h"
#include "server.h"

/* Descriptors 0 to 2 exist, so that no file of ours gets a number that a library writes to. */
static void fill_standard_descriptors(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    cleanup_close(&fd);
}

/* A closed socket and a full file are errors that calls return, not deaths. */
static void prepare_process(void) {
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    umask(077);
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(const struct config *config) {
    CLEANUP(log_close) struct log log = {.fd = -1};
    int r = log_open(&log, config->log_file, config->log_level);
    if (r != 0) {
        fprintf(stderr, "bufferd: %s: %s\n", config->log_file, strerror(-r));
        return 1;
    }
    struct backing backing;
    r = backing_open(&backing, config->memory, config->arena_dir);
    if (r != 0) {
        fprintf(stderr, "bufferd: no arena%s%s: %s\n", config->arena_dir ? " in " : "",
                config->arena_dir ? config->arena_dir : "",
                *backing.why ? backing.why : strerror(-r));
        return 1;
    }
    prctl(PR_SET_DUMPABLE, 0);
    raise_descriptor_limit();
    int code = server_run(config, &log, &backing);
    prctl(PR_SET_DUMPABLE, 1);
    return code;
}

int main(int argc, char **argv) {
    prepare_process();
    CLEANUP(config_deinit) struct config config = {0};
    char error[CONFIG_ERROR_BYTES];
    int r = config_load(&config, argc, argv, error);
    if (r == CONFIG_E_HELP) {
        config_print_help(stdout);
        return 0;
    }
    if (r == CONFIG_E_VERSION) {
        puts("bufferd " BUFFERD_RELEASE);
        return 0;
    }
    if (r != 0) {
        fprintf(stderr, "bufferd: %s\n", r == CONFIG_E_USAGE ? error : strerror(-r));
        return r == CONFIG_E_USAGE ? 2 : 1;
    }
    return run(&config);
}
