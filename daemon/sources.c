/* The files of a domain.
 *
 * A descriptor proves that its sender may read the file, and its stat says which file it is:
 * device, inode, birth, size and both times. The same identity is the same source_id, so that
 * processes share; any other state of the file is another source, with an id that was never used
 * before. A name is kept for people and never opened.
 *
 * Opening and describing are jobs, done once for all who ask meanwhile. A tree's index lives here
 * on the heap: the daemon follows its offsets, so it must be where no client can reach. What
 * clients map is a copy in the arena, which materialize.c publishes. Paths without a cycle are
 * aliases of the tree that they led to.
 */
#include "sources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "metrics.h"

#define YOUNG_NS 20000000ll          /* a few ticks of a coarse clock */
#define YOUNG_COARSE_NS 2000000000ll /* file systems that keep whole seconds */

struct sources {
    struct loader *loader;     /* borrowed */
    struct job_tables *tables; /* borrowed; filled here */
    struct metrics *metrics;   /* borrowed */
    struct sources_file *by_id;
    struct sources_file *files; /* least recently opened first */
    uint32_t *free_numbers;     /* owned stack of places in the tables */
    uint32_t n_free_numbers;
    uint64_t next_id, n_files, n_open, max_open, index_bytes, max_index_bytes;
};

/* A quarter of what the process may have open: the rest is for sessions. */
static uint64_t count_allowed_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 > SOURCES_MAX_OPEN)
        return SOURCES_MAX_OPEN;
    return MAX(limit.rlim_cur / 4, 1);
}

int sources_new(struct sources **sp, struct loader *loader, struct job_tables *tables,
                struct metrics *metrics, uint64_t max_index_bytes) {
    struct sources *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    /* Workers read the tables while the loop fills other places of them, so they never move. */
    tables->sources = calloc(SOURCES_MAX_FILES, sizeof(*tables->sources));
    tables->trees = calloc(SOURCES_MAX_FILES, sizeof(*tables->trees));
    tables->n_sources = SOURCES_MAX_FILES;
    s->free_numbers = malloc(SOURCES_MAX_FILES * sizeof(*s->free_numbers));
    if (!tables->sources || !tables->trees || !s->free_numbers) {
        s->tables = tables;
        sources_free(s);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < SOURCES_MAX_FILES; i++)
        s->free_numbers[s->n_free_numbers++] = SOURCES_MAX_FILES - 1 - i;
    s->loader = loader;
    s->tables = tables;
    s->metrics = metrics;
    s->max_index_bytes = max_index_bytes;
    s->next_id = 1;
    s->max_open = count_allowed_files();
    *sp = s;
    return 0;
}

int sources_job_error(int status) {
    switch (status) {
    case 0:
        return WIRE_OK;
    case JOB_E_NOT_ROOT:
        return WIRE_E_NOT_ROOT;
    case JOB_E_CORRUPT:
        return WIRE_E_CORRUPT;
    case JOB_E_UNSUPPORTED:
        return WIRE_E_UNSUPPORTED;
    case JOB_E_NO_TREE:
        return WIRE_E_NO_TREE;
    case JOB_E_CHANGED:
        return WIRE_E_CHANGED;
    case JOB_E_TOO_LARGE:
        return WIRE_E_TOO_LARGE;
    case JOB_E_CANCELLED:
        return WIRE_E_CANCELLED;
    case -ENOMEM:
        return WIRE_E_FULL;
    default:
        return WIRE_E_IO;
    }
}

void sources_count_job(struct sources *s, const struct job_result *result) {
    s->metrics->baskets_decoded += result->n_baskets_decoded;
    s->metrics->reads += result->n_reads;
    s->metrics->reads_merged += result->n_reads_merged;
    s->metrics->bytes_read += result->n_read_bytes;
    s->metrics->bytes_unpacked += result->n_unpacked_bytes;
    s->metrics->decode_ns += result->run_ns;
}

static void wait_in(struct sources_waiter **list, struct sources_waiter *w) {
    w->list = list;
    DL_APPEND(*list, w);
}

void sources_unwait(struct sources_waiter *w) {
    if (w->list)
        DL_DELETE(*w->list, w);
    w->list = NULL;
}

static void answer(struct sources_waiter **list, int status, const char *text) {
    struct sources_waiter *w;
    while ((w = *list)) {
        sources_unwait(w);
        w->on_done(w, status, text);
    }
}

/* ---- trees ---- */

