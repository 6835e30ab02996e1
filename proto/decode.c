/* Payloads to structs: scan, then one generic decoder over the descriptor tables.
 *
 * Every byte here comes from the other side. The scan walks the whole payload once, without
 * allocating: each token must be one that our messages use (nil, unsigned integer, str or bin,
 * array), each length must fit into the bytes that are really there (an array's items take one byte
 * each at least), depth and the sum of all items are bounded, and nothing may follow. Five bytes
 * that announce an array of four thousand million items end here. That is also why the tokens are
 * read by hand: msgpack-c's unpacker believes a length before it has seen the items.
 *
 * Only then is the body allocated and filled by the same token reader. Strings stay where they are,
 * in the payload; lists are calloc'ed and belong to the message. A wrong type, a wrong number of
 * fields or a method where none may be is MESSAGE_E_MALFORMED; an unknown method is not an error
 * here, so that the session can answer it.
 */
#include "message.h"

#include <errno.h>
#include <string.h>

#include "message_type.h"

enum token_kind { TOKEN_NIL, TOKEN_UINT, TOKEN_STR, TOKEN_ARRAY };

struct token {
    enum token_kind kind;
    uint64_t n; /* the number, or the length */
    const char *str;
};

struct cursor {
    const uint8_t *at, *end;
};

static uint64_t bytes_left(const struct cursor *c) {
    return (uint64_t)(c->end - c->at);
}

/* A big-endian number of n_bytes. */
static bool cursor_number(struct cursor *c, unsigned n_bytes, uint64_t *out) {
    if (bytes_left(c) < n_bytes)
        return false;
    uint64_t n = 0;
    for (unsigned i = 0; i < n_bytes; i++)
        n = n << 8 | *c->at++;
    *out = n;
    return true;
}

/* The first byte of a token: its kind and either its number or how many bytes the number takes.
 * (The format: github.com/msgpack/msgpack, spec.md.) */
static bool token_head(uint8_t b, struct token *t, unsigned *n_bytesp) {
    *n_bytesp = 0;
    if (b <= 0x7f) {
        *t = (struct token){.kind = TOKEN_UINT, .n = b};
    } else if (b >= 0x90 && b <= 0x9f) {
        *t = (struct token){.kind = TOKEN_ARRAY, .n = b & 0x0f};
    } else if (b >= 0xa0 && b <= 0xbf) {
        *t = (struct token){.kind = TOKEN_STR, .n = b & 0x1f};
    } else if (b == 0xc0) {
        *t = (struct token){.kind = TOKEN_NIL};
    } else if (b >= 0xc4 && b <= 0xc6) { /* bin */
        *t = (struct token){.kind = TOKEN_STR};
        *n_bytesp = 1u << (b - 0xc4);
    } else if (b >= 0xcc && b <= 0xcf) {
        *t = (struct token){.kind = TOKEN_UINT};
        *n_bytesp = 1u << (b - 0xcc);
    } else if (b >= 0xd9 && b <= 0xdb) {
        *t = (struct token){.kind = TOKEN_STR};
        *n_bytesp = 1u << (b - 0xd9);
    } else if (b == 0xdc || b == 0xdd) {
        *t = (struct token){.kind = TOKEN_ARRAY};
        *n_bytesp = b == 0xdc ? 2 : 4;
    } else {
        return false;
    }
    return true;
}

/* The next token; the bytes of a string are skipped. Return: 0 or MESSAGE_E_MALFORMED. */
static int token_read(struct cursor *c, struct token *t) {
    unsigned n_bytes;
    if (c->at == c->end || !token_head(*c->at++, t, &n_bytes))
        return MESSAGE_E_MALFORMED;
    if (n_bytes && !cursor_number(c, n_bytes, &t->n))
        return MESSAGE_E_MALFORMED;
    if (t->kind != TOKEN_STR && t->kind != TOKEN_ARRAY)
        return 0;
    if (t->n > bytes_left(c))
        return MESSAGE_E_MALFORMED;
    if (t->kind == TOKEN_STR) {
        t->str = (const char *)c->at;
        c->at += t->n;
    }
    return 0;
}

static int expect(struct cursor *c, struct token *t, enum token_kind kind) {
    int rc = token_read(c, t);
    return rc ? rc : t->kind == kind ? 0 : MESSAGE_E_MALFORMED;
}

static int scan(struct cursor c, uint64_t max_items) {
    uint64_t left[WIRE_MAX_DEPTH + 1] = {1}; /* items still to come, at each depth */
    uint64_t n_items = 0;
    unsigned depth = 0;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0)
                return c.at == c.end ? 0 : MESSAGE_E_MALFORMED;
            depth--;
        }
        left[depth]--;
        struct token t;
        int rc = token_read(&c, &t);
        if (rc)
            return rc;
        if (t.kind != TOKEN_ARRAY)
            continue;
        n_items += t.n;
        if (n_items > max_items || depth == WIRE_MAX_DEPTH)
            return MESSAGE_E_LIMIT;
        left[++depth] = t.n;
    }
}

static int decode_body(struct cursor *c, const struct message_type *type, void *body);

