/* Walks entries that are lists: vectors, vectors of vectors, strings, and what looks like them.
 *
 * An entry is a header (nothing; one byte that says whether a pointer was null; or a byte count and
 * a version), then lists in lists as the column's layout says, the innermost ones of units of a
 * fixed size. One walk serves all that is asked: it counts, writes the units, or writes the ends of
 * the lists of one level. The table of offsets says where entries begin and end if there is one;
 * what the entry says of itself has to end there. Without a table entries follow each other.
 *
 * Every number in the bytes is a claim: nothing is read beyond the entry, no list is longer than
 * the bytes that are left for it, and nothing is written beyond the place that was reserved.
 */
#include "lists.h"
#include "../source/source.h"

#include <inttypes.h>
#include <string.h>

#define HAS_COUNT 0x40000000u
#define MEMBERWISE 0x4000
#define HEADER_FRAME 6

struct walk {
    const struct payload *p;            /* borrowed */
    const struct column_layout *layout; /* borrowed */
    uint64_t pos, end;                  /* in the values; the entry's end */
    uint64_t n[COLUMN_MAX_LEVELS + 1];  /* what was met in the slice */
    uint8_t *out;                       /* borrowed; NULL: count only */
    uint64_t room;                      /* bytes left there */
    bool wants_ends;
    uint8_t level; /* of the ends */
    int64_t base;
    bool is_in_slice;
    int status;
};

