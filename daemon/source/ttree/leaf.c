/* Reads TLeaf and its kinds (TLeaf version 2, each kind version 1).
 *
 * A leaf is listed by its branch, but it may be streamed earlier: inside another leaf, as that
 * one's counter. Its place in the stream therefore says nothing; the list that names it decides.
 */
#include "../text.h"
#include "model.h"

static uint32_t leaf_any_read(struct model *m, bool *is_nullp);

static void leaf_base_read(struct model *m, uint32_t number) {
    struct cursor *c = &m->cursor;
    struct frame f;
    frame_enter(c, &f);
    struct named named = tnamed_read(c);
    int32_t len = cursor_i4(c);
    cursor_skip(c, 2 * 4 + 1); /* fLenType, fOffset, fIsRange */
    bool is_unsigned = cursor_u1(c);
    bool is_null;
    uint32_t counter = leaf_any_read(m, &is_null);
    frame_leave(c, &f);
    if (c->has_failed)
        return;
    struct leaf *leaf = &m->leaves[number];
    leaf->name = named.name;
    leaf->title = named.title;
    leaf->len = len;
    leaf->is_unsigned = is_unsigned;
    leaf->has_counter = !is_null;
    leaf->counter_leaf = counter;
}

static void leaf_read(struct model *m, uint32_t number, struct str class_name) {
    struct frame f;
    frame_enter(&m->cursor, &f);
    leaf_base_read(m, number);
    if (str_is(class_name, "TLeafElement")) {
        cursor_skip(&m->cursor, 4); /* fID */
        int32_t type = cursor_i4(&m->cursor);
        if (!m->cursor.has_failed)
            m->leaves[number].element_type = type;
    }
    frame_leave(&m->cursor, &f);
}

/* Return: the new leaf's number, or MODEL_NONE. */
static uint32_t leaf_add(struct model *m, const struct any *a) {
    if (!str_begins(a->class_name, "TLeaf")) {
        references_add(&m->references, &m->cursor,
                       (struct reference){.tag = a->tag, .kind = REFERENCE_OTHER});
        return MODEL_NONE;
    }
    if (!model_descend(m) || !model_grow(m, (void **)&m->leaves, &m->leaves_capacity,
                                         m->n_leaves + 1, sizeof(*m->leaves)))
        return MODEL_NONE;
    uint32_t number = (uint32_t)m->n_leaves++;
    m->leaves[number] = (struct leaf){
        .class_name = a->class_name, .counter_leaf = MODEL_NONE, .branch = MODEL_NONE};
    references_add(&m->references, &m->cursor,
                   (struct reference){.tag = a->tag, .kind = REFERENCE_LEAF, .number = number});
    leaf_read(m, number, a->class_name);
    m->depth--;
    return number;
}

/* A pointer to a leaf. Return: its number; MODEL_NONE when it is null or unknown. */
static uint32_t leaf_any_read(struct model *m, bool *is_nullp) {
    struct any a = any_enter(&m->references, &m->cursor);
    uint32_t number = MODEL_NONE;
    *is_nullp = a.kind == ANY_NULL;
    if (a.kind == ANY_OBJECT && !m->cursor.has_failed)
        number = leaf_add(m, &a);
    if (a.kind == ANY_REFERENCE) {
        const struct reference *r = references_find(&m->references, a.tag);
        if (r && r->kind == REFERENCE_LEAF)
            number = r->number;
    }
    any_leave(&m->cursor, &a);
    return number;
}

void leaves_read(struct model *m, uint32_t branch) {
    struct frame f;
    uint32_t n = tobjarray_enter(&m->cursor, &f), n_listed = 0;
    m->branches[branch].first_leaf = (uint32_t)m->n_leaf_lists;
    for (uint32_t i = 0; i < n && !m->cursor.has_failed; i++) {
        bool is_null;
        uint32_t number = leaf_any_read(m, &is_null);
        if (is_null || !model_grow(m, (void **)&m->leaf_lists, &m->leaf_lists_capacity,
                                   m->n_leaf_lists + 1, sizeof(*m->leaf_lists)))
            continue;
        m->leaf_lists[m->n_leaf_lists++] = number; /* an unknown one counts as well */
        n_listed++;
        if (number != MODEL_NONE && m->leaves[number].branch == MODEL_NONE)
            m->leaves[number].branch = branch;
    }
    m->branches[branch].n_leaves = n_listed;
    frame_leave(&m->cursor, &f);
}
