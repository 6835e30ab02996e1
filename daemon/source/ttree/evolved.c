/* Reads trees and branches of versions that are not written down, by the file's streamer info.
 *
 * Old files (TTree 5 to 15) and private builds have layouts of their own, which the file describes:
 * the members of each class in the order in which they were streamed. The few that a model needs are
 * taken by name, with whatever type they have there (entries were doubles once); all others are
 * passed over by their types. A member that cannot be passed over ends the reading of its object,
 * whose byte count leads to what follows; what was not read by then is missing, and the branch is
 * refused for it.
 */
#include "evolved.h"
#include "../text.h"
#include "column.h"

#include <string.h>

#define TYPE_BASE 0
#define TYPE_COUNTER 6
#define TYPE_OBJECT 61
#define TYPE_ANY 62
#define TYPE_OBJECT_POINTER 63
#define TYPE_OBJECT_POINTER_MAYBE 64
#define TYPE_TOBJECT 66
#define TYPE_TNAMED 67
#define TYPE_STREAMER 500
#define MAX_COUNTERS 4

struct walk {
    struct model *model; /* borrowed */
    uint32_t number;     /* of the branch */
    bool is_over;        /* nothing more is needed, or can be read */
    bool has_needed;     /* the members that cannot be missed were there */
    unsigned n_counters;
    struct {
        struct str name;
        uint32_t value;
    } counters[MAX_COUNTERS];
};
/* True: the member was read. */
typedef bool member_fn(struct walk *w, const struct streamer_element *e);

static unsigned basic_bytes(int32_t type) {
    static const uint8_t sizes[TYPE_ARRAY] = {0, 1, 2, 4, 8, 4, 4, 0, 8, 4,
                                              1, 1, 2, 4, 8, 4, 8, 8, 1, 3};
    return type > 0 && type < TYPE_ARRAY ? sizes[type] : 0;
}

static int64_t number_read(struct cursor *c, int32_t type) {
    double d;
    switch (type) {
    case 3:
        return cursor_i4(c);
    case TYPE_COUNTER:
    case 13:
        return cursor_u4(c);
    case 8:
        d = cursor_f8(c);
        return d >= 0 && d < 9e15 ? (int64_t)d : -1;
    case 4:
    case 14:
    case 16:
    case 17:
        return cursor_i8(c);
    }
    cursor_skip(c, basic_bytes(type));
    return -1;
}

static bool counter_find(const struct walk *w, struct str name, uint32_t *valuep) {
    for (unsigned i = 0; i < w->n_counters; i++) {
        struct str s = w->counters[i].name;
        if (s.len == name.len && s.len > 0 && memcmp(s.ptr, name.ptr, s.len) == 0) {
            *valuep = w->counters[i].value;
            return true;
        }
    }
    return false;
}

/* `//[n]` members: a marker, then the numbers unless it says null; 2 stands for wide ones. */
static struct numbers numbers_read(struct walk *w, const struct streamer_element *e) {
    struct cursor *c = &w->model->cursor;
    unsigned width = basic_bytes(e->type - TYPE_POINTER);
    uint32_t n = 0;
    if (!counter_find(w, e->count_name, &n) || width == 0) {
        w->is_over = true;
        return (struct numbers){0};
    }
    uint8_t marker = cursor_u1(c);
    if (marker == 0)
        return (struct numbers){0};
    if (marker == 2 && width == 4)
        width = 8;
    return (struct numbers){.bytes = cursor_bytes(c, (uint64_t)n * width), .width = width};
}

static void pointer_skip(struct model *m) {
    struct any a = any_enter(&m->references, &m->cursor);
    any_leave(&m->cursor, &a);
}

static void member_skip(struct walk *w, const struct streamer_element *e) {
    struct cursor *c = &w->model->cursor;
    if (basic_bytes(e->type)) {
        cursor_skip(c, basic_bytes(e->type));
    } else if (e->type > TYPE_ARRAY && e->type < TYPE_POINTER && e->length > 0) {
        cursor_skip(c, (uint64_t)e->length * basic_bytes(e->type - TYPE_ARRAY));
    } else if (e->type > TYPE_POINTER && e->type < TYPE_OBJECT - 1) {
        numbers_read(w, e);
    } else if (e->type == TYPE_STRING) {
        cursor_str(c);
    } else if (e->type == TYPE_TOBJECT) {
        tobject_skip(c);
    } else if (e->type == TYPE_OBJECT_POINTER || e->type == TYPE_OBJECT_POINTER_MAYBE) {
        pointer_skip(w->model);
    } else if (e->type == TYPE_BASE || e->type == TYPE_OBJECT || e->type == TYPE_ANY ||
               e->type == TYPE_TNAMED || e->type == TYPE_STREAMER) {
        frame_skip(c);
    } else {
        w->is_over = true;
    }
}

/* It is looked at here and read as a member after. */
static void counter_note(struct walk *w, const struct streamer_element *e) {
    struct cursor ahead = w->model->cursor;
    char error[SOURCE_ERROR_BYTES];
    ahead.error = error;
    uint32_t value = cursor_u4(&ahead);
    if (w->n_counters < MAX_COUNTERS) {
        w->counters[w->n_counters].name = e->name;
        w->counters[w->n_counters++].value = value;
    }
}

