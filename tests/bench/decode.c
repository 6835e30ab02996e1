/* How fast columns get from a file in the page cache into the arena, against what decompression
 * alone takes.
 *
 *     decode FILE TREE ROUNDS [DAEMON...] -- COLUMN...
 *
 * Modes, each with one worker and with two:
 *   floor     threads that read and unpack all baskets into memory of their own, and do nothing else
 *   recycled  the daemon's own code in this process (engine.h), from the keys on: plans, queues,
 *             workers, arena pages that were used before
 *   fresh     the same after every free page was given to the system
 *   daemon    DAEMON is "WORKERS=SOCKET" of a running daemon: one materialize by the client library
 *             into pages that were used before, the grants and pins included; it keeps the sizes of
 *             baskets from round to round
 * and, with one thread, `copy`: the same bytes from one place in memory to the arena.
 * In every round each mode runs once, and who begins changes. Prints one JSON object a mode.
 */
#include "clock.h"
#include "engine.h"
#include "unpack.h"

#include "bufferd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ROUNDS = 101, MAX_MODES = 16, COPY_BYTES = 256 << 10, N_WORKERS = 2 };

struct remote {
    struct bufferd *session; /* owned */
    struct bufferd_result *results;
    char **keys; /* owned */
    size_t n_keys;
    unsigned n_workers;
};

struct mode {
    const char *name;
    unsigned n_workers;
    void (*prepare)(struct mode *m);
    int (*run)(struct mode *m);
    void *ctx; /* borrowed */
    struct clock took[MAX_ROUNDS];
};

struct bench {
    const char *path, *tree;
    char **columns;
    int n_columns, n_rounds;
    struct unpack unpack;
    struct engine engines[N_WORKERS];
    struct remote remotes[N_WORKERS];
    unsigned n_remotes;
    struct mode modes[MAX_MODES];
    unsigned n_modes;
};

static void die(const char *what, const char *text) {
    fprintf(stderr, "decode: %s: %s\n", what, text);
    exit(1);
}

/* ---- modes ---- */

static int run_floor(struct mode *m) {
    return unpack_run(m->ctx, (int)m->n_workers);
}

static int run_copy(struct mode *m) {
    struct engine *e = m->ctx;
    static uint8_t from[COPY_BYTES] = {1}; /* not the system's page of zeros */
    for (uint32_t i = 0; i < cache_n_records(e->domain->cache); i++) {
        const struct cache_entry *entry = cache_at(e->domain->cache, i);
        if (!entry || entry->state != CACHE_READY || entry->kind != KEY_COLUMN)
            continue;
        for (uint64_t at = 0; at < entry->n_bytes; at += COPY_BYTES)
            memcpy(arena_base(e->arena) + entry->offset + at, from,
                   MIN(COPY_BYTES, entry->n_bytes - at));
    }
    return 0;
}

static void prepare_copy(struct mode *m) {
    engine_evict(m->ctx, false);
    if (engine_load(m->ctx))
        die("load", ((struct engine *)m->ctx)->text);
}

static void prepare_recycled(struct mode *m) {
    engine_evict(m->ctx, false);
}

static void prepare_fresh(struct mode *m) {
    engine_evict(m->ctx, true);
}

static int run_engine(struct mode *m) {
    return engine_load(m->ctx);
}

static void prepare_daemon(struct mode *m) {
    struct remote *r = m->ctx;
    struct bufferd_error error;
    struct bufferd_evicted evicted;
    for (size_t i = 0; i < r->n_keys; i++)
        if (r->results[i].code == 0)
            bufferd_release(&r->results[i].view);
    struct bufferd_figure *figures;
    size_t n;
    if (bufferd_status(r->session, &figures, &n, -1, &error)) /* acknowledges the last grant */
        die("daemon", error.text);
    bufferd_figures_free(figures, n);
    if (bufferd_evict(r->session, &evicted, "*", -1, &error) || evicted.n_held)
        die("daemon", evicted.n_held ? "buffers are held" : error.text);
}

