/* The kinds of branch that are read natively, as narrow as they can be told for sure.
 *
 * Flat: one leaf of a numeric kind, without a counter, all dimensions in its title fixed. Jagged:
 * the same with a counter leaf as its first dimension. That holds for plain branches as for the
 * numeric members of split classes and collections, whose bytes are the same; a split collection's
 * own branch holds the number of its elements, a flat int32. Everything else has bytes of its own
 * in each entry, or means something that no array of numbers says, and is refused with its reason.
 *
 * The type names are uproot's (interpretation/numerical.py, `typename`).
 */
#include "column.h"
#include "../../../proto/tree_index.h"
#include "../../../proto/wire.h"
#include "../text.h"
#include "dimensions.h"
#include "range.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void column_refuse(struct column *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(c->reason, sizeof(c->reason), format, args);
    va_end(args);
    c->kind = COLUMN_NONE;
    c->counter_branch = MODEL_NONE;
}

static const struct numeric BOOL = {ITEM_BOOL, "bool"};
static const struct numeric I1 = {ITEM_I1, "int8_t"}, U1 = {ITEM_U1, "uint8_t"};
static const struct numeric I2 = {ITEM_I2, "int16_t"}, U2 = {ITEM_U2, "uint16_t"};
static const struct numeric I4 = {ITEM_I4, "int32_t"}, U4 = {ITEM_U4, "uint32_t"};
static const struct numeric I8 = {ITEM_I8, "int64_t"}, U8 = {ITEM_U8, "uint64_t"};
static const struct numeric F4 = {ITEM_F4, "float"}, F8 = {ITEM_F8, "double"};

const struct numeric *numeric_of_element(int32_t type) {
    if (type > TYPE_ARRAY && type < TYPE_POINTER)
        type -= TYPE_ARRAY;
    static const struct numeric *const types[] = {
        [1] = &I1,  [2] = &I2,  [3] = &I4,  [4] = &I8,  [5] = &F4,
        [6] = &U4,  [8] = &F8,  [11] = &U1, [12] = &U2, [13] = &U4,
        [14] = &U8, [15] = &U4, [16] = &I8, [17] = &U8, [18] = &BOOL};
    return type >= 0 && (size_t)type < ARRAY_LEN(types) ? types[type] : NULL;
}

const struct numeric *numeric_of_leaf(const struct leaf *l) {
    static const struct {
        const char *class_name;
        const struct numeric *plain, *if_unsigned;
    } kinds[] = {
        {"TLeafO", &BOOL, &BOOL}, {"TLeafB", &I1, &U1}, {"TLeafS", &I2, &U2}, {"TLeafI", &I4, &U4},
        {"TLeafL", &I8, &U8},     {"TLeafG", &I8, &U8}, {"TLeafF", &F4, &F4}, {"TLeafD", &F8, &F8},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_is(l->class_name, kinds[i].class_name))
            return l->is_unsigned ? kinds[i].if_unsigned : kinds[i].plain;
    return str_is(l->class_name, "TLeafElement") ? numeric_of_element(l->element_type) : NULL;
}

/* A reason why no leaf of it is looked at. False: there is none. */
static bool branch_refuse(struct column *c, const struct branch *b) {
    struct str class_name = b->class_name, element = b->element_class;
    if (b->version == 0)
        column_refuse(c, "%.*s of this version is not read", text_width(class_name),
                      class_name.ptr);
    else if (b->file_name.len > 0)
        column_refuse(c, "its baskets are in another file, %.*s", text_width(b->file_name),
                      b->file_name.ptr);
    else if (b->n_branches > 0)
        column_refuse(c, "a group of %u branches, class %.*s", b->n_branches,
                      element.len ? text_width(element) : 4, element.len ? element.ptr : "none");
    else if (b->n_leaves == 0)
        column_refuse(c, "a branch without leaves");
    else if (!str_is(class_name, "TBranch") && !b->is_element)
        column_refuse(c, "%.*s of class %.*s", text_width(class_name), class_name.ptr,
                      text_width(element), element.ptr);
    else
        return false;
    return true;
}

