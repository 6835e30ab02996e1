/* Reads the list of TStreamerInfo that a file carries for its classes.
 *
 * Trees of plain branches never need it; what a branch of objects holds stands only here. Of each
 * element the name, the type and the title are kept (the title has the range of a Double32_t); the
 * members that the kinds of element add are skipped by the byte count. Names are compared without
 * blanks, because "vector<vector<int> >" is written in both ways.
 */
#include "streamer.h"
#include "../fault.h"
#include "../text.h"
#include "object.h"

#include <errno.h>

#define KEY_READ_BYTES 1024
#define MAX_CLASSES 256 /* looked at for one member: a class and its bases */

static bool room_make(struct streamers *x, struct cursor *c, void **pp, uint64_t *capacityp,
                      uint64_t n, size_t item_bytes) {
    if (!c->has_failed && memory_grow(x->memory, pp, capacityp, n, item_bytes))
        cursor_fail(c, "no memory for the classes");
    return !c->has_failed;
}

static void element_read(struct streamers *x, struct cursor *c, struct str class_name) {
    struct frame outer, middle, base;
    struct streamer_element e = {0};
    bool is_stl_string = str_is(class_name, "TStreamerSTLstring"); /* a TStreamerSTL */
    frame_enter(c, &outer);
    if (is_stl_string)
        frame_enter(c, &middle);
    frame_enter(c, &base);
    struct named named = tnamed_read(c);
    e.name = named.name;
    e.title = named.title;
    e.type = cursor_i4(c);
    cursor_skip(c, 4); /* fSize */
    e.length = cursor_i4(c);
    cursor_skip(c, 4); /* fArrayDim */
    uint32_t n_index = base.version == 1 ? cursor_u4(c) : 5;
    cursor_skip(c, 4 * (uint64_t)n_index);
    e.type_name = cursor_str(c);
    frame_leave(c, &base);
    if (str_is(class_name, "TStreamerBasicPointer")) {
        cursor_skip(c, 4); /* version of the class that has the count */
        e.count_name = cursor_str(c);
    }
    if (is_stl_string)
        frame_leave(c, &middle);
    frame_leave(c, &outer);
    if (room_make(x, c, (void **)&x->elements, &x->elements_capacity, x->n_elements + 1, sizeof(e)))
        x->elements[x->n_elements++] = e;
}

static void elements_read(struct streamers *x, struct cursor *c, struct references *refs) {
    struct any array = any_enter(refs, c);
    struct frame f;
    if (array.kind == ANY_OBJECT && !c->has_failed) {
        uint32_t n = tobjarray_enter(c, &f);
        for (uint32_t i = 0; i < n && !c->has_failed; i++) {
            struct any a = any_enter(refs, c);
            if (a.kind == ANY_OBJECT && !c->has_failed) {
                references_add(refs, c, (struct reference){.tag = a.tag, .kind = REFERENCE_OTHER});
                element_read(x, c, a.class_name);
            }
            any_leave(c, &a);
        }
        frame_leave(c, &f);
    }
    any_leave(c, &array);
}

static void class_read(struct streamers *x, struct cursor *c, struct references *refs) {
    struct frame f;
    struct streamer_class class = {.first = x->n_elements};
    frame_enter(c, &f);
    class.name = tnamed_read(c).name;
    cursor_skip(c, 4); /* fCheckSum */
    class.version = cursor_i4(c);
    elements_read(x, c, refs);
    frame_leave(c, &f);
    class.n = x->n_elements - class.first;
    if (room_make(x, c, (void **)&x->classes, &x->classes_capacity, x->n_classes + 1,
                  sizeof(class)))
        x->classes[x->n_classes++] = class;
}

static void list_read(struct streamers *x, struct cursor *c, struct references *refs) {
    struct frame f;
    frame_enter(c, &f);
    tobject_skip(c);
    cursor_str(c); /* name */
    uint32_t n = cursor_u4(c);
    for (uint32_t i = 0; i < n && !c->has_failed; i++) {
        struct any a = any_enter(refs, c);
        if (a.kind == ANY_OBJECT && !c->has_failed) {
            references_add(refs, c, (struct reference){.tag = a.tag, .kind = REFERENCE_OTHER});
            if (str_is(a.class_name, "TStreamerInfo"))
                class_read(x, c, refs);
        }
        any_leave(c, &a);
        cursor_str(c); /* option */
    }
    frame_leave(c, &f);
}

