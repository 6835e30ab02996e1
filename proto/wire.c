/* Names and texts of operations, errors and item types, all from their tables.
 *
 * Numbers come from the wire, from shared memory and from callers, so each lookup accepts any
 * number and answers "?" (or 0 bytes) for one that is in no table.
 */
#include "wire.h"
#include "base.h"

static const char *const op_names[] = {
#define OP(id, method, request, reply, text) [WIRE_OP_##id] = method,
#include "ops.def"
#undef OP
};

struct error_row {
    const char *name, *text;
};

static const struct error_row error_rows[] = {
    [WIRE_OK] = {"ok", "done"},
#define ERROR(id, error_name, error_text) [WIRE_E_##id] = {error_name, error_text},
#include "errors.def"
#undef ERROR
};

struct item_row {
    const char *name, *typestr;
    unsigned n_bytes;
};

static const struct item_row item_rows[] = {
#define ITEM(id, item_name, item_typestr, bytes) [ITEM_##id] = {item_name, item_typestr, bytes},
#include "items.def"
#undef ITEM
};

const char *wire_op_name(unsigned op) {
    return op < ARRAY_LEN(op_names) ? op_names[op] : "?";
}

const char *wire_error_name(unsigned error) {
    return error < ARRAY_LEN(error_rows) ? error_rows[error].name : "?";
}

const char *wire_error_text(unsigned error) {
    return error < ARRAY_LEN(error_rows) ? error_rows[error].text : "?";
}

const char *item_name(unsigned item_type) {
    return item_type < ARRAY_LEN(item_rows) ? item_rows[item_type].name : "?";
}

const char *item_typestr(unsigned item_type) {
    return item_type < ARRAY_LEN(item_rows) ? item_rows[item_type].typestr : "?";
}

unsigned item_bytes(unsigned item_type) {
    return item_type < ARRAY_LEN(item_rows) ? item_rows[item_type].n_bytes : 0;
}
