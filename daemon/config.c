/* Options: presets < file < flags.
 *
 * Every option is a row of config.def, and each kind of value is one function that turns text into
 * a member of struct config or says why not. Presets, file lines and flags all go through it, in
 * that order, so that a later one replaces an earlier one and no source has a syntax of its own.
 * The flags are walked twice: the first time only for --config, --help and --version, since the
 * file they name must be read before they are applied.
 *
 * What depends on other options or on the machine (an empty preset) is worked out last. Whatever is
 * wrong is an error with its place: a daemon that guesses what was meant is worse than none.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/un.h>

#include "util/memory.h"
#include "util/size.h"

#define CONFIG_LINE_BYTES 4096
#define CONFIG_UNSET UINT64_MAX /* a number with an empty preset, until it is worked out */

struct option {
    const char *flag, *argument, *preset, *help;
    uint64_t min, max;
    size_t offset; /* in struct config */
    /* NULL, or why the text is no value; `why` is room for a text made on the spot */
    const char *(*parse)(void *place, const struct option *o, const char *text, char *why);
};

#define WHY_BYTES 200

static const char *parse_TEXT(void *place, const struct option *o, const char *text, char *why) {
    char **p = place;
    char *copy = *text ? strdup(text) : NULL;
    if (*text && !copy)
        return "out of memory";
    free(*p);
    *p = copy;
    return NULL;
}

static const char *parse_WORD(void *place, const struct option *o, const char *text, char *why) {
    for (const char *word = o->argument; *word; word += *word == '|') {
        size_t n = strcspn(word, "|");
        if (strlen(text) == n && memcmp(word, text, n) == 0)
            return parse_TEXT(place, o, text, why);
        word += n;
    }
    snprintf(why, WHY_BYTES, "not one of %s", o->argument);
    return why;
}

static const char *check_bounds(const struct option *o, uint64_t n, char *why) {
    if (n >= o->min && n <= o->max)
        return NULL;
    snprintf(why, WHY_BYTES, "out of bounds, must be from %llu to %llu", (unsigned long long)o->min,
             (unsigned long long)o->max);
    return why;
}

static const char *parse_SIZE(void *place, const struct option *o, const char *text, char *why) {
    uint64_t n = CONFIG_UNSET;
    if (*text) {
        uint64_t whole = 0;
        char error[SIZE_ERROR_BYTES];
        if (strchr(text, '%') && memory_limit(NULL, &whole) != 0)
            return "the memory limit of this machine cannot be read; give a number of bytes";
        if (size_parse(text, whole, &n, error) != 0) {
            snprintf(why, WHY_BYTES, "%s", error);
            return why;
        }
        const char *reason = check_bounds(o, n, why);
        if (reason)
            return reason;
    }
    *(uint64_t *)place = n;
    return NULL;
}

static const char *parse_COUNT(void *place, const struct option *o, const char *text, char *why) {
    uint64_t n = CONFIG_UNSET;
    if (*text) {
        if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 18)
            return "not a number";
        n = strtoull(text, NULL, 10);
        const char *reason = check_bounds(o, n, why);
        if (reason)
            return reason;
    }
    *(uint64_t *)place = n;
    return NULL;
}

static const char *parse_LEVEL(void *place, const struct option *o, const char *text, char *why) {
    for (unsigned i = 0; log_level_name(i); i++)
        if (strcmp(text, log_level_name(i)) == 0) {
            *(enum log_level *)place = (enum log_level)i;
            return NULL;
        }
    return "not one of error, warn, info, debug";
}

