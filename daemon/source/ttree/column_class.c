/* Branches that are told by a class: vectors, strings, lists of them, records in lists, leaf lists.
 *
 * The class is the branch's own at top level, else the type of the member that it is, which stands
 * in the file's streamer info. What typename.c understands becomes lists: a header of a byte count
 * and a version, then lengths and elements. A member of a split collection has one header for the
 * elements of the whole entry. Objects are read where they have a fixed size and their class has no
 * version of its own: in a list of lists each is a frame with a checksum, and so is each of its
 * bases. A plain list of objects is streamed member by member and refused.
 *
 * A leaf list is a record without any of this: its leaves follow each other without gaps.
 */
#include "../../../proto/tree_index.h"
#include "../../../proto/wire.h"
#include "../text.h"
#include "column.h"
#include "dimensions.h"

#include <stdio.h>
#include <string.h>

#define FRAME_BYTES 6          /* byte count, version */
#define CHECKED_FRAME_BYTES 10 /* and a checksum */
#define MAX_CLASSES 32         /* of a record: itself and all of its bases */
#define MAX_MEMBERS 1024

/* ---- what the file says about classes ---- */

/* "Electrons/Electrons.fPt[2]" -> "fPt" */
static struct str member_name(const struct branch *b) {
    struct str s = b->name;
    const char *bracket = s.len ? memchr(s.ptr, '[', s.len) : NULL;
    if (bracket)
        s.len = (uint32_t)(bracket - s.ptr);
    const char *dot = s.len ? memrchr(s.ptr, '.', s.len) : NULL;
    if (dot)
        s = (struct str){dot + 1, s.len - (uint32_t)(dot + 1 - s.ptr)};
    return s;
}

const struct streamer_element *column_streamer(const struct model *m, const struct branch *b) {
    struct str of[] = {b->parent_class, b->element_class};
    for (unsigned i = 0; i < ARRAY_LEN(of); i++) {
        const struct streamer_class *c = of[i].len ? streamers_find(&m->streamers, of[i]) : NULL;
        const struct streamer_element *e =
            c ? streamers_member(&m->streamers, c, member_name(b)) : NULL;
        if (e)
            return e;
    }
    return NULL;
}

/* ---- records ---- */

struct record {
    const struct model *model; /* borrowed */
    uint32_t wanted, n_seen;   /* members */
    uint64_t n_bytes;
    unsigned n_classes;
    bool is_found, is_odd;
    struct str name;
    const struct numeric *number;
    uint32_t member_off, n_items;
};

static void basic_add(struct record *r, struct str name, const struct numeric *number,
                      uint64_t n_items) {
    if (!number || r->n_seen == MAX_MEMBERS || n_items > DIMENSIONS_MAX_PRODUCT ||
        r->n_bytes > DIMENSIONS_MAX_PRODUCT) {
        r->is_odd = true;
        return;
    }
    if (r->n_seen++ == r->wanted) {
        r->is_found = true;
        r->name = name;
        r->number = number;
        r->member_off = (uint32_t)r->n_bytes;
        r->n_items = (uint32_t)n_items;
    }
    r->n_bytes += n_items * item_bytes(number->item_type);
}

static void class_add(struct record *r, struct str name) {
    const struct streamers *x = &r->model->streamers;
    const struct streamer_class *c = streamers_find(x, name);
    if (!c || ++r->n_classes > MAX_CLASSES) {
        r->is_odd = true;
        return;
    }
    r->n_bytes += CHECKED_FRAME_BYTES;
    for (uint64_t i = 0; i < c->n && !r->is_odd; i++) {
        const struct streamer_element *e = streamers_element(x, c, i);
        if (e->type == 0)
            class_add(r, e->name);
        else
            basic_add(r, e->name, numeric_of_element(e->type),
                      e->type > TYPE_ARRAY && e->length > 0 ? (uint64_t)e->length : 1);
    }
}

