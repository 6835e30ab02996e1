/* Makes a tree's index: the flat blob that the daemon keeps and clients map.
 *
 * Columns stand in the order of the branches. First every branch is described and its baskets are
 * listed, then the jagged ones are held against their counters (which may come later in the tree),
 * and only then the blob is laid out: header, columns, baskets, strings, embedded bytes.
 */
#include "../fault.h"
#include "../text.h"
#include "baskets.h"
#include "ttree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct builder {
    struct memory *memory; /* borrowed */
    struct model model;
    struct text text;
    struct basket_tables tables;
    struct tree_column *columns; /* owned; one per branch, of the same number, then members */
    uint64_t n_columns, columns_capacity;
    const struct source *source; /* borrowed */
    struct codec *codec;         /* borrowed */
    uint64_t file_bytes;
    uint32_t path, title;
};

static void builder_deinit(struct builder *b) {
    model_deinit(&b->model);
    text_deinit(&b->text);
    basket_tables_deinit(&b->tables);
    free(b->columns);
}

static int add(struct builder *b, uint32_t *offp, struct str s) {
    return text_add(&b->text, offp, s, (struct str){0}, (struct str){0});
}

static int strings_add(struct builder *b, struct tree_column *out, const struct branch *branch,
                       const struct column *c) {
    struct str path = {0}, slash = {0};
    if (branch->parent != MODEL_NONE) {
        path = text_at(&b->text, b->columns[branch->parent].name);
        slash = (struct str){"/", 1};
    }
    int r = text_add(&b->text, &out->name, path, slash, branch->name);
    if (r == 0)
        r = add(b, &out->title, branch->title);
    if (r == 0)
        r = add(b, &out->class_name, branch->class_name);
    if (r == 0 && c->type_name[0])
        r = add(b, &out->type_name, str_of(c->type_name));
    return r;
}

static int reason_set(struct builder *b, struct tree_column *out, const struct column *c) {
    out->kind = COLUMN_NONE;
    out->counter = 0;
    return add(b, &out->reason, str_of(c->reason));
}

static uint8_t column_flags(const struct column *c, const struct branch *branch) {
    bool has_data = c->kind != COLUMN_NONE || baskets_zip_bytes(branch) > 0;
    if (c->is_record)
        has_data = false; /* its members have it */
    return (uint8_t)((has_data ? COLUMN_HAS_DATA : 0) | (c->is_counts ? COLUMN_COUNTS : 0) |
                     (c->has_strings ? COLUMN_STRINGS : 0));
}

static int column_add(struct builder *b, uint32_t i) {
    const struct branch *branch = &b->model.branches[i];
    struct tree_column *out = &b->columns[i];
    struct column c;
    column_describe(&c, &b->model, branch);
    uint64_t first = b->tables.n_baskets;
    int r = 0;
    if (c.is_record)
        c.kind = COLUMN_FLAT; /* for its baskets */
    if (c.kind != COLUMN_NONE)
        r = baskets_add(&b->tables, &b->model, branch, &c, b->file_bytes);
    if (c.kind == COLUMN_NONE)
        c.is_record = false;
    if (c.is_record)
        c.kind = COLUMN_NONE;
    *out = (struct tree_column){
        .counter = c.kind == COLUMN_JAGGED ? c.counter_branch + 1 : 0,
        .parent = branch->parent == MODEL_NONE ? 0 : branch->parent + 1,
        .n_per_entry = c.n_per_entry,
        .n_entries = branch->n_entries > 0 ? (uint64_t)branch->n_entries : 0,
        .first_basket = first,
        .n_baskets = b->tables.n_baskets - first,
        .zip_bytes = baskets_zip_bytes(branch),
        .kind = c.kind,
        .item_type = c.item_type,
        .flags = column_flags(&c, branch),
        .layout = c.kind == COLUMN_NONE ? (struct column_layout){0} : c.layout,
    };
    if (r == 0)
        r = strings_add(b, out, branch, &c);
    if (r == 0 && c.kind == COLUMN_NONE)
        r = reason_set(b, out, &c);
    for (uint64_t k = first; k < b->tables.n_baskets; k++)
        if (b->tables.baskets[k].is_embedded)
            out->zip_bytes += b->tables.baskets[k].stored_bytes;
    return r;
}

static int member_add(struct builder *b, uint32_t record, struct str name, const struct column *c) {
    int r = memory_grow(b->memory, (void **)&b->columns, &b->columns_capacity, b->n_columns + 1,
                        sizeof(*b->columns));
    if (r)
        return r;
    const struct tree_column *parent = &b->columns[record];
    struct tree_column *out = &b->columns[b->n_columns++];
    *out = *parent;
    out->parent = record + 1;
    out->n_per_entry = c->n_per_entry;
    out->kind = c->kind;
    out->item_type = c->item_type;
    out->reason = 0;
    out->flags = COLUMN_HAS_DATA | COLUMN_MEMBER;
    out->layout = c->layout;
    r = text_add(&b->text, &out->name, text_at(&b->text, parent->name), (struct str){".", 1}, name);
    return r ? r : add(b, &out->type_name, str_of(c->type_name));
}

static int members_add(struct builder *b, uint32_t i) {
    const struct branch *branch = &b->model.branches[i];
    struct column record, member;
    struct str name;
    int r = 0;
    if (b->columns[i].flags & COLUMN_HAS_DATA || b->columns[i].n_baskets == 0)
        return 0;
    column_describe(&record, &b->model, branch);
    for (uint32_t k = 0; record.is_record && r == 0; k++) {
        if (!column_member(&member, &name, &b->model, branch, &record, k))
            break;
        r = member_add(b, i, name, &member);
    }
    return r;
}