static const struct option options[] = {
#define CONFIG(kind, field, flag, argument, preset, min, max, help)                                \
    {flag, argument, preset, help, min, max, offsetof(struct config, field), parse_##kind},
#include "config.def"
#undef CONFIG
};

static const struct option *find(const char *name, size_t n) {
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (strlen(options[i].flag) == n && memcmp(options[i].flag, name, n) == 0)
            return &options[i];
    return NULL;
}

static const char *set(struct config *c, const struct option *o, const char *text, char *why) {
    return o->parse((char *)c + o->offset, o, text, why);
}

/* ---- flags ---- */

struct flag {
    const struct option *option;
    const char *text;
};

/* The flag at argv[*i], in one word or two; *i moves to the next one. */
static int flag_next(struct flag *fp, int *i, int argc, char **argv, char *error) {
    const char *word = argv[(*i)++];
    size_t n = strcspn(word, "=");
    const struct option *o = strncmp(word, "--", 2) == 0 ? find(word + 2, n < 2 ? 0 : n - 2) : NULL;
    const char *text = word[n] ? word + n + 1 : NULL;
    if (!o) {
        snprintf(error, CONFIG_ERROR_BYTES, "unknown option %s (see --help)", word);
        return CONFIG_E_USAGE;
    }
    if (!text && *i < argc)
        text = argv[(*i)++];
    if (!text || !*text) {
        snprintf(error, CONFIG_ERROR_BYTES, "--%s needs a value: %s", o->flag, o->argument);
        return CONFIG_E_USAGE;
    }
    *fp = (struct flag){.option = o, .text = text};
    return 0;
}

/* Sets all flags, or (`only` given) that one. */
static int read_flags(struct config *c, const struct option *only, int argc, char **argv,
                      char *error) {
    for (int i = 1; i < argc;) {
        if (strcmp(argv[i], "--help") == 0)
            return CONFIG_E_HELP;
        if (strcmp(argv[i], "--version") == 0)
            return CONFIG_E_VERSION;
        struct flag flag;
        int r = flag_next(&flag, &i, argc, argv, error);
        if (r != 0)
            return r;
        char room[WHY_BYTES];
        const char *why = only && flag.option != only ? NULL : set(c, flag.option, flag.text, room);
        if (why) {
            snprintf(error, CONFIG_ERROR_BYTES, "--%s %s: %s", flag.option->flag, flag.text, why);
            return CONFIG_E_USAGE;
        }
    }
    return 0;
}

/* ---- file ---- */

/* Without white space at both ends. */
static char *strip(char *text) {
    static const char space[] = " \t\r\n";
    text += strspn(text, space);
    size_t n = strlen(text);
    while (n > 0 && strchr(space, text[n - 1]))
        n--;
    text[n] = 0;
    return text;
}

/* One line; NULL or why it is wrong. */
static const char *read_line(struct config *c, char *line, char *why) {
    line = strip(line);
    if (!*line || *line == '#')
        return NULL;
    char *equals = strchr(line, '=');
    if (!equals)
        return "not a line `key = value`";
    *equals = 0;
    const char *key = strip(line), *text = strip(equals + 1);
    const struct option *o = find(key, strlen(key));
    if (!o || strcmp(o->flag, "config") == 0) {
        snprintf(why, WHY_BYTES, "unknown key %.100s", key);
        return why;
    }
    if (!*text) {
        snprintf(why, WHY_BYTES, "%.100s needs a value: %s", key, o->argument);
        return why;
    }
    char room[WHY_BYTES];
    const char *reason = set(c, o, text, room);
    if (!reason)
        return NULL;
    snprintf(why, WHY_BYTES, "%s: %.150s", key, reason);
    return why;
}

static void cleanup_file(FILE **fp) {
    if (*fp)
        fclose(*fp);
}

static int read_file(struct config *c, const char *path, char *error) {
    CLEANUP(cleanup_file) FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(error, CONFIG_ERROR_BYTES, "%s: %s", path, strerror(errno));
        return CONFIG_E_USAGE;
    }
    char line[CONFIG_LINE_BYTES], room[WHY_BYTES];
    for (unsigned number = 1; fgets(line, sizeof(line), file); number++) {
        const char *why =
            strlen(line) == sizeof(line) - 1 ? "the line is too long" : read_line(c, line, room);
        if (why) {
            snprintf(error, CONFIG_ERROR_BYTES, "%s:%u: %s", path, number, why);
            return CONFIG_E_USAGE;
        }
    }
    if (ferror(file)) {
        snprintf(error, CONFIG_ERROR_BYTES, "%s: cannot be read", path);
        return CONFIG_E_USAGE;
    }
    return 0;
}

