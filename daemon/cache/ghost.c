/* A table without chains: ids are hashes already, and to forget one too early costs little. */
#include "ghost.h"

#include <errno.h>

#define MAX_SLOTS (1ull << 17)

int ghosts_init(struct ghosts *g, uint64_t n) {
    g->n_slots = 1;
    while (g->n_slots < MIN(n, MAX_SLOTS))
        g->n_slots *= 2;
    g->slots = calloc(g->n_slots, sizeof(*g->slots));
    return g->slots ? 0 : -ENOMEM;
}

void ghosts_deinit(struct ghosts *g) {
    free(g->slots);
    g->slots = NULL;
}

static struct ghost *slot_of(struct ghosts *g, uint64_t id) {
    return &g->slots[(id ^ id >> 32) & (g->n_slots - 1)];
}

void ghosts_put(struct ghosts *g, const struct ghost *ghost) {
    *slot_of(g, ghost->id) = *ghost;
}

bool ghosts_take(struct ghosts *g, uint64_t id, struct ghost *out) {
    struct ghost *slot = slot_of(g, id);
    if (slot->id != id || id == 0)
        return false;
    *out = *slot;
    slot->id = 0;
    return true;
}
