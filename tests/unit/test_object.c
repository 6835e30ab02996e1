/* Cursors, frames, pointers and cleaned texts. */
#include "../../daemon/source/root/object.h"
#include "../../daemon/source/source.h"
#include "../../daemon/source/text.h"
#include "rootfile.h"

#include <criterion/criterion.h>
#include <string.h>

static struct out *o;
static char error[SOURCE_ERROR_BYTES];
static struct memory memory;
static struct references references;

static void setup(void) {
    o = calloc(1, sizeof(*o));
    error[0] = '\0';
    memory.left = 100000;
    references = (struct references){.memory = &memory, .tag_offset = 100 + 2};
}

static void teardown(void) {
    free(o);
    references_deinit(&references);
}

TestSuite(object, .init = setup, .fini = teardown);

static struct cursor cursor(void) {
    return (struct cursor){
        .data = o->bytes, .n_bytes = o->n, .what = "it", .origin = 1000, .error = error};
}

Test(object, a_cursor_stops_at_its_end_and_keeps_the_first_error) {
    put(o, 0x0102, 2);
    struct cursor c = cursor();
    cr_assert_eq(cursor_u1(&c), 1);
    cr_assert_eq(cursor_u2(&c), 0);
    cr_assert(c.has_failed);
    cr_assert_str_eq(error, "it, byte 1001: 2 bytes wanted, 1 are left");
    cr_assert_eq(cursor_u1(&c), 0, "nothing is read after a failure");
    cursor_seek(&c, 0);
    cr_assert_eq(c.pos, 1);
    c = cursor();
    cr_assert_null(cursor_bytes(&c, UINT64_MAX));
}

Test(object, strings_are_short_or_long) {
    put_string(o, "abc");
    put(o, 255, 1);
    put(o, 300, 4);
    for (int i = 0; i < 300; i++)
        put(o, 'x', 1);
    put(o, 255, 1);
    put(o, UINT32_MAX, 4);
    struct cursor c = cursor();
    cr_assert(str_is(cursor_str(&c), "abc"));
    cr_assert_eq(cursor_str(&c).len, 300);
    cr_assert_eq(cursor_str(&c).len, 0);
    cr_assert(c.has_failed);
}

Test(object, a_class_name_has_to_end) {
    put_bytes(o, "TTree\0TBr", 9);
    struct cursor c = cursor();
    cr_assert(str_is(cursor_class_name(&c), "TTree"));
    cursor_class_name(&c);
    cr_assert(c.has_failed);
    for (int i = 0; i < 5000; i++)
        put(o, 'x', 1);
    put(o, 0, 1);
    c = cursor();
    c.pos = 6;
    cursor_class_name(&c);
    cr_assert(c.has_failed, "and soon");
}

Test(object, a_frame_bounds_what_is_in_it) {
    size_t f = put_frame(o, 7);
    put(o, 0x11223344, 4);
    put_end(o, f);
    put(o, 0x55, 1);
    struct cursor c = cursor();
    struct frame frame;
    frame_enter(&c, &frame);
    cr_assert(frame.version == 7 && frame.has_end);
    cursor_u1(&c);
    frame_leave(&c, &frame);
    cr_assert_eq(cursor_u1(&c), 0x55, "what is left of an object is skipped");
    c = cursor();
    frame_enter(&c, &frame);
    cursor_skip(&c, 5);
    cr_assert(c.has_failed, "a member cannot reach out of its object");
    put_end(o, 0);
    o->n -= 1;
    c = cursor();
    frame_enter(&c, &frame);
    cr_assert(c.has_failed, "nor an object out of its bytes");
}

Test(object, an_object_without_count_cannot_be_skipped) {
    put(o, 3, 2);
    put(o, 0, 8);
    struct cursor c = cursor();
    struct frame frame;
    frame_enter(&c, &frame);
    cr_assert(frame.version == 3 && !frame.has_end && !c.has_failed);
    c = cursor();
    frame_skip(&c);
    cr_assert(c.has_failed);
}