static void leaves_add(struct record *r, const struct branch *b) {
    for (uint32_t i = 0; i < b->n_leaves && !r->is_odd; i++) {
        uint32_t number = r->model->leaf_lists[b->first_leaf + i];
        const struct leaf *l = number == MODEL_NONE ? NULL : &r->model->leaves[number];
        if (!l || l->has_counter || l->len < 1)
            r->is_odd = true;
        else
            basic_add(r, l->name, numeric_of_leaf(l), (uint64_t)l->len);
    }
}

static struct record record_look(const struct model *m, const struct branch *b, struct str class,
                                 uint32_t wanted) {
    struct record r = {.model = m, .wanted = wanted};
    if (class.len > 0)
        class_add(&r, class);
    else
        leaves_add(&r, b);
    r.is_odd |= r.n_bytes == 0 || r.n_bytes > DIMENSIONS_MAX_PRODUCT || r.n_seen == 0;
    return r;
}

bool column_member(struct column *out, struct str *namep, const struct model *m,
                   const struct branch *b, const struct column *record, uint32_t i) {
    struct record r = record_look(m, b, record->record, i);
    char array[16] = "";
    if (r.is_odd || !r.is_found)
        return false;
    *out = *record;
    *namep = r.name;
    out->is_record = false;
    out->reason[0] = '\0';
    out->kind = record->layout.n_levels > 0 ? COLUMN_LISTS : COLUMN_FLAT;
    out->item_type = r.number->item_type;
    out->n_per_entry = r.n_items;
    out->layout.member_off = r.member_off;
    if (r.n_items > 1)
        snprintf(array, sizeof(array), "[%u]", r.n_items);
    snprintf(out->type_name, sizeof(out->type_name), "%s%.*s%s", r.number->type_name,
             2 * record->layout.n_levels, "[][][]", array);
    return true;
}

static void record_describe(struct column *c, const struct model *m, const struct branch *b) {
    struct record r = record_look(m, b, c->record, 0);
    if (r.is_odd) {
        column_refuse(c, "%s %.*s: not all of it are numbers of known size",
                      c->record.len ? "objects of class" : "a leaf list", text_width(c->record),
                      c->record.ptr);
        return;
    }
    c->is_record = true;
    c->layout.unit_bytes = (uint32_t)r.n_bytes;
    c->layout.flags = c->record.len ? LAYOUT_FRAMED : 0;
    column_refuse(c, "a record: its members are columns");
}

void column_describe_leaves(struct column *c, const struct model *m, const struct branch *b) {
    if (b->is_element)
        column_refuse(c, "%u leaves in one branch of class %.*s", b->n_leaves,
                      text_width(b->element_class), b->element_class.ptr);
    else
        record_describe(c, m, b);
}

/* ---- lists ---- */

static void lists_set(struct column *c, const struct type *t, uint8_t header_bytes) {
    c->kind = COLUMN_LISTS;
    c->item_type = t->number->item_type;
    c->has_strings = t->has_strings;
    c->layout.n_levels = t->n_levels;
    memcpy(c->layout.levels, t->levels, sizeof(t->levels));
    c->layout.header_bytes = header_bytes;
    snprintf(c->type_name, sizeof(c->type_name), "%s", t->text);
}

static void class_refuse(struct column *c, struct str class, const char *why) {
    column_refuse(c, "class %.*s: %s", text_width(class), class.ptr, why);
}

static void type_describe(struct column *c, const struct model *m, const struct branch *b,
                          const struct type *t, struct str text, uint8_t string_header) {
    bool is_top = t->n_levels > 0;
    if (t->number && is_top) {
        lists_set(c, t, t->is_string ? string_header : FRAME_BYTES);
        return;
    }
    if (t->n_levels != 2) {
        class_refuse(c, text,
                     t->n_levels == 1 ? "objects in a list, streamed member by member"
                                      : "objects are not read");
        return;
    }
    c->record = t->record;
    c->layout.n_levels = t->n_levels;
    memcpy(c->layout.levels, t->levels, sizeof(t->levels));
    c->layout.header_bytes = FRAME_BYTES;
    snprintf(c->type_name, sizeof(c->type_name), "%s", t->text);
    record_describe(c, m, b);
}

