/* Streamer info: what a file says about the classes of its objects. */
#ifndef BUFFERD_STREAMER_H
#define BUFFERD_STREAMER_H

#include "file.h"

struct streamer_element {
    struct str name, title, type_name;
    struct str count_name; /* of an array's length, another member */
    int32_t type;          /* TStreamerInfo's number; 0: a base class, whose name is `name` */
    int32_t length;        /* of a fixed array; 0: none */
};
struct streamer_class {
    struct str name;
    int32_t version;
    uint64_t first, n; /* of its elements */
};
struct streamers {
    struct memory *memory;             /* borrowed */
    uint8_t *data;                     /* owned; the strings point into it */
    struct streamer_element *elements; /* owned */
    uint64_t n_elements, elements_capacity;
    struct streamer_class *classes; /* owned */
    uint64_t n_classes, classes_capacity;
};

/* Read the file's list; none is an empty one. Return: 0, SOURCE_E_*, or negative errno. */
int streamers_read(struct streamers *x, const struct source *s, struct codec *codec,
                   struct memory *m, char *error);
void streamers_deinit(struct streamers *x);

/* The class of that name, blanks aside, of the highest version; NULL: unknown. */
const struct streamer_class *streamers_find(const struct streamers *x, struct str name);
const struct streamer_class *streamers_find_version(const struct streamers *x, struct str name,
                                                    int32_t version);
/* The class's element i. */
const struct streamer_element *streamers_element(const struct streamers *x,
                                                 const struct streamer_class *c, uint64_t i);
/* The member of that name of the class or of its bases; NULL: none. */
const struct streamer_element *streamers_member(const struct streamers *x,
                                                const struct streamer_class *c, struct str name);

#endif
