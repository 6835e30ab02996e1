/* S3-FIFO (Yang and others, SOSP 2023): three queues, and no work on a hit but a count.
 *
 * New items enter a small queue, a tenth of the bytes. Those that were used by the time they reach its
 * end go to the main queue; the others go, and their ids are remembered until as many bytes have gone as
 * there are in all. What is made again in that time enters the main queue at once. An item at the end of
 * the main queue goes if it was not used since it last stood there. So a scan passes through the small
 * queue and leaves the main one alone.
 *
 * Here uses are heard of seldom, so one is enough to be moved, where the paper asks for two.
 */
#include "policy.h"

#include <errno.h>
#include <utlist.h>

#include "ghost.h"

enum { SMALL, MAIN };

#define SMALL_PART 10
#define MAX_USES 3

struct s3fifo {
    struct policy base;
    struct policy_item *items[2]; /* borrowed lists; the next victim at the head */
    uint64_t n_bytes[2];          /* of each, without what is taken */
    uint64_t order;               /* of the newest */
    uint64_t gone_bytes;          /* ever, from the small queue */
    struct ghosts ghosts;
};

static struct s3fifo *s3fifo_of(struct policy *p) {
    return CONTAINER_OF(p, struct s3fifo, base);
}

static void s3fifo_destroy(struct policy *p) {
    ghosts_deinit(&s3fifo_of(p)->ghosts);
    free(s3fifo_of(p));
}

static int s3fifo_create(struct policy **pp, uint64_t max_bytes, uint64_t max_items) {
    struct s3fifo *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    if (ghosts_init(&s->ghosts, max_items)) {
        free(s);
        return -ENOMEM;
    }
    *pp = &s->base;
    return 0;
}

static void queue_append(struct s3fifo *s, struct policy_item *item, unsigned queue) {
    item->queue = (uint8_t)queue;
    item->order = ++s->order;
    DL_APPEND(s->items[queue], item);
    s->n_bytes[queue] += item->n_bytes;
}

static void queue_remove(struct s3fifo *s, struct policy_item *item) {
    DL_DELETE(s->items[item->queue], item);
    s->n_bytes[item->queue] -= item->n_bytes;
}

static void s3fifo_add(struct policy *p, struct policy_item *item) {
    struct s3fifo *s = s3fifo_of(p);
    struct ghost ghost;
    bool was_here =
        ghosts_take(&s->ghosts, item->id, &ghost) && s->gone_bytes - ghost.when <= p->max_bytes;
    item->n_uses = 0;
    queue_append(s, item, was_here ? MAIN : SMALL);
}

static void s3fifo_remove(struct policy *p, struct policy_item *item, bool is_victim) {
    struct s3fifo *s = s3fifo_of(p);
    queue_remove(s, item);
    if (!is_victim || item->queue != SMALL)
        return;
    s->gone_bytes += item->n_bytes;
    ghosts_put(&s->ghosts, &(struct ghost){.id = item->id, .when = s->gone_bytes});
}

static void s3fifo_use(struct policy *p, struct policy_item *item, uint64_t used_ms) {
    bool is_new = used_ms >= item->used_ms + POLICY_BURST_MS;
    item->n_uses += is_new && item->n_uses < MAX_USES;
    item->used_ms = MAX(item->used_ms, used_ms);
}

/* Used items move on until one at the end of its queue was not used: it is the victim. */
static struct policy_item *s3fifo_take(struct policy *p) {
    struct s3fifo *s = s3fifo_of(p);
    for (;;) {
        bool is_small = s->n_bytes[SMALL] > p->max_bytes / SMALL_PART || !s->items[MAIN];
        struct policy_item *item = s->items[is_small ? SMALL : MAIN];
        item = item ? item : s->items[SMALL];
        if (!item)
            return NULL;
        queue_remove(s, item);
        if (item->n_uses == 0)
            return item;
        if (item->queue == MAIN)
            item->n_uses--;
        else
            item->n_uses = 0;
        queue_append(s, item, MAIN);
    }
}

static void s3fifo_put_back(struct policy *p, struct policy_item *item) {
    struct s3fifo *s = s3fifo_of(p);
    DL_PREPEND(s->items[item->queue], item);
    s->n_bytes[item->queue] += item->n_bytes;
}

static double s3fifo_score(const struct policy *p, const struct policy_item *item) {
    const struct s3fifo *s = CONTAINER_OF(p, const struct s3fifo, base);
    double n_uses = item->n_uses + (item->queue == MAIN ? 2 : 0);
    return (n_uses + 1) / (double)(s->order - item->order + 1);
}

const struct policy_kind policy_s3fifo = {
    .name = "s3fifo",
    .create = s3fifo_create,
    .destroy = s3fifo_destroy,
    .add = s3fifo_add,
    .remove = s3fifo_remove,
    .use = s3fifo_use,
    .take = s3fifo_take,
    .put_back = s3fifo_put_back,
    .score = s3fifo_score,
};
