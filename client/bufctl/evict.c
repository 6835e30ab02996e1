/* bufctl evict and trim: the operator takes memory back.
 *
 * evict frees what nobody holds, trim gives free pages to the system. Both say how much.
 */
#include "command.h"
#include "text.h"

static void print_evicted(const struct bufferd_evicted *e, bool is_json) {
    char size[TEXT_BYTES];
    if (is_json) {
        json_t *o = json_object();
        json_object_set_new(o, "n_freed", json_integer((json_int_t)e->n_freed));
        json_object_set_new(o, "bytes_freed", json_integer((json_int_t)e->bytes_freed));
        json_object_set_new(o, "n_held", json_integer((json_int_t)e->n_held));
        json_object_set_new(o, "bytes_held", json_integer((json_int_t)e->bytes_held));
        json_print(o);
        return;
    }
    printf("freed %llu buffers, %s\n", (unsigned long long)e->n_freed,
           human_bytes(size, e->bytes_freed));
    if (e->n_held)
        printf("held by clients: %llu buffers, %s\n", (unsigned long long)e->n_held,
               human_bytes(size, e->bytes_held));
}

static int run_evict(const struct args *args) {
    struct bufferd *b = NULL;
    struct bufferd_evicted evicted = {0};
    struct bufferd_error error = {0};
    if (args->all == (args->n_words == 1))
        return report(BUFCTL_USAGE, "evict takes either a pattern or --all");
    int r = session_open(&b, args, false);
    if (r)
        return r;
    const char *pattern = args->all ? "*" : args->words[0];
    error.code = bufferd_evict(b, &evicted, pattern, -1, &error);
    bufferd_unref(b);
    if (error.code)
        return report_error(NULL, &error);
    if (!args->all && evicted.n_freed + evicted.n_held == 0)
        return report(BUFCTL_REFUSED, "no buffer matches %s; `bufctl ls` lists them", pattern);
    print_evicted(&evicted, args->json);
    bool is_refused = evicted.n_freed == 0 && evicted.n_held > 0;
    return is_refused && !args->all ? BUFCTL_REFUSED : BUFCTL_DONE;
}

static int run_trim(const struct args *args) {
    struct bufferd *b = NULL;
    struct bufferd_error error = {0};
    uint64_t n_bytes = 0;
    char size[TEXT_BYTES];
    int r = session_open(&b, args, false);
    if (r)
        return r;
    error.code = bufferd_trim(b, &n_bytes, -1, &error);
    bufferd_unref(b);
    if (error.code)
        return report_error(NULL, &error);
    if (args->json)
        json_print(json_pack("{s:I}", "n_bytes", (json_int_t)n_bytes));
    else
        printf("gave %s back to the system\n", human_bytes(size, n_bytes));
    return BUFCTL_DONE;
}

const struct command command_evict = {
    .name = "evict",
    .usage = "evict PATTERN | --all [--json] [--socket PATH]",
    .summary = "Free buffers that nobody holds",
    .text = "PATTERN is a shell glob over keys and file paths, as for ls; quote it. Exit code 1\n"
            "when nothing matches the pattern, or when all that does is held by clients.",
    .options = OPTION_ALL,
    .max_words = 1,
    .run = run_evict,
};

const struct command command_trim = {
    .name = "trim",
    .usage = "trim [--json] [--socket PATH]",
    .summary = "Give free memory back to the system",
    .run = run_trim,
};
