/* bufctl prefetch: load branches into the cache and wait for them.
 *
 * A scope lives as long as its session, so the command stays until everything is there; ^C drops
 * what has not been loaded. A scope holds at most 1,024 keys, so long lists go in several, one
 * after the other. On a terminal a bar is redrawn a few times a second; otherwise one line is
 * printed at the end.
 */
#include "branches.h"
#include "text.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SCOPE_KEYS = 1024, POLL_MS = 150, BAR_WIDTH = 30 };

struct progress {
    uint64_t started_ns;
    uint64_t n_total;                        /* keys of all scopes */
    uint64_t n_ready, n_failed, bytes_ready; /* of the scopes that have ended */
    bool has_bar;
};

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static double seconds_since(uint64_t started_ns) {
    return (double)(now_ns() - started_ns) / 1e9 + 1e-9;
}

static void draw_bar(const struct progress *p, const struct bufferd_scope *s) {
    char bar[BAR_WIDTH + 1], size[TEXT_BYTES];
    uint64_t n_done = p->n_ready + p->n_failed + s->n_ready + s->n_failed;
    uint64_t n_bytes = p->bytes_ready + s->bytes_ready;
    double seconds = seconds_since(p->started_ns);
    size_t filled = p->n_total ? (size_t)(n_done * BAR_WIDTH / p->n_total) : BAR_WIDTH;
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', filled < BAR_WIDTH ? filled : BAR_WIDTH);
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %llu/%llu  %s  %.0f MB/s", bar, (unsigned long long)n_done,
            (unsigned long long)p->n_total, human_bytes(size, n_bytes),
            (double)n_bytes / 1e6 / seconds);
    if (n_done > 0 && n_done < p->n_total)
        fprintf(stderr, "  %.0f s left", seconds * (double)(p->n_total - n_done) / (double)n_done);
    fputs("\033[K", stderr);
}

/* Wait for one scope. Return: 0, BUFFERD_E_*, or negative errno. */
static int watch_scope(struct bufferd_scope *out, struct bufferd *b, uint64_t scope,
                       const struct progress *p, struct bufferd_error *error) {
    if (!p->has_bar)
        return bufferd_scope_wait(b, out, scope, -1, error);
    for (;;) {
        int r = bufferd_scope_status(b, out, scope, -1, error);
        if (r)
            return r;
        draw_bar(p, out);
        if (out->n_ready + out->n_failed >= out->n_total)
            return 0;
        bufferd_scope_deinit(out);
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
}

static void report_failures(const struct progress *p, const struct bufferd_scope *s,
                            const char *const *keys, size_t n_keys) {
    if (p->has_bar && s->n_failed)
        fputc('\n', stderr);
    for (size_t i = 0; i < s->n_failures && i < 5; i++) {
        const struct bufferd_scope_failure *f = &s->failures[i];
        struct key_parts parts;
        key_parts_init(&parts, f->index < n_keys ? keys[f->index] : "");
        report(0, "%s (%s): %s: %s", parts.name, parts.verb, bufferd_error_name(f->code), f->text);
        key_parts_deinit(&parts);
    }
    if (s->n_failed > 5)
        report(0, "and %llu more failed", (unsigned long long)(s->n_failed - 5));
}

static int run_scope(struct progress *p, struct bufferd *b, const char *const *keys, size_t n_keys,
                     unsigned threads) {
    struct bufferd_error error = {0};
    struct bufferd_scope s = {0};
    uint64_t scope;
    error.code = bufferd_prefetch(b, &scope, keys, n_keys, threads, -1, &error);
    if (!error.code)
        error.code = watch_scope(&s, b, scope, p, &error);
    if (error.code)
        return report_error(NULL, &error);
    p->n_ready += s.n_ready;
    p->n_failed += s.n_failed;
    p->bytes_ready += s.bytes_ready;
    report_failures(p, &s, keys, n_keys);
    bufferd_scope_deinit(&s);
    return BUFCTL_DONE;
}

static void print_result(const struct progress *p, bool is_json) {
    double seconds = seconds_since(p->started_ns);
    char size[TEXT_BYTES];
    if (p->has_bar)
        fputs("\r\033[K", stderr);
    if (is_json) {
        json_t *o = json_object();
        json_object_set_new(o, "n_total", json_integer((json_int_t)p->n_total));
        json_object_set_new(o, "n_ready", json_integer((json_int_t)p->n_ready));
        json_object_set_new(o, "n_failed", json_integer((json_int_t)p->n_failed));
        json_object_set_new(o, "n_bytes", json_integer((json_int_t)p->bytes_ready));
        json_object_set_new(o, "seconds", json_real(seconds));
        json_print(o);
        return;
    }
    printf("%llu of %llu buffers ready, %s in %.2f s, %.0f MB/s\n", (unsigned long long)p->n_ready,
           (unsigned long long)p->n_total, human_bytes(size, p->bytes_ready), seconds,
           (double)p->bytes_ready / 1e6 / seconds);
}

static int load(struct target *t, struct bufferd *b, struct key_list *list,
                const struct args *args) {
    uint64_t start, stop;
    int r = target_open(t, b, args->words[0]);
    if (r == 0)
        r = target_describe(t, b);
    if (r)
        return r;
    if (t->branch)
        return report(BUFCTL_USAGE, "prefetch takes FILE:TREE and then the branches");
    r = entries_parse(&start, &stop, args->entries, bufferd_tree_n_entries(t->tree));
    if (r == 0)
        r = branches_to_keys(list, t, args->words + 1, args->n_words - 1, start, stop);
    if (r)
        return r;
    struct progress p = {.started_ns = now_ns(),
                         .n_total = list->n_keys,
                         .has_bar = !args->json && isatty(STDERR_FILENO)};
    for (size_t i = 0; i < list->n_keys && r == 0; i += SCOPE_KEYS) {
        size_t n = list->n_keys - i < SCOPE_KEYS ? list->n_keys - i : SCOPE_KEYS;
        r = run_scope(&p, b, (const char *const *)list->keys + i, n, args->threads);
    }
    if (r)
        return r;
    print_result(&p, args->json);
    return p.n_failed ? BUFCTL_REFUSED : BUFCTL_DONE;
}

static int run(const struct args *args) {
    struct bufferd *b = NULL;
    struct target t = {0};
    struct key_list list = {0};
    int r = session_open(&b, args, true);
    if (r)
        return r;
    r = load(&t, b, &list, args);
    key_list_deinit(&list);
    target_deinit(&t);
    bufferd_unref(b);
    return r;
}

const struct command command_prefetch = {
    .name = "prefetch",
    .usage = "prefetch FILE:TREE BRANCH... [--entries A:B] [--threads N] [--json] [--socket PATH]",
    .summary = "Load branches into the cache and wait for them",
    .text = "BRANCH is a name or a shell glob ('Muon_*'; quote it). What a jagged branch needs\n"
            "besides its values comes with it. Use the entry ranges of your analysis' chunks. ^C\n"
            "drops what has not been loaded. Starts a daemon of your own if none is running.",
    .options = OPTION_ENTRIES | OPTION_THREADS,
    .min_words = 2,
    .max_words = SIZE_MAX,
    .run = run,
};
