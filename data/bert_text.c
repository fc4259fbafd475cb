#include "data/bert_text.h"

#include "core/mem.h"
#include "data/unicode.h"

#include <string.h>

enum {
    REMOVED = 128,
    /* Marks that follow each other are put in canonical order up to this many bytes. A longer row
     * is part of a word that no vocabulary holds, and sorting it would take quadratic time. */
    LONGEST_ROW = 4096
};

gf_bert gf_bert_make(gf_bert_rules rules) {
    gf_bert b = {.rules = rules};
    for (int32_t c = 0; c < 128; c++) {
        int32_t low[2];
        unsigned flags = gf_unicode_class(c);
        b.flags[c] = (unsigned char)flags;
        b.ascii[c] = (unsigned char)c;
        if (rules.clean_text && (flags & GF_UNICODE_DROP))
            b.ascii[c] = REMOVED;
        else if (rules.clean_text && (flags & GF_UNICODE_SPACE))
            b.ascii[c] = ' ';
        else if (rules.lowercase && gf_unicode_lower(c, low) == 1)
            b.ascii[c] = (unsigned char)low[0];
    }
    return b;
}

static bool make_room(gf_text *t, size_t more, gf_err *e) {
    size_t wanted, doubled = (size_t)t->capacity * 2;
    char *grown;
    if (!gf_add_size(t->length + 1, more, &wanted) || wanted > INT64_MAX / 2)
        return gf_fail(e, GF_E_NOMEM, "out of memory: a text grows too long");
    if (wanted <= (size_t)t->capacity) return true;
    if (wanted < doubled) wanted = doubled;
    if (!(grown = gf_realloc_array(t->data, (int64_t)wanted, 1, e))) return false;
    t->data = grown;
    t->capacity = (int64_t)wanted;
    return true;
}

/* The state of one call. `row` is where the present row of characters with a combining class other
 * than 0 begins in the output. */
typedef struct normalizer {
    const gf_bert *bert;
    gf_text *out;
    size_t row;
} normalizer;

/* Where a character of this combining class belongs among those of its row (Unicode's canonical
 * ordering: a stable sort by class). */
static size_t place_in_row(const normalizer *n, int order) {
    const gf_text *out = n->out;
    size_t at = out->length;
    while (at > n->row && out->length - n->row <= LONGEST_ROW) {
        size_t before = gf_unicode_back(out->data, at), end = before;
        if (gf_unicode_order(gf_unicode_decode(out->data, out->length, &end)) <= order) break;
        at = before;
    }
    return at;
}

/* Writes a character of the cleaned text, which is a part of a decomposition if accents go. */
static void put(normalizer *n, int32_t c) {
    const gf_bert_rules *rules = &n->bert->rules;
    char bytes[2 * GF_UNICODE_MOST_BYTES];
    int order = rules->strip_accents ? gf_unicode_order(c) : 0, count = 1;
    int32_t low[2] = {c};
    size_t size = 0, at;
    if (rules->lowercase) count = gf_unicode_lower(c, low);
    if (rules->strip_accents && (gf_unicode_class(c) & GF_UNICODE_MARK)) count = 0;
    for (int i = 0; i < count; i++) size += gf_unicode_encode(low[i], bytes + size);
    at = order ? place_in_row(n, order) : n->out->length;
    memmove(n->out->data + at + size, n->out->data + at, n->out->length - at);
    memcpy(n->out->data + at, bytes, size);
    n->out->length += size;
    if (order == 0) n->row = n->out->length;
}

static bool put_other(normalizer *n, int32_t c, gf_err *e) {
    const gf_bert_rules *rules = &n->bert->rules;
    unsigned flags = gf_unicode_class(c);
    int32_t parts[GF_UNICODE_LONGEST] = {c};
    int count = 1;
    bool spaced = rules->chinese && (flags & GF_UNICODE_CHINESE);
    if (rules->clean_text && (flags & GF_UNICODE_DROP)) return true;
    if (rules->clean_text && (flags & GF_UNICODE_SPACE)) parts[0] = ' ';
    if (!make_room(n->out, 2 + 2 * GF_UNICODE_LONGEST * GF_UNICODE_MOST_BYTES, e)) return false;
    if (rules->strip_accents) count = gf_unicode_decompose(parts[0], parts);
    if (spaced) put(n, ' ');
    for (int i = 0; i < count; i++) put(n, parts[i]);
    if (spaced) put(n, ' ');
    return true;
}

/* Writes the ASCII characters at the front of the bytes; returns how many they are. */
static size_t put_ascii(normalizer *n, const char *bytes, size_t size) {
    char *out = n->out->data + n->out->length;
    size_t i;
    for (i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 128) break;
        *out = (char)n->bert->ascii[c];
        out += n->bert->ascii[c] != REMOVED;
    }
    /* Characters that clean_text removes do not end a row; the others do. */
    if (out != n->out->data + n->out->length) n->row = (size_t)(out - n->out->data);
    n->out->length = (size_t)(out - n->out->data);
    return i;
}

bool gf_bert_normalize(const gf_bert *b, const char *bytes, size_t size, gf_text *out, gf_err *e) {
    normalizer n = {b, out, out->length};
    for (size_t at = 0; at < size;) {
        /* Room for all that is left, as if it were ASCII: mostly the only growth. */
        if (!make_room(out, size - at, e)) return false;
        at += put_ascii(&n, bytes + at, size - at);
        while (at < size && (unsigned char)bytes[at] >= 128)
            if (!put_other(&n, gf_unicode_decode(bytes, size, &at), e)) return false;
    }
    if (out->data) out->data[out->length] = 0;
    return true;
}

static unsigned flags_at(const gf_bert *b, const char *text, size_t size, size_t *at) {
    unsigned char c = (unsigned char)text[*at];
    if (c >= 128) return gf_unicode_class(gf_unicode_decode(text, size, at));
    ++*at;
    return b->flags[c];
}

bool gf_bert_next_word(const gf_bert *b, const char *text, size_t size, size_t *at, gf_word *w) {
    w->chars = 0;
    w->start = w->end = *at;
    while (*at < size) {
        unsigned flags = flags_at(b, text, size, at);
        bool ends = (flags & (GF_UNICODE_SPACE | GF_UNICODE_PUNCT)) != 0;
        if (ends && w->chars > 0) {
            *at = w->end; /* it is read again: as space, or as the next word */
            return true;
        }
        if (flags & GF_UNICODE_SPACE) {
            w->start = w->end = *at;
            continue;
        }
        w->end = *at;
        w->chars++;
        if (ends) return true;
    }
    return w->chars > 0;
}