/* Members of split classes are as their leaf says; other elements are objects. */
static bool element_refuse(struct column *c, const struct branch *b, const struct leaf *l) {
    bool is_member = branch_is_in_collection(b);
    if (!b->is_element)
        return false;
    if (b->has_counter2)
        column_refuse(c, "class %.*s: a collection in a collection", text_width(b->element_class),
                      b->element_class.ptr);
    else if (!is_member && b->element_type != ELEMENT_PLAIN && b->element_type != ELEMENT_OBJECT)
        column_refuse(c, "class %.*s: branch type %d", text_width(b->element_class),
                      b->element_class.ptr, b->element_type);
    else if (is_member && !l->has_counter)
        column_refuse(c, "class %.*s: a member of a collection without its counter",
                      text_width(b->element_class), b->element_class.ptr);
    else
        return false;
    return true;
}

static bool dimensions_refuse(struct column *c, const struct leaf *l, const struct dimensions *d) {
    if (d->is_odd || d->has_counter != l->has_counter)
        column_refuse(c, "leaf \"%.*s\": unclear dimensions", text_width(l->title), l->title.ptr);
    else if (l->len < 1 || (uint32_t)l->len > DIMENSIONS_MAX_PRODUCT ||
             d->product != (uint32_t)l->len)
        column_refuse(c, "leaf \"%.*s\": dimensions do not make its length %d",
                      text_width(l->title), l->title.ptr, l->len);
    else
        return false;
    return true;
}

static void counter_set(struct column *c, const struct model *m, const struct leaf *l) {
    uint32_t branch =
        l->counter_leaf == MODEL_NONE ? MODEL_NONE : m->leaves[l->counter_leaf].branch;
    if (branch == MODEL_NONE) {
        column_refuse(c, "leaf \"%.*s\": its counter is in no branch of the tree",
                      text_width(l->title), l->title.ptr);
        return;
    }
    c->kind = COLUMN_JAGGED;
    c->counter_branch = branch;
}

/* A split collection's own branch: how many elements each entry has. */
static bool collection_describe(struct column *c, const struct model *m, const struct branch *b) {
    if (!b->is_element || b->version == 0 || b->n_leaves != 1 || b->n_branches == 0 ||
        b->file_name.len > 0)
        return false;
    if (b->element_type != ELEMENT_CLONES && b->element_type != ELEMENT_STL)
        return false;
    uint32_t leaf = m->leaf_lists[b->first_leaf];
    if (leaf == MODEL_NONE || m->leaves[leaf].has_counter)
        return false;
    c->kind = COLUMN_FLAT;
    c->is_counts = true;
    c->item_type = ITEM_I4;
    bool is_clones = str_is(b->element_class, "TClonesArray");
    snprintf(c->type_name, sizeof(c->type_name), "%.*s",
             is_clones ? 7 : (int)MIN(b->element_class.len, sizeof(c->type_name) - 1),
             is_clones ? "int32_t" : b->element_class.ptr);
    return true;
}

/* A Double32_t or Float16_t. */
static int32_t short_float_of(const struct leaf *l) {
    if (str_is(l->class_name, "TLeafD32"))
        return TYPE_DOUBLE32;
    if (str_is(l->class_name, "TLeafF16"))
        return TYPE_FLOAT16;
    int32_t type = l->element_type;
    if (type > TYPE_ARRAY && type < TYPE_POINTER)
        type -= TYPE_ARRAY;
    return type == TYPE_DOUBLE32 || type == TYPE_FLOAT16 ? type : 0;
}

static const struct numeric DOUBLE32 = {ITEM_F8, "Double32_t"}, FLOAT16 = {ITEM_F4, "Float16_t"};