/* False: the file does not describe this version. */
static bool members_walk(struct walk *w, const char *class_name, uint16_t version,
                         member_fn *read) {
    const struct streamers *x = model_streamers(w->model);
    const struct streamer_class *c = streamers_find_version(x, str_of(class_name), version);
    struct cursor *cursor = &w->model->cursor;
    if (!c)
        return false;
    for (uint64_t i = 0; i < c->n && !w->is_over && !cursor->has_failed; i++) {
        const struct streamer_element *e = streamers_element(x, c, i);
        if (e->type == TYPE_COUNTER)
            counter_note(w, e);
        if (!read(w, e))
            member_skip(w, e);
    }
    return true;
}

static bool is_member(const struct streamer_element *e, const char *name) {
    return str_is(e->name, name);
}

/* ---- trees ---- */

static bool tree_member_read(struct walk *w, const struct streamer_element *e) {
    struct model *m = w->model;
    if (e->type == TYPE_TNAMED) {
        m->named = tnamed_read(&m->cursor);
    } else if (is_member(e, "fEntries")) {
        m->n_entries = number_read(&m->cursor, e->type);
        w->has_needed = true;
    } else if (is_member(e, "fBranches") && w->has_needed) {
        if (m->n_entries < 0)
            cursor_fail(&m->cursor, "the tree claims %lld entries", (long long)m->n_entries);
        branches_read(m, MODEL_NONE);
        w->is_over = true;
    } else {
        return false;
    }
    return true;
}

bool evolved_tree_read(struct model *m, uint16_t version) {
    struct walk w = {.model = m};
    return members_walk(&w, "TTree", version, tree_member_read) && w.has_needed;
}

/* ---- branches ---- */

static bool branch_number_read(struct walk *w, const struct streamer_element *e) {
    struct branch *b = &w->model->branches[w->number];
    struct cursor *c = &w->model->cursor;
    if (is_member(e, "fWriteBasket"))
        b->write_basket = (int32_t)number_read(c, e->type);
    else if (is_member(e, "fMaxBaskets"))
        b->max_baskets = (uint32_t)number_read(c, e->type);
    else if (is_member(e, "fEntries"))
        b->n_entries = number_read(c, e->type);
    else
        return false;
    return true;
}

static bool branch_list_read(struct walk *w, const struct streamer_element *e) {
    struct cursor *c = &w->model->cursor;
    if (is_member(e, "fBranches")) {
        branches_read(w->model, w->number);
    } else if (is_member(e, "fLeaves")) {
        leaves_read(w->model, w->number);
    } else if (is_member(e, "fBaskets")) {
        struct branch *b = &w->model->branches[w->number];
        b->embedded_pos = c->pos;
        frame_skip(c);
        b->embedded_end = c->pos;
    } else {
        return false;
    }
    return true;
}

static bool branch_member_read(struct walk *w, const struct streamer_element *e) {
    struct branch *b = &w->model->branches[w->number];
    struct cursor *c = &w->model->cursor;
    bool is_array = e->type > TYPE_POINTER && e->type < TYPE_OBJECT - 1;
    if (e->type == TYPE_TNAMED) {
        struct named named = tnamed_read(c);
        b->name = named.name;
        b->title = named.title;
    } else if (is_array && is_member(e, "fBasketBytes")) {
        b->basket_bytes = numbers_read(w, e);
    } else if (is_array && is_member(e, "fBasketEntry")) {
        b->basket_entry = numbers_read(w, e);
    } else if (is_array && is_member(e, "fBasketSeek")) {
        b->basket_seek = numbers_read(w, e);
        w->has_needed = !w->is_over;
    } else if (e->type == TYPE_STRING && is_member(e, "fFileName")) {
        b->file_name = cursor_str(c);
    } else {
        return branch_number_read(w, e) || branch_list_read(w, e);
    }
    return true;
}

bool evolved_branch_read(struct model *m, uint32_t number, uint16_t version) {
    struct walk w = {.model = m, .number = number};
    bool is_read = members_walk(&w, "TBranch", version, branch_member_read) && w.has_needed;
    m->branches[number].version = is_read ? version : 0;
    return is_read;
}

static bool element_member_read(struct walk *w, const struct streamer_element *e) {
    struct model *m = w->model;
    struct cursor *c = &m->cursor;
    if (e->type == TYPE_BASE && is_member(e, "TBranch")) {
        branch_base_read(m, w->number);
        return true;
    }
    struct branch *b = &m->branches[w->number];
    if (e->type == TYPE_STRING && is_member(e, "fClassName")) {
        b->element_class = cursor_str(c);
    } else if (e->type == TYPE_STRING && is_member(e, "fParentName")) {
        b->parent_class = cursor_str(c);
    } else if (e->type == TYPE_STRING && is_member(e, "fClonesName")) {
        b->clones_class = cursor_str(c);
    } else if (is_member(e, "fType")) {
        b->element_type = (int32_t)number_read(c, e->type);
    } else if (is_member(e, "fStreamerType")) {
        b->streamer_type = (int32_t)number_read(c, e->type);
        w->has_needed = true;
    } else if (is_member(e, "fBranchCount2")) {
        struct any a = any_enter(&m->references, c);
        any_leave(c, &a);
        b->has_counter2 = a.kind != ANY_NULL;
    } else {
        return false;
    }
    return true;
}

bool evolved_element_read(struct model *m, uint32_t number, uint16_t version) {
    struct walk w = {.model = m, .number = number};
    return members_walk(&w, "TBranchElement", version, element_member_read) && w.has_needed;
}
