/* The inside of a load: its state, its steps, and what they share. For load*.c only. */
#ifndef BUFFERD_LOAD_STEPS_H
#define BUFFERD_LOAD_STEPS_H

#include "load.h"
#include "metrics.h"

enum load_kind { LOAD_DATA, LOAD_OFFSETS, LOAD_LIST_OFFSETS, LOAD_EDGE, LOAD_INDEX };
enum load_plan_state { PLAN_IDLE, PLAN_RUNNING, PLAN_BLOCKED };

/* A basket that the range cuts, or any basket of a column whose sizes its values tell: its
 * decompressed payload, and where the wanted values lie in it. */
struct load_edge {
    struct load *load;          /* borrowed */
    struct cache_entry *entry;  /* held once it is ready */
    struct cache_waiter waiter; /* for the edge buffer */
    struct want counts; /* for a basket without an offset table: the counter's offsets over it */
    bool has_counts;    /* that want is under way */
    uint64_t basket;    /* in the index */
    uint64_t cut[2];    /* byte positions of the slice among the values */
    uint64_t n_lists[COLUMN_MAX_LEVELS + 1]; /* of lists: what the slice has of each level */
};

/* Another buffer of the column that has, or will have, what is wanted of some baskets. */
#define LOAD_MAX_DONORS 4
struct load_donor {
    struct load *load;         /* borrowed */
    struct cache_entry *entry; /* held once it is ready */
    bool is_held;
    struct cache_waiter waiter;
    struct want offsets;  /* of the donor's entries, when the column is jagged */
    bool has_want;        /* that is under way */
    uint64_t first, last; /* baskets; none when the donor is no good */
    uint64_t from, to;    /* bytes of the entry: what is wanted of these baskets */
};

struct load {
    struct load *prev, *next;           /* in materialize.hungry */
    struct load *plan_prev, *plan_next; /* in materialize.planning */
    enum load_plan_state plan;
    struct materialize *m;            /* borrowed */
    struct cache_entry *entry;        /* borrowed; this load makes it */
    struct sources_tree *tree;        /* used */
    const struct tree_column *column; /* of the tree's index */
    enum load_kind kind;
    uint64_t number;            /* later loads have higher ones */
    uint64_t start, stop;       /* entries */
    uint64_t first, last;       /* baskets of the range; an edge has one */
    struct loader_queue *queue; /* borrowed */
    struct loader_group group;
    struct load_edge *edges; /* owned; by basket */
    uint64_t n_edges;
    struct load_donor donors[LOAD_MAX_DONORS]; /* by basket */
    unsigned n_donors;
    uint8_t level;                    /* LOAD_LIST_OFFSETS: of the lists */
    struct want counts;               /* LOAD_OFFSETS: the counter's values */
    struct cache_entry *counts_entry; /* held */
    unsigned n_due;                   /* jobs, waiters and wants that will call back */
    bool waits_for_memory, is_hungry;
    bool is_starved; /* there was no memory for an edge buffer */
    bool is_stuck;   /* a job was given up: its thread may still read and write */
    int status;      /* the first failure: a wire error */
    char text[256];
};

/* ---- life (load.c) ---- */

int load_begin_edge(struct cache_entry **ep, struct load *parent, uint64_t basket, struct str key);
/* The first failure counts; what waits is dropped. Then, and last of all, load_settle(): with a
 * failure and nothing due the load ends there. */
void load_fail(struct load *l, int status, const char *text);
void load_settle(struct load *l);
/* Everything is in its place: the entry is ready, the load is over. */
void load_publish(struct load *l);
/* Begin again when some was freed; until then nothing is held. */
void load_wait_for_memory(struct load *l);
void load_set_hungry(struct load *l, bool is_hungry);
/* Give back what the load holds of other entries. */
void load_drop_inputs(struct load *l);

/* ---- baskets and jobs (load_job.c) ---- */

const struct tree_index *load_index(const struct load *l);
struct tree_basket *load_basket(const struct load *l, uint64_t i);
/* Stored bytes of one entry of a flat column, of one (fixed-size) item of a jagged one; and what
 * these, or a unit of lists, become in the buffer. */
uint64_t load_entry_bytes(const struct load *l);
uint64_t load_out_bytes(const struct load *l);
/* Does the load take this basket from an edge buffer? */
bool load_has_edge(const struct load *l, uint64_t i);
/* The part of a basket that the range wants, in entries of the basket. */
void load_slice(const struct load *l, const struct tree_basket *b, uint64_t *startp,
                uint64_t *stopp);
/* Does the range want a part of it only? */
bool load_cuts(const struct load *l, const struct tree_basket *b);
/* The key of the counter's offsets over these entries. Return: its length or -ENAMETOOLONG. */
int load_counter_key(const struct load *l, uint64_t start, uint64_t stop, char *key);
struct job load_job(const struct load *l, enum job_kind kind, uint64_t i);
void load_submit(struct load *l, const struct job *job, loader_done_fn *done, void *ctx);
/* What every completion does first. False: the load has failed (maybe by this one) and may be gone.
 */
bool load_job_done(struct load *l, struct job_result *result);

/* ---- the steps ---- */

void load_donors(struct load *l);  /* 0, load_donor.c */
void load_plan(struct load *l);    /* 1, load_plan.c */
void load_edges(struct load *l);   /* 2, load_edge.c */
void load_reserve(struct load *l); /* 3, load_fill.c */
void load_fill(struct load *l);    /* 4 */
void load_boost_plan(struct load *l);
void load_set_plan(struct load *l, enum load_plan_state plan);
struct load_edge *load_edge_of(struct load *l, uint64_t basket); /* NULL: the basket is not cut */
/* Before a load chooses: which of its baskets have edge buffers although no range cuts them? */
void load_find_edges(struct load *l);

/* ---- donors (load_donor.c) ---- */

const struct load_donor *load_donor_of(const struct load *l, uint64_t basket); /* NULL: none */
void load_cancel_donors(struct load *l);
void load_drop_donors(struct load *l);
void load_promote_donors(struct load *l, bool waits_for_memory);

#endif
