/* Reads a streamed TTree up to its branches (TTree versions 16 to 20, ROOT 5.14 until today).
 *
 * The layouts of released versions never change, so they are written down here; other versions are
 * read by the file's streamer info (evolved.c). What follows the branches (leaves
 * again, indexes, friends) is not needed and not looked at.
 */
#include "../fault.h"
#include "../text.h"
#include "evolved.h"
#include "model.h"

#define TREE_VERSION_MIN 16
#define TREE_VERSION_MAX 20

bool model_grow(struct model *m, void **pp, uint64_t *capacityp, uint64_t n, size_t item_bytes) {
    if (m->cursor.has_failed)
        return false;
    m->status =
        n < MODEL_NONE ? memory_grow(m->memory, pp, capacityp, n, item_bytes) : SOURCE_E_TOO_LARGE;
    if (m->status)
        cursor_fail(&m->cursor, "no memory for its branches");
    return m->status == 0;
}

bool model_descend(struct model *m) {
    if (m->depth >= OBJECT_MAX_DEPTH)
        cursor_fail(&m->cursor, "objects are nested deeper than %d", OBJECT_MAX_DEPTH);
    else
        m->depth++;
    return !m->cursor.has_failed;
}

/* marker, i8[n] */
static void ranges_skip(struct cursor *c, uint32_t n) {
    if (cursor_u1(c))
        cursor_skip(c, 8 * (uint64_t)n);
}

static void tree_members_read(struct model *m, uint16_t version) {
    struct cursor *c = &m->cursor;
    m->named = tnamed_read(c);
    frame_skip(c); /* TAttLine, TAttFill, TAttMarker */
    frame_skip(c);
    frame_skip(c);
    m->n_entries = cursor_i8(c);
    cursor_skip(c, 3 * 8);                 /* fTotBytes, fZipBytes, fSavedBytes */
    cursor_skip(c, version >= 18 ? 8 : 0); /* fFlushedBytes */
    cursor_skip(c, 8 + 3 * 4);             /* fWeight, fTimerInterval, fScanField, fUpdate */
    cursor_skip(c, version >= 17 ? 4 : 0); /* fDefaultEntryOffsetLen */
    uint32_t n_ranges = version >= 19 ? cursor_u4(c) : 0;
    cursor_skip(c, 4 * 8);                     /* fMaxEntries to fAutoSave */
    cursor_skip(c, version >= 18 ? 2 * 8 : 8); /* fAutoFlush, fEstimate */
    if (version >= 19) {
        ranges_skip(c, n_ranges); /* fClusterRangeEnd, fClusterSize */
        ranges_skip(c, n_ranges);
    }
    if (version >= 20)
        frame_skip(c); /* TIOFeatures */
    if (m->n_entries < 0)
        cursor_fail(c, "the tree claims %lld entries", (long long)m->n_entries);
    branches_read(m, MODEL_NONE);
}

/* Return: 0, or SOURCE_E_UNSUPPORTED. */
static int tree_read(struct model *m) {
    struct frame f;
    frame_enter(&m->cursor, &f);
    bool is_known = f.version >= TREE_VERSION_MIN && f.version <= TREE_VERSION_MAX;
    if (m->cursor.has_failed)
        return 0;
    if (is_known)
        tree_members_read(m, f.version);
    else if (!evolved_tree_read(m, f.version) && !m->cursor.has_failed)
        return fault(m->cursor.error, SOURCE_E_UNSUPPORTED,
                     "%s: TTree version %u is not known, and the file does not describe it",
                     m->cursor.what, f.version);
    return 0;
}

static int model_status(const struct model *m) {
    if (!m->cursor.has_failed)
        return 0;
    if (m->status)
        return m->status;
    return m->references.status ? m->references.status : SOURCE_E_CORRUPT;
}

const struct streamers *model_streamers(struct model *m) {
    char error[SOURCE_ERROR_BYTES];
    if (!m->has_streamers) {
        m->has_streamers = true;
        if (streamers_read(&m->streamers, m->source, m->codec, m->memory, error))
            streamers_deinit(&m->streamers);
    }
    return &m->streamers;
}

int model_read(struct model *m, const struct source *s, struct codec *codec, struct memory *memory,
               struct str class_name, const uint8_t *data, uint64_t n_bytes, uint16_t key_bytes,
               const char *what, char *error) {
    *m = (struct model){
        .source = s,
        .codec = codec,
        .memory = memory,
        .cursor = {.data = data, .n_bytes = n_bytes, .what = what, .error = error},
        .references = {.memory = memory, .tag_offset = key_bytes + 2u},
    };
    struct frame f;
    if (!str_is(class_name, "TTree")) /* TNtuple, TNtupleD: a TTree and fNvar */
        frame_enter(&m->cursor, &f);
    int r = tree_read(m);
    return r ? r : model_status(m);
}

void model_deinit(struct model *m) {
    streamers_deinit(&m->streamers);
    references_deinit(&m->references);
    free(m->branches);
    free(m->leaves);
    free(m->leaf_lists);
    *m = (struct model){0};
}
