/* A struct per request and reply, and the two functions that turn each into bytes and back.
 *
 * `messages.def` is the one list of fields: the structs here, the encoder and the decoder all come
 * from it.
 */
#ifndef BUFFERD_MESSAGE_H
#define BUFFERD_MESSAGE_H

#include "base.h"
#include "wire.h"

#define MESSAGE(name) struct msg_##name {
#define U64(name, field) uint64_t field;
#define STR(name, field, max) struct str field;
#define LIST(name, field, item)                                                                    \
    struct msg_##item *field;                                                                      \
    uint32_t n_##field;
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "messages.def"
#undef MESSAGE
#undef U64
#undef STR
#undef LIST
#undef END

struct message_type; /* the fields of one message: types, places, bounds */

#define MESSAGE(name) extern const struct message_type msg_##name##_type;
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

/* The messages of each operation. */
const struct message_type *wire_op_request(unsigned op);
const struct message_type *wire_op_reply(unsigned op);

enum message_kind { MESSAGE_REQUEST = 0, MESSAGE_RESPONSE = 1, MESSAGE_NOTIFICATION = 2 };

enum {
    MESSAGE_E_MALFORMED = 1, /* not MessagePack-RPC, or fields of the wrong type or number */
    MESSAGE_E_LIMIT = 2,     /* too deep, too many items, a string too long */
};

/* A decoded frame. Strings in it point into the frame's bytes; lists are owned. */
struct message {
    enum message_kind kind;
    uint64_t id; /* requests and responses */
    unsigned op; /* requests and notifications: enum wire_op; WIRE_N_OPS: unknown method */
    struct msg_error error;          /* responses: code 0 when there is a result */
    const struct message_type *type; /* of body; NULL when there is none */
    void *body;                      /* owned; struct msg_<name> of `type` */
};

/* Bytes of one frame, header included. Owned by whoever encoded it. */
struct frame_bytes {
    uint8_t *data;
    size_t n_bytes;
};
void frame_bytes_deinit(struct frame_bytes *f);

/* Encode a whole frame, header included; `body` is a struct msg_<name> of the operation's type.
 * Return: 0, MESSAGE_E_LIMIT (larger than the wire allows), or -ENOMEM. */
int message_encode_request(struct frame_bytes *fp, uint64_t id, unsigned op, const void *body);
int message_encode_response(struct frame_bytes *fp, uint64_t id, unsigned op, const void *body);
int message_encode_error(struct frame_bytes *fp, uint64_t id, unsigned code, const char *text);
int message_encode_notification(struct frame_bytes *fp, unsigned op, const void *body);

/* Decode one payload (without the frame's header), scanning depth, lengths and items before
 * anything is allocated. The bytes must outlive the message. A response's body is decoded as
 * `response_type`, which the caller knows from the id (message_peek); NULL leaves the result
 * undecoded. A reader with bounds: is_reply selects the reply limits in place of the request
 * limits. Return: 0, MESSAGE_E_*, or -ENOMEM. */
int message_decode(struct message *mp, const uint8_t *payload, size_t n_bytes, bool is_reply,
                   const struct message_type *response_type);
void message_deinit(struct message *m);

/* Kind and id of a payload, without decoding the rest. Return: 0 or MESSAGE_E_MALFORMED. */
int message_peek(enum message_kind *kindp, uint64_t *idp, const uint8_t *payload, size_t n_bytes);

#endif
