#include "data/mask.h"

#include "core/mem.h"
#include "core/rng.h"
#include "data/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STARTS, CONTINUES, SPECIAL };

/* ---- what is known of a vocabulary ---- */

static bool check_settings(const gf_mask_settings *s, gf_err *e) {
    if (!(s->probability > 0 && s->probability <= 1))
        return gf_fail(e, GF_E_INVALID,
                       "masking: the probability is %g; a share above 0, at most 1, is wanted",
                       s->probability);
    if (!(s->mask_share >= 0 && s->random_share >= 0 && s->mask_share + s->random_share <= 1))
        return gf_fail(
            e, GF_E_INVALID,
            "masking: the shares of [MASK] and of random tokens are %g and %g; they must "
            "not be negative nor together be more than 1",
            s->mask_share, s->random_share);
    return true;
}

static void mark_special(gf_masker *k, int32_t id) {
    if (id >= 0 && id < k->size) k->kind[id] = SPECIAL;
}

bool gf_masker_make(gf_masker *k, const gf_tokenizer *t, const gf_mask_settings *s, gf_err *e) {
    size_t prefix = strlen(t->prefix);
    *k = (gf_masker){
        .settings = *s, .size = gf_tokenizer_size(t), .mask = gf_tokenizer_special(t, GF_MASK)};
    if (!check_settings(s, e)) return false;
    if (k->mask < 0)
        return gf_fail(e, GF_E_MODEL,
                       "masking: the vocabulary has no \"%s\"; choose a base with a mask token",
                       t->name[GF_MASK]);
    if (!(k->kind = gf_alloc_array(k->size, sizeof *k->kind, e))) return false;
    for (int64_t id = 0; prefix > 0 && id < k->size; id++) {
        const char *token = gf_vocab_token_of(&t->vocab, id);
        if (token && strncmp(token, t->prefix, prefix) == 0) k->kind[id] = CONTINUES;
    }
    for (int i = 0; i < GF_SPECIALS; i++) mark_special(k, gf_tokenizer_special(t, (gf_special)i));
    for (int64_t i = 0; i < t->added.count; i++)
        if (t->added.items[i].special) mark_special(k, t->added.items[i].id);
    return true;
}

void gf_masker_free(gf_masker *k) {
    gf_free(k->kind);
    *k = (gf_masker){0};
}

/* ---- one row ---- */

typedef struct row_job {
    const gf_masker *masker;
    const gf_mask_place *place;
    int64_t row;           /* in the data set */
    int64_t count;         /* tokens */
    const int32_t *ids;    /* [count] as they are */
    unsigned char *chosen; /* [count] */
    gf_masked_word *words; /* room for `count` */
} row_job;

/* What a token's numbers are for. */
enum { CHOICE, FATE, OTHER, ORDER };

/* The four numbers of a token. The key is another than that of dropout. */
static void draw(const row_job *j, int64_t token, uint32_t out[4]) {
    uint64_t seed = j->place->seed ^ gf_rng_stream("mask");
    uint32_t counter[4] = {(uint32_t)token, (uint32_t)j->row, (uint32_t)j->place->epoch,
                           (uint32_t)j->place->phase};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    gf_philox(counter, key, out);
}

static double share_of(uint32_t number) { return (double)number * 0x1p-32; }

static int kind_of(const row_job *j, int64_t token) {
    int32_t id = j->ids[token];
    return id >= 0 && id < j->masker->size ? j->masker->kind[id] : SPECIAL;
}

static void choose_tokens(const row_job *j) {
    uint32_t numbers[4];
    for (int64_t i = 0; i < j->count; i++) {
        draw(j, i, numbers);
        j->chosen[i] =
            kind_of(j, i) != SPECIAL && share_of(numbers[CHOICE]) < j->masker->settings.probability;
    }
}

/* The row's words; how many. A piece that continues nothing is a word of its own. */
static int64_t find_words(const row_job *j) {
    uint32_t numbers[4];
    int64_t n = 0;
    bool inside = false;
    for (int64_t i = 0; i < j->count; i++) {
        int kind = kind_of(j, i);
        if (kind == CONTINUES && inside) {
            j->words[n - 1].count++;
        } else if (kind != SPECIAL) {
            draw(j, i, numbers);
            j->words[n++] = (gf_masked_word){numbers[ORDER], (int32_t)i, 1};
        }
        inside = kind != SPECIAL;
    }
    return n;
}

