/* Structs to frames: one generic encoder over the descriptor tables.
 *
 * msgpack-c's packer writes into a buffer that grows by doubling and starts with four bytes for the
 * frame's length, which is patched in at the end. The limits of the wire are checked here as well,
 * so that neither side can send what the other would refuse: a string longer than its field allows
 * or a frame with too many items or bytes is MESSAGE_E_LIMIT, and the caller splits or refuses.
 * Text is written as MessagePack `str` without a promise that it is UTF-8 (paths, UUIDs).
 */
#include "message.h"

#include <errno.h>
#include <string.h>
#include <msgpack.h>

#include "message_type.h"

#define FIRST_CAPACITY 256

struct encoder {
    struct frame_bytes frame;
    size_t capacity;
    size_t max_bytes; /* of the payload */
    int status;       /* why the last write failed */
    msgpack_packer packer;
};

static void encoder_deinit(struct encoder *e) {
    frame_bytes_deinit(&e->frame);
}

static int encoder_grow(struct encoder *e, size_t n) {
    size_t needed = e->frame.n_bytes + n;
    if (needed > e->max_bytes + WIRE_HEADER_BYTES)
        return MESSAGE_E_LIMIT;
    if (needed <= e->capacity)
        return 0;
    size_t capacity = MAX(MAX(needed, 2 * e->capacity), FIRST_CAPACITY);
    uint8_t *data = realloc(e->frame.data, capacity);
    if (!data)
        return -ENOMEM;
    e->frame.data = data;
    e->capacity = capacity;
    return 0;
}

static int on_write(void *ctx, const char *bytes, size_t n) {
    struct encoder *e = ctx;
    e->status = encoder_grow(e, n);
    if (e->status)
        return -1;
    if (n)
        memcpy(e->frame.data + e->frame.n_bytes, bytes, n);
    e->frame.n_bytes += n;
    return 0;
}

static int encoder_init(struct encoder *e, size_t max_bytes) {
    *e = (struct encoder){.max_bytes = max_bytes};
    msgpack_packer_init(&e->packer, e, on_write);
    int rc = encoder_grow(e, WIRE_HEADER_BYTES);
    if (rc == 0)
        e->frame.n_bytes = WIRE_HEADER_BYTES;
    return rc;
}

static int pack_str(struct encoder *e, struct str s, size_t max_bytes) {
    if (s.len > max_bytes) {
        e->status = MESSAGE_E_LIMIT;
        return -1;
    }
    return msgpack_pack_str(&e->packer, s.len) || msgpack_pack_str_body(&e->packer, s.ptr, s.len);
}

static int pack_body(struct encoder *e, const struct message_type *type, const void *body);

static int pack_list(struct encoder *e, const struct message_field *f, const void *body) {
    const char *const *listp = message_field_at(f, body);
    uint32_t n = *message_field_count(f, body);
    int failed = msgpack_pack_array(&e->packer, n);
    for (uint32_t i = 0; !failed && i < n; i++)
        failed = pack_body(e, f->item, *listp + i * f->item->n_bytes);
    return failed;
}

/* Return: 0, or non-zero with e->status. */
static int pack_body(struct encoder *e, const struct message_type *type, const void *body) {
    int failed = msgpack_pack_array(&e->packer, type->n_fields);
    for (uint32_t i = 0; !failed && i < type->n_fields; i++) {
        const struct message_field *f = &type->fields[i];
        if (f->kind == FIELD_U64)
            failed = msgpack_pack_uint64(&e->packer, *(uint64_t *)message_field_at(f, body));
        else if (f->kind == FIELD_STR)
            failed = pack_str(e, *(struct str *)message_field_at(f, body), f->max_bytes);
        else
            failed = pack_list(e, f, body);
    }
    return failed;
}

/* Elements of all arrays in a body, as decode.c counts them. */
static uint64_t count_items(const struct message_type *type, const void *body) {
    uint64_t n = type->n_fields;
    for (uint32_t i = 0; i < type->n_fields; i++) {
        const struct message_field *f = &type->fields[i];
        if (f->kind != FIELD_LIST)
            continue;
        const char *const *listp = message_field_at(f, body);
        uint32_t n_list = *message_field_count(f, body);
        n += n_list;
        for (uint32_t k = 0; k < n_list; k++)
            n += count_items(f->item, *listp + k * f->item->n_bytes);
    }
    return n;
}