static int key_read(const struct source *s, struct root_key *k, uint8_t *bytes, char *error) {
    uint64_t n = s->io.identity.n_bytes;
    if (s->streamers_off >= n)
        return fault(error, SOURCE_E_CORRUPT, "the list of classes lies outside of the file");
    n = MIN(n - s->streamers_off, KEY_READ_BYTES);
    int r = root_read(s, bytes, n, s->streamers_off, error);
    struct cursor c = {.data = bytes,
                       .n_bytes = n,
                       .what = "the key of the list of classes",
                       .origin = s->streamers_off,
                       .error = error};
    if (r)
        return r;
    root_key_read(&c, k);
    k->seek = s->streamers_off;
    return c.has_failed ? SOURCE_E_CORRUPT : 0;
}

int streamers_read(struct streamers *x, const struct source *s, struct codec *codec,
                   struct memory *m, char *error) {
    struct root_key k = {0};
    uint8_t bytes[KEY_READ_BYTES];
    *x = (struct streamers){.memory = m};
    if (s->streamers_off == 0)
        return 0;
    int r = key_read(s, &k, bytes, error);
    if (r == 0)
        r = root_object_read(s, codec, m, &k, &x->data, error);
    if (r)
        return r;
    struct references refs = {.memory = m, .tag_offset = k.key_bytes + 2u};
    struct cursor c = {
        .data = x->data, .n_bytes = k.obj_bytes, .what = "the list of classes", .error = error};
    list_read(x, &c, &refs);
    references_deinit(&refs);
    return c.has_failed ? SOURCE_E_CORRUPT : 0;
}

void streamers_deinit(struct streamers *x) {
    free(x->data);
    free(x->elements);
    free(x->classes);
    *x = (struct streamers){0};
}

static bool is_same_name(struct str a, struct str b) {
    uint32_t i = 0, k = 0;
    for (;;) {
        while (i < a.len && a.ptr[i] == ' ')
            i++;
        while (k < b.len && b.ptr[k] == ' ')
            k++;
        if (i == a.len || k == b.len)
            return i == a.len && k == b.len;
        if (a.ptr[i++] != b.ptr[k++])
            return false;
    }
}

const struct streamer_class *streamers_find(const struct streamers *x, struct str name) {
    const struct streamer_class *found = NULL;
    for (uint64_t i = 0; i < x->n_classes; i++)
        if (is_same_name(x->classes[i].name, name) &&
            (!found || x->classes[i].version > found->version))
            found = &x->classes[i];
    return found;
}

const struct streamer_element *streamers_element(const struct streamers *x,
                                                 const struct streamer_class *c, uint64_t i) {
    return &x->elements[c->first + i];
}

const struct streamer_class *streamers_find_version(const struct streamers *x, struct str name,
                                                    int32_t version) {
    for (uint64_t i = 0; i < x->n_classes; i++)
        if (x->classes[i].version == version && is_same_name(x->classes[i].name, name))
            return &x->classes[i];
    return NULL;
}

static const struct streamer_element *member_find(const struct streamers *x,
                                                  const struct streamer_class *c, struct str name,
                                                  unsigned *leftp) {
    if (!c || *leftp == 0)
        return NULL;
    --*leftp;
    for (uint64_t i = 0; i < c->n; i++) {
        const struct streamer_element *e = streamers_element(x, c, i);
        if (e->type != 0 && is_same_name(e->name, name))
            return e;
        if (e->type == 0)
            e = member_find(x, streamers_find(x, e->name), name, leftp);
        else
            e = NULL;
        if (e)
            return e;
    }
    return NULL;
}

const struct streamer_element *streamers_member(const struct streamers *x,
                                                const struct streamer_class *c, struct str name) {
    unsigned left = MAX_CLASSES;
    return member_find(x, c, name, &left);
}
