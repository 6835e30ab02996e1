/* Takes the names of C++ types apart as far as they mean lists of numbers, strings or records.
 *
 * The grammar is the little of uproot's (interpretation/identify.py) that native columns need:
 * vector, list, set and RVec of one another, string, TString, and ROOT's and C++'s names of
 * numbers. Their bytes are the same: a count, then the elements. Other templates and classes are
 * kept by name as records. Further template arguments (allocators) are passed over.
 */
#include "typename.h"
#include "../../../proto/wire.h"
#include "../text.h"

#include <stdio.h>
#include <string.h>

static const struct numeric numbers[] = {
    {ITEM_BOOL, "bool"},   {ITEM_I1, "int8_t"},  {ITEM_U1, "uint8_t"},  {ITEM_I2, "int16_t"},
    {ITEM_U2, "uint16_t"}, {ITEM_I4, "int32_t"}, {ITEM_U4, "uint32_t"}, {ITEM_I8, "int64_t"},
    {ITEM_U8, "uint64_t"}, {ITEM_F4, "float"},   {ITEM_F8, "double"},
};

static const struct {
    const char *name;
    uint8_t item_type;
} number_names[] = {
    {"bool", ITEM_BOOL},
    {"Bool_t", ITEM_BOOL},
    {"char", ITEM_I1},
    {"Char_t", ITEM_I1},
    {"signed char", ITEM_I1},
    {"unsigned char", ITEM_U1},
    {"UChar_t", ITEM_U1},
    {"short", ITEM_I2},
    {"Short_t", ITEM_I2},
    {"unsigned short", ITEM_U2},
    {"UShort_t", ITEM_U2},
    {"int", ITEM_I4},
    {"Int_t", ITEM_I4},
    {"unsigned int", ITEM_U4},
    {"UInt_t", ITEM_U4},
    {"long", ITEM_I8},
    {"Long_t", ITEM_I8},
    {"long long", ITEM_I8},
    {"Long64_t", ITEM_I8},
    {"unsigned long", ITEM_U8},
    {"ULong_t", ITEM_U8},
    {"ULong64_t", ITEM_U8},
    {"unsigned long long", ITEM_U8},
    {"float", ITEM_F4},
    {"Float_t", ITEM_F4},
    {"double", ITEM_F8},
    {"Double_t", ITEM_F8},
};

static const struct {
    const char *name, *text;
} containers[] = {
    {"vector", "std::vector"},      {"set", "std::set"}, {"list", "std::list"},
    {"ROOT::VecOps::RVec", "RVec"}, {"RVec", "RVec"},    {"VecOps::RVec", "RVec"},
};

static struct str trimmed(struct str s) {
    while (s.len > 0 && s.ptr[0] == ' ')
        s = (struct str){s.ptr + 1, s.len - 1};
    while (s.len > 0 && s.ptr[s.len - 1] == ' ')
        s.len--;
    if (str_begins(s, "std::"))
        s = (struct str){s.ptr + 5, s.len - 5};
    return s;
}

static const struct numeric *number_find(struct str s) {
    for (size_t i = 0; i < ARRAY_LEN(number_names); i++)
        if (str_is(s, number_names[i].name))
            for (size_t k = 0; k < ARRAY_LEN(numbers); k++)
                if (numbers[k].item_type == number_names[i].item_type)
                    return &numbers[k];
    return NULL;
}

/* The first argument of "name<first, ...>"; false: it is no such text. */
static bool argument_of(struct str s, struct str *namep, struct str *argumentp) {
    const char *open = s.len ? memchr(s.ptr, '<', s.len) : NULL;
    if (!open || s.ptr[s.len - 1] != '>')
        return false;
    uint32_t first = (uint32_t)(open - s.ptr) + 1, depth = 0, i = first;
    for (; i < s.len - 1 && !(s.ptr[i] == ',' && depth == 0); i++) {
        depth += s.ptr[i] == '<';
        if (s.ptr[i] == '>' && depth-- == 0)
            return false;
    }
    *namep = trimmed((struct str){s.ptr, first - 1});
    *argumentp = trimmed((struct str){s.ptr + first, i - first});
    return argumentp->len > 0;
}

static void text_append(struct type *t, const char *prefix, struct str s, bool *fitsp) {
    size_t used = strlen(t->text), left = sizeof(t->text) - used;
    int n = snprintf(t->text + used, left, "%s%.*s", prefix, (int)s.len, s.ptr);
    *fitsp = *fitsp && n >= 0 && (size_t)n < left;
}

static bool level_add(struct type *t, enum column_level level) {
    if (t->n_levels == COLUMN_MAX_LEVELS)
        return false;
    t->levels[t->n_levels++] = level;
    return true;
}

static bool leaf_parse(struct type *t, struct str s, bool *fitsp) {
    t->number = number_find(s);
    if (str_is(s, "string") || str_is(s, "TString")) {
        t->number = &numbers[2]; /* bytes */
        t->has_strings = true;
        t->is_string = t->n_levels == 0;
        text_append(t, str_is(s, "string") ? "std::" : "", s, fitsp);
        return level_add(t, LEVEL_STRING);
    }
    if (t->number) {
        text_append(t, t->number->type_name, (struct str){0}, fitsp);
        return true;
    }
    t->record = s;
    text_append(t, "", s, fitsp);
    return true;
}

bool typename_parse(struct type *out, struct str text) {
    bool fits = true;
    unsigned n_open = 0;
    *out = (struct type){0};
    struct str s = trimmed(text), name, argument;
    while (argument_of(s, &name, &argument)) {
        size_t i = 0;
        while (i < ARRAY_LEN(containers) && !str_is(name, containers[i].name))
            i++;
        if (i == ARRAY_LEN(containers))
            break;
        if (!level_add(out, LEVEL_COUNT))
            return false;
        text_append(out, containers[i].text, (struct str){"<", 1}, &fits);
        n_open++;
        s = argument;
    }
    if (s.len == 0 || !leaf_parse(out, s, &fits))
        return false;
    while (n_open-- > 0)
        text_append(out, ">", (struct str){0}, &fits);
    return fits;
}