static int decode_list(struct cursor *c, const struct message_field *f, void *body) {
    struct token t;
    int rc = expect(c, &t, TOKEN_ARRAY);
    if (rc || t.n == 0)
        return rc;
    char *list = calloc(t.n, f->item->n_bytes);
    if (!list)
        return -ENOMEM;
    *(char **)message_field_at(f, body) = list;
    *message_field_count(f, body) = (uint32_t)t.n;
    for (uint64_t i = 0; !rc && i < t.n; i++)
        rc = decode_body(c, f->item, list + i * f->item->n_bytes);
    return rc;
}

static int decode_field(struct cursor *c, const struct message_field *f, void *body) {
    struct token t;
    if (f->kind == FIELD_LIST)
        return decode_list(c, f, body);
    int rc = expect(c, &t, f->kind == FIELD_U64 ? TOKEN_UINT : TOKEN_STR);
    if (rc)
        return rc;
    if (f->kind == FIELD_U64) {
        *(uint64_t *)message_field_at(f, body) = t.n;
        return 0;
    }
    if (t.n > f->max_bytes)
        return MESSAGE_E_LIMIT;
    *(struct str *)message_field_at(f, body) = (struct str){t.str, (uint32_t)t.n};
    return 0;
}

/* On failure the lists made so far are in the body, for message_type_free_lists(). */
static int decode_body(struct cursor *c, const struct message_type *type, void *body) {
    struct token t;
    int rc = expect(c, &t, TOKEN_ARRAY);
    if (rc)
        return rc;
    if (t.n != type->n_fields)
        return MESSAGE_E_MALFORMED;
    for (uint32_t i = 0; !rc && i < type->n_fields; i++)
        rc = decode_field(c, &type->fields[i], body);
    return rc;
}

static int decode_new_body(struct cursor *c, struct message *m, const struct message_type *type) {
    m->type = type;
    m->body = calloc(1, MAX(type->n_bytes, 1));
    return m->body ? decode_body(c, type, m->body) : -ENOMEM;
}

/* The method's name and the parameters of a request or notification. */
static int decode_call(struct cursor *c, struct message *m) {
    struct token t;
    int rc = expect(c, &t, TOKEN_STR);
    if (rc)
        return rc;
    for (m->op = 0; m->op < WIRE_N_OPS; m->op++) {
        const char *name = wire_op_name(m->op);
        if (strlen(name) == t.n && memcmp(name, t.str, t.n) == 0)
            return decode_new_body(c, m, wire_op_request(m->op));
    }
    return 0;
}

/* Exactly one of error and result is nil. */
static int decode_response(struct cursor *c, struct message *m, const struct message_type *type) {
    struct cursor error = *c;
    struct token t;
    int rc = token_read(c, &t);
    if (rc)
        return rc;
    m->op = WIRE_N_OPS;
    if (t.kind == TOKEN_NIL)
        return type ? decode_new_body(c, m, type) : 0;
    rc = decode_body(&error, &msg_error_type, &m->error);
    if (rc)
        return rc;
    rc = expect(&error, &t, TOKEN_NIL);
    return rc ? rc : m->error.code ? 0 : MESSAGE_E_MALFORMED;
}

/* The message's array, its kind, and the id of a request or response. */
static int decode_head(struct cursor *c, enum message_kind *kindp, uint64_t *idp) {
    struct token outer, t;
    int rc = expect(c, &outer, TOKEN_ARRAY);
    if (rc)
        return rc;
    rc = expect(c, &t, TOKEN_UINT);
    if (rc)
        return rc;
    if (t.n > MESSAGE_NOTIFICATION || outer.n != (t.n == MESSAGE_NOTIFICATION ? 3 : 4))
        return MESSAGE_E_MALFORMED;
    enum message_kind kind = (enum message_kind)t.n;
    t.n = 0;
    rc = kind == MESSAGE_NOTIFICATION ? 0 : expect(c, &t, TOKEN_UINT);
    if (rc)
        return rc;
    *kindp = kind;
    *idp = t.n;
    return 0;
}

int message_decode(struct message *mp, const uint8_t *payload, size_t n_bytes, bool is_reply,
                   const struct message_type *response_type) {
    if (n_bytes > (is_reply ? WIRE_MAX_REPLY_BYTES : WIRE_MAX_REQUEST_BYTES))
        return MESSAGE_E_LIMIT;
    struct cursor c = {payload, payload + n_bytes};
    int rc = scan(c, is_reply ? WIRE_MAX_REPLY_ITEMS : WIRE_MAX_ITEMS);
    if (rc)
        return rc;
    CLEANUP(message_deinit) struct message m = {0};
    rc = decode_head(&c, &m.kind, &m.id);
    if (rc)
        return rc;
    rc = m.kind == MESSAGE_RESPONSE ? decode_response(&c, &m, response_type) : decode_call(&c, &m);
    if (rc)
        return rc;
    *mp = m;
    m.body = NULL;
    return 0;
}

int message_peek(enum message_kind *kindp, uint64_t *idp, const uint8_t *payload, size_t n_bytes) {
    struct cursor c = {payload, payload + n_bytes};
    return decode_head(&c, kindp, idp);
}
