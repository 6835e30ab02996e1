/* Reads TBranch (versions 8 and 10 to 13) and the classes made from it.
 *
 * Branches hold branches, so reading recurses; the number of each is fixed when it is met, which
 * puts parents before their children, in the order that uproot lists them too. Of the baskets only
 * the places are noted: the three arrays and the list of embedded baskets, which is read later and
 * only when the entries say that something is in it (third-party writers leave junk there).
 *
 * A branch of an unknown class or version becomes one without version: it is listed by name and
 * answered as unsupported, and its byte count leads to what follows.
 */
#include "../text.h"
#include "evolved.h"
#include "model.h"

#define POINTER_ABSENT 0
#define POINTER_WIDE 2 /* of TBranch 8: the seeks have 8 bytes */

/* `//[fMaxBaskets]` members: a marker, then the numbers unless the marker says null. */
static struct numbers numbers_read(struct cursor *c, uint32_t n, unsigned width, bool may_widen) {
    uint8_t marker = cursor_u1(c);
    if (marker == POINTER_ABSENT)
        return (struct numbers){0};
    if (may_widen && marker == POINTER_WIDE)
        width = 8;
    return (struct numbers){.bytes = cursor_bytes(c, (uint64_t)n * width), .width = width};
}

static void array_skip(struct cursor *c, uint64_t *posp, uint64_t *endp) {
    *posp = c->pos;
    frame_skip(c);
    *endp = c->pos;
}

/* What precedes fBranches. */
static void branch_head_read(struct cursor *c, struct branch *b, uint16_t version) {
    struct named named = tnamed_read(c);
    b->version = version;
    b->name = named.name;
    b->title = named.title;
    frame_skip(c);         /* TAttFill */
    cursor_skip(c, 3 * 4); /* fCompress, fBasketSize, fEntryOffsetLen */
    b->write_basket = cursor_i4(c);
    cursor_skip(c, version == 8 ? 4 : 8); /* fEntryNumber */
    if (version >= 13)
        frame_skip(c); /* TIOFeatures */
    cursor_skip(c, 4); /* fOffset */
    b->max_baskets = cursor_u4(c);
    cursor_skip(c, 4); /* fSplitLevel */
    if (version == 8) {
        double n = cursor_f8(c);
        b->n_entries = n >= 0 && n < 9e15 ? (int64_t)n : -1;
    } else {
        b->n_entries = cursor_i8(c);
    }
    cursor_skip(c, version >= 11 ? 3 * 8 : 2 * 8); /* fFirstEntry, fTotBytes, fZipBytes */
}

/* What follows fLeaves. */
static void branch_tail_read(struct cursor *c, struct branch *b, uint16_t version) {
    unsigned width = version == 8 ? 4 : 8;
    array_skip(c, &b->embedded_pos, &b->embedded_end);
    b->basket_bytes = numbers_read(c, b->max_baskets, 4, false);
    b->basket_entry = numbers_read(c, b->max_baskets, width, false);
    b->basket_seek = numbers_read(c, b->max_baskets, width, version == 8);
    b->file_name = cursor_str(c);
}

void branch_base_read(struct model *m, uint32_t number) {
    struct cursor *c = &m->cursor;
    struct frame f;
    frame_enter(c, &f);
    uint64_t start = c->pos;
    if (f.version == 8 || (f.version >= 10 && f.version <= 13)) {
        branch_head_read(c, &m->branches[number], f.version);
        branches_read(m, number);
        leaves_read(m, number);
        branch_tail_read(c, &m->branches[number], f.version);
    } else if (!evolved_branch_read(m, number, f.version) && c->pos == start) {
        m->branches[number].name = tnamed_read(c).name;
    }
    frame_leave(c, &f);
}

static bool any_is_null(struct model *m) {
    struct any a = any_enter(&m->references, &m->cursor);
    any_leave(&m->cursor, &a);
    return a.kind == ANY_NULL;
}

static void element_read(struct model *m, uint32_t number) {
    struct cursor *c = &m->cursor;
    struct frame f;
    frame_enter(c, &f);
    m->branches[number].is_element = true;
    if (f.version < 8 || f.version > 10) {
        uint64_t start = c->pos;
        bool is_read = evolved_element_read(m, number, f.version);
        if (!is_read && c->pos == start)
            branch_base_read(m, number);
        if (!is_read)
            m->branches[number].version = 0;
    } else {
        branch_base_read(m, number);
        struct branch *b = &m->branches[number]; /* no branch is added from here on */
        b->element_class = cursor_str(c);
        b->parent_class = cursor_str(c);
        b->clones_class = cursor_str(c);
        cursor_skip(c, 4);                           /* fCheckSum */
        cursor_skip(c, f.version >= 10 ? 2 + 4 : 8); /* fClassVersion, fID */
        b->element_type = cursor_i4(c);
        b->streamer_type = cursor_i4(c);
        cursor_skip(c, 4); /* fMaximum */
        any_is_null(m);    /* fBranchCount: the leaf's counter says it too */
        b->has_counter2 = !any_is_null(m);
    }
    frame_leave(c, &f);
}

static void object_branch_read(struct model *m, uint32_t number) {
    struct frame f;
    frame_enter(&m->cursor, &f);
    branch_base_read(m, number);
    struct str class_name = cursor_str(&m->cursor);
    m->branches[number].element_class = class_name;
    frame_leave(&m->cursor, &f);
}

static void branch_read(struct model *m, uint32_t number, struct str class_name) {
    if (str_is(class_name, "TBranch"))
        branch_base_read(m, number);
    else if (str_is(class_name, "TBranchElement"))
        element_read(m, number);
    else if (str_is(class_name, "TBranchObject"))
        object_branch_read(m, number);
    else
        m->branches[number].name = class_name;
}

static void branch_add(struct model *m, const struct any *a, uint32_t parent) {
    if (!model_descend(m) || !model_grow(m, (void **)&m->branches, &m->branches_capacity,
                                         m->n_branches + 1, sizeof(*m->branches)))
        return;
    uint32_t number = (uint32_t)m->n_branches++;
    m->branches[number] = (struct branch){.class_name = a->class_name, .parent = parent};
    if (parent != MODEL_NONE)
        m->branches[parent].n_branches++;
    references_add(&m->references, &m->cursor,
                   (struct reference){.tag = a->tag, .kind = REFERENCE_BRANCH, .number = number});
    branch_read(m, number, a->class_name);
    m->depth--;
}

void branches_read(struct model *m, uint32_t parent) {
    struct frame f;
    uint32_t n = tobjarray_enter(&m->cursor, &f);
    for (uint32_t i = 0; i < n && !m->cursor.has_failed; i++) {
        struct any a = any_enter(&m->references, &m->cursor);
        if (a.kind == ANY_OBJECT && !m->cursor.has_failed)
            branch_add(m, &a, parent);
        any_leave(&m->cursor, &a);
    }
    frame_leave(&m->cursor, &f);
}
