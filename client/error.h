/* Outcomes with a text for people: what happened, and what to do about it. */
#ifndef BUFFERD_ERROR_H
#define BUFFERD_ERROR_H

#include "../proto/base.h"

struct bufferd_error;

/* Fill *error (may be NULL) and return `code`. For a negative errno its description is appended. */
int fail(struct bufferd_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What the daemon answered: the table's text and, when there is one, its own detail, cut to n
 * bytes. */
void wire_error_describe(char *text, size_t n_text, unsigned code, struct str detail);

/* A wire error as BUFFERD_E_*; a number that this side does not know is BUFFERD_E_INTERNAL. */
int outcome_of_wire(uint64_t code);

#endif