static void encoder_finish(struct encoder *e, struct frame_bytes *fp) {
    uint32_t n = (uint32_t)(e->frame.n_bytes - WIRE_HEADER_BYTES);
    for (unsigned i = 0; i < WIRE_HEADER_BYTES; i++)
        e->frame.data[i] = (uint8_t)(n >> (8 * i));
    *fp = e->frame;
    e->frame = (struct frame_bytes){0};
}

int message_encode_request(struct frame_bytes *fp, uint64_t id, unsigned op, const void *body) {
    const char *method = wire_op_name(op);
    if (count_items(wire_op_request(op), body) + 4 > WIRE_MAX_ITEMS)
        return MESSAGE_E_LIMIT;
    CLEANUP(encoder_deinit) struct encoder e;
    int rc = encoder_init(&e, WIRE_MAX_REQUEST_BYTES);
    if (rc)
        return rc;
    if (msgpack_pack_array(&e.packer, 4) || msgpack_pack_uint8(&e.packer, MESSAGE_REQUEST) ||
        msgpack_pack_uint64(&e.packer, id) ||
        pack_str(&e, (struct str){method, (uint32_t)strlen(method)}, UINT32_MAX) ||
        pack_body(&e, wire_op_request(op), body))
        return e.status;
    encoder_finish(&e, fp);
    return 0;
}

int message_encode_notification(struct frame_bytes *fp, unsigned op, const void *body) {
    const char *method = wire_op_name(op);
    if (count_items(wire_op_request(op), body) + 3 > WIRE_MAX_ITEMS)
        return MESSAGE_E_LIMIT;
    CLEANUP(encoder_deinit) struct encoder e;
    int rc = encoder_init(&e, WIRE_MAX_REQUEST_BYTES);
    if (rc)
        return rc;
    if (msgpack_pack_array(&e.packer, 3) || msgpack_pack_uint8(&e.packer, MESSAGE_NOTIFICATION) ||
        pack_str(&e, (struct str){method, (uint32_t)strlen(method)}, UINT32_MAX) ||
        pack_body(&e, wire_op_request(op), body))
        return e.status;
    encoder_finish(&e, fp);
    return 0;
}

int message_encode_response(struct frame_bytes *fp, uint64_t id, unsigned op, const void *body) {
    if (count_items(wire_op_reply(op), body) + 4 > WIRE_MAX_REPLY_ITEMS)
        return MESSAGE_E_LIMIT;
    CLEANUP(encoder_deinit) struct encoder e;
    int rc = encoder_init(&e, WIRE_MAX_REPLY_BYTES);
    if (rc)
        return rc;
    if (msgpack_pack_array(&e.packer, 4) || msgpack_pack_uint8(&e.packer, MESSAGE_RESPONSE) ||
        msgpack_pack_uint64(&e.packer, id) || msgpack_pack_nil(&e.packer) ||
        pack_body(&e, wire_op_reply(op), body))
        return e.status;
    encoder_finish(&e, fp);
    return 0;
}

int message_encode_error(struct frame_bytes *fp, uint64_t id, unsigned code, const char *text) {
    struct msg_error error = {
        .code = code,
        .text = {text, (uint32_t)strnlen(text, msg_error_type.fields[1].max_bytes)},
    };
    CLEANUP(encoder_deinit) struct encoder e;
    int rc = encoder_init(&e, WIRE_MAX_REPLY_BYTES);
    if (rc)
        return rc;
    if (msgpack_pack_array(&e.packer, 4) || msgpack_pack_uint8(&e.packer, MESSAGE_RESPONSE) ||
        msgpack_pack_uint64(&e.packer, id) || pack_body(&e, &msg_error_type, &error) ||
        msgpack_pack_nil(&e.packer))
        return e.status;
    encoder_finish(&e, fp);
    return 0;
}
