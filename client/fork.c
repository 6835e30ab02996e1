/* fork() with live sessions.
 *
 * A child inherits the socket and the pin table of its parent, both shared. Were it to use them,
 * it would mix its frames with the parent's and take down pins that the parent relies on; were it
 * not to, its own views would lose their bytes when the parent releases. So the handler that runs
 * before fork() gives the child a session of its own:
 *
 *   prepare  close the gate: no pin is taken or dropped from here to the end of the fork, so the
 *            table is exactly what the child will hold. If anything is pinned, open a second
 *            connection to the same daemon (the same record table file) and copy the counts into
 *            its pin table, while the first still holds everything.
 *   parent   close the second connection.
 *   child    close the first connection and pin table; go on with the second. It holds and releases
 *            views with it, and makes no calls.
 *
 * All sessions together have 100 ms for that. If the second connection cannot be had in time
 * (daemon stopped, too many sessions), what was held at the fork is frozen: every held record gets
 * one count more, which is taken down by nobody and ends with the connection, which lasts until
 * parent and child have both closed it. That leaks, and never gives a wrong byte.
 *
 * What other threads held at the fork is held by the child as well, until its session ends: their
 * views are somewhere in its memory, and nobody will release them there.
 *
 * pthread_atfork handlers have no argument, so the list of sessions is the one piece of state of
 * the whole process in this library. _Fork() and vfork() run no handlers; a child made by them
 * must not use a session, except to exec.
 */
#include "fork.h"

#include <errno.h>
#include <sys/mman.h>
#include <utlist.h>

#include "maps.h"
#include "session.h"

#define PREPARE_MS 100

/* What the child will go on with, between the handlers. */
struct second {
    struct line *line; /* owned; NULL: there is none */
    struct mapping pins_map;
    bool is_needed; /* something is pinned */
};

struct watched {
    struct bufferd *session; /* borrowed: it leaves the list before it is freed */
    struct second second;
    struct watched *next, *prev;
};