Test(object, arrays_claim_no_more_than_their_bytes) {
    size_t array;
    put_array(o, 3, &array);
    put(o, 0, 8);
    put_end(o, array);
    struct cursor c = cursor();
    struct frame frame;
    cr_assert_eq(tobjarray_enter(&c, &frame), 0);
    cr_assert(c.has_failed);
    put(o, 0, 4);
    put_end(o, array);
    c = cursor();
    cr_assert_eq(tobjarray_enter(&c, &frame), 3);
}

Test(object, pointers_name_classes_and_objects) {
    put(o, 0, 4);                           /* null */
    size_t first = put_object(o, "TLeafI"); /* a new class */
    put(o, 42, 4);
    put_end(o, first);
    size_t second = o->n; /* the same class by reference */
    put(o, 0, 4);
    put(o, 0x80000000u | (uint32_t)(first + 4 + 102), 4);
    put_end(o, second);
    put(o, first + 102, 4); /* the first object */
    struct cursor c = cursor();
    struct any a = any_enter(&references, &c);
    cr_assert_eq(a.kind, ANY_NULL);
    any_leave(&c, &a);
    a = any_enter(&references, &c);
    cr_assert(a.kind == ANY_OBJECT && str_is(a.class_name, "TLeafI"));
    cr_assert_eq(a.tag, first + 102);
    references_add(&references, &c,
                   (struct reference){.tag = a.tag, .kind = REFERENCE_LEAF, .number = 5});
    cr_assert_eq(cursor_u4(&c), 42);
    any_leave(&c, &a);
    a = any_enter(&references, &c);
    cr_assert(a.kind == ANY_OBJECT && str_is(a.class_name, "TLeafI"));
    any_leave(&c, &a);
    a = any_enter(&references, &c);
    cr_assert_eq(a.kind, ANY_REFERENCE);
    const struct reference *r = references_find(&references, a.tag);
    cr_assert(r && r->kind == REFERENCE_LEAF && r->number == 5);
    cr_assert_null(references_find(&references, a.tag + 1));
    any_leave(&c, &a);
    cr_assert_not(c.has_failed, "%s", error);
}

Test(object, an_object_is_no_class) {
    put(o, 0x40000000u | 4, 4);
    put(o, 0x80000000u | 500, 4);
    struct cursor c = cursor();
    references_add(&references, &c, (struct reference){.tag = 500, .kind = REFERENCE_LEAF});
    any_enter(&references, &c);
    cr_assert(c.has_failed);
}

Test(object, texts_are_cleaned_to_utf8) {
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\xff"
         "b",
         "a?b"},
        {"\xc3", "?"},
        {"\xc0\x80", "??"},
        {"\xed\xa0\x80", "???"},
        {"\xe0\x80\x80", "???"},
        {"\xf4\x90\x80\x80", "????"},
        {"\xe2\x82", "??"},
        {"\x80", "?"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        char out[32] = "";
        text_clean(out, str_of(cases[i].in));
        cr_assert_str_eq(out, cases[i].out, "case %u", i);
    }
    char out[4] = "";
    text_clean(out, (struct str){"a\0b", 3});
    cr_assert_str_eq(out, "a?b");
}

Test(object, texts_may_be_made_of_themselves) {
    struct text t;
    uint32_t off = 0;
    cr_assert_eq(text_init(&t, &memory), 0);
    cr_assert_eq(text_add(&t, &off, str_of("a"), (struct str){0}, (struct str){0}), 0);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(text_add(&t, &off, text_at(&t, off), str_of("/"), str_of("b")), 0);
    cr_assert_eq(strlen(t.bytes + off), 401);
    cr_assert_eq(t.bytes[0], '\0');
    memory.left = 0;
    int r = 0;
    for (int i = 0; i < 200 && r == 0; i++)
        r = text_add(&t, &off, text_at(&t, off), str_of("/"), str_of("b"));
    cr_assert_eq(r, SOURCE_E_TOO_LARGE);
    text_deinit(&t);
}
