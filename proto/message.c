/* The descriptor tables of all messages, and what frees a decoded one.
 *
 * messages.def is read twice: once for the fields of each message (kind, offset in the struct,
 * bound), once for the messages themselves. The encoder and the decoder walk these tables and know
 * no message by name, so a new message is a few lines in messages.def and nothing here.
 *
 * The wire's depth (the message, its fields, a list, an item) leaves no room for a list inside of
 * a list's item; the walk handles it all the same, and the limits in decode.c refuse it.
 */
#include "message.h"
#include "message_type.h"

#define MESSAGE(name) static const struct message_field name##_fields[] = {
#define U64(name, field) {.kind = FIELD_U64, .off = offsetof(struct msg_##name, field)},
#define STR(name, field, max)                                                                      \
    {.kind = FIELD_STR, .max_bytes = (max), .off = offsetof(struct msg_##name, field)},
#define LIST(name, field, type)                                                                    \
    {.kind = FIELD_LIST,                                                                           \
     .off = offsetof(struct msg_##name, field),                                                    \
     .n_off = offsetof(struct msg_##name, n_##field),                                              \
     .item = &msg_##type##_type},
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "messages.def"
#undef MESSAGE
#undef U64
#undef STR
#undef LIST
#undef END

#define MESSAGE(type)                                                                              \
    const struct message_type msg_##type##_type = {                                                \
        .name = #type,                                                                             \
        .n_bytes = sizeof(struct msg_##type),                                                      \
        .n_fields = ARRAY_LEN(type##_fields),                                                      \
        .fields = type##_fields,                                                                   \
    };
#define U64(name, field)
#define STR(name, field, max)
#define LIST(name, field, item)
#define END(name)
#include "messages.def"
#undef MESSAGE
#undef U64
#undef STR
#undef LIST
#undef END

static const struct message_type *const requests[] = {
#define OP(id, method, request, reply, text) [WIRE_OP_##id] = &msg_##request##_type,
#include "ops.def"
#undef OP
};

static const struct message_type *const replies[] = {
#define OP(id, method, request, reply, text) [WIRE_OP_##id] = &msg_##reply##_type,
#include "ops.def"
#undef OP
};

const struct message_type *wire_op_request(unsigned op) {
    return op < ARRAY_LEN(requests) ? requests[op] : NULL;
}

const struct message_type *wire_op_reply(unsigned op) {
    return op < ARRAY_LEN(replies) ? replies[op] : NULL;
}

void message_type_free_lists(const struct message_type *type, void *body) {
    for (uint32_t i = 0; i < type->n_fields; i++) {
        const struct message_field *f = &type->fields[i];
        if (f->kind != FIELD_LIST)
            continue;
        char **listp = message_field_at(f, body);
        for (uint32_t k = 0; *listp && k < *message_field_count(f, body); k++)
            message_type_free_lists(f->item, *listp + k * f->item->n_bytes);
        free(*listp);
        *listp = NULL;
        *message_field_count(f, body) = 0;
    }
}

void message_deinit(struct message *m) {
    if (m->body)
        message_type_free_lists(m->type, m->body);
    free(m->body);
    m->body = NULL;
}

void frame_bytes_deinit(struct frame_bytes *f) {
    free(f->data);
    *f = (struct frame_bytes){0};
}