static struct registry {
    pthread_mutex_t mutex; /* held over the fork */
    struct watched *list;
    bool has_handlers;
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct line *line_end(struct line *l) {
    if (l)
        call_free_abandoned(l);
    return line_free(l);
}

/* Call fn for every record that the table has a count on. */
typedef void held_fn(struct shm_pins to, uint64_t i, uint32_t count, uint32_t tick);

static bool for_each_held(struct bufferd *b, held_fn *fn, struct shm_pins to) {
    bool has_any = false;
    for (uint64_t i = 0; i < b->n_records; i++) {
        uint64_t page = i / SHM_PINS_PER_PAGE;
        if (!(b->pins.bitmap[page / 64] >> (page & 63) & 1)) {
            i = (page + 1) * SHM_PINS_PER_PAGE - 1;
            continue;
        }
        uint32_t tick, count = pin_count(b->pins, i, &tick);
        has_any |= count > 0;
        if (count && fn)
            fn(to, i, count, tick);
    }
    return has_any;
}

static void copy_pin(struct shm_pins to, uint64_t i, uint32_t count, uint32_t tick) {
    uint64_t page = i / SHM_PINS_PER_PAGE;
    atomic_fetch_or(&to.bitmap[page / 64], 1ull << (page & 63));
    atomic_store(&to.pins[i].tick, tick);
    atomic_fetch_add(&to.pins[i].count, count);
}

static void freeze_pin(struct shm_pins to, uint64_t i, uint32_t count, uint32_t tick) {
    atomic_fetch_add(&to.pins[i].count, 1);
}

/* The daemon behind the socket may be another one by now: it has to hand out the same records. */
static bool line_is_same_daemon(struct bufferd *b, struct line *l, uint64_t records_bytes,
                                int64_t deadline) {
    struct mapping records = {0};
    struct stat st;
    if (map_fetch(&records, &st, l, &b->trust, WIRE_MAP_RECORDS, records_bytes, deadline, NULL))
        return false;
    map_drop(&records);
    return st.st_dev == b->records_dev && st.st_ino == b->records_ino;
}

static bool second_open(struct second *s, struct bufferd *b, int64_t deadline) {
    struct socket_trust trust;
    struct msg_hello_reply hello;
    int fd;
    if (socket_connect(&fd, &trust, b->socket, true, deadline, NULL))
        return false;
    if (line_new(&s->line, fd)) {
        close(fd);
        return false;
    }
    if (session_hello(s->line, &hello, b->client, deadline, NULL) == 0 &&
        hello.n_records == b->n_records &&
        line_is_same_daemon(b, s->line, hello.records_bytes, deadline) &&
        map_fetch(&s->pins_map, NULL, s->line, &b->trust, WIRE_MAP_PINS, hello.pins_bytes, deadline,
                  NULL) == 0)
        return true;
    s->line = line_end(s->line);
    return false;
}

static void prepare(struct watched *w, int64_t deadline) {
    struct bufferd *b = w->session;
    struct second *s = &w->second;
    *s = (struct second){0};
    pthread_rwlock_wrlock(&b->gate);
    if (b->role == ROLE_CHILD_FROZEN || b->line->is_closed)
        return; /* nothing is ever given back, or there is nobody to take it */
    s->is_needed = for_each_held(b, NULL, b->pins);
    if (!s->is_needed)
        return;
    if (second_open(s, b, deadline))
        for_each_held(b, copy_pin, shm_pins_at(s->pins_map.base, b->n_records));
    else
        for_each_held(b, freeze_pin, b->pins);
}

static void on_prepare(void) {
    int64_t deadline = deadline_after(PREPARE_MS);
    struct watched *w;
    pthread_mutex_lock(&registry.mutex);
    DL_FOREACH (registry.list, w)
        prepare(w, deadline);
}

static void on_parent(void) {
    struct watched *w;
    DL_FOREACH (registry.list, w) {
        w->second.line = line_end(w->second.line);
        map_drop(&w->second.pins_map);
        pthread_rwlock_unlock(&w->session->gate);
    }
    pthread_mutex_unlock(&registry.mutex);
}

/* Other threads are gone and may have left anything locked or half done: the old line's memory is
 * left alone, its socket is closed. */
static void adopt(struct bufferd *b, struct second *s) {
    pthread_rwlock_init(&b->gate, NULL);
    pthread_mutex_init(&b->staging_mutex, NULL);
    pthread_mutex_init(&b->scopes_mutex, NULL);
    if (b->role == ROLE_CHILD_FROZEN || (!s->line && (s->is_needed || b->line->is_closed))) {
        b->role = ROLE_CHILD_FROZEN;
        return;
    }
    close(b->line->fd);
    b->line->fd = -1;
    b->role = ROLE_CHILD;
    if (!s->line) { /* nothing was held */
        b->role = ROLE_CHILD_FROZEN;
        return;
    }
    b->line = TAKE_PTR(s->line);
    map_drop(&b->pins_map);
    b->pins_map = s->pins_map;
    b->pins = shm_pins_at(b->pins_map.base, b->n_records);
    s->pins_map = (struct mapping){0};
}

static void on_child(void) {
    struct watched *w;
    pthread_mutex_init(&registry.mutex, NULL);
    DL_FOREACH (registry.list, w)
        adopt(w->session, &w->second);
}

int fork_watch(struct bufferd *b) {
    struct watched *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->session = b;
    pthread_mutex_lock(&registry.mutex);
    if (!registry.has_handlers)
        registry.has_handlers = pthread_atfork(on_prepare, on_parent, on_child) == 0;
    bool is_watched = registry.has_handlers;
    if (is_watched)
        DL_APPEND(registry.list, w);
    pthread_mutex_unlock(&registry.mutex);
    if (!is_watched)
        free(w);
    return is_watched ? 0 : -ENOMEM;
}

void fork_forget(struct bufferd *b) {
    struct watched *w;
    pthread_mutex_lock(&registry.mutex);
    DL_SEARCH_SCALAR(registry.list, w, session, b);
    if (w)
        DL_DELETE(registry.list, w);
    pthread_mutex_unlock(&registry.mutex);
    free(w);
}
