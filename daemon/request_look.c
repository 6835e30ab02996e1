/* Handlers for those who look in and take back: ls, status, evict, trim. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "util/heap.h"

/* ---- ls ---- */

static const char *entry_label(struct client *c, const struct cache_entry *e) {
    const struct sources_file *file = sources_find(c->context->domain->sources, e->source_id);
    return file ? file->label : "";
}

static bool entry_matches(struct client *c, const struct cache_entry *e, struct str pattern) {
    const char *label = entry_label(c, e);
    return pattern.len == 0 || key_matches((struct str){e->key, e->key_bytes}, pattern) ||
           key_matches((struct str){label, (uint32_t)strlen(label)}, pattern);
}

static struct msg_ls_item ls_item(struct client *c, const struct cache_entry *e) {
    struct pin_scan scan = {0};
    uint64_t now = c->context->now_ms;
    const char *label = entry_label(c, e), *state = cache_state_name(e->state);
    if (e->state != CACHE_LOADING)
        pin_record_scan(&c->context->domain->records, e->record, NULL, &scan);
    uint64_t used_ms = MAX(e->used_ms, scan.tick * 1000ull);
    return (struct msg_ls_item){
        .key = {e->key, e->key_bytes},
        .label = {label, (uint32_t)strlen(label)},
        .state = {state, (uint32_t)strlen(state)},
        .item_type = e->item_type,
        .n_bytes = e->n_bytes,
        .n_pins = scan.n_pins,
        .n_sessions = scan.n_sessions,
        .n_hits = e->n_hits,
        .age_ms = e->state == CACHE_LOADING ? 0 : now - MIN(now, e->made_ms),
        .idle_ms = now - MIN(now, used_ms),
    };
}

int handle_ls(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_ls *ls = body;
    struct cache *cache = c->context->domain->cache;
    struct msg_ls_item items[WIRE_PAGE_ITEMS];
    struct msg_ls_reply reply = {.items = items};
    uint64_t i = ls->cursor, n_bytes = 0;
    for (; i < cache_n_records(cache); i++) {
        const struct cache_entry *e = cache_at(cache, (uint32_t)i);
        if (!e || !entry_matches(c, e, ls->pattern))
            continue;
        if (reply.n_items == WIRE_PAGE_ITEMS || n_bytes > WIRE_MAX_REPLY_BYTES / 2)
            break;
        items[reply.n_items] = ls_item(c, e);
        n_bytes += items[reply.n_items].key.len + items[reply.n_items].label.len;
        reply.n_items++;
    }
    reply.cursor = i < cache_n_records(cache) ? i : 0;
    client_reply(c, id, WIRE_OP_LS, &reply);
    return 0;
}

/* ---- status ---- */

#define MAX_FIGURES 96

struct figures {
    struct msg_status_item items[MAX_FIGURES];
    char texts[8][64];
    uint32_t n, n_texts;
};

static struct str str_of(const char *text) {
    return (struct str){text, (uint32_t)MIN(strlen(text), WIRE_MAX_NAME_BYTES)};
}

static void add_number(struct figures *f, const char *name, const char *unit, uint64_t value) {
    f->items[f->n++] =
        (struct msg_status_item){.name = str_of(name), .unit = str_of(unit), .value = value};
}

static void add_text(struct figures *f, const char *name, const char *text) {
    f->items[f->n++] = (struct msg_status_item){.name = str_of(name), .text = str_of(text)};
}

static void add_arena(struct figures *f, struct arena *arena) {
    const struct backing *b = arena_backing(arena);
    struct arena_stats s;
    arena_get_stats(arena, &s);
    add_text(f, "arena_kind", backing_kind_name(b->kind));
    add_text(f, "arena_why", b->why);
    add_number(f, "arena_huge_pages", "", b->has_huge_pages);
    add_number(f, "arena_unit_bytes", "bytes", b->unit_bytes);
    add_number(f, "arena_bytes", "bytes", arena_bytes(arena));
    add_number(f, "arena_live_bytes", "bytes", s.live_bytes);
    add_number(f, "arena_stock_bytes", "bytes", s.stock_bytes);
    add_number(f, "arena_hole_bytes", "bytes", s.hole_bytes);
    add_number(f, "arena_file_bytes", "bytes", s.file_bytes);
    add_number(f, "arena_largest_free_bytes", "bytes", s.largest_bytes);
    add_number(f, "arena_free_ranges", "", s.n_ranges);
    add_number(f, "arena_populated_bytes", "bytes", s.populated_bytes);
    add_number(f, "arena_punched_bytes", "bytes", s.punched_bytes);
}

