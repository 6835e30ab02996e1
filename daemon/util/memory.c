/* The limit that kills is the tightest one on the way from the process's cgroup up to the mount, so
 * all of them are read. /proc/self/cgroup says where the process is, /proc/self/mountinfo where
 * that hierarchy is mounted and which part of it is seen there (a container sees its own cgroup as
 * the root). Memory of a v1 hierarchy and of the unified one may both be mounted; only the one that
 * holds the memory controller has files to read, the other adds nothing.
 *
 * Inactive file pages count as free: page cache is filled by our own reading of ROOT files and
 * gives way under pressure. Shared memory is not among them. memory.high counts as a limit too,
 * since a daemon that is throttled there serves nobody. What cannot be read limits nothing, but
 * /proc/meminfo must be there.
 */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define NO_LIMIT UINT64_MAX

/* What differs between the two kinds of hierarchy. */
struct cgroup_kind {
    const char *fs_type;    /* in mountinfo */
    const char *controller; /* in /proc/self/cgroup, and among the mount's options; "": unified */
    const char *limits[2];
    const char *usage;
    const char *inactive_file; /* line of memory.stat */
};

static const struct cgroup_kind cgroup_kinds[] = {
    {"cgroup",
     "memory",
     {"memory.limit_in_bytes", NULL},
     "memory.usage_in_bytes",
     "total_inactive_file"},
    {"cgroup2", "", {"memory.max", "memory.high"}, "memory.current", "inactive_file"},
};

struct memory_state {
    uint64_t limit, headroom;
};

/* Open root + dir + "/" + name. */
static FILE *file_open(const char *root, const char *dir, const char *name) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s%s/%s", root, dir, name);
    return n < (int)sizeof(path) ? fopen(path, "re") : NULL;
}

static void cleanup_file(FILE **fp) {
    if (*fp)
        fclose(*fp);
}

/* One number, or "max". False: no such file, or something else in it. */
static bool number_read(const char *root, const char *dir, const char *name, uint64_t *out) {
    CLEANUP(cleanup_file) FILE *f = file_open(root, dir, name);
    char text[64], *end;
    if (!f || !fgets(text, sizeof(text), f))
        return false;
    if (!strncmp(text, "max", 3)) {
        *out = NO_LIMIT;
        return true;
    }
    errno = 0;
    *out = strtoull(text, &end, 10);
    return end != text && !errno;
}

/* The value of the line "name value" (or "name: value kB", which `scale` makes bytes). */
static bool line_read(FILE *f, const char *name, uint64_t scale, uint64_t *out) {
    char line[512];
    size_t n_name = strlen(name);
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, name, n_name) || !strchr(" :\t", line[n_name]))
            continue;
        char *end, *text = line + n_name + strspn(line + n_name, " :\t");
        *out = strtoull(text, &end, 10);
        return end != text && !MUL_OVERFLOW(*out, scale, out);
    }
    return false;
}

/* One cgroup: what its files say goes into the minimum. */
static void cgroup_apply(const struct cgroup_kind *kind, const char *root, const char *dir,
                         struct memory_state *state) {
    uint64_t limit = NO_LIMIT, value, usage, cache = 0;
    for (unsigned i = 0; i < ARRAY_LEN(kind->limits) && kind->limits[i]; i++)
        if (number_read(root, dir, kind->limits[i], &value))
            limit = MIN(limit, value);
    state->limit = MIN(state->limit, limit);
    if (limit == NO_LIMIT || !number_read(root, dir, kind->usage, &usage))
        return;
    CLEANUP(cleanup_file) FILE *f = file_open(root, dir, "memory.stat");
    if (f && !line_read(f, kind->inactive_file, 1, &cache))
        cache = 0;
    uint64_t used = usage - MIN(usage, cache);
    state->headroom = MIN(state->headroom, limit - MIN(limit, used));
}

