/* The fields of each message as data: where they lie in its struct, and their bounds. */
#ifndef BUFFERD_MESSAGE_TYPE_H
#define BUFFERD_MESSAGE_TYPE_H

#include "message.h"

enum message_field_kind { FIELD_U64, FIELD_STR, FIELD_LIST };

struct message_field {
    enum message_field_kind kind;
    uint32_t max_bytes;              /* FIELD_STR */
    size_t off;                      /* of the field in its struct */
    size_t n_off;                    /* FIELD_LIST: of its uint32_t count */
    const struct message_type *item; /* FIELD_LIST */
};

struct message_type {
    const char *name;
    size_t n_bytes; /* of the struct */
    uint32_t n_fields;
    const struct message_field *fields;
};

/* Free the lists that a decoded body owns; the body itself stays. */
void message_type_free_lists(const struct message_type *type, void *body);

static inline void *message_field_at(const struct message_field *f, const void *body) {
    return (char *)body + f->off;
}
static inline uint32_t *message_field_count(const struct message_field *f, const void *body) {
    return (uint32_t *)((char *)body + f->n_off);
}

#endif