static void tree_free(struct sources_tree *t) {
    struct sources_file *f = t->file;
    if (t->index && t->same == t) {
        f->sources->index_bytes -= t->index->n_bytes;
        f->sources->tables->trees[f->number][t->number] = NULL;
        free(t->index);
    }
    DL_DELETE(f->trees, t);
    free(t->path);
    free(t);
}

static struct sources_tree *tree_find(struct sources_file *f, struct str path) {
    struct sources_tree *t;
    DL_FOREACH (f->trees, t)
        if (strlen(t->path) == path.len && memcmp(t->path, path.ptr, path.len) == 0)
            return t;
    return NULL;
}

static struct sources_tree *tree_add(struct sources_file *f, struct str path) {
    CLEANUP(cleanup_free) struct sources_tree *t = calloc(1, sizeof(*t));
    if (!t || !(t->path = strndup(path.ptr, path.len)))
        return NULL;
    t->file = f;
    t->same = t;
    loader_group_init(&t->group, f->sources->loader, loader_demand(f->sources->loader));
    DL_APPEND(f->trees, t);
    return TAKE_PTR(t);
}

/* A tree whose index nobody follows now, and that nobody waits for. */
static bool tree_is_idle(const struct sources_tree *t, const struct sources_tree *keep) {
    return t->index && t->same == t && t != keep && !t->n_uses && !t->waiters;
}

/* The tree goes, and the other paths that led to it. */
static void tree_forget(struct sources_tree *tree) {
    struct sources_tree *t, *next;
    DL_FOREACH_SAFE (tree->file->trees, t, next)
        if (t != tree && t->same == tree)
            tree_free(t);
    tree_free(tree);
}

static struct sources_tree *tree_find_idle(struct sources_file *f,
                                           const struct sources_tree *keep) {
    struct sources_tree *t;
    DL_FOREACH (f->trees, t)
        if (tree_is_idle(t, keep))
            return t;
    return NULL;
}

/* Make room for indexes: what no load follows goes, oldest file first. */
static void trim_indexes(struct sources *s, const struct sources_tree *keep) {
    struct sources_file *f;
    struct sources_tree *t;
    DL_FOREACH (s->files, f)
        while (s->index_bytes > s->max_index_bytes && (t = tree_find_idle(f, keep)))
            tree_forget(t);
}

/* Give the tree its index and a place where workers find it. Return: 0 or a wire error. */
static int tree_set_index(struct sources_tree *t, struct tree_index *index) {
    struct sources_file *f = t->file;
    struct sources *s = f->sources;
    struct tree_index ***places = &s->tables->trees[f->number];
    if (!*places)
        *places = calloc(SOURCES_MAX_TREES, sizeof(**places));
    if (!*places)
        return WIRE_E_FULL;
    for (t->number = 0; t->number < SOURCES_MAX_TREES && (*places)[t->number]; t->number++)
        ;
    if (t->number == SOURCES_MAX_TREES)
        return WIRE_E_LIMIT;
    (*places)[t->number] = index;
    t->index = index;
    s->index_bytes += index->n_bytes;
    s->metrics->trees_described++;
    return 0;
}

/* The index that a job made for `t`, which may be another path of a tree that is here. Takes the
 * index over. */
static int tree_settle(struct sources_tree *t, struct tree_index *index) {
    const char *path = tree_index_string(index, index->path);
    struct str canonical = {path, (uint32_t)strlen(path)};
    struct sources_tree *same = tree_find(t->file, canonical), *added = NULL;
    int status = 0;
    if (!same && !(same = added = tree_add(t->file, canonical)))
        status = WIRE_E_FULL;
    else if (!same->index)
        status = tree_set_index(same, index);
    if (status || same->index != index)
        free(index);
    if (status) {
        if (added)
            tree_free(added);
        return status;
    }
    t->same = same;
    t->index = same->index;
    return 0;
}

