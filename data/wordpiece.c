#include "data/wordpiece.h"

#include "core/mem.h"
#include "data/tokenizer.h"

#include <string.h>

/* One call of gf_tokenizer_encode(). */
typedef struct encoder {
    const gf_tokenizer *t;
    gf_ids *ids;
    int64_t room; /* how many pieces may still be kept */
    gf_encoding *out;
    gf_text text; /* the normalised text of the part at hand */
    gf_err *e;
} encoder;

static bool push(gf_ids *ids, int32_t id, gf_err *e) {
    if (!gf_grow(&ids->id, ids->count, &ids->capacity, sizeof *ids->id, e)) return false;
    ids->id[ids->count++] = id;
    return true;
}

static bool keep(encoder *c, int32_t id) {
    c->out->pieces++;
    if (c->room == 0) return true;
    c->room--;
    c->out->unknown += id == c->t->special[GF_UNK];
    return push(c->ids, id, c->e);
}

/* The longest piece at the front of `bytes`, its size in *length; -1 when there is none. One pass
 * hashes all prefixes, then they are looked up from the longest down (a prefix that ends within a
 * character matches nothing, since all tokens are well-formed). */
static int32_t longest_piece(const gf_tokenizer *t, const char *prefix, const char *bytes,
                             size_t size, size_t *length) {
    uint32_t hashes[4 * GF_LONGEST_WORD + 1];
    size_t prefix_size = strlen(prefix), end = size;
    if (prefix_size + end > t->vocab.longest)
        end = t->vocab.longest > prefix_size ? t->vocab.longest - prefix_size : 0;
    hashes[0] = gf_vocab_hash((uint32_t)GF_VOCAB_HASH, prefix, prefix_size);
    for (size_t i = 0; i < end; i++) hashes[i + 1] = gf_vocab_hash(hashes[i], bytes + i, 1);
    for (; end > 0; end--) {
        int32_t id = gf_vocab_find_hashed(&t->vocab, hashes[end], prefix, prefix_size, bytes, end);
        if (id < 0) continue;
        *length = end;
        return id;
    }
    return -1;
}

/* Divides a word into pieces; their count, 0 when that fails. */
static int64_t split_word(const gf_tokenizer *t, const char *word, size_t size, int32_t *pieces) {
    int64_t count = 0;
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        const char *prefix = at ? t->prefix : "";
        if ((pieces[count++] = longest_piece(t, prefix, word + at, size - at, &length)) < 0)
            return 0;
    }
    return count;
}

static bool encode_words(encoder *c, const char *text, size_t size) {
    int32_t pieces[GF_LONGEST_WORD];
    gf_word w;
    for (size_t at = 0; gf_bert_next_word(&c->t->bert, text, size, &at, &w);) {
        int64_t count = 0;
        if (w.chars <= c->t->max_chars)
            count = split_word(c->t, text + w.start, w.end - w.start, pieces);
        if (count == 0) pieces[count++] = c->t->special[GF_UNK];
        for (int64_t i = 0; i < count; i++)
            if (!keep(c, pieces[i])) return false;
    }
    return true;
}

/* Text without raw added tokens: the normalised ones are cut out of its normalised form. */
static bool encode_between(encoder *c, const char *bytes, size_t size) {
    gf_cut cut;
    gf_part p;
    c->text.length = 0;
    if (!gf_bert_normalize(&c->t->bert, bytes, size, &c->text, c->e)) return false;
    cut = gf_cut_start(&c->t->added, true, c->text.data, c->text.length);
    while (gf_cut_next(&cut, &p))
        if (p.id >= 0 ? !keep(c, p.id) : !encode_words(c, c->text.data + p.start, p.end - p.start))
            return false;
    return true;
}

static bool encode_text(encoder *c, const char *bytes, size_t size) {
    gf_cut cut = gf_cut_start(&c->t->added, false, bytes, size);
    gf_part p;
    if (!push(c->ids, c->t->special[GF_CLS], c->e)) return false;
    while (gf_cut_next(&cut, &p))
        if (p.id >= 0 ? !keep(c, p.id) : !encode_between(c, bytes + p.start, p.end - p.start))
            return false;
    return push(c->ids, c->t->special[GF_SEP], c->e);
}

bool gf_tokenizer_encode(const gf_tokenizer *t, const char *text, size_t size, int64_t max_length,
                         gf_ids *ids, gf_encoding *out, gf_err *e) {
    encoder c = {.t = t, .ids = ids, .room = max_length - 2, .out = out, .e = e};
    bool ok;
    if (max_length < 2)
        return gf_fail(e, GF_E_USAGE,
                       "max_length is %lld; [CLS] and [SEP] alone take 2, so use more",
                       (long long)max_length);
    *out = (gf_encoding){.first = ids->count};
    ok = encode_text(&c, text, size);
    if (!ok) ids->count = out->first;
    out->count = ids->count - out->first;
    out->truncated = out->pieces > max_length - 2;
    gf_text_free(&c.text);
    return ok;
}

const char *gf_tokenizer_token(const gf_tokenizer *t, int32_t id) {
    const char *token = gf_vocab_token_of(&t->vocab, id);
    for (int64_t i = 0; !token && i < t->added.count; i++)
        if (t->added.items[i].id == id) token = t->added.items[i].content;
    return token;
}

int64_t gf_tokenizer_size(const gf_tokenizer *t) { return t->size; }

int64_t gf_tokenizer_max_length(const gf_tokenizer *t) { return t->max_length; }

int32_t gf_tokenizer_special(const gf_tokenizer *t, gf_special which) { return t->special[which]; }
