/* bufctl: look into a bufferd, load it, empty it.
 *
 * A table of commands and one of options; --help, usage lines and parsing come from them. Each
 * command is a file that uses client/bufferd.h and nothing below it. Output goes to stdout, for
 * people or with --json for scripts; everything else goes to stderr. A reader that has seen enough
 * (`| head`) is not an error, so SIGPIPE is ignored and EPIPE ends the program quietly.
 */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command *const commands[] = {
    &command_status,   &command_list,  &command_tree,  &command_cat,
    &command_prefetch, &command_clear, &command_evict, &command_trim,
};

enum { LONG_ENTRIES = 256, LONG_THREADS, LONG_RAW, LONG_ALL, LONG_FORCE, LONG_JSON, LONG_SOCKET };

static const struct option_text {
    const char *name, *argument, *text;
    int id;
    unsigned bit; /* OPTION_*; 0: every command has it */
} option_texts[] = {
    {"entries", "A:B", "the entries from A up to, not including, B (default: all)", LONG_ENTRIES,
     OPTION_ENTRIES},
    {"threads", "N", "hold at most N of the daemon's workers (default: no bound)", LONG_THREADS,
     OPTION_THREADS},
    {"raw", NULL, "the values' bytes instead of text", LONG_RAW, OPTION_RAW},
    {"all", NULL, "everything", LONG_ALL, OPTION_ALL},
    {"force", NULL, "also what other clients' open files would keep", LONG_FORCE, OPTION_FORCE},
    {"json", NULL, "print JSON", LONG_JSON, 0},
    {"socket", "PATH", "the daemon's socket (default: $BUFFERD_SOCKET, else your own daemon)",
     LONG_SOCKET, 0},
    {"help", NULL, "this text", 'h', 0},
};
enum { N_OPTIONS = sizeof(option_texts) / sizeof(option_texts[0]) };

static void print_options(unsigned options) {
    puts("\nOptions:");
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option_text *o = &option_texts[i];
        if (o->bit && !(o->bit & options))
            continue;
        char head[64];
        snprintf(head, sizeof(head), "--%s %s", o->name, o->argument ? o->argument : "");
        printf("  %-16s %s\n", head, o->text);
    }
}

static void print_help(void) {
    puts("usage: bufctl COMMAND [ARGUMENT...] [--json] [--socket PATH]\n\nCommands:");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    puts("\n`bufctl COMMAND --help` says more. Exit codes: 0 done, 1 refused or not found,\n"
         "2 wrong usage, 3 no daemon.");
}

static void print_command_help(const struct command *c) {
    printf("usage: bufctl %s\n\n%s.\n", c->usage, c->summary);
    if (c->text)
        printf("\n%s\n", c->text);
    print_options(c->options);
}

static const struct command *command_find(const char *name) {
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

static int usage(const struct command *c) {
    fprintf(stderr, "usage: bufctl %s\n        `bufctl %s --help` says more\n", c->usage, c->name);
    return BUFCTL_USAGE;
}

static int parse_threads(struct args *args, const char *text) {
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || n < 1 || n > 1024)
        return report(BUFCTL_USAGE, "--threads %s: give a number from 1 to 1024", text);
    args->threads = (unsigned)n;
    return BUFCTL_DONE;
}

static int take_option(struct args *args, int id) {
    switch (id) {
    case LONG_ENTRIES:
        args->entries = optarg;
        break;
    case LONG_THREADS:
        return parse_threads(args, optarg);
    case LONG_RAW:
        args->raw = true;
        break;
    case LONG_ALL:
        args->all = true;
        break;
    case LONG_FORCE:
        args->force = true;
        break;
    case LONG_JSON:
        args->json = true;
        break;
    case LONG_SOCKET:
        args->socket = optarg;
        break;
    }
    return BUFCTL_DONE;
}

/* The options that the command takes, as getopt wants them. */
static void fill_options(struct option *out, unsigned options) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option_text *o = &option_texts[i];
        if (o->bit == 0 || (o->bit & options))
            *out++ = (struct option){o->name, o->argument ? required_argument : no_argument, NULL,
                                     o->id};
    }
    *out = (struct option){0};
}

static int command_main(const struct command *c, int argc, char **argv) {
    struct args args = {0};
    struct option options[N_OPTIONS + 1];
    fill_options(options, c->options);
    int id;
    while ((id = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (id == 'h') {
            print_command_help(c);
            return BUFCTL_DONE;
        }
        if (id == '?')
            return usage(c);
        int r = take_option(&args, id);
        if (r)
            return r;
    }
    args.words = argv + optind;
    args.n_words = (size_t)(argc - optind);
    if (args.n_words < c->min_words || args.n_words > c->max_words)
        return usage(c);
    return c->run(&args);
}

/* What was printed has to arrive, unless the reader wanted no more. */
static int finish(int exit_code) {
    errno = 0;
    if ((fflush(stdout) || ferror(stdout)) && errno != EPIPE && errno != 0)
        return report(BUFCTL_REFUSED, "cannot write: %s", strerror(errno));
    return exit_code;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        fputs("usage: bufctl COMMAND [ARGUMENT...]; `bufctl --help` lists the commands\n", stderr);
        return BUFCTL_USAGE;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("bufctl " BUFFERD_VERSION);
        return finish(BUFCTL_DONE);
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        const struct command *about = argc > 2 ? command_find(argv[2]) : NULL;
        if (about)
            print_command_help(about);
        else
            print_help();
        return finish(BUFCTL_DONE);
    }
    const struct command *c = command_find(argv[1]);
    if (!c)
        return report(BUFCTL_USAGE, "no command %s; `bufctl --help` lists them", argv[1]);
    argv[1] = argv[0];
    return finish(command_main(c, argc - 1, argv + 1));
}
