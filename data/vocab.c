#include "data/vocab.h"

#include "core/mem.h"
#include "data/unicode.h"

#include <string.h>

/* Longer rows of taken slots do not occur unless a file was made to cause them. */
enum { FIRST_SLOTS = 1024, LONGEST_PROBE = 1000, MOST_BYTES = 1 << 30 };

static int64_t slot_of(int64_t slot_count, uint32_t hash) {
    return (int64_t)((hash * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (slot_count - 1);
}

static bool equals(const gf_vocab *v, int32_t id, const char *prefix, size_t prefix_size,
                   const char *bytes, size_t size) {
    const gf_vocab_token *t = &v->tokens[id];
    return t->size == prefix_size + size &&
           memcmp(v->bytes.data + t->start, prefix, prefix_size) == 0 &&
           memcmp(v->bytes.data + t->start + prefix_size, bytes, size) == 0;
}

int32_t gf_vocab_find_hashed(const gf_vocab *v, uint32_t hash, const char *prefix,
                             size_t prefix_size, const char *bytes, size_t size) {
    int64_t at;
    if (!v->slot_count) return -1;
    for (at = slot_of(v->slot_count, hash); v->slots[at].id; at = (at + 1) & (v->slot_count - 1)) {
        int32_t id = v->slots[at].id - 1;
        if (v->slots[at].hash == hash && equals(v, id, prefix, prefix_size, bytes, size)) return id;
    }
    return -1;
}

int32_t gf_vocab_find(const gf_vocab *v, const char *token, size_t size) {
    return gf_vocab_find_hashed(v, gf_vocab_hash((uint32_t)GF_VOCAB_HASH, token, size), "", 0,
                                token, size);
}

const char *gf_vocab_token_of(const gf_vocab *v, int64_t id) {
    if (id < 0 || id >= v->size || !v->tokens[id].start) return NULL;
    return v->bytes.data + v->tokens[id].start;
}

/* Puts a slot in its place: on the slot of id `same`, an equal token, if there is one (>= 0). */
static bool place(gf_vocab_slot *slots, int64_t slot_count, gf_vocab_slot new, int32_t same,
                  const char *where, gf_err *e) {
    int64_t at = slot_of(slot_count, new.hash);
    for (int64_t i = 0; i < LONGEST_PROBE; i++) {
        if (!slots[at].id || (same >= 0 && slots[at].id - 1 == same)) {
            slots[at] = new;
            return true;
        }
        at = (at + 1) & (slot_count - 1);
    }
    return gf_fail(e, GF_E_MODEL, "%s: its tokens are made to collide; use another file", where);
}

/* Moves all slots into a table of `wanted`. */
static bool resize_slots(gf_vocab *v, int64_t wanted, const char *where, gf_err *e) {
    gf_vocab_slot *slots = gf_alloc_array(wanted, sizeof *slots, e);
    if (!slots) return false;
    for (int64_t i = 0; i < v->slot_count; i++) {
        if (!v->slots[i].id || place(slots, wanted, v->slots[i], -1, where, e)) continue;
        gf_free(slots);
        return false;
    }
    gf_free(v->slots);
    v->slots = slots;
    v->slot_count = wanted;
    return true;
}

static bool grow_slots(gf_vocab *v, const char *where, gf_err *e) {
    if (v->count * 2 < v->slot_count) return true;
    return resize_slots(v, v->slot_count ? v->slot_count * 2 : FIRST_SLOTS, where, e);
}

static bool resize_tokens(gf_vocab *v, int64_t wanted, gf_err *e) {
    gf_vocab_token *grown = gf_realloc_array(v->tokens, wanted, sizeof *grown, e);
    if (!grown) return false;
    v->tokens = grown;
    v->capacity = wanted;
    return true;
}

static bool grow_tokens(gf_vocab *v, int64_t id, gf_err *e) {
    int64_t wanted = v->capacity;
    if (id < v->capacity) return true;
    while (wanted <= id) wanted = wanted ? wanted * 2 : FIRST_SLOTS;
    return resize_tokens(v, wanted, e);
}

bool gf_vocab_reserve(gf_vocab *v, size_t tokens, gf_err *e) {
    int64_t count = tokens < GF_VOCAB_MOST ? (int64_t)tokens : GF_VOCAB_MOST, slots = FIRST_SLOTS;
    while (slots <= 2 * count) slots *= 2;
    return (count <= v->capacity || resize_tokens(v, count, e)) &&
           (slots <= v->slot_count || resize_slots(v, slots, "", e));
}

static bool check(const gf_vocab *v, const char *token, size_t size, int64_t id, const char *where,
                  gf_err *e) {
    if (id < 0 || id >= GF_VOCAB_MOST)
        return gf_fail(e, GF_E_MODEL, "%s: the id %lld is out of bounds; ids are 0 to %d", where,
                       (long long)id, GF_VOCAB_MOST - 1);
    if (id < v->size && v->tokens[id].start)
        return gf_fail(e, GF_E_MODEL, "%s: the id %lld belongs to two tokens; ids must differ",
                       where, (long long)id);
    if (v->bytes.length > MOST_BYTES || size > MOST_BYTES)
        return gf_fail(e, GF_E_MODEL, "%s: its tokens are too long; 1 GiB is allowed", where);
    if (memchr(token, 0, size) || !gf_unicode_is_valid(token, size))
        return gf_fail(e, GF_E_MODEL, "%s: the token of id %lld is not text in UTF-8", where,
                       (long long)id);
    return true;
}

bool gf_vocab_add(gf_vocab *v, const char *token, size_t size, int64_t id, const char *where,
                  gf_err *e) {
    uint32_t hash = gf_vocab_hash((uint32_t)GF_VOCAB_HASH, token, size);
    int32_t same = gf_vocab_find_hashed(v, hash, "", 0, token, size);
    gf_vocab_slot slot = {hash, (int32_t)id + 1};
    size_t start;
    if (!check(v, token, size, id, where, e) || !grow_slots(v, where, e) || !grow_tokens(v, id, e))
        return false;
    if (!v->bytes.length && !gf_text_add_bytes(&v->bytes, "", 1, e)) return false;
    start = v->bytes.length;
    if (!gf_text_add_bytes(&v->bytes, token, size, e) ||
        !place(v->slots, v->slot_count, slot, same, where, e))
        return false;
    v->bytes.length++; /* the 0 behind it */
    v->tokens[id] = (gf_vocab_token){(uint32_t)start, (uint32_t)size};
    if (same >= 0)
        v->tokens[same] = (gf_vocab_token){0};
    else
        v->count++;
    if (id >= v->size) v->size = id + 1;
    if (size > v->longest) v->longest = size;
    return true;
}

void gf_vocab_free(gf_vocab *v) {
    gf_text_free(&v->bytes);
    gf_free(v->tokens);
    gf_free(v->slots);
    *v = (gf_vocab){0};
}
