/* Finds entries in a payload: values [0, border), then in some baskets i4 count, i4[count] offsets.
 *
 * Offsets were written as positions behind the key, so each is lowered by its length; the last slot
 * holds what its writer liked (0, or the border) and is taken to be the border. All of it is from a
 * file. The table is looked at only where a slice cuts inside a jagged basket, and is then checked
 * from end to end: it starts at 0, never falls, stays inside the values, and cuts between items. A
 * flat basket may have a table as well; it says nothing that the item size does not say.
 */
#include "payload.h"
#include "../source/source.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct payload payload_of(const struct job *job, const struct tree_basket *basket,
                          const uint8_t *bytes, char *error) {
    struct items items = items_of(job->item_type, job->n_per_entry, &job->layout);
    return (struct payload){.basket = *basket,
                            .bytes = bytes,
                            .items = items,
                            .entry_bytes = job->column_kind == COLUMN_LISTS ? 1 : items.unit_bytes,
                            .kind = job->column_kind,
                            .error = error};
}

int payload_corrupt(const struct payload *p, const char *format, ...) {
    char text[SOURCE_ERROR_BYTES / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(p->error, SOURCE_ERROR_BYTES, "the basket at byte %" PRIu64 "%s: %s",
             p->basket.file_off, p->basket.is_embedded ? " of the embedded ones" : "", text);
    return JOB_E_CORRUPT;
}

int payload_check(const struct payload *p) {
    const struct tree_basket *b = &p->basket;
    if (b->border_bytes > b->raw_bytes)
        return payload_corrupt(p, "its values end at byte %u of %u", b->border_bytes, b->raw_bytes);
    if (p->kind == COLUMN_FLAT && b->border_bytes != b->n_entries * p->entry_bytes)
        return payload_corrupt(p, "%u bytes of values, not %u entries of %" PRIu64 " bytes",
                               b->border_bytes, b->n_entries, p->entry_bytes);
    if (b->border_bytes % p->entry_bytes)
        return payload_corrupt(
            p, "%u bytes of values are no whole number of items of %" PRIu64 " bytes",
            b->border_bytes, p->entry_bytes);
    return 0;
}

static uint32_t be4(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool payload_has_table(const struct payload *p) {
    return p->basket.flags & BASKET_HAS_OFFSETS;
}

uint32_t payload_table_at(const struct payload *p, uint64_t i) {
    if (i == p->basket.n_entries)
        return p->basket.border_bytes;
    return be4(p->bytes + p->basket.border_bytes + 4 + 4 * i) - p->basket.key_bytes;
}

int payload_table_check(const struct payload *p) {
    const struct tree_basket *b = &p->basket;
    uint64_t room = b->raw_bytes - b->border_bytes, n = b->n_entries;
    if (room < 8 || be4(p->bytes + b->border_bytes) != n + 1 || n + 1 > room / 4 - 1)
        return payload_corrupt(
            p, "its offset table, %" PRIu64 " bytes, is not that of %" PRIu64 " entries", room, n);
    uint32_t last = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t at = payload_table_at(p, i);
        if (at < last || at > b->border_bytes || at % p->entry_bytes || (i == 0 && at != 0))
            return payload_corrupt(
                p, "entry %" PRIu64 " starts at byte %u of %u, the one before at %u", i, at,
                b->border_bytes, last);
        last = at;
    }
    return 0;
}

int payload_cut(const struct payload *p, uint64_t start, uint64_t stop, uint64_t cut[2]) {
    const uint64_t entries[2] = {start, stop}, n = p->basket.n_entries;
    assert(start <= stop && stop <= n);
    bool is_checked = false;
    for (int k = 0; k < 2; k++) {
        uint64_t i = entries[k];
        if (p->kind == COLUMN_FLAT) {
            cut[k] = i * p->entry_bytes;
        } else if (i == 0 || i == n) {
            cut[k] = i ? p->basket.border_bytes : 0;
        } else if (!payload_has_table(p)) {
            cut[k] = JOB_NO_CUT;
        } else {
            int r = is_checked ? 0 : payload_table_check(p);
            if (r)
                return r;
            is_checked = true;
            cut[k] = payload_table_at(p, i);
        }
    }
    return 0;
}

int payload_slice(const struct payload *p, const struct job *job, uint64_t value[2]) {
    value[0] = job->value_start;
    value[1] = job->value_stop;
    if (value[0] == JOB_DERIVE && value[1] == JOB_DERIVE) {
        int r = payload_cut(p, job->slice_start, job->slice_stop, value);
        if (r)
            return r;
    }
    if (value[0] > value[1] || value[1] > p->basket.border_bytes || value[0] % p->entry_bytes)
        return payload_corrupt(p, "entries %" PRIu64 " to %" PRIu64 " cannot be found in %u bytes",
                               job->slice_start, job->slice_stop, p->basket.border_bytes);
    uint64_t n_units = (value[1] - value[0]) / p->entry_bytes;
    if ((value[1] - value[0]) % p->entry_bytes ||
        n_units != job->out_bytes / p->items.out_unit_bytes ||
        job->out_bytes % p->items.out_unit_bytes)
        return payload_corrupt(p,
                               "entries %" PRIu64 " to %" PRIu64 " have %" PRIu64
                               " bytes, which do not make the %" PRIu64 " that were expected",
                               job->slice_start, job->slice_stop, value[1] - value[0],
                               job->out_bytes);
    return 0;
}