/* How they are stored says the title: the leaf's, or the class's member's. */
static const struct numeric *short_float_describe(struct column *c, const struct model *m,
                                                  const struct branch *b, const struct leaf *l,
                                                  int32_t type) {
    bool is_double = type == TYPE_DOUBLE32;
    struct str title = l->title;
    if (str_is(l->class_name, "TLeafElement")) {
        const struct streamer_element *e = column_streamer(m, b);
        if (!e) {
            column_refuse(c, "leaf \"%.*s\": the range of its %s is unknown", text_width(l->title),
                          l->title.ptr, is_double ? "Double32_t" : "Float16_t");
            return NULL;
        }
        title = e->title;
    }
    struct range r;
    if (!range_parse(&r, title, is_double)) {
        column_refuse(c, "leaf \"%.*s\": an unclear range", text_width(title), title.ptr);
        return NULL;
    }
    c->layout.coding = r.coding;
    c->layout.n_bits = r.n_bits;
    c->layout.low = r.low;
    c->layout.step = r.step;
    c->layout.unit_bytes = (uint32_t)l->len * (r.coding == CODING_TRUNCATED ? 3 : 4);
    if (r.coding == CODING_FLOAT)
        return &F4; /* uproot names it by what is stored */
    return is_double ? &DOUBLE32 : &FLOAT16;
}

/* TObject's bits: two bytes follow them where the object is referred to. */
static void bits_describe(struct column *c, const struct branch *b) {
    if (b->is_element && b->streamer_type == TYPE_BITS && c->kind == COLUMN_FLAT &&
        c->n_per_entry == 1) {
        c->kind = COLUMN_LISTS;
        c->layout.unit_bytes = 4;
        c->layout.flags = LAYOUT_LONG_TAIL;
    }
}

static void leaf_describe(struct column *c, const struct model *m, const struct branch *b,
                          const struct leaf *l, const struct numeric *type) {
    int32_t short_float = short_float_of(l);
    struct dimensions d = dimensions_parse(l->title);
    if ((d.has_any || d.has_range) && d.text[0] == '\0' && l->len > 1 &&
        (uint32_t)l->len <= DIMENSIONS_MAX_PRODUCT) {
        d.product = (uint32_t)l->len; /* named constants: only the product is known */
        snprintf(d.text, sizeof(d.text), "[%d]", l->len);
        d.has_counter = l->has_counter;
    }
    if (dimensions_refuse(c, l, &d))
        return;
    if (short_float && d.has_any && d.has_range) {
        column_refuse(c, "leaf \"%.*s\": dimensions and a range", text_width(l->title),
                      l->title.ptr);
        return;
    }
    if (short_float)
        type = short_float_describe(c, m, b, l, short_float);
    if (!type)
        return;
    c->kind = COLUMN_FLAT;
    c->item_type = short_float == TYPE_DOUBLE32 ? ITEM_F8 : type->item_type;
    c->n_per_entry = (uint32_t)l->len;
    snprintf(c->type_name, sizeof(c->type_name), "%s%s%s", type->type_name,
             l->has_counter ? "[]" : "", d.text);
    if (l->has_counter)
        counter_set(c, m, l);
    bits_describe(c, b);
}

void column_describe(struct column *out, const struct model *m, const struct branch *b) {
    *out = (struct column){.item_type = ITEM_BYTES, .n_per_entry = 1, .counter_branch = MODEL_NONE};
    if (collection_describe(out, m, b) || branch_refuse(out, b))
        return;
    if (b->n_leaves > 1) {
        column_describe_leaves(out, m, b);
        return;
    }
    uint32_t number = m->leaf_lists[b->first_leaf];
    if (number == MODEL_NONE) {
        column_refuse(out, "its leaf is not in the branch's own bytes");
        return;
    }
    const struct leaf *l = &m->leaves[number];
    const struct numeric *type = numeric_of_leaf(l);
    if (element_refuse(out, b, l))
        return;
    if (type || short_float_of(l))
        leaf_describe(out, m, b, l, type);
    else
        column_describe_class(out, m, b, l);
}

bool model_needs_streamers(const struct model *m) {
    for (uint64_t i = 0; i < m->n_branches; i++) {
        const struct branch *b = &m->branches[i];
        uint32_t leaf = b->n_leaves == 1 ? m->leaf_lists[b->first_leaf] : MODEL_NONE;
        if (b->is_element && b->n_branches == 0 && leaf != MODEL_NONE &&
            !numeric_of_leaf(&m->leaves[leaf]))
            return true;
    }
    return false;
}
