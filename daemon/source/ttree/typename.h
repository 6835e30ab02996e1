/* C++ type names of branches: numbers, strings, and lists of them. */
#ifndef BUFFERD_TYPENAME_H
#define BUFFERD_TYPENAME_H

#include "../../../proto/tree_index.h"
#include "../root/object.h"

#define TYPENAME_BYTES 160

struct numeric {
    uint8_t item_type;
    const char *type_name; /* as uproot has it: "int32_t" */
};

struct type {
    uint8_t n_levels; /* 0: a number */
    uint8_t levels[COLUMN_MAX_LEVELS];
    bool is_string;               /* nothing but one */
    bool has_strings;             /* the innermost lists are texts */
    const struct numeric *number; /* innermost; NULL: of class `record` */
    struct str record;
    char text[TYPENAME_BYTES]; /* as uproot has it: "std::vector<float>" */
};

/* False: what it is cannot be told, or nests deeper than COLUMN_MAX_LEVELS. */
bool typename_parse(struct type *out, struct str text);

#endif