/* A jagged column needs a counter that is read, that is an integer, and that is long enough. */
static int counter_check(struct builder *b, struct tree_column *c) {
    if (c->kind != COLUMN_JAGGED)
        return 0;
    const struct tree_column *counter = &b->columns[c->counter - 1];
    struct column refused = {0};
    const char *name = b->text.bytes + counter->name;
    if (counter->kind != COLUMN_FLAT || counter->n_per_entry != 1 || counter->item_type < ITEM_I1 ||
        counter->item_type > ITEM_U8)
        column_refuse(&refused, "its counter %.64s is no readable integer", name);
    else if (counter->n_entries < c->n_entries)
        column_refuse(&refused, "its counter %.64s has %llu entries, it has %llu", name,
                      (unsigned long long)counter->n_entries, (unsigned long long)c->n_entries);
    return refused.reason[0] ? reason_set(b, c, &refused) : 0;
}

static int columns_make(struct builder *b) {
    uint32_t n = (uint32_t)b->model.n_branches;
    int r =
        memory_grow(b->memory, (void **)&b->columns, &b->columns_capacity, n, sizeof(*b->columns));
    b->n_columns = n;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = column_add(b, i);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = counter_check(b, &b->columns[i]);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = members_add(b, i);
    return r;
}

static void layout_make(struct tree_index *x, const struct builder *b) {
    *x = (struct tree_index){
        .magic = TREE_INDEX_MAGIC,
        .version = TREE_INDEX_VERSION,
        .n_entries = (uint64_t)b->model.n_entries,
        .kind = TREE_TTREE,
        .path = b->path,
        .title = b->title,
        .n_columns = (uint32_t)b->n_columns,
        .n_baskets = b->tables.n_baskets,
        .columns_off = sizeof(*x),
        .strings_bytes = b->text.n_bytes,
        .embedded_bytes = b->tables.n_embedded,
    };
    /* All of these are in memory already: their sum does not wrap. */
    x->baskets_off = x->columns_off + x->n_columns * sizeof(struct tree_column);
    x->strings_off = x->baskets_off + x->n_baskets * sizeof(struct tree_basket);
    x->n_public_bytes = round_up(x->strings_off + x->strings_bytes, 8);
    x->embedded_off = x->n_public_bytes;
    x->n_bytes = x->embedded_off + x->embedded_bytes;
}

static void copy(uint8_t *dst, const void *src, uint64_t n) {
    if (n > 0)
        memcpy(dst, src, n);
}

static int blob_make(struct builder *b, struct source_blob *out, char *error) {
    struct tree_index x;
    layout_make(&x, b);
    CLEANUP(cleanup_free) void *blob = NULL;
    int r = memory_alloc(b->memory, &blob, x.n_bytes);
    if (r)
        return r;
    uint8_t *p = blob;
    copy(p, &x, sizeof(x));
    copy(p + x.columns_off, b->columns, x.n_columns * sizeof(struct tree_column));
    copy(p + x.baskets_off, b->tables.baskets, x.n_baskets * sizeof(struct tree_basket));
    copy(p + x.strings_off, b->text.bytes, x.strings_bytes);
    memset(p + x.strings_off + x.strings_bytes, 0,
           x.n_public_bytes - x.strings_off - x.strings_bytes);
    copy(p + x.embedded_off, b->tables.embedded, x.embedded_bytes);
    if (!tree_index_check(blob, x.n_bytes))
        return fault(error, SOURCE_E_CORRUPT, "its branches do not make a sound index");
    *out = (struct source_blob){.data = TAKE_PTR(blob), .n_bytes = x.n_bytes};
    return 0;
}

static int index_make(struct builder *b, const struct root_key *k, const char *path,
                      const uint8_t *data, struct source_blob *out, char *error) {
    char what[64], cycle[8];
    snprintf(what, sizeof(what), "the tree at byte %llu", (unsigned long long)k->seek);
    int r = model_read(&b->model, b->source, b->codec, b->memory, k->class_name, data, k->obj_bytes,
                       k->key_bytes, what, error);
    if (r && r != SOURCE_E_TOO_LARGE && r != -ENOMEM)
        return r;
    snprintf(cycle, sizeof(cycle), ";%u", k->cycle);
    if (r == 0)
        r = text_init(&b->text, b->memory);
    if (r == 0)
        r = text_add(&b->text, &b->path, str_of(path), str_of(cycle), (struct str){0});
    if (r == 0)
        r = add(b, &b->title, b->model.named.title);
    if (r == 0 && model_needs_streamers(&b->model))
        model_streamers(&b->model); /* without them branches of objects are refused */
    if (r == 0)
        r = columns_make(b);
    if (r == 0)
        return blob_make(b, out, error);
    return fault(error, r, "%s: its index needs more memory than is allowed", what);
}

int ttree_describe(const struct source *s, struct codec *codec, struct memory *m,
                   const struct root_key *k, const char *path, struct source_blob *out,
                   char *error) {
    CLEANUP(cleanup_free) uint8_t *data = NULL;
    int r = root_object_read(s, codec, m, k, &data, error);
    if (r)
        return r;
    struct builder b = {.memory = m,
                        .tables = {.memory = m},
                        .source = s,
                        .codec = codec,
                        .file_bytes = s->io.identity.n_bytes};
    r = index_make(&b, k, path, data, out, error);
    builder_deinit(&b);
    return r;
}
