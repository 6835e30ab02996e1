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

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_DIMENSIONS_TEXT 64
#define MAX_PER_ENTRY (1u << 24)
#define TYPE_ARRAY 20 /* TStreamerInfo::kOffsetL: a fixed array of the type */
#define TYPE_POINTER 40

enum { ELEMENT_PLAIN = 0, ELEMENT_CLONES = 3, ELEMENT_STL = 4 };
enum { ELEMENT_IN_CLONES = 31, ELEMENT_IN_STL = 41 };

/* The leaf's title, "name[counter][3][2]", taken apart. */
struct dimensions {
    bool has_any, has_counter, is_odd;
    uint64_t product;
    char text[MAX_DIMENSIONS_TEXT]; /* "[3][2]" */
};

void column_refuse(struct column *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(c->reason, sizeof(c->reason), format, args);
    va_end(args);
    c->kind = COLUMN_NONE;
    c->counter_branch = MODEL_NONE;
}

static bool is_number(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return n > 0 && n < 9 && p[0] != '0';
}

static void dimension_add(struct dimensions *d, const char *p, size_t n) {
    if (!is_number(p, n)) {
        d->is_odd |= d->has_any; /* only the first may be a counter */
        d->has_counter = true;
    } else {
        size_t used = strlen(d->text);
        d->is_odd |= used + n + 3 > sizeof(d->text);
        if (!d->is_odd)
            snprintf(d->text + used, sizeof(d->text) - used, "[%.*s]", (int)n, p);
        d->product = MIN(d->product * strtoul(p, NULL, 10), (uint64_t)MAX_PER_ENTRY + 1);
    }
    d->has_any = true;
}

static struct dimensions dimensions_parse(struct str title) {
    struct dimensions d = {.product = 1};
    const char *p = title.ptr, *end = p + title.len;
    while (p < end && *p != '[' && *p != ']')
        p++;
    while (p < end && *p == '[') {
        const char *start = ++p;
        while (p < end && *p != '[' && *p != ']')
            p++;
        if (p == end || *p != ']' || p == start) {
            d.is_odd = true;
            return d;
        }
        dimension_add(&d, start, (size_t)(p - start));
        p++;
    }
    for (; p < end; p++)
        d.is_odd |= *p == '[';
    return d;
}

struct numeric {
    uint8_t item_type;
    const char *type_name;
};
static const struct numeric BOOL = {ITEM_BOOL, "bool"};
static const struct numeric I1 = {ITEM_I1, "int8_t"}, U1 = {ITEM_U1, "uint8_t"};
static const struct numeric I2 = {ITEM_I2, "int16_t"}, U2 = {ITEM_U2, "uint16_t"};
static const struct numeric I4 = {ITEM_I4, "int32_t"}, U4 = {ITEM_U4, "uint32_t"};
static const struct numeric I8 = {ITEM_I8, "int64_t"}, U8 = {ITEM_U8, "uint64_t"};
static const struct numeric F4 = {ITEM_F4, "float"}, F8 = {ITEM_F8, "double"};

/* TStreamerInfo's numbers of basic types; NULL: none that is read. */
static const struct numeric *numeric_of_element(int32_t type) {
    if (type > TYPE_ARRAY && type < TYPE_POINTER)
        type -= TYPE_ARRAY;
    static const struct numeric *const types[] = {
        [1] = &I1,  [2] = &I2,  [3] = &I4,  [4] = &I8,  [5] = &F4,
        [6] = &U4,  [8] = &F8,  [11] = &U1, [12] = &U2, [13] = &U4,
        [14] = &U8, [15] = &U4, [16] = &I8, [17] = &U8, [18] = &BOOL};
    return type >= 0 && (size_t)type < ARRAY_LEN(types) ? types[type] : NULL;
}

static const struct numeric *numeric_of_leaf(const struct leaf *l) {
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

static int text_width(struct str s) {
    return (int)MIN(s.len, 64);
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
    else if (b->n_leaves != 1)
        column_refuse(c, "%u leaves in one branch (leaf list)", b->n_leaves);
    else if (!str_is(class_name, "TBranch") && !b->is_element)
        column_refuse(c, "%.*s of class %.*s", text_width(class_name), class_name.ptr,
                      text_width(element), element.ptr);
    else
        return false;
    return true;
}

/* Members of split classes are as their leaf says; other elements are objects. */
static bool element_refuse(struct column *c, const struct branch *b, const struct leaf *l) {
    bool is_member = b->element_type == ELEMENT_IN_CLONES || b->element_type == ELEMENT_IN_STL;
    if (!b->is_element)
        return false;
    if (b->has_counter2)
        column_refuse(c, "class %.*s: a collection in a collection", text_width(b->element_class),
                      b->element_class.ptr);
    else if (!is_member && b->element_type != ELEMENT_PLAIN)
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
    else if (l->len < 1 || (uint32_t)l->len > MAX_PER_ENTRY || d->product != (uint32_t)l->len)
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

static void leaf_describe(struct column *c, const struct model *m, const struct leaf *l,
                          const struct numeric *type) {
    struct dimensions d = dimensions_parse(l->title);
    if (d.has_any && d.text[0] == '\0' && l->len > 1 && (uint32_t)l->len <= MAX_PER_ENTRY) {
        d.product = (uint32_t)l->len; /* named constants: only the product is known */
        snprintf(d.text, sizeof(d.text), "[%d]", l->len);
        d.has_counter = l->has_counter;
    }
    if (dimensions_refuse(c, l, &d))
        return;
    c->kind = COLUMN_FLAT;
    c->item_type = type->item_type;
    c->n_per_entry = (uint32_t)l->len;
    snprintf(c->type_name, sizeof(c->type_name), "%s%s%s", type->type_name,
             l->has_counter ? "[]" : "", d.text);
    if (l->has_counter)
        counter_set(c, m, l);
}

void column_describe(struct column *out, const struct model *m, const struct branch *b) {
    *out = (struct column){.item_type = ITEM_BYTES, .n_per_entry = 1, .counter_branch = MODEL_NONE};
    if (collection_describe(out, m, b) || branch_refuse(out, b))
        return;
    uint32_t number = m->leaf_lists[b->first_leaf];
    if (number == MODEL_NONE) {
        column_refuse(out, "its leaf is not in the branch's own bytes");
        return;
    }
    const struct leaf *l = &m->leaves[number];
    const struct numeric *type = numeric_of_leaf(l);
    if (element_refuse(out, b, l))
        return;
    if (!type && b->is_element)
        column_refuse(out, "class %.*s: %.*s of type %d is no fixed-size number",
                      text_width(b->element_class), b->element_class.ptr, text_width(l->class_name),
                      l->class_name.ptr, l->element_type);
    else if (!type)
        column_refuse(out, "%.*s is no fixed-size number", text_width(l->class_name),
                      l->class_name.ptr);
    else
        leaf_describe(out, m, l, type);
}