/* mountinfo writes blanks as \040. In place. */
static void text_unescape(char *text) {
    char *out = text;
    for (; *text; text++) {
        if (text[0] == '\\' && text[1] && text[2] && text[3]) {
            *out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 3;
        } else {
            *out++ = *text;
        }
    }
    *out = 0;
}

/* True when the comma-separated list has the word. */
static bool list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, word, n) && (p[n] == ',' || !p[n]))
            return true;
    }
    return false;
}

/* Where the hierarchy is mounted, and which of its cgroups is seen there as the mount's root. */
static bool mount_find(const struct cgroup_kind *kind, const char *root, char point[PATH_MAX],
                       char top[PATH_MAX]) {
    CLEANUP(cleanup_file) FILE *f = file_open(root, "/proc/self", "mountinfo");
    CLEANUP(cleanup_free) char *line = NULL;
    size_t n_line = 0;
    while (f && getline(&line, &n_line, f) > 0) {
        char type[32], options[512];
        const char *dash = strstr(line, " - ");
        if (!dash || sscanf(dash, " - %31s %*s %511s", type, options) != 2 ||
            strcmp(type, kind->fs_type) ||
            (*kind->controller && !list_has(options, kind->controller)))
            continue;
        if (sscanf(line, "%*s %*s %*s %4095s %4095s", top, point) != 2)
            continue;
        text_unescape(top);
        text_unescape(point);
        return true;
    }
    return false;
}

/* The process's cgroup in this hierarchy. */
static bool membership_find(const struct cgroup_kind *kind, const char *root, char path[PATH_MAX]) {
    CLEANUP(cleanup_file) FILE *f = file_open(root, "/proc/self", "cgroup");
    CLEANUP(cleanup_free) char *line = NULL;
    size_t n_line = 0;
    while (f && getline(&line, &n_line, f) > 0) {
        char *list = strchr(line, ':'), *at = list ? strchr(list + 1, ':') : NULL;
        if (!at)
            continue;
        *at++ = 0;
        if (!list_has(list + 1, kind->controller))
            continue;
        at[strcspn(at, "\n")] = 0;
        return snprintf(path, PATH_MAX, "%s", at) < PATH_MAX;
    }
    return false;
}

/* From the process's cgroup up to the mount. */
static void hierarchy_apply(const struct cgroup_kind *kind, const char *root,
                            struct memory_state *state) {
    char point[PATH_MAX], top[PATH_MAX], path[PATH_MAX], dir[2 * PATH_MAX];
    if (!mount_find(kind, root, point, top) || !membership_find(kind, root, path))
        return;
    size_t n_top = strcmp(top, "/") ? strlen(top) : 0;
    bool is_below = !strncmp(path, top, n_top) && (path[n_top] == '/' || !path[n_top]);
    snprintf(dir, sizeof(dir), "%s%s", point, is_below ? path + n_top : "");
    for (size_t n = strlen(dir); n >= strlen(point); dir[n] = 0) {
        cgroup_apply(kind, root, dir, state);
        while (n > 0 && dir[--n] != '/')
            ;
        if (n == 0)
            break;
    }
}

static int state_read(const char *root, struct memory_state *state) {
    root = root ? root : "";
    CLEANUP(cleanup_file) FILE *f = file_open(root, "/proc", "meminfo");
    if (!f)
        return -errno;
    *state = (struct memory_state){0};
    if (!line_read(f, "MemTotal", 1024, &state->limit) ||
        !line_read(f, "MemAvailable", 1024, &state->headroom))
        return -EIO;
    for (unsigned i = 0; i < ARRAY_LEN(cgroup_kinds); i++)
        hierarchy_apply(&cgroup_kinds[i], root, state);
    return 0;
}

int memory_limit(const char *root, uint64_t *n_bytesp) {
    struct memory_state state;
    int r = state_read(root, &state);
    if (!r)
        *n_bytesp = state.limit;
    return r;
}

int memory_headroom(const char *root, uint64_t *n_bytesp) {
    struct memory_state state;
    int r = state_read(root, &state);
    if (!r)
        *n_bytesp = state.headroom;
    return r;
}