static uint32_t be4(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void stop(struct walk *w, int status, const char *what) {
    if (w->status)
        return;
    payload_corrupt(w->p, "byte %" PRIu64 " of the values: %s", w->pos, what);
    w->status = status;
}

static const uint8_t *take(struct walk *w, uint64_t n_bytes) {
    if (w->status == 0 && n_bytes > w->end - w->pos)
        stop(w, JOB_E_CORRUPT, "a list is longer than its entry");
    if (w->status)
        return NULL;
    const uint8_t *bytes = w->p->bytes + w->pos;
    w->pos += n_bytes;
    return bytes;
}

/* The number of elements; of the rest, as many as fit, or all that can be walked. */
static uint64_t length_read(struct walk *w, enum column_level level, bool is_inner) {
    const uint8_t *bytes;
    switch (level) {
    case LEVEL_COUNT:
        bytes = take(w, 4);
        return bytes ? be4(bytes) : 0;
    case LEVEL_STRING:
        bytes = take(w, 1);
        if (bytes && bytes[0] == 255)
            bytes = take(w, 4);
        else
            return bytes ? bytes[0] : 0;
        return bytes ? be4(bytes) : 0;
    case LEVEL_REST:
        if (!is_inner)
            return UINT64_MAX;
        if ((w->end - w->pos) % w->p->items.unit_bytes)
            stop(w, JOB_E_CORRUPT, "an entry is no whole number of elements");
        return (w->end - w->pos) / w->p->items.unit_bytes;
    }
    return 0;
}

static void units_walk(struct walk *w, uint64_t n) {
    uint64_t n_bytes, n_out = n * w->p->items.out_unit_bytes;
    if (MUL_OVERFLOW(n, w->p->items.unit_bytes, &n_bytes))
        n_bytes = UINT64_MAX;
    const uint8_t *in = take(w, n_bytes);
    if (!in || !w->is_in_slice)
        return;
    w->n[w->layout->n_levels] += n;
    if (!w->out || w->wants_ends)
        return;
    if (n_out > w->room)
        stop(w, JOB_E_CORRUPT, "more values than were counted");
    else if (!items_write(&w->p->items, w->out, in, n))
        stop(w, JOB_E_UNSUPPORTED, "objects are not of the announced layout");
    else
        w->out += n_out, w->room -= n_out;
}

static void end_write(struct walk *w, unsigned depth) {
    if (!w->out || !w->wants_ends || depth != w->level || !w->is_in_slice || w->status)
        return;
    int64_t at = w->base + (int64_t)w->n[depth + 1];
    if (w->room < sizeof(at)) {
        stop(w, JOB_E_CORRUPT, "more lists than were counted");
        return;
    }
    memcpy(w->out, &at, sizeof(at));
    w->out += sizeof(at);
    w->room -= sizeof(at);
}

static void list_walk(struct walk *w, unsigned depth);

static void lists_walk(struct walk *w, unsigned depth, enum column_level level, uint64_t n) {
    for (uint64_t i = 0; i < n && !w->status; i++) {
        if (level == LEVEL_REST && w->pos == w->end)
            return;
        list_walk(w, depth + 1);
        w->n[depth + 1] += w->is_in_slice;
    }
}

/* Recursion ends after COLUMN_MAX_LEVELS. */
static void list_walk(struct walk *w, unsigned depth) {
    enum column_level level = w->layout->levels[depth];
    bool is_inner = depth + 1u == w->layout->n_levels;
    uint64_t n = length_read(w, level, is_inner);
    if (w->status)
        return;
    if (is_inner)
        units_walk(w, n);
    else
        lists_walk(w, depth, level, n);
    end_write(w, depth);
}

/* An object's byte count ends the entry where no table does. */
static void frame_read(struct walk *w) {
    const uint8_t *bytes = take(w, HEADER_FRAME);
    if (!bytes)
        return;
    uint32_t count = be4(bytes);
    if (!(count & HAS_COUNT) || (count & ~HAS_COUNT) < 2 ||
        (count & ~HAS_COUNT) - 2 > w->end - w->pos)
        stop(w, JOB_E_CORRUPT, "an entry without a byte count that fits");
    else if ((bytes[4] << 8 | bytes[5]) & MEMBERWISE)
        stop(w, JOB_E_UNSUPPORTED, "a collection that was streamed member by member");
    else
        w->end = w->pos + (count & ~HAS_COUNT) - 2;
}

/* Where the entry ends as far as can be told before it is read. */
static void entry_bound(struct walk *w, uint64_t i) {
    w->end = w->p->basket.border_bytes;
    if (payload_has_table(w->p)) {
        w->pos = payload_table_at(w->p, i);
        w->end = payload_table_at(w->p, i + 1);
    }
}

/* A single unit, after which TObject's bits may have two more bytes. */
static void unit_walk(struct walk *w) {
    units_walk(w, 1);
    if (w->layout->flags & LAYOUT_LONG_TAIL && payload_has_table(w->p) && w->end - w->pos == 2)
        take(w, 2);
}

static void entry_walk(struct walk *w, uint64_t i) {
    bool is_null = false, has_end = payload_has_table(w->p);
    entry_bound(w, i);
    uint64_t end = w->end;
    if (w->layout->header_bytes == HEADER_FRAME) {
        frame_read(w);
        if (w->status == 0 && has_end && w->end != end)
            stop(w, JOB_E_CORRUPT, "an entry that is not as long as it says");
        has_end = true;
    } else if (w->layout->header_bytes == 1) {
        const uint8_t *marker = take(w, 1);
        is_null = marker && *marker == 0;
    }
    if (!has_end && w->layout->n_levels > 0 && w->layout->levels[0] == LEVEL_REST)
        stop(w, JOB_E_CORRUPT, "nothing says where an entry ends");
    if (is_null && has_end && w->pos != w->end)
        stop(w, JOB_E_CORRUPT, "a null pointer with values");
    if (w->layout->n_levels == 0)
        unit_walk(w);
    else
        list_walk(w, 0);
    if (w->status == 0 && has_end && w->pos != w->end)
        stop(w, JOB_E_CORRUPT, "an entry with bytes that are not its list's");
    if (w->layout->n_levels > 0)
        w->n[0] += w->is_in_slice;
}

static int walk_run(struct walk *w, const struct payload *p, const struct job *job) {
    uint64_t i = 0, n = p->basket.n_entries;
    if (payload_has_table(p)) {
        int r = payload_table_check(p);
        if (r)
            return r;
        i = job->slice_start;
    }
    for (; i < job->slice_stop && w->status == 0; i++) {
        w->is_in_slice = i >= job->slice_start;
        entry_walk(w, i);
    }
    if (w->status == 0 && i == n && n > 0 && w->pos != p->basket.border_bytes &&
        job->slice_start < job->slice_stop)
        stop(w, JOB_E_CORRUPT, "values after the last entry");
    return w->status;
}

int lists_count(const struct payload *p, const struct job *job,
                uint64_t n_lists[COLUMN_MAX_LEVELS + 1]) {
    struct walk w = {.p = p, .layout = &p->items.layout};
    int r = walk_run(&w, p, job);
    if (r == 0)
        memcpy(n_lists, w.n, sizeof(w.n));
    return r;
}

int lists_write(const struct payload *p, const struct job *job, uint8_t *out) {
    struct walk w = {.p = p,
                     .layout = &p->items.layout,
                     .out = out,
                     .room = job->out_bytes,
                     .wants_ends = job->verb == JOB_VERB_LIST_ENDS,
                     .level = job->level,
                     .base = job->base};
    int r = walk_run(&w, p, job);
    if (r == 0 && w.room > 0)
        r = payload_corrupt(p, "%" PRIu64 " bytes fewer than were counted", w.room);
    return r;
}
