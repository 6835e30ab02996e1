/* How ROOT streams objects: framed versions, TObject and TNamed, polymorphic pointers. */
#ifndef BUFFERD_OBJECT_H
#define BUFFERD_OBJECT_H

#include "../memory.h"
#include "cursor.h"

#define OBJECT_MAX_DEPTH 64

/* A versioned object that is being read. While it is, the cursor ends where the object does. */
struct frame {
    uint16_t version;
    bool has_end;        /* it had a byte count */
    uint64_t end, outer; /* the cursor's ends, in and around the object */
};

void frame_enter(struct cursor *c, struct frame *f);
/* Go to the object's end, whatever was read of it. */
void frame_leave(struct cursor *c, const struct frame *f);
/* Enter and leave at once; an object without a byte count is a failure. */
void frame_skip(struct cursor *c);

struct named {
    struct str name, title;
};
void tobject_skip(struct cursor *c);
struct named tnamed_read(struct cursor *c);
/* The header of a TObjArray up to its elements. Return: their number, which fits into the bytes. */
uint32_t tobjarray_enter(struct cursor *c, struct frame *f);

/* What back references can name. Tags grow as a buffer is read. */
enum reference_kind { REFERENCE_CLASS, REFERENCE_BRANCH, REFERENCE_LEAF, REFERENCE_OTHER };
struct reference {
    uint32_t tag;
    uint32_t kind;         /* enum reference_kind */
    uint32_t number;       /* of the branch or leaf */
    struct str class_name; /* of a class */
};
struct references {
    struct memory *memory;   /* borrowed */
    struct reference *items; /* owned; by tag */
    uint64_t n, capacity;
    uint32_t tag_offset; /* a tag is a position in the buffer plus this: fKeylen + 2 */
    int status;          /* why the cursor failed here: 0, SOURCE_E_TOO_LARGE, -ENOMEM */
};

void references_deinit(struct references *r);
void references_add(struct references *r, struct cursor *c, struct reference item);
/* NULL: unknown (it was in something that was skipped). */
const struct reference *references_find(const struct references *r, uint32_t tag);

/* A polymorphic pointer. */
enum any_kind { ANY_NULL, ANY_REFERENCE, ANY_OBJECT };
struct any {
    enum any_kind kind;
    uint32_t tag;          /* of the object, new or referred to */
    struct str class_name; /* of a new object; empty: a class that was only seen in skipped bytes */
    struct frame frame;    /* of a new object */
};
/* After ANY_OBJECT the cursor stands at the object; the caller calls any_leave() in every case. */
struct any any_enter(struct references *r, struct cursor *c);
void any_leave(struct cursor *c, const struct any *a);

#endif
