/* Messages: hostile bytes first, then limits, then the round trip of every message.
 *
 * Payloads under test are copied to the heap at their exact size, so that a sanitizer sees one byte
 * read too many. The round trips are driven by the descriptor tables: a new message is tested
 * without a new line here.
 */
#include "../../proto/message.h"
#include "../../proto/message_type.h"

#include <criterion/criterion.h>
#include <string.h>

#define N_LIST_ITEMS 16

struct bytes {
    uint8_t *data;
    size_t n;
};

static void bytes_deinit(struct bytes *b) {
    free(b->data);
}

static struct bytes bytes_copy(const void *data, size_t n) {
    struct bytes b = {malloc(n ? n : 1), n};
    memcpy(b.data, data, n);
    return b;
}

static int decode_as(const void *data, size_t n, bool is_reply, const struct message_type *type) {
    CLEANUP(bytes_deinit) struct bytes b = bytes_copy(data, n);
    CLEANUP(message_deinit) struct message m = {0};
    return message_decode(&m, b.data, b.n, is_reply, type);
}

static int decode_request(const void *data, size_t n) {
    return decode_as(data, n, false, NULL);
}

#define DECODE(text) decode_request(text, sizeof(text) - 1)

Test(message, hostile_lengths_end_in_the_scan) {
    cr_assert_eq(DECODE(""), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\xdd\xff\xff\xff\xff"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\xdd\xff\x00\x00\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\xdc\xff\xff"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\xdf\xff\xff\xff\xff"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\xdb\xff\xff\xff\xff"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\xc6\xff\xff\xff\xff"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa5trees\xdd\xff\xff\xff\xff"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa3get\x93\x00\x00\xdd\x40\x00\x00\x00"),
                 MESSAGE_E_MALFORMED);
}

Test(message, depth_is_limited) {
    cr_assert_eq(DECODE("\x91\x91\x91\x91\x00"), MESSAGE_E_MALFORMED); /* four: no such message */
    cr_assert_eq(DECODE("\x91\x91\x91\x91\x91\x00"), MESSAGE_E_LIMIT);
    static uint8_t deep[60000];
    memset(deep, 0x91, sizeof(deep));
    cr_assert_eq(decode_request(deep, sizeof(deep)), MESSAGE_E_LIMIT);
}

Test(message, items_are_limited) {
    static uint8_t many[WIRE_MAX_ITEMS + 4] = {0xdc, WIRE_MAX_ITEMS >> 8, WIRE_MAX_ITEMS & 255};
    cr_assert_eq(decode_request(many, WIRE_MAX_ITEMS + 3), MESSAGE_E_MALFORMED);
    many[2]++;
    cr_assert_eq(decode_request(many, WIRE_MAX_ITEMS + 4), MESSAGE_E_LIMIT);
}

Test(message, payloads_are_limited) {
    static uint8_t big[WIRE_MAX_REPLY_BYTES + 1];
    cr_assert_eq(decode_request(big, WIRE_MAX_REQUEST_BYTES + 1), MESSAGE_E_LIMIT);
    cr_assert_eq(decode_as(big, WIRE_MAX_REPLY_BYTES + 1, true, NULL), MESSAGE_E_LIMIT);
}

Test(message, only_our_types_are_accepted) {
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xff"), MESSAGE_E_MALFORMED); /* -1 */
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xc3"), MESSAGE_E_MALFORMED); /* true */
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xca\0\0\0\0"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xd3\0\0\0\0\0\0\0\1"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\x80"), MESSAGE_E_MALFORMED); /* a map */
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xc1"), MESSAGE_E_MALFORMED); /* never used */
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xd4\x01\x01"), MESSAGE_E_MALFORMED); /* ext */
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xa1x"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\xc0"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\x90"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\x05"), 0);
}