static void on_described(void *ctx, const struct job *job, struct job_result *result) {
    struct sources_tree *t = ctx;
    struct sources_file *f = t->file;
    struct sources *s = f->sources;
    struct sources_waiter *waiters = NULL;
    if (result->status != -ETIMEDOUT) /* else a thread may still read from it */
        f->n_uses--;
    sources_count_job(s, result);
    int status = t->index ? WIRE_OK : sources_job_error(result->status);
    if (!status && !t->index && !tree_index_check(result->blob, result->n_blob_bytes)) {
        status = WIRE_E_INTERNAL;
        snprintf(result->error, sizeof(result->error), "the index of %s is not consistent",
                 t->path);
    }
    if (status || t->index) /* another path led to it meanwhile */
        free(result->blob);
    else
        status = tree_settle(t, result->blob);
    /* Answer from a list of our own: a failed tree is gone before anybody asks again. */
    while (t->waiters) {
        struct sources_waiter *w = t->waiters;
        sources_unwait(w);
        wait_in(&waiters, w);
    }
    if (status)
        tree_free(t);
    else
        trim_indexes(s, t->same);
    answer(&waiters, status, result->error);
}

int sources_wait(struct sources_file *f, struct sources_waiter *w, char *text) {
    if (f->source)
        return 0;
    if (!f->is_opening || !w) {
        snprintf(text, 256, "the descriptor of %.200s was closed meanwhile", f->label);
        return -WIRE_E_NEED_FD;
    }
    wait_in(&f->waiters, w);
    return 1;
}

int sources_describe(struct sources_file *f, struct sources_tree **treep, struct str path,
                     struct sources_waiter *w, char *text) {
    struct sources_tree *t = tree_find(f, path);
    if (t && t->index) {
        *treep = t->same;
        return 0;
    }
    if (!w) {
        snprintf(text, 256, "the tree was not described yet");
        return -WIRE_E_ABSENT;
    }
    int rc = sources_wait(f, w, text);
    if (rc)
        return rc;
    if (!t) {
        struct job job = {
            .kind = JOB_DESCRIBE,
            .source = f->number,
            .max_bytes = f->sources->max_index_bytes,
        };
        if (path.len >= sizeof(job.path)) {
            snprintf(text, 256, "the path of the tree is too long");
            return -WIRE_E_LIMIT;
        }
        memcpy(job.path, path.ptr, path.len);
        t = tree_add(f, path);
        if (!t || loader_submit(&t->group, &job, on_described, t)) {
            if (t)
                tree_free(t);
            snprintf(text, 256, "no memory for the index");
            return -WIRE_E_FULL;
        }
        f->n_uses++;
    }
    wait_in(&t->waiters, w);
    return 1;
}

void sources_use(struct sources_tree *tree) {
    tree->n_uses++;
    tree->file->n_uses++;
}

void sources_unuse(struct sources_tree *tree) {
    tree->n_uses--;
    tree->file->n_uses--;
}

/* ---- files ---- */

static int64_t wall_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Could a write that is still to come leave the same times behind? */
static bool identity_is_young(const struct io_identity *id) {
    int64_t age = wall_ns() - id->ctime_ns;
    return age < (id->ctime_ns % 1000000000 ? YOUNG_NS : YOUNG_COARSE_NS);
}

static void file_close(struct sources_file *f) {
    struct sources *s = f->sources;
    if (!f->source)
        return;
    s->tables->sources[f->number] = NULL;
    f->source = source_free(f->source);
    s->n_open--;
}

static void file_free(struct sources_file *f) {
    struct sources *s = f->sources;
    struct sources_tree *t, *next;
    DL_FOREACH_SAFE (f->trees, t, next)
        tree_free(t);
    file_close(f);
    free(s->tables->trees[f->number]);
    s->tables->trees[f->number] = NULL;
    s->free_numbers[s->n_free_numbers++] = f->number;
    HASH_DEL(s->by_id, f);
    DL_DELETE(s->files, f);
    s->n_files--;
    free(f->label);
    free(f);
}

static struct sources_file *file_find(struct sources *s, const struct io_identity *id) {
    struct sources_file *f;
    DL_FOREACH (s->files, f)
        if (!f->is_young && io_identity_is_same(&f->identity, id))
            return f;
    return NULL;
}

static struct sources_file *file_add(struct sources *s, const struct io_identity *id,
                                     const char *label) {
    CLEANUP(cleanup_free) struct sources_file *f = calloc(1, sizeof(*f));
    if (!f || s->n_free_numbers == 0 || !(f->label = strdup(label)))
        return NULL;
    f->sources = s;
    f->source_id = s->next_id;
    f->identity = *id;
    f->is_young = identity_is_young(id);
    HASH_ADD(hh, s->by_id, source_id, sizeof(f->source_id), f);
    if (!hash_was_added(&f->hh)) {
        free(f->label);
        return NULL;
    }
    s->next_id++;
    f->number = s->free_numbers[--s->n_free_numbers];
    s->n_files++;
    loader_group_init(&f->group, s->loader, loader_demand(s->loader));
    DL_APPEND(s->files, f);
    return TAKE_PTR(f);
}

