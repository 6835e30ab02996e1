/* Text for people and for scripts: tables, human sizes, keys taken apart, JSON strings. */
#ifndef BUFCTL_TEXT_H
#define BUFCTL_TEXT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

enum { TEXT_BYTES = 32 }; /* room that each of these needs */

/* "512 B", "1.5 KiB", "22.4 GiB". Return: `out`. */
const char *human_bytes(char out[TEXT_BYTES], uint64_t n_bytes);
/* "0.4 ms", "3.2 s", "5 min", "2 h". */
const char *human_ns(char out[TEXT_BYTES], uint64_t ns);
/* "1,234,567" */
const char *human_count(char out[TEXT_BYTES], uint64_t n);

/* A string node, also for text that is not UTF-8 (then with '?' for what is not ASCII); null for
 * NULL. */
json_t *json_text(const char *text);
/* Print the document with a newline and give it up. */
void json_print(json_t *document);

struct table;

enum table_align { TABLE_LEFT, TABLE_RIGHT };

/* `titles` and `aligns` have n_columns items and are borrowed. Memory that is not there aborts: the
 * tool has nothing to save. */
struct table *table_new(size_t n_columns, const char *const *titles,
                        const enum table_align *aligns);
void table_free(struct table *t);
/* The next cell, row by row; control characters become '?'. */
void table_cell(struct table *t, const char *text);
void table_print(const struct table *t, FILE *out);

/* A buffer key taken apart; strings are unquoted, owned, "" where the kind has none. */
struct key_parts {
    char kind[16], range[48], verb[16];
    char *tree, *name;
};
void key_parts_init(struct key_parts *p, const char *key);
void key_parts_deinit(struct key_parts *p);

#endif
