/* From stored items to those of a buffer.
 *
 * Most are big-endian numbers back to back and are only swapped. Members of records (a leaf list,
 * objects in a list) are picked out of units of a fixed size. Double32_t and Float16_t are made of
 * less than they claim: of a float, of a fraction of a range in 32 bits, or of an exponent and a
 * short mantissa. The arithmetic is uproot's (interpretation/numerical.py), in its order and in
 * the precision of the result, so that every bit is the same: a fraction is first converted, then
 * multiplied, then moved; a truncated value gets its sign as a factor, in double.
 */
#include "items.h"
#include "../../proto/wire.h"
#include "swap.h"

#include <assert.h>
#include <string.h>

#define ITEM(id, name, typestr, bytes) bytes,
static const uint8_t item_sizes[] = {
#include "../../proto/items.def"
};
#undef ITEM

#define FRAME_COUNT 0x40000000u

struct items items_of(unsigned item_type, uint64_t n_per_unit, const struct column_layout *layout) {
    assert(item_type < ARRAY_LEN(item_sizes) && n_per_unit > 0);
    unsigned item_bytes = item_sizes[item_type];
    uint64_t out_unit_bytes = n_per_unit * item_bytes;
    uint64_t unit_bytes = layout->unit_bytes ? layout->unit_bytes : out_unit_bytes;
    return (struct items){.unit_bytes = unit_bytes,
                          .out_unit_bytes = out_unit_bytes,
                          .n_per_unit = n_per_unit,
                          .item_bytes = item_bytes,
                          .layout = *layout,
                          .is_plain = layout->coding == CODING_PLAIN && layout->flags == 0 &&
                                      unit_bytes == out_unit_bytes,
                          .is_double = item_type == ITEM_F8};
}

static uint32_t be4(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static void put(const struct items *x, uint8_t *out, uint64_t i, double value) {
    float f = (float)value;
    if (x->is_double)
        memcpy(out + 8 * i, &value, 8);
    else
        memcpy(out + 4 * i, &f, 4);
}

static void floats_write(const struct items *x, uint8_t *out, const uint8_t *in) {
    for (uint64_t i = 0; i < x->n_per_unit; i++)
        put(x, out, i, float_of(be4(in + 4 * i)));
}

static void ranges_write(const struct items *x, uint8_t *out, const uint8_t *in) {
    double low = x->layout.low, step = x->layout.step;
    float low4 = (float)low, step4 = (float)step;
    for (uint64_t i = 0; i < x->n_per_unit; i++) {
        uint32_t q = be4(in + 4 * i);
        double d = (double)q * step + low;
        float f = (float)q * step4 + low4;
        memcpy(out + x->item_bytes * i, x->is_double ? (void *)&d : (void *)&f, x->item_bytes);
    }
}

static void truncated_write(const struct items *x, uint8_t *out, const uint8_t *in) {
    unsigned n = x->layout.n_bits;
    for (uint64_t i = 0; i < x->n_per_unit; i++, in += 3) {
        uint32_t mantissa = (uint32_t)in[1] << 8 | in[2];
        uint32_t bits = (uint32_t)in[0] << 23;
        bits |= (mantissa & ((1u << (n + 1)) - 1)) << (23 - n);
        double sign = mantissa >> (n + 1) & 1 ? -1.0 : 1.0;
        put(x, out, i, (double)float_of(bits) * sign);
    }
}

static void unit_write(const struct items *x, uint8_t *out, const uint8_t *in) {
    switch ((enum column_coding)x->layout.coding) {
    case CODING_PLAIN:
        swap_copy(out, in, x->out_unit_bytes, x->item_bytes);
        return;
    case CODING_FLOAT:
        floats_write(x, out, in);
        return;
    case CODING_RANGE:
        ranges_write(x, out, in);
        return;
    case CODING_TRUNCATED:
        truncated_write(x, out, in);
        return;
    }
}

/* Byte count, version 0 (the class has none of its own), checksum. */
static bool frame_is_good(const struct items *x, const uint8_t *in) {
    return be4(in) == (FRAME_COUNT | (x->unit_bytes - 4)) && in[4] == 0 && in[5] == 0;
}

bool items_write(const struct items *x, uint8_t *out, const uint8_t *in, uint64_t n_units) {
    if (x->is_plain) {
        swap_copy(out, in, n_units * x->out_unit_bytes, x->item_bytes);
        return true;
    }
    bool is_framed = x->layout.flags & LAYOUT_FRAMED;
    for (uint64_t i = 0; i < n_units; i++, in += x->unit_bytes, out += x->out_unit_bytes) {
        if (is_framed && !frame_is_good(x, in))
            return false;
        unit_write(x, out, in + x->layout.member_off);
    }
    return true;
}