static int run_daemon(struct mode *m) {
    struct remote *r = m->ctx;
    struct bufferd_error error;
    int rc = bufferd_materialize(r->session, r->results, (const char *const *)r->keys, r->n_keys, 0,
                                 NULL, -1, &error);
    for (size_t i = 0; i < r->n_keys && !rc; i++)
        rc = r->results[i].code;
    return rc;
}

/* ---- setting up ---- */

static void add_mode(struct bench *b, const char *name, unsigned n_workers,
                     void (*prepare)(struct mode *m), int (*run)(struct mode *m), void *ctx) {
    b->modes[b->n_modes++] = (struct mode){
        .name = name, .n_workers = n_workers, .prepare = prepare, .run = run, .ctx = ctx};
}

static void open_floor(struct bench *b) {
    char error[SOURCE_ERROR_BYTES] = "";
    int r = unpack_open(&b->unpack, b->path, b->tree, error);
    for (int i = 0; i < b->n_columns && r == 0; i++)
        r = unpack_add(&b->unpack, b->columns[i], error);
    if (r)
        die(b->path, error);
}

static bool is_counter(const struct tree_index *x, const char *name) {
    int64_t i = tree_index_find(x, (struct str){name, (uint32_t)strlen(name)});
    for (uint32_t k = 0; k < x->n_columns; k++)
        if (tree_index_columns(x)[k].counter == i + 1)
            return true;
    return false;
}

static void open_engine(struct bench *b, struct engine *e, struct backing *backing, unsigned n) {
    int r = engine_open(e, backing, n, b->path, b->tree);
    for (int i = 0; i < b->n_columns && r == 0; i++) {
        r = engine_add(e, b->columns[i], VERB_DATA);
        if (r == 0 && is_counter(b->unpack.index.data, b->columns[i]))
            r = engine_add(e, b->columns[i], VERB_OFFSETS);
    }
    if (r == 0)
        r = engine_load(e); /* once, to have the pages */
    if (r)
        die(b->path, e->text);
}

static void add_key(struct remote *r, uint64_t source_id, const struct bufferd_tree *t,
                    const char *column, int verb) {
    char key[BUFFERD_KEY_BYTES];
    if (bufferd_key_column(key, source_id, bufferd_tree_path(t), 0, bufferd_tree_n_entries(t),
                           column, verb))
        die(column, "the key is too long");
    r->keys[r->n_keys++] = strdup(key);
}

static void open_remote(struct bench *b, const char *where) {
    struct remote *r = &b->remotes[b->n_remotes++];
    const char *socket = strchr(where, '=');
    struct bufferd_error error = {.text = "WORKERS=SOCKET"};
    FILE *f = fopen(b->path, "r");
    struct bufferd_source source;
    struct bufferd_tree *tree;
    const struct bufferd_options options = {.socket = socket ? socket + 1 : "",
                                            .no_autostart = true};
    if (!f || !socket || bufferd_connect(&r->session, &options, &error) ||
        bufferd_open(r->session, &source, fileno(f), b->path, -1, &error) ||
        bufferd_describe(r->session, &tree, source.source_id, b->tree, -1, &error))
        die(where, error.text);
    fclose(f);
    r->n_workers = (unsigned)atoi(where);
    r->keys = calloc(2 * (size_t)b->n_columns, sizeof(*r->keys));
    r->results = calloc(2 * (size_t)b->n_columns, sizeof(*r->results));
    for (int i = 0; i < b->n_columns; i++) {
        add_key(r, source.source_id, tree, b->columns[i], BUFFERD_DATA);
        if (is_counter(b->unpack.index.data, b->columns[i]))
            add_key(r, source.source_id, tree, b->columns[i], BUFFERD_OFFSETS);
    }
    for (size_t i = 0; i < r->n_keys; i++)
        r->results[i].code = -1;
    bufferd_tree_free(tree);
}

