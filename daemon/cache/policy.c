/* The table of policies. The first one is the default: of tests/bench/policies it saves the most time. */
#include "policy.h"

#include <string.h>

static const struct policy_kind *const kinds[] = {&policy_cost, &policy_s3fifo, &policy_lru};

const struct policy_kind *policy_at(unsigned i) {
    return i < ARRAY_LEN(kinds) ? kinds[i] : NULL;
}

const struct policy_kind *policy_find(const char *name) {
    if (!name)
        return kinds[0];
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

int policy_new(struct policy **pp, const struct policy_kind *kind, uint64_t max_bytes,
               uint64_t max_items) {
    struct policy *p;
    int rc = kind->create(&p, max_bytes, max_items);
    if (rc)
        return rc;
    p->kind = kind;
    p->max_bytes = max_bytes;
    *pp = p;
    return 0;
}

struct policy *policy_free(struct policy *p) {
    if (p)
        p->kind->destroy(p);
    return NULL;
}