/* ---- what the machine and the other options say ---- */

static int complete_socket(struct config *c) {
    if (c->socket)
        return 0;
    /* As the client looks for it: a stale XDG_RUNTIME_DIR (su, a batch slot) is as good as none. */
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool is_usable = runtime && *runtime == '/' && access(runtime, W_OK | X_OK) == 0;
    int n = is_usable ? asprintf(&c->socket, "%s/bufferd/socket", runtime)
                      : asprintf(&c->socket, "/tmp/bufferd-%u/socket", (unsigned)geteuid());
    if (n < 0) {
        c->socket = NULL;
        return -ENOMEM;
    }
    c->socket_is_default = true;
    return 0;
}

static uint64_t count_cores(void) {
    cpu_set_t *set = CPU_ALLOC(CPU_SETSIZE * 8);
    size_t n_bytes = CPU_ALLOC_SIZE(CPU_SETSIZE * 8);
    int n = set && sched_getaffinity(0, n_bytes, set) == 0 ? CPU_COUNT_S(n_bytes, set) : 1;
    CPU_FREE(set);
    return (uint64_t)MAX(n, 1);
}

static int complete(struct config *c, char *error) {
    int r = complete_socket(c);
    if (r != 0)
        return r;
    if (strlen(c->socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        snprintf(error, CONFIG_ERROR_BYTES,
                 "socket %.600s: the path is too long (%zu bytes, %zu at most)", c->socket,
                 strlen(c->socket), sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        return CONFIG_E_USAGE;
    }
    if (c->workers == CONFIG_UNSET)
        c->workers = MIN(count_cores(), 1024);
    if (c->stock == CONFIG_UNSET)
        c->stock = MIN(c->memory / 8, 256ull << 20);
    if (c->stock > c->memory) {
        snprintf(error, CONFIG_ERROR_BYTES, "stock is larger than memory");
        return CONFIG_E_USAGE;
    }
    return 0;
}

int config_load(struct config *c, int argc, char **argv, char *error) {
    CLEANUP(config_deinit) struct config made = {0};
    char room[WHY_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const char *why = set(&made, &options[i], options[i].preset, room);
        if (why) {
            snprintf(error, CONFIG_ERROR_BYTES, "--%s has no usable preset (%s): %s",
                     options[i].flag, options[i].preset, why);
            return CONFIG_E_USAGE;
        }
    }
    int r = read_flags(&made, find("config", strlen("config")), argc, argv, error);
    if (r == 0 && made.config)
        r = read_file(&made, made.config, error);
    if (r == 0)
        r = read_flags(&made, NULL, argc, argv, error);
    if (r == 0)
        r = complete(&made, error);
    if (r != 0)
        return r;
    *c = made;
    made = (struct config){0};
    return 0;
}

void config_deinit(struct config *c) {
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (options[i].parse == parse_TEXT || options[i].parse == parse_WORD)
            parse_TEXT((char *)c + options[i].offset, &options[i], "", NULL);
}

/* ---- help ---- */

#define HELP_INDENT 8
#define HELP_WIDTH 79

static void print_wrapped(FILE *out, const char *text) {
    int column = 0;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column == 0 || column + 1 + n > HELP_WIDTH)
            column = fprintf(out, "%s%*s%.*s", column ? "\n" : "", HELP_INDENT, "", n, text) -
                     (column ? 1 : 0);
        else
            column += fprintf(out, " %.*s", n, text);
        text += n + (text[n] == ' ');
    }
    fputc('\n', out);
}

void config_print_help(FILE *out) {
    fputs("usage: bufferd [option...]\n\n"
          "Keeps decoded columns of ROOT files in shared memory, once per node.\n\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        fprintf(out, "  --%s %s", o->flag, o->argument);
        fprintf(out, *o->preset ? "  [%s]\n" : "\n", o->preset);
        print_wrapped(out, o->help);
    }
    fputs("  --help\n        Print this and exit.\n  --version\n        Print the release and "
          "exit.\n",
          out);
}
