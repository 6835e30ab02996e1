/* From waiting jobs to a batch: small baskets go together, and neighbours in a file are read at once.
 *
 * A hand-over to a worker and back costs as much as unpacking a few kilobytes, so a batch holds
 * about BATCH_BYTES of results. It starts with the first job of its queue and takes those that begin
 * in the file shortly behind the one before it, whatever column or client they are for: they share
 * one read. When there is no neighbour it goes on with the next of the queue. So a batch may run
 * before older ones of its queue, but no job waits for more than that.
 *
 * Near the end of a queue batches shrink, so that all workers end at the same time and none waits
 * while another has several jobs left.
 */
#include <string.h>

#include "works.h"

#define BATCH_BYTES (1ull << 20)
#define READ_MAX_BYTES (4ull << 20)

static struct loader_work *near_work(struct neighbour *n) {
    return n ? CONTAINER_OF(n, struct loader_work, near) : NULL;
}

/* A read that grows: the first job of it, and where it starts and ends. */
struct run {
    struct job *first;
    uint32_t source;
    uint64_t start, end;
};

static void run_add(struct run *run, struct job *job, const struct neighbour *near) {
    bool is_longer = run->first && near->n_bytes > 0 && run->source == near->source &&
                     near->start >= run->end && near->start - run->end <= NEIGHBOURS_GAP_BYTES &&
                     near->start + near->n_bytes - run->start <= READ_MAX_BYTES;
    if (!is_longer)
        *run = (struct run){near->n_bytes ? job : NULL, near->source, near->start, 0};
    run->end = near->start + near->n_bytes;
    job->read_bytes = 0;
    job->is_read_ahead = is_longer;
    if (is_longer)
        run->first->read_bytes = (uint32_t)(run->end - run->start);
}

/* NULL: none that could join the batch. */
static struct loader_work *work_after(const struct loader_queue *q, const struct run *run) {
    struct loader_work *work = NULL;
    if (run->first)
        work = near_work(neighbours_next(&q->near, run->source, run->end));
    if (work && work->near.start + work->near.n_bytes - run->start > READ_MAX_BYTES)
        work = NULL;
    if (!work && q->works && q->works->is_small)
        work = q->works;
    return work;
}

void gather(struct loader_queue *q, struct pool_batch *batch) {
    const struct loader *l = q->loader;
    unsigned limit = MIN(POOL_MAX_TASKS, q->n_waiting / (2 * l->options.n_workers));
    uint64_t n_bytes = 0;
    struct run run = {0};
    struct loader_work *work = q->works;
    do {
        struct pool_task *task = &batch->tasks[batch->n];
        bool is_alone = !work->is_small;
        work_copy_job(&task->job, work);
        task->token = work;
        n_bytes += task->job.out_bytes;
        run_add(&run, &task->job, &work->near);
        work_take(work, batch);
        batch->n++;
        if (is_alone || batch->n >= limit || n_bytes >= BATCH_BYTES)
            return;
    } while ((work = work_after(q, &run)));
}
