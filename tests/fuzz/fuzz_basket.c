/* One basket: first as a payload in memory that is cut and copied, then as a stored basket with its
 * key, planned and decoded. The first 32 bytes are the column and the slice.
 */
#include "../tools/reader.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_BYTES (1u << 20)
#define HEAD_BYTES 32
#define BASKET_OFF 128

struct head { /* as it lies in the input */
    uint8_t item_type, n_per_entry, flags, key_bytes;
    uint16_t n_entries, start, stop;
    uint16_t border, value_start, value_stop;
    uint8_t kind, unit_bytes, member_off, coding, n_bits, n_levels, levels[COLUMN_MAX_LEVELS];
    uint8_t header_bytes, layout_flags, verb, level, reserved[3];
};
_Static_assert(sizeof(struct head) == HEAD_BYTES, "no padding");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct tree_column column_of(const struct head *h) {
    struct tree_column c = {.kind = COLUMN_FLAT + h->kind % 3,
                            .item_type = h->item_type % N_ITEM_TYPES,
                            .n_per_entry = h->n_per_entry + 1u};
    if (h->flags & 8)
        c.layout = (struct column_layout){.unit_bytes = h->unit_bytes,
                                          .member_off = h->member_off,
                                          .coding = h->coding % (CODING_TRUNCATED + 1),
                                          .n_bits = h->n_bits % 33,
                                          .low = -1,
                                          .step = 0.25};
    if (c.kind == COLUMN_LISTS) {
        static const uint8_t headers[] = {0, 1, 6};
        c.layout.n_levels = h->n_levels % (COLUMN_MAX_LEVELS + 1);
        for (unsigned i = 0; i < c.layout.n_levels; i++)
            c.layout.levels[i] = LEVEL_COUNT + h->levels[i] % 3;
        c.layout.header_bytes = headers[h->header_bytes % 3];
        if (c.layout.unit_bytes)
            c.layout.flags = h->layout_flags & 3;
    }
    return c;
}

static struct job job_of(const struct head *h, const struct tree_column *c, uint32_t n_payload) {
    uint64_t start = h->start % (h->n_entries + 1), stop = h->stop % (h->n_entries + 1);
    return (struct job){.item_type = c->item_type,
                        .column_kind = c->kind,
                        .layout = c->layout,
                        .n_per_entry = c->n_per_entry,
                        .basket_entries = h->n_entries,
                        .stored_bytes = n_payload,
                        .raw_bytes = n_payload,
                        .border_bytes = h->border,
                        .key_bytes = h->key_bytes,
                        .basket_flags = BASKET_PLANNED | (h->flags & BASKET_HAS_OFFSETS),
                        .slice_start = MIN(start, stop),
                        .slice_stop = MAX(start, stop),
                        .value_start = h->flags & 2 ? h->value_start : JOB_DERIVE,
                        .value_stop = h->flags & 2 ? h->value_stop : JOB_DERIVE};
}

/* What was counted is what can be written, of the values and of each level. */
static void lists_in_memory(struct worker *w, struct job job, const struct tree_column *c,
                            const uint64_t *n_lists) {
    struct job_result result;
    for (unsigned level = 0; level <= c->layout.n_levels; level++) {
        bool is_data = level == c->layout.n_levels;
        job.verb = is_data ? JOB_VERB_NONE : JOB_VERB_LIST_ENDS;
        job.level = (uint8_t)level;
        job.out_bytes =
            n_lists[level] * (is_data ? (uint64_t)item_bytes(c->item_type) * c->n_per_entry : 8);
        if (job.out_bytes > ARENA_BYTES / 2)
            continue;
        job_run(w, &job, &result);
        assert(result.status == 0 || result.status == JOB_E_UNSUPPORTED);
    }
}

static void in_memory(struct worker *w, struct job job, const struct tree_column *c,
                      const uint8_t *payload) {
    struct job_result result;
    memcpy(w->tables->arena, payload, job.raw_bytes);
    job.in_bytes = job.raw_bytes;
    job.kind = JOB_CUT;
    job_run(w, &job, &result);
    assert(result.status == 0 || result.error[0]);
    if (result.status == 0 && result.cut[1] != JOB_NO_CUT)
        assert(result.cut[1] <= job.border_bytes &&
               (result.cut[0] == JOB_NO_CUT || result.cut[0] <= result.cut[1]));
    job.kind = JOB_COPY;
    job.out_off = ARENA_BYTES / 2;
    if (job.column_kind == COLUMN_LISTS) {
        if (result.status == 0)
            lists_in_memory(w, job, c, result.n_lists);
        return;
    }
    job.out_bytes = result.cut[1] - result.cut[0];
    if (c->layout.unit_bytes)
        job.out_bytes =
            job.out_bytes / c->layout.unit_bytes * item_bytes(c->item_type) * c->n_per_entry;
    if (job.out_bytes > ARENA_BYTES / 2)
        job.out_bytes = 0;
    job_run(w, &job, &result);
}

static void on_disk(struct worker *w, struct job job) {
    struct job_result result;
    struct tree_basket basket = {.file_off = BASKET_OFF,
                                 .stored_bytes = job.raw_bytes,
                                 .n_entries = (uint32_t)job.basket_entries};
    char error[SOURCE_ERROR_BYTES];
    job.kind = JOB_DECODE;
    job.file_off = BASKET_OFF;
    job.basket_flags = 0;
    job.out_bytes = (job.slice_stop - job.slice_start) * job.n_per_entry;
    if (source_plan(w->tables->sources[0], &basket, 1, error) == 0) {
        assert(basket.border_bytes <= basket.raw_bytes);
        job.out_bytes = MIN(basket.border_bytes, ARENA_BYTES);
    }
    job_run(w, &job, &result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const uint8_t header[BASKET_OFF] = "root\0\0\xf0\0\0\0\0\x64";
    struct head h;
    struct reader r;
    if (n < sizeof(h) || n > ARENA_BYTES / 4)
        return 0;
    memcpy(&h, data, sizeof(h));
    struct tree_column c = column_of(&h);
    if (!tree_column_check_layout(&c))
        return 0;
    uint8_t first[BASKET_OFF];
    memcpy(first, header, sizeof(first));
    first[31] = 1; /* fNbytesName */
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    size_t n_payload = n - sizeof(h);
    if (fd < 0 || write(fd, first, sizeof(first)) != sizeof(first) ||
        write(fd, data + sizeof(h), n_payload) != (ssize_t)n_payload)
        abort();
    if (reader_init(&r, fd, ARENA_BYTES) != 0)
        abort();
    struct job job = job_of(&h, &c, (uint32_t)n_payload);
    in_memory(&r.worker, job, &c, data + sizeof(h));
    if (n_payload > 0)
        on_disk(&r.worker, job);
    reader_deinit(&r);
    return 0;
}
