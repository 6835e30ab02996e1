/* Any payload, decoded as a request or as a response of any type.
 *
 * The first byte of the input chooses: 0xff a request or notification, else the operation whose
 * reply is expected. What decodes must encode again (it was within the limits), and decode once
 * more to the same kind, id and operation.
 */
#include "../../proto/key.h"
#include "../../proto/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what))                                                                               \
            abort();                                                                               \
    } while (0)

/* Return: whether the encoder took it; a reply that came in the widest numbers may shrink, never
 * grow. */
static int encode_again(struct frame_bytes *fp, const struct message *m, unsigned reply_op) {
    if (m->kind == MESSAGE_REQUEST)
        return message_encode_request(fp, m->id, m->op, m->body);
    if (m->kind == MESSAGE_NOTIFICATION)
        return message_encode_notification(fp, m->op, m->body);
    return message_encode_response(fp, m->id, reply_op, m->body);
}

static void check_again(const struct message *m, unsigned reply_op,
                        const struct message_type *type) {
    CLEANUP(frame_bytes_deinit) struct frame_bytes f = {0};
    CLEANUP(message_deinit) struct message again = {0};
    MUST(encode_again(&f, m, reply_op) == 0);
    MUST(message_decode(&again, f.data + WIRE_HEADER_BYTES, f.n_bytes - WIRE_HEADER_BYTES, true,
                        type) == 0);
    MUST(again.kind == m->kind && again.id == m->id && again.op == m->op);
}

static void check_key(const uint8_t *data, size_t n_bytes) {
    struct key key;
    struct key_scratch scratch;
    char text[WIRE_MAX_KEY_BYTES + 1];
    if (key_parse(&key, &scratch, (struct str){(const char *)data, (uint32_t)n_bytes}))
        return;
    MUST(key_print(text, &key) == (int)n_bytes);
    MUST(memcmp(text, data, n_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    if (n_bytes == 0)
        return 0;
    unsigned op = data[0] % WIRE_N_OPS;
    bool is_reply = data[0] != 0xff;
    const struct message_type *type = is_reply ? wire_op_reply(op) : NULL;
    check_key(data + 1, n_bytes - 1);
    CLEANUP(message_deinit) struct message m = {0};
    if (message_decode(&m, data + 1, n_bytes - 1, is_reply, type))
        return 0;
    enum message_kind kind;
    uint64_t id;
    MUST(message_peek(&kind, &id, data + 1, n_bytes - 1) == 0 && kind == m.kind && id == m.id);
    if (m.body && m.kind == MESSAGE_RESPONSE)
        check_again(&m, op, type);
    else if (m.body && !is_reply)
        check_again(&m, op, NULL);
    return 0;
}