static void add_modes(struct bench *b) {
    for (unsigned n = 1; n <= N_WORKERS; n++) {
        add_mode(b, "floor", n, NULL, run_floor, &b->unpack);
        add_mode(b, "recycled", n, prepare_recycled, run_engine, &b->engines[n - 1]);
        add_mode(b, "fresh", n, prepare_fresh, run_engine, &b->engines[n - 1]);
    }
    add_mode(b, "copy", 1, prepare_copy, run_copy, &b->engines[0]);
    for (unsigned i = 0; i < b->n_remotes; i++)
        add_mode(b, "daemon", b->remotes[i].n_workers, prepare_daemon, run_daemon, &b->remotes[i]);
}

static void run_modes(struct bench *b) {
    for (int round = 0; round < b->n_rounds; round++) {
        for (unsigned k = 0; k < b->n_modes; k++) {
            struct mode *m = &b->modes[(k + (unsigned)round) % b->n_modes];
            if (m->prepare)
                m->prepare(m);
            struct clock started = clock_now();
            if (m->run(m))
                die(m->name, "it failed");
            m->took[round] = clock_since(&started);
        }
    }
}

static void print_modes(const struct bench *b) {
    for (unsigned k = 0; k < b->n_modes; k++) {
        const struct mode *m = &b->modes[k];
        printf("{\"mode\": \"%s\", \"workers\": %u, \"baskets\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"wall\": [",
               m->name, m->n_workers, b->unpack.n_baskets, (uint64_t)b->unpack.n_bytes);
        for (int i = 0; i < b->n_rounds; i++)
            printf("%s%.6f", i ? ", " : "", m->took[i].wall);
        printf("], \"cpu\": [");
        for (int i = 0; i < b->n_rounds; i++)
            printf("%s%.6f", i ? ", " : "", m->took[i].cpu);
        printf("]}\n");
    }
}

static uint64_t arena_bytes_wanted(struct bench *b) {
    uint64_t n = 64ull << 20;
    for (uint64_t i = 0; i < b->unpack.n_baskets; i++)
        n += b->unpack.baskets[i].raw_bytes + ARENA_PAGE;
    return n + n / 2;
}

static void close_all(struct bench *b) {
    for (unsigned i = 0; i < N_WORKERS; i++)
        engine_close(&b->engines[i]);
    for (unsigned i = 0; i < b->n_remotes; i++) {
        struct remote *r = &b->remotes[i];
        for (size_t k = 0; k < r->n_keys; k++) {
            if (r->results[k].code == 0)
                bufferd_release(&r->results[k].view);
            free(r->keys[k]);
        }
        free(r->keys);
        free(r->results);
        bufferd_unref(r->session);
    }
    unpack_deinit(&b->unpack);
}

int main(int argc, char **argv) {
    static struct bench b;
    int i = 4;
    while (i < argc && strcmp(argv[i], "--") != 0)
        i++;
    if (i + 1 >= argc || i - 4 > N_WORKERS)
        die("usage", "decode FILE TREE ROUNDS [WORKERS=SOCKET...] -- COLUMN...");
    b = (struct bench){.path = argv[1],
                       .tree = argv[2],
                       .n_rounds = MAX(1, MIN(atoi(argv[3]), MAX_ROUNDS)),
                       .columns = argv + i + 1,
                       .n_columns = argc - i - 1};
    open_floor(&b);
    struct backing backings[N_WORKERS];
    for (unsigned n = 0; n < N_WORKERS; n++)
        if (backing_open(&backings[n], arena_bytes_wanted(&b), NULL))
            die("arena", backings[n].why);
    fprintf(stderr, "decode: arena: %s\n", backings[0].why);
    for (unsigned n = 0; n < N_WORKERS; n++)
        open_engine(&b, &b.engines[n], &backings[n], n + 1);
    for (int k = 4; k < i; k++)
        open_remote(&b, argv[k]);
    add_modes(&b);
    run_modes(&b);
    print_modes(&b);
    close_all(&b);
    return 0;
}
