/* A hash table of lists. A family is made by its first member and goes with its last. */
#include "family.h"

#include <errno.h>
#include <string.h>

static struct family *family_find(struct family *table, struct str text) {
    struct family *f;
    HASH_FIND(hh, table, text.ptr, text.len, f);
    return f;
}

static struct family *family_new(struct family **table, struct str text) {
    struct family *f = calloc(1, sizeof(*f) + text.len);
    if (!f)
        return NULL;
    f->n_text = text.len;
    memcpy(f->text, text.ptr, text.len);
    HASH_ADD_KEYPTR(hh, *table, f->text, f->n_text, f);
    if (hash_was_added(&f->hh))
        return f;
    free(f);
    return NULL;
}

int family_join(struct family **table, struct cache_entry *e, struct str text) {
    struct family *f = family_find(*table, text);
    if (!f && !(f = family_new(table, text)))
        return -ENOMEM;
    e->family = f;
    DL_PREPEND2(f->entries, e, family_prev, family_next);
    return 0;
}

void family_leave(struct family **table, struct cache_entry *e) {
    struct family *f = e->family;
    if (!f)
        return;
    e->family = NULL;
    DL_DELETE2(f->entries, e, family_prev, family_next);
    if (f->entries)
        return;
    HASH_DEL(*table, f);
    free(f);
}
