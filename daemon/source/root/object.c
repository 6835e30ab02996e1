/* ROOT's object streaming (io/doc/TFile/dobject.md, TBufferFile::ReadObjectAny, ReadVersion).
 *
 * An object starts with a byte count and a version, so what is unknown can be skipped; whoever
 * enters a frame leaves it at its end, which makes unknown trailing members harmless. The cursor
 * ends at the frame's end meanwhile: a member cannot reach out of its object.
 *
 * A pointer is null, an object with its class, or a tag. Tags are positions in the uncompressed
 * buffer, counted as if the key preceded it, plus 2: of a class the position of its tag word, of an
 * object that of its byte count. They grow while the buffer is read, except that an object's new
 * class is met before the object is noted, so the list of what was seen stays sorted at no cost.
 */
#include "object.h"
#include "../source.h"
#include "../text.h"

#define HAS_COUNT 0x40000000u
#define NEW_CLASS 0xffffffffu
#define IS_CLASS 0x80000000u
#define STREAMED_MEMBERWISE 0x4000
#define IS_REFERENCED 0x10 /* TObject::fBits: the number of a process id follows */

static void frame_narrow(struct cursor *c, struct frame *f, uint64_t n_bytes) {
    f->outer = c->n_bytes;
    if (n_bytes > c->n_bytes - c->pos) {
        cursor_fail(c, "an object of %llu bytes, %llu are left", (unsigned long long)n_bytes,
                    (unsigned long long)(c->n_bytes - c->pos));
        n_bytes = 0;
    }
    f->has_end = true;
    f->end = c->pos + n_bytes;
    c->n_bytes = f->end;
}

void frame_enter(struct cursor *c, struct frame *f) {
    *f = (struct frame){.outer = c->n_bytes, .end = c->n_bytes};
    uint16_t first = cursor_u2(c);
    if (!(first & HAS_COUNT >> 16)) {
        f->version = first;
        return;
    }
    uint32_t n_bytes = (uint32_t)(first & 0x3fff) << 16 | cursor_u2(c);
    frame_narrow(c, f, n_bytes);
    f->version = cursor_u2(c) & (uint16_t)~STREAMED_MEMBERWISE;
}

void frame_leave(struct cursor *c, const struct frame *f) {
    c->n_bytes = f->outer;
    if (f->has_end)
        cursor_seek(c, f->end);
}

void frame_skip(struct cursor *c) {
    struct frame f;
    frame_enter(c, &f);
    if (!f.has_end)
        cursor_fail(c, "an object without a byte count cannot be skipped");
    frame_leave(c, &f);
}

void tobject_skip(struct cursor *c) {
    uint16_t version = cursor_u2(c);
    if (version & STREAMED_MEMBERWISE)
        cursor_skip(c, 4);
    cursor_skip(c, 4);
    uint32_t bits = cursor_u4(c);
    if (bits & IS_REFERENCED)
        cursor_skip(c, 2);
}

struct named tnamed_read(struct cursor *c) {
    struct frame f;
    struct named named;
    frame_enter(c, &f);
    tobject_skip(c);
    named.name = cursor_str(c);
    named.title = cursor_str(c);
    frame_leave(c, &f);
    return named;
}

uint32_t tobjarray_enter(struct cursor *c, struct frame *f) {
    frame_enter(c, f);
    if (f->version > 2)
        tobject_skip(c);
    if (f->version > 1)
        cursor_str(c);
    uint32_t n = cursor_u4(c);
    cursor_skip(c, 4);
    if (!c->has_failed && n > (c->n_bytes - c->pos) / 4)
        cursor_fail(c, "an array of %u objects in %llu bytes", n,
                    (unsigned long long)(c->n_bytes - c->pos));
    return c->has_failed ? 0 : n;
}

void references_deinit(struct references *r) {
    free(r->items);
    r->items = NULL;
}

void references_add(struct references *r, struct cursor *c, struct reference item) {
    if (c->has_failed)
        return;
    r->status =
        memory_grow(r->memory, (void **)&r->items, &r->capacity, r->n + 1, sizeof(*r->items));
    if (r->status) {
        cursor_fail(c, "no memory for its objects");
        return;
    }
    uint64_t i = r->n++;
    for (; i > 0 && r->items[i - 1].tag > item.tag; i--) /* once: past its own class */
        r->items[i] = r->items[i - 1];
    r->items[i] = item;
}

const struct reference *references_find(const struct references *r, uint32_t tag) {
    uint64_t low = 0, high = r->n;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (r->items[mid].tag < tag)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->n && r->items[low].tag == tag ? &r->items[low] : NULL;
}

/* The class of a new object, whose tag word stood at `pos`. */
static struct str class_read(struct references *r, struct cursor *c, uint32_t word, uint64_t pos) {
    if (word == NEW_CLASS) {
        struct str name = cursor_class_name(c);
        references_add(r, c,
                       (struct reference){.tag = (uint32_t)pos + r->tag_offset,
                                          .kind = REFERENCE_CLASS,
                                          .class_name = name});
        return name;
    }
    const struct reference *seen = references_find(r, word & ~IS_CLASS);
    if (seen && seen->kind != REFERENCE_CLASS)
        cursor_fail(c, "object %u is taken for a class", word & ~IS_CLASS);
    return seen ? seen->class_name : (struct str){0};
}

struct any any_enter(struct references *r, struct cursor *c) {
    struct any a = {.frame = {.outer = c->n_bytes}};
    uint64_t object_pos = c->pos, tag_pos = object_pos;
    uint32_t word = cursor_u4(c);
    if (word & HAS_COUNT && word != NEW_CLASS) {
        frame_narrow(c, &a.frame, word & ~HAS_COUNT);
        tag_pos = c->pos;
        word = cursor_u4(c);
    }
    if (c->has_failed || word == 0)
        return a;
    if (!(word & IS_CLASS)) {
        a.kind = ANY_REFERENCE;
        a.tag = word;
        return a;
    }
    if (!a.frame.has_end)
        cursor_fail(c, "an object without a byte count is not read");
    a.kind = ANY_OBJECT;
    a.tag = (uint32_t)object_pos + r->tag_offset;
    a.class_name = class_read(r, c, word, tag_pos);
    return a;
}

void any_leave(struct cursor *c, const struct any *a) {
    frame_leave(c, &a->frame);
}