static int by_key(const void *a, const void *b) {
    const gf_masked_word *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static void choose_word(const row_job *j, const gf_masked_word *w) {
    for (int32_t i = 0; i < w->count; i++) j->chosen[w->first + i] = 1;
}

static void choose_words(const row_job *j) {
    int64_t n = find_words(j), wanted, got = 0;
    wanted = (int64_t)rint(j->masker->settings.probability * (double)j->count);
    if (wanted < 1) wanted = 1;
    for (int64_t i = 0; i < j->count; i++) j->chosen[i] = 0;
    qsort(j->words, (size_t)n, sizeof *j->words, by_key);
    for (int64_t i = 0; i < n && got < wanted; i++) {
        if (got + j->words[i].count > wanted) continue;
        choose_word(j, &j->words[i]);
        got += j->words[i].count;
    }
    if (got == 0 && n > 0) choose_word(j, &j->words[0]);
}

/* What stands in the place of a chosen token. */
static int32_t replacement(const row_job *j, int64_t token) {
    const gf_mask_settings *s = &j->masker->settings;
    uint32_t numbers[4];
    double fate;
    draw(j, token, numbers);
    fate = share_of(numbers[FATE]);
    if (fate < s->mask_share) return j->masker->mask;
    if (fate >= s->mask_share + s->random_share) return j->ids[token];
    /* uniform to within size / 2^32 */
    return (int32_t)((uint64_t)numbers[OTHER] * (uint64_t)j->masker->size >> 32);
}

/* ---- a batch ---- */

static bool reserve(gf_masked *out, int64_t tokens, gf_err *e) {
    void *p;
    if (tokens <= out->capacity_tokens) return true;
    if (!(p = gf_realloc_array(out->positions, tokens, sizeof *out->positions, e))) return false;
    out->positions = p;
    if (!(p = gf_realloc_array(out->labels, tokens, sizeof *out->labels, e))) return false;
    out->labels = p;
    if (!(p = gf_realloc_array(out->ids, tokens, sizeof *out->ids, e))) return false;
    out->ids = p;
    if (!(p = gf_realloc_array(out->chosen, tokens, sizeof *out->chosen, e))) return false;
    out->chosen = p;
    if (!(p = gf_realloc_array(out->words, tokens, sizeof *out->words, e))) return false;
    out->words = p;
    out->capacity_tokens = tokens;
    return true;
}

static void mask_row(gf_masked *out, const row_job *j, int64_t start) {
    if (j->masker->settings.whole_word)
        choose_words(j);
    else
        choose_tokens(j);
    for (int64_t i = 0; i < j->count; i++) {
        out->ids[start + i] = j->chosen[i] ? replacement(j, i) : j->ids[i];
        if (!j->chosen[i]) continue;
        out->positions[out->count] = (int32_t)(start + i);
        out->labels[out->count++] = j->ids[i];
    }
}

bool gf_mask_make(gf_masked *out, const gf_masker *k, const gf_batch *b, const gf_mask_place *place,
                  gf_err *e) {
    if (!reserve(out, b->tokens, e)) return false;
    out->count = 0;
    for (int64_t s = 0; s < b->sequences; s++) {
        row_job j = {
            k,           place,     b->row[s], b->start[s + 1] - b->start[s], b->ids + b->start[s],
            out->chosen, out->words};
        mask_row(out, &j, b->start[s]);
    }
    out->batch = (gf_batch){.sequences = b->sequences,
                            .tokens = b->tokens,
                            .ids = out->ids,
                            .start = b->start,
                            .row = b->row};
    return true;
}

void gf_masked_free(gf_masked *out) {
    gf_free(out->positions);
    gf_free(out->labels);
    gf_free(out->ids);
    gf_free(out->chosen);
    gf_free(out->words);
    *out = (gf_masked){0};
}