/* A string or a list as member of a split collection: a header, then one for each element. */
static void collection_member_describe(struct column *c, const struct model *m,
                                       const struct branch *b, struct type *t, struct str text) {
    const struct branch *parent = b->parent == MODEL_NONE ? NULL : &m->branches[b->parent];
    size_t used = strlen(t->text);
    if (!parent || !t->number || t->n_levels == 0 || t->n_levels == COLUMN_MAX_LEVELS ||
        used + 3 > sizeof(t->text) || parent->clones_class.len != b->parent_class.len ||
        memcmp(parent->clones_class.ptr, b->parent_class.ptr, b->parent_class.len) != 0) {
        class_refuse(c, text, "this member of a collection is not read");
        return;
    }
    memmove(t->levels + 1, t->levels, sizeof(t->levels) - 1);
    t->levels[0] = LEVEL_REST;
    t->n_levels++;
    memcpy(t->text + used, "[]", 3);
    lists_set(c, t, FRAME_BYTES);
}

static void text_describe(struct column *c, const char *type_name, enum column_level level) {
    struct type t = {.n_levels = 1, .levels = {(uint8_t)level}, .has_strings = true};
    static const struct numeric byte = {ITEM_U1, "uint8_t"};
    t.number = &byte;
    snprintf(t.text, sizeof(t.text), "%s", type_name);
    lists_set(c, &t, 0);
}

/* `T *x; //[n]`: a marker, then n of them unless it was null. */
static void pointer_describe(struct column *c, const struct leaf *l, const struct numeric *number) {
    struct type t = {.n_levels = 1, .levels = {LEVEL_REST}, .number = number};
    snprintf(t.text, sizeof(t.text), "%s[]", number->type_name);
    lists_set(c, &t, 1);
    if (l->len != 1)
        column_refuse(c, "leaf \"%.*s\": an array of pointers", text_width(l->title), l->title.ptr);
}

static bool simple_describe(struct column *c, const struct branch *b, const struct leaf *l) {
    int32_t pointee = l->element_type - TYPE_POINTER;
    const struct numeric *number =
        pointee > 0 && pointee < TYPE_ARRAY ? numeric_of_element(pointee) : NULL;
    if (branch_is_in_collection(b))
        return false;
    if (b->is_element && b->streamer_type == TYPE_STRING && !l->has_counter && l->len == 1)
        text_describe(c, "TString", LEVEL_STRING);
    else if (!b->is_element && str_is(l->class_name, "TLeafC") && !l->has_counter)
        text_describe(c, "char*", LEVEL_STRING);
    else if (b->is_element && l->element_type == TYPE_CHARS && !l->has_counter && l->len == 1)
        text_describe(c, "char*", LEVEL_COUNT);
    else if (b->is_element && number && l->has_counter)
        pointer_describe(c, l, number);
    else
        return false;
    return true;
}

void column_describe_class(struct column *c, const struct model *m, const struct branch *b,
                           const struct leaf *l) {
    if (simple_describe(c, b, l))
        return;
    bool is_top = b->parent == MODEL_NONE, is_member = branch_is_in_collection(b);
    const struct streamer_element *e = is_top ? NULL : column_streamer(m, b);
    struct str text = is_top ? b->element_class : e ? e->type_name : (struct str){0};
    struct type t;
    if (!b->is_element || text.len == 0)
        column_refuse(c, "class %.*s: %.*s of type %d is no number", text_width(b->element_class),
                      b->element_class.ptr, text_width(l->class_name), l->class_name.ptr,
                      l->element_type);
    else if (l->len != 1 || (!is_member && l->has_counter))
        class_refuse(c, text, "an array of objects");
    else if (!typename_parse(&t, text))
        class_refuse(c, text, "not a type that is read");
    else if (is_member)
        collection_member_describe(c, m, b, &t, text);
    else
        type_describe(c, m, b, &t, text, is_top ? 0 : FRAME_BYTES);
}