Test(message, shape_is_strict) {
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x90"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x92\x00\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\xa4trim\x91\x00\x00"), MESSAGE_E_MALFORMED); /* trailing */
    cr_assert_eq(DECODE("\x93\x00\x01\xa4trim"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x95\x00\x01\xa4trim\x91\x00\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x03\x01\xa4trim\x91\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x02\x01\xa4trim\x91\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\xa1\x78\xa4trim\x91\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x94\x00\x01\x07\x91\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x00"), MESSAGE_E_MALFORMED);
    cr_assert_eq(DECODE("\x93\x02\xa8released\x92\x00\x00"), 0);
    cr_assert_eq(DECODE("\x93\x02\xa8released\x91\x00"), MESSAGE_E_MALFORMED);
}

Test(message, response_has_error_or_result) {
    const struct message_type *t = &msg_trim_reply_type;
#define RESPONSE(text) decode_as(text, sizeof(text) - 1, true, t)
    cr_assert_eq(RESPONSE("\x94\x01\x01\xc0\x91\x07"), 0);
    cr_assert_eq(RESPONSE("\x94\x01\x01\x92\x05\xa1x\xc0"), 0);
    cr_assert_eq(RESPONSE("\x94\x01\x01\x92\x05\xa1x\x91\x07"), MESSAGE_E_MALFORMED);
    cr_assert_eq(RESPONSE("\x94\x01\x01\x92\x00\xa1x\xc0"), MESSAGE_E_MALFORMED);
    cr_assert_eq(RESPONSE("\x94\x01\x01\xc0\xc0"), MESSAGE_E_MALFORMED);
    cr_assert_eq(RESPONSE("\x94\x01\x01\x05\xc0"), MESSAGE_E_MALFORMED);
    cr_assert_eq(RESPONSE("\x94\x01\x01\xc0\x92\x07\x07"), MESSAGE_E_MALFORMED);
}

Test(message, field_bounds_are_exact) {
    static uint8_t p[2 * WIRE_MAX_NAME_BYTES] = "\x94\x00\x01\xa2ls\x93\x00\x00\xda";
    p[10] = WIRE_MAX_NAME_BYTES >> 8;
    p[11] = WIRE_MAX_NAME_BYTES & 255;
    cr_assert_eq(decode_request(p, 12 + WIRE_MAX_NAME_BYTES), 0);
    p[11]++;
    cr_assert_eq(decode_request(p, 13 + WIRE_MAX_NAME_BYTES), MESSAGE_E_LIMIT);
}

Test(message, unknown_method_is_the_sessions_business) {
    static const char p[] = "\x94\x00\x2a\xa3nop\x91\x00";
    CLEANUP(message_deinit) struct message m = {0};
    cr_assert_eq(message_decode(&m, (const uint8_t *)p, sizeof(p) - 1, false, NULL), 0);
    cr_assert_eq(m.op, WIRE_N_OPS);
    cr_assert_eq(m.id, 42);
    cr_assert_null(m.body);
}

/* ---- encoder's limits ---- */

Test(message, encoder_refuses_what_the_decoder_would) {
    static char text[WIRE_MAX_KEY_BYTES + 1];
    static struct msg_key list[WIRE_MAX_ITEMS];
    struct frame_bytes f;
    struct msg_ls ls = {.pattern = {text, WIRE_MAX_NAME_BYTES + 1}};
    cr_assert_eq(message_encode_request(&f, 1, WIRE_OP_LS, &ls), MESSAGE_E_LIMIT);
    struct msg_keys keys = {.keys = list, .n_keys = WIRE_MAX_ITEMS};
    cr_assert_eq(message_encode_request(&f, 1, WIRE_OP_GET, &keys), MESSAGE_E_LIMIT);
    keys.n_keys = 33; /* few items, too many bytes */
    for (unsigned i = 0; i < keys.n_keys; i++)
        list[i].text = (struct str){text, WIRE_MAX_KEY_BYTES};
    cr_assert_eq(message_encode_request(&f, 1, WIRE_OP_GET, &keys), MESSAGE_E_LIMIT);
}

Test(message, full_materialize_fits) {
    static struct msg_key list[WIRE_MAX_MATERIALIZE];
    static struct msg_grant items[WIRE_MAX_MATERIALIZE];
    static const char text[256];
    for (unsigned i = 0; i < WIRE_MAX_MATERIALIZE; i++) {
        list[i].text = (struct str){text, 60};
        items[i] = (struct msg_grant){UINT64_MAX, UINT64_MAX, UINT64_MAX, {text, sizeof(text)}};
    }
    struct msg_keys keys = {.keys = list, .n_keys = WIRE_MAX_MATERIALIZE};
    struct msg_grants grants = {.items = items, .n_items = WIRE_MAX_MATERIALIZE};
    CLEANUP(frame_bytes_deinit) struct frame_bytes f = {0};
    CLEANUP(frame_bytes_deinit) struct frame_bytes g = {0};
    cr_assert_eq(message_encode_request(&f, 1, WIRE_OP_GET, &keys), 0);
    cr_assert_eq(message_encode_response(&g, 1, WIRE_OP_GET, &grants), 0);
    cr_assert_eq(decode_request(f.data + 4, f.n_bytes - 4), 0);
    cr_assert_eq(decode_as(g.data + 4, g.n_bytes - 4, true, &msg_grants_type), 0);
}

Test(message, error_text_is_cut_not_refused) {
    static char text[3000];
    memset(text, 'x', sizeof(text) - 1);
    CLEANUP(frame_bytes_deinit) struct frame_bytes f = {0};
    CLEANUP(message_deinit) struct message m = {0};
    cr_assert_eq(message_encode_error(&f, 7, WIRE_E_FULL, text), 0);
    cr_assert_eq(message_decode(&m, f.data + 4, f.n_bytes - 4, true, &msg_grants_type), 0);
    cr_assert_eq(m.error.code, WIRE_E_FULL);
    cr_assert_eq(m.error.text.len, 1024);
    cr_assert_null(m.body);
}

/* ---- round trips ---- */

enum fill { FILL_ZERO, FILL_SMALL, FILL_EXTREME };

static void fill_body(const struct message_type *type, void *body, enum fill fill) {
    static char text[WIRE_MAX_KEY_BYTES];
    memset(text, 0xe9, sizeof(text)); /* not UTF-8 */
    for (uint32_t i = 0; fill != FILL_ZERO && i < type->n_fields; i++) {
        const struct message_field *f = &type->fields[i];
        uint32_t len = fill == FILL_SMALL ? i : f->max_bytes;
        if (f->kind == FIELD_U64) {
            *(uint64_t *)message_field_at(f, body) = fill == FILL_SMALL ? i : UINT64_MAX - i;
        } else if (f->kind == FIELD_STR) {
            *(struct str *)message_field_at(f, body) = (struct str){text, len};
        } else {
            char *list = calloc(N_LIST_ITEMS, f->item->n_bytes);
            for (unsigned k = 0; k < N_LIST_ITEMS; k++)
                fill_body(f->item, list + k * f->item->n_bytes, k % 2 ? fill : FILL_SMALL);
            *(char **)message_field_at(f, body) = list;
            *message_field_count(f, body) = N_LIST_ITEMS;
        }
    }
}

static bool bodies_are_equal(const struct message_type *type, const void *a, const void *b) {
    for (uint32_t i = 0; i < type->n_fields; i++) {
        const struct message_field *f = &type->fields[i];
        const void *x = message_field_at(f, a), *y = message_field_at(f, b);
        if (f->kind == FIELD_U64 && *(const uint64_t *)x != *(const uint64_t *)y)
            return false;
        if (f->kind == FIELD_STR) {
            const struct str *s = x, *t = y;
            if (s->len != t->len || (s->len && memcmp(s->ptr, t->ptr, s->len)))
                return false;
        }
        if (f->kind != FIELD_LIST)
            continue;
        if (*message_field_count(f, a) != *message_field_count(f, b))
            return false;
        for (uint32_t k = 0; k < *message_field_count(f, a); k++)
            if (!bodies_are_equal(f->item, *(char *const *)x + k * f->item->n_bytes,
                                  *(char *const *)y + k * f->item->n_bytes))
                return false;
    }
    return true;
}

/* No prefix decodes, no suffix is ignored, and no changed byte makes the decoder misbehave. */
static void check_damage(const uint8_t *payload, size_t n, bool is_reply,
                         const struct message_type *type) {
    for (size_t cut = 0; cut<n; cut += n> 4096 && cut > 64 ? 997 : 1)
        cr_assert_eq(decode_as(payload, cut, is_reply, type), MESSAGE_E_MALFORMED);
    CLEANUP(bytes_deinit) struct bytes b = {malloc(n + 1), n};
    memcpy(b.data, payload, n);
    b.data[n] = 0;
    cr_assert_eq(decode_as(b.data, n + 1, is_reply, type), MESSAGE_E_MALFORMED);
    for (size_t i = 0; n <= 1024 && i < n; i++) {
        for (unsigned value = 0; value < 256; value += 3) {
            b.data[i] = (uint8_t)value;
            decode_as(b.data, n, is_reply, type);
        }
        b.data[i] = payload[i];
    }
}

static void check_payload(const struct frame_bytes *f, enum message_kind kind, uint64_t id,
                          unsigned op, const struct message_type *type, const void *body) {
    bool is_reply = kind == MESSAGE_RESPONSE;
    uint32_t n;
    memcpy(&n, f->data, sizeof(n));
    cr_assert_eq(n, f->n_bytes - WIRE_HEADER_BYTES);
    const uint8_t *payload = f->data + WIRE_HEADER_BYTES;
    CLEANUP(message_deinit) struct message m = {0};
    cr_assert_eq(message_decode(&m, payload, n, is_reply, is_reply ? type : NULL), 0, "%s",
                 type->name);
    cr_assert_eq(m.kind, kind);
    cr_assert_eq(m.id, id);
    cr_assert_eq(m.type, type);
    if (!is_reply)
        cr_assert_eq(m.op, op);
    cr_assert(bodies_are_equal(type, body, m.body), "%s", type->name);
    enum message_kind peeked;
    uint64_t peeked_id;
    cr_assert_eq(message_peek(&peeked, &peeked_id, payload, n), 0);
    cr_assert(peeked == kind && peeked_id == id);
    check_damage(payload, n, is_reply, type);
}

typedef int encode_fn(struct frame_bytes *fp, uint64_t id, unsigned op, const void *body);

static int encode_notification(struct frame_bytes *fp, uint64_t id, unsigned op, const void *body) {
    return message_encode_notification(fp, op, body);
}

static void round_trip(enum message_kind kind, unsigned op, encode_fn *encode, enum fill fill) {
    const struct message_type *type =
        kind == MESSAGE_RESPONSE ? wire_op_reply(op) : wire_op_request(op);
    uint64_t id = kind == MESSAGE_NOTIFICATION ? 0 : fill == FILL_EXTREME ? UINT64_MAX : op;
    void *body = calloc(1, type->n_bytes + 1);
    CLEANUP(frame_bytes_deinit) struct frame_bytes f = {0};
    fill_body(type, body, fill);
    cr_assert_eq(encode(&f, id, op, body), 0, "%s", type->name);
    check_payload(&f, kind, id, op, type, body);
    message_type_free_lists(type, body);
    free(body);
}

Test(message, every_message_comes_back) {
    for (unsigned op = 0; op < WIRE_N_OPS; op++) {
        for (enum fill fill = FILL_ZERO; fill <= FILL_EXTREME; fill++) {
            round_trip(MESSAGE_REQUEST, op, message_encode_request, fill);
            round_trip(MESSAGE_RESPONSE, op, message_encode_response, fill);
            round_trip(MESSAGE_NOTIFICATION, op, encode_notification, fill);
        }
    }
}

Test(message, names_of_numbers_out_of_range) {
    cr_assert_str_eq(wire_op_name(WIRE_N_OPS), "?");
    cr_assert_str_eq(wire_error_name(WIRE_N_ERRORS), "?");
    cr_assert_str_eq(wire_error_text(UINT32_MAX), "?");
    cr_assert_str_eq(item_name(N_ITEM_TYPES), "?");
    cr_assert_str_eq(item_typestr(N_ITEM_TYPES), "?");
    cr_assert_eq(item_bytes(N_ITEM_TYPES), 0);
    cr_assert_eq(item_bytes(ITEM_F8), 8);
    cr_assert_str_eq(item_typestr(ITEM_BOOL), "|b1");
    cr_assert_str_eq(wire_error_name(WIRE_E_NO_TREE), "no-tree");
    cr_assert_str_eq(wire_op_name(WIRE_OP_MATERIALIZE), "materialize");
    cr_assert_null(wire_op_request(WIRE_N_OPS));
}
