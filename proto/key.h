/* Buffer keys: parse, print, hash. A key is text, and its text is canonical, so equal keys are
 * equal bytes.
 *
 *   column/<source>/<tree>/<start>-<stop>/<branch>/<verb>   verb: data | offsets | offsets1 | offsets2
 *   edge/<source>/<tree>/<branch>/<basket>                  a basket as decompressed; the daemon's
 *   index/<source>/<tree>                                   a tree's index; the daemon's
 *   derived/<source>/<name>                                 made by a client from a source
 *   named/<name>                                            made by a client
 *
 * <source> is the source_id, 16 lower-case hex digits; numbers are decimal without leading zeros.
 * <tree> ("dir/Events;1", always with the cycle), <branch> and <name> are percent-quoted: every byte
 * outside [A-Za-z0-9_.~;,!#@-] as %XX in upper case, and none of those; none of them is NUL. <start>-<stop> is a
 * half-open entry range. The verb `data` is a column's values (a jagged one's content), `offsets`
 * the int64 offsets of a jagged branch or those that a counter branch's values sum up to; they
 * start at 0. Of a branch of nested lists `offsets` are those of its entries, counted in inner
 * lists, `offsets1` those of the inner lists, `offsets2` those of the lists in these; the last of
 * them count items. Strings are lists of bytes.
 */
#ifndef BUFFERD_KEY_H
#define BUFFERD_KEY_H

#include "base.h"
#include "wire.h"

enum key_kind { KEY_COLUMN, KEY_EDGE, KEY_INDEX, KEY_DERIVED, KEY_NAMED };
enum key_verb { VERB_DATA, VERB_OFFSETS, VERB_OFFSETS1, VERB_OFFSETS2 };

enum { KEY_E_MALFORMED = 1 };

/* A parsed key; strings are unquoted and point into the parser's scratch space. */
struct key {
    enum key_kind kind;
    uint64_t source_id;
    struct str tree;
    struct str name; /* the branch of column and edge, the name of derived and named */
    uint64_t start, stop;
    enum key_verb verb;
    uint64_t basket;
};

struct key_scratch {
    char bytes[WIRE_MAX_KEY_BYTES];
};

/* Print the canonical text, NUL-terminated, into `text` of WIRE_MAX_KEY_BYTES + 1 bytes.
 * Return: its length, or -ENAMETOOLONG. */
int key_print(char *text, const struct key *k);
/* Return: 0 or KEY_E_MALFORMED (also for text that is valid but not canonical). */
int key_parse(struct key *kp, struct key_scratch *scratch, struct str text);
/* XXH3-64 of the text. */
uint64_t key_hash(struct str text);
const char *key_verb_name(enum key_verb verb);
/* Shell-like glob (fnmatch without flags) over text that need not be NUL-terminated. */
bool key_matches(struct str text, struct str pattern);

#endif
