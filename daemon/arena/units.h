/* Which pages of the arena are free and which of them are populated. No threads, no file: pure
 * accounting under arena.c.
 *
 * Pages are handed out; units (backing.unit_bytes) are populated and punched. All quantities are
 * pages unless they say bytes or unit.
 */
#ifndef BUFFERD_UNITS_H
#define BUFFERD_UNITS_H

#include "space.h"

enum unit_state {
    UNIT_HOLE = 0, /* no memory, or a punch is queued */
    UNIT_FILLING,  /* a populate is queued */
    UNIT_WARM,     /* populated */
};

struct unit {
    uint8_t state;          /* enum unit_state */
    uint32_t free_since_ms; /* when its last page was given back; wraps */
};

struct units {
    struct space *free;   /* owned; free pages */
    struct space *warm;   /* owned; free pages of warm units */
    struct unit *units;   /* owned */
    uint64_t n_units;     /* of the file */
    uint64_t unit_pages;  /* of one unit */
    uint64_t n_live;      /* ranges handed out */
    uint64_t n_cold_runs; /* runs of units that are not warm */
    uint64_t n_filling;   /* runs whose populate is queued */
};

/* A run of whole units. */
struct unit_run {
    uint64_t first, n;
};

/* Everything is free and a hole. Return: 0 or -ENOMEM. */
int units_init(struct units *u, uint64_t n_units, uint64_t unit_pages);
void units_deinit(struct units *u);

/* Warm pages if there are n in a row (*is_warmp), else any. Return: 0, SPACE_E_FULL or -ENOMEM. */
int units_alloc(struct units *u, uint64_t *pagep, uint64_t n, bool *is_warmp);
void units_give_back(struct units *u, uint64_t page, uint64_t n, uint32_t now_ms);

/* The first run of holes in units [from, stop). False: none. */
bool units_next_hole(const struct units *u, uint64_t from, uint64_t stop, struct unit_run *run);
/* The first run of holes whose pages are all free, cut at max units. */
bool units_next_free_hole(const struct units *u, uint64_t max, struct unit_run *run);
/* The first run from unit `from` on, cut at max units, whose pages are all free and populated, and
 * have been so for aged_ms. */
bool units_next_free_warm(const struct units *u, uint64_t from, uint64_t max, uint32_t now_ms,
                          uint32_t aged_ms, struct unit_run *run);
bool units_are_warm(const struct units *u, uint64_t page, uint64_t n);

/* Holes whose populate is about to be queued. Return: 0 or -ENOMEM. */
int units_begin_fill(struct units *u, struct unit_run run);
/* It has run: they are warm, their free pages as from now; or holes again. */
void units_end_fill(struct units *u, struct unit_run run, bool is_filled, uint32_t now_ms);
/* Warm units, all free, whose punch is about to be queued. Return: 0 or -ENOMEM. */
int units_make_holes(struct units *u, struct unit_run run);

#endif