/* Descriptors are bounded: the file that was opened longest ago and that no load reads gives its
 * own. */
static void close_one(struct sources *s) {
    struct sources_file *f;
    DL_FOREACH (s->files, f)
        if (f->source && f->n_uses == 0) {
            file_close(f);
            return;
        }
}

static void on_opened(void *ctx, const struct job *job, struct job_result *result) {
    struct sources_file *f = ctx;
    struct sources *s = f->sources;
    struct sources_waiter *waiters = NULL;
    f->n_uses--;
    f->is_opening = false;
    sources_count_job(s, result);
    int status = sources_job_error(result->status);
    if (result->status == 0) {
        if (s->n_open >= s->max_open)
            close_one(s);
        f->source = result->source;
        s->tables->sources[f->number] = f->source;
        s->n_open++;
        s->metrics->sources_opened++;
    } else {
        if (job->fd >= 0) /* a stuck thread keeps it */
            close(job->fd);
    }
    while (f->waiters) {
        struct sources_waiter *w = f->waiters;
        sources_unwait(w);
        wait_in(&waiters, w);
    }
    answer(&waiters, status, result->error);
    if (status && f->n_sessions == 0 && !f->trees && f->n_uses == 0 && !f->waiters)
        file_free(f);
}

static int begin_opening(struct sources_file *f, int fd) {
    const struct job job = {.kind = JOB_OPEN, .source = f->number, .fd = fd};
    int rc = loader_submit(&f->group, &job, on_opened, f);
    if (rc)
        return rc;
    f->is_opening = true;
    f->n_uses++;
    return 0;
}

int sources_open(struct sources *s, struct sources_file **filep, int fd, const char *label,
                 struct sources_waiter *w, char *text) {
    CLEANUP(cleanup_close) int own = fd;
    struct io_identity id;
    int rc = io_identify(&id, own);
    if (rc) {
        snprintf(text, 256, "%s is not a regular file opened for reading, or it is empty", label);
        return -WIRE_E_BAD_DESCRIPTOR;
    }
    struct sources_file *f = file_find(s, &id);
    bool is_new = !f;
    if (!f && !(f = file_add(s, &id, label))) {
        snprintf(text, 256, "too many files are known, or no memory");
        return -WIRE_E_LIMIT;
    }
    if (!f->source && !f->is_opening) {
        if (begin_opening(f, own)) {
            if (is_new)
                file_free(f);
            snprintf(text, 256, "no memory");
            return -WIRE_E_FULL;
        }
        TAKE_FD(own);
    }
    f->n_sessions++;
    *filep = f;
    DL_DELETE(s->files, f);
    DL_APPEND(s->files, f);
    if (!f->is_opening)
        return 0;
    wait_in(&f->waiters, w);
    return 1;
}

void sources_close(struct sources_file *file) {
    file->n_sessions--;
}

struct sources_file *sources_find(struct sources *s, uint64_t source_id) {
    struct sources_file *f;
    HASH_FIND(hh, s->by_id, &source_id, sizeof(source_id), f);
    return f;
}

bool sources_was_known(const struct sources *s, uint64_t source_id) {
    return source_id > 0 && source_id < s->next_id;
}

uint32_t sources_oldest_unused(struct sources *s, uint64_t *ids, uint32_t n_max) {
    struct sources_file *f;
    uint32_t n = 0;
    DL_FOREACH (s->files, f) {
        if (n == n_max)
            break;
        if (f->n_sessions == 0 && f->n_uses == 0 && !f->waiters)
            ids[n++] = f->source_id;
    }
    return n;
}

void sources_forget(struct sources *s, uint64_t source_id) {
    file_free(sources_find(s, source_id));
}

struct sources *sources_free(struct sources *s) {
    if (!s)
        return NULL;
    struct sources_file *f, *next;
    DL_FOREACH_SAFE (s->files, f, next)
        file_free(f);
    free(s->tables->sources);
    free(s->tables->trees);
    s->tables->sources = NULL;
    s->tables->trees = NULL;
    s->tables->n_sources = 0;
    free(s->free_numbers);
    free(s);
    return NULL;
}

uint64_t sources_n_files(const struct sources *s) {
    return s->n_files;
}

uint64_t sources_index_bytes(const struct sources *s) {
    return s->index_bytes;
}