static void add_cache(struct figures *f, struct domain *d) {
    struct cache_stats s;
    cache_get_stats(d->cache, &s);
    add_number(f, "buffers_ready", "", s.n_ready);
    add_number(f, "buffers_loading", "", s.n_loading);
    add_number(f, "buffers_retiring", "", s.n_retiring);
    add_number(f, "buffers_bytes", "bytes", s.bytes_ready);
    add_number(f, "buffers_evicted", "", s.n_evicted);
    add_number(f, "bytes_evicted", "bytes", s.bytes_evicted);
    add_number(f, "bytes_stranded", "bytes", s.bytes_stranded);
    add_number(f, "pins_scans", "", d->records.n_scans);
    add_number(f, "buffers_indexed", "", d->records.n_indexed);
    add_number(f, "index_full", "", d->records.n_index_full);
    add_number(f, "files", "", sources_n_files(d->sources));
    add_number(f, "index_bytes", "bytes", sources_index_bytes(d->sources));
}

static void add_heap(struct figures *f) {
    struct heap_stats s;
    heap_get_stats(&s);
    add_text(f, "heap", s.name);
    add_number(f, "heap_allocated_bytes", "bytes", s.allocated_bytes);
    add_number(f, "heap_resident_bytes", "bytes", s.resident_bytes);
}

static void add_loader(struct figures *f, struct loader *loader) {
    struct loader_stats s;
    loader_get_stats(loader, &s);
    add_number(f, "workers", "", s.n_workers);
    add_number(f, "jobs_running", "", s.n_running);
    add_number(f, "jobs_waiting", "", s.n_waiting);
    add_number(f, "workers_stuck", "", s.n_stuck);
}

static void add_codecs(struct figures *f) {
    for (unsigned i = 0; f->n_texts < ARRAY_LEN(f->texts); i++) {
        char *text = f->texts[f->n_texts];
        if (!codec_version(i, text, sizeof(f->texts[0])))
            break;
        add_text(f, "codec", text);
        f->n_texts++;
    }
}

int handle_status(struct client *c, uint64_t id, const void *body, int fd) {
    struct request_context *x = c->context;
    struct figures f = {.n = 0};
    add_text(&f, "version", BUFFERD_RELEASE);
    add_number(&f, "pid", "", (uint64_t)getpid());
    add_number(&f, "uptime", "ms", x->now_ms - x->started_ms);
    add_number(&f, "sessions", "", x->n_clients);
    add_loader(&f, x->loader);
    add_cache(&f, x->domain);
    add_arena(&f, x->domain->arena);
    add_heap(&f);
    const struct metric_info *info;
    for (unsigned i = 0; (info = metric_info(i)); i++)
        add_number(&f, info->name, info->unit, metric_value(x->metrics, i));
    add_codecs(&f);
    const struct msg_status_reply reply = {.items = f.items, .n_items = f.n};
    client_reply(c, id, WIRE_OP_STATUS, &reply);
    return 0;
}

/* ---- evict and trim ---- */

int handle_evict(struct client *c, uint64_t id, const void *body, int fd) {
    const struct msg_evict *evict = body;
    struct cache *cache = c->context->domain->cache;
    struct msg_evict_reply reply = {0};
    for (uint64_t i = 0; i < cache_n_records(cache); i++) {
        struct cache_entry *e = cache_at(cache, (uint32_t)i);
        if (!e || !entry_matches(c, e, evict->pattern))
            continue;
        uint64_t n_bytes = e->n_bytes;
        if (e->state == CACHE_READY && cache_evict(e)) {
            reply.n_freed++;
            reply.bytes_freed += n_bytes;
        } else {
            reply.n_held++;
            reply.bytes_held += n_bytes;
        }
    }
    c->context->metrics->buffers_cleared += reply.n_freed;
    materialize_tick(&c->context->domain->materialize);
    client_reply(c, id, WIRE_OP_EVICT, &reply);
    return 0;
}

static void on_trimmed(void *ctx, uint64_t n_bytes) {
    struct pending *p = ctx;
    struct client *c = p->client;
    if (c) {
        const struct msg_trim_reply reply = {.bytes = n_bytes};
        pending_end(p);
        client_reply(c, p->id, WIRE_OP_TRIM, &reply);
    }
    free(p);
}

static void drop_trim(struct pending *p) {
    /* The arena comes back to on_trimmed() without a client. */
}

int handle_trim(struct client *c, uint64_t id, const void *body, int fd) {
    struct pending *p = calloc(1, sizeof(*p));
    if (!p) {
        client_fail(c, id, WIRE_E_FULL, "no memory");
        return 0;
    }
    pending_begin(p, c, id, WIRE_OP_TRIM, 1, drop_trim);
    if (arena_trim(c->context->domain->arena, on_trimmed, p)) {
        pending_end(p);
        client_fail(c, id, WIRE_E_FULL, "no memory");
        free(p);
    }
    return 0;
}
