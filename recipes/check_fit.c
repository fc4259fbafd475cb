/* check, of lengths in tokens and of how well the vocabulary fits the words. */
#include "recipes/check_parts.h"

#include "core/json.h"
#include "core/mem.h"
#include "data/unicode.h"

#include <stdlib.h>
#include <string.h>

/* ---- lengths ---- */

typedef struct lengths {
    int64_t *length; /* [rows] in tokens, special ones included, uncut; then sorted */
    int64_t rows, tokens, unknown, cut, unlabelled, empty;
} lengths;

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The least length that this share of the rows does not exceed; in thousandths. */
static int64_t quantile(const lengths *l, int64_t share) {
    int64_t rank = (l->rows * share + 999) / 1000;
    return l->rows ? l->length[rank > 0 ? rank - 1 : 0] : 0;
}

static bool measure(const gf_checking *c, const gf_split *s, lengths *l, gf_err *e) {
    gf_ids ids = {0};
    bool ok = (l->length = gf_alloc_array(s->rows, sizeof *l->length, e)) != NULL;
    l->rows = s->rows;
    for (int64_t i = 0; ok && i < s->rows; i++) {
        gf_encoding encoding = {0};
        ids.count = 0;
        ok = gf_tokenizer_encode(c->tokenizer, gf_care_text(c->care, s, i), s->row[i].size,
                                 INT32_MAX, &ids, &encoding, e);
        l->length[i] = encoding.pieces + 2;
        l->tokens += l->length[i];
        l->unknown += encoding.unknown;
        l->cut += l->length[i] > c->max_length;
        l->empty += gf_care_is_blank(gf_care_text(c->care, s, i), s->row[i].size);
    }
    gf_free(ids.id);
    if (ok) qsort(l->length, (size_t)l->rows, sizeof *l->length, ascending);
    return ok;
}

static bool has_label(const gf_checking *c, const gf_split *s, int64_t row) {
    for (int64_t t = 0; t < c->recipe->n_tasks; t++)
        if (s->label[t][row].class >= 0 || s->label[t][row].class == GF_LABEL_OTHER) return true;
    return c->recipe->n_tasks == 0 || s == &c->care->split[GF_MLM_TEXTS];
}

static bool find_unlabelled(gf_checking *c, const gf_split *s, lengths *l, gf_err *e) {
    gf_finding *f = NULL;
    bool ok = true;
    for (int64_t i = 0; ok && i < s->rows; i++) {
        if (has_label(c, s, i)) continue;
        if (!f) f = gf_findings_add(&c->findings, "unlabelled_rows", false, 0, e);
        ok = f && gf_check_place(c, f, s, i, e);
        l->unlabelled++;
    }
    if (!ok || !f) return ok;
    f->count = l->unlabelled;
    f->split = s->name;
    return gf_check_say_rows(f, "no label of any task", s, e);
}

/* Cutting 5 % of the texts is usual, a fifth of them is a loss. */
static bool find_cut(gf_checking *c, const gf_split *s, const lengths *l, gf_err *e) {
    int64_t five = quantile(l, 950), one = quantile(l, 990);
    int64_t wanted = five < c->positions ? five : c->positions;
    gf_finding *f;
    if (l->cut * 20 <= l->rows) return true;
    f = gf_findings_add(&c->findings, "truncated_texts", l->cut * 5 > l->rows, l->cut, e);
    if (!f) return false;
    f->split = s->name;
    return gf_check_say_rows(f, "more tokens than max_length", s, e) &&
           gf_text_add(&f->what, e,
                       ", %lld: the rest is cut off; %lld would cut 5 %% of the rows, %lld 1 %% "
                       "(the base has %lld positions)",
                       (long long)c->max_length, (long long)five, (long long)one,
                       (long long)c->positions) &&
           (wanted <= c->max_length ||
            gf_text_add(&f->fix, e, "--set model.max_length=%lld", (long long)wanted));
}

static bool print_lengths(gf_checking *c, const gf_split *s, const lengths *l, gf_err *e) {
    gf_text *out = &c->out->text;
    int64_t pieces = l->tokens - 2 * l->rows;
    return gf_check_print_files(c, (int)(s - c->care->split), e) &&
           gf_text_add(out, e, "  %lld rows, %.1f tokens each; 50 %% have up to %lld, ",
                       (long long)l->rows, l->rows ? (double)l->tokens / (double)l->rows : 0,
                       (long long)quantile(l, 500)) &&
           gf_text_add(out, e, "95 %% %lld, 99 %% %lld, all %lld\n", (long long)quantile(l, 950),
                       (long long)quantile(l, 990), (long long)quantile(l, 1000)) &&
           gf_text_add(out, e, "  truncated at %lld tokens: %lld rows (%.1f %%)\n",
                       (long long)c->max_length, (long long)l->cut,
                       gf_check_percent(l->cut, l->rows)) &&
           gf_text_add(out, e, "  [UNK]: %lld of %lld pieces (%.2f %%)\n", (long long)l->unknown,
                       (long long)pieces, gf_check_percent(l->unknown, pieces)) &&
           (s != &c->care->split[GF_MLM_TEXTS] ||
            gf_text_add(out, e, "  empty lines: %lld\n", (long long)l->empty)) &&
           (!l->unlabelled ||
            gf_text_add(out, e, "  without any label: %lld rows\n", (long long)l->unlabelled));
}

static bool lengths_to_json(const gf_checking *c, const gf_split *s, const lengths *l, cJSON *all,
                            gf_err *e) {
    cJSON *j = gf_json_object(all, s->name, e), *q;
    return j && gf_check_files_to_json(c, (int)(s - c->care->split), j, e) &&
           gf_json_number(j, "rows", (double)l->rows, e) &&
           gf_json_number(j, "without_label", (double)l->unlabelled, e) &&
           gf_json_number(j, "empty", (double)l->empty, e) &&
           gf_json_number(j, "tokens", (double)l->tokens, e) &&
           gf_json_number(j, "unknown_pieces", (double)l->unknown, e) &&
           gf_json_number(j, "max_length", (double)c->max_length, e) &&
           gf_json_number(j, "truncated", (double)l->cut, e) &&
           (q = gf_json_object(j, "length", e)) &&
           gf_json_number(q, "p50", (double)quantile(l, 500), e) &&
           gf_json_number(q, "p95", (double)quantile(l, 950), e) &&
           gf_json_number(q, "p99", (double)quantile(l, 990), e) &&
           gf_json_number(q, "max", (double)quantile(l, 1000), e);
}

bool gf_check_lengths(gf_checking *c, gf_err *e) {
    cJSON *all = gf_json_object(c->out->json, "splits", e);
    bool ok = all != NULL;
    for (int i = 0; ok && i < GF_PARTS; i++) {
        const gf_split *s = &c->care->split[i];
        lengths l = {0};
        if (!s->named) continue;
        ok = measure(c, s, &l, e) && find_cut(c, s, &l, e) && find_unlabelled(c, s, &l, e) &&
             print_lengths(c, s, &l, e) && lengths_to_json(c, s, &l, all, e);
        gf_free(l.length);
    }
    return ok;
}

/* ---- words ---- */

enum { LONGEST_WORD = 200, MOST_BROKEN = 10 };

typedef struct word {
    uint64_t hash;
    size_t start; /* in `bytes` */
    int32_t size, pieces;
    int64_t count; /* 0: a free slot */
    bool unknown;
} word;

/* The different words, by hashing with open addressing. */
typedef struct words {
    word *slot; /* [slots], a power of two, at most half of them taken */
    int64_t slots, taken;
    gf_text bytes;
    int64_t all, pieces, whole, unknown; /* words; their pieces; of one piece; [UNK] */
} words;

static uint64_t hash_word(const char *text, size_t size) { /* FNV-1a, 64 bits */
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

static word *find_slot(word *slot, int64_t slots, uint64_t hash) {
    uint64_t at = hash & (uint64_t)(slots - 1);
    while (slot[at].count && slot[at].hash != hash) at = (at + 1) & (uint64_t)(slots - 1);
    return &slot[at];
}

static bool grow_words(words *w, gf_err *e) {
    int64_t slots = w->slots ? w->slots * 2 : 1 << 14;
    word *slot;
    if (w->taken * 2 < w->slots) return true;
    if (!(slot = gf_alloc_array(slots, sizeof *slot, e))) return false;
    for (int64_t i = 0; i < w->slots; i++)
        if (w->slot[i].count) *find_slot(slot, slots, w->slot[i].hash) = w->slot[i];
    gf_free(w->slot);
    w->slot = slot;
    w->slots = slots;
    return true;
}

static bool count_word(words *w, const char *text, size_t size, gf_err *e) {
    word *s;
    if (!grow_words(w, e)) return false;
    s = find_slot(w->slot, w->slots, hash_word(text, size));
    if (s->count++) return true;
    w->taken++;
    s->hash = hash_word(text, size);
    s->start = w->bytes.length;
    s->size = (int32_t)size;
    return gf_text_add_bytes(&w->bytes, text, size, e);
}

/* A word ends at white space, punctuation and Chinese characters, as in BERT; punctuation, which is
 * one piece always, does not count. Case is left: what it means is the vocabulary's rule. */
static bool count_words(words *w, const char *text, size_t size, gf_err *e) {
    const unsigned apart = GF_UNICODE_SPACE | GF_UNICODE_PUNCT;
    size_t start = 0;
    bool ok = true;
    for (size_t at = 0, here; ok && at < size;) {
        unsigned flags;
        int32_t c;
        here = at;
        c = gf_unicode_decode(text, size, &at);
        flags = c <= ' ' ? apart : gf_unicode_class(c);
        if (flags & (apart | GF_UNICODE_CHINESE)) {
            if (here > start && here - start <= LONGEST_WORD)
                ok = count_word(w, text + start, here - start, e);
            start = at;
            if (ok && flags & GF_UNICODE_CHINESE) ok = count_word(w, text + here, at - here, e);
        }
    }
    if (ok && size > start && size - start <= LONGEST_WORD)
        ok = count_word(w, text + start, size - start, e);
    return ok;
}

static bool cut_words(const gf_checking *c, words *w, gf_err *e) {
    gf_ids ids = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < w->slots; i++) {
        word *s = &w->slot[i];
        gf_encoding encoding = {0};
        if (!s->count) continue;
        ids.count = 0;
        ok = gf_tokenizer_encode(c->tokenizer, w->bytes.data + s->start, (size_t)s->size, INT32_MAX,
                                 &ids, &encoding, e);
        s->pieces = (int32_t)encoding.pieces;
        s->unknown = encoding.unknown > 0;
        if (s->pieces == 0) continue; /* control characters, which the tokenizer drops */
        w->all += s->count;
        w->pieces += s->count * s->pieces;
        w->whole += s->count * (s->pieces == 1 && !s->unknown);
        w->unknown += s->count * s->unknown;
    }
    gf_free(ids.id);
    return ok;
}

/* The words that cost most: count times the pieces beyond the first; ties by the bytes. */
static bool costs_more(const words *w, const word *a, const word *b) {
    int64_t x = a->count * (a->pieces - 1), y = b->count * (b->pieces - 1);
    int n = memcmp(w->bytes.data + a->start, w->bytes.data + b->start,
                   (size_t)(a->size < b->size ? a->size : b->size));
    if (x != y) return x > y;
    return n != 0 ? n < 0 : a->size < b->size;
}

static int64_t find_broken(const words *w, const word **best) {
    int64_t n = 0;
    for (int64_t i = 0; i < w->slots; i++) {
        const word *s = &w->slot[i];
        int64_t at = n;
        if (!s->count || s->pieces < 2) continue;
        while (at > 0 && costs_more(w, s, best[at - 1])) at--;
        if (at == MOST_BROKEN) continue;
        if (n < MOST_BROKEN) n++;
        for (int64_t k = n - 1; k > at; k--) best[k] = best[k - 1];
        best[at] = s;
    }
    return n;
}

static bool list_broken(const gf_checking *c, const words *w, cJSON *list, gf_text *line,
                        gf_err *e) {
    const word *best[MOST_BROKEN];
    int64_t n = find_broken(w, best);
    bool ok = gf_text_add(line, e, n ? "broken most often:" : "");
    for (int64_t i = 0; ok && i < n; i++) {
        cJSON *j = gf_json_object(list, NULL, e), *pieces = NULL;
        gf_text name = {0};
        gf_encoding encoding = {0};
        gf_ids ids = {0};
        ok = j &&
             gf_text_add_valid(&name, w->bytes.data + best[i]->start, (size_t)best[i]->size, e) &&
             gf_json_string(j, "word", name.data, e) &&
             gf_json_number(j, "count", (double)best[i]->count, e) &&
             (pieces = gf_json_array(j, "pieces", e)) &&
             gf_tokenizer_encode(c->tokenizer, name.data, name.length, INT32_MAX, &ids, &encoding,
                                 e) &&
             gf_text_add(line, e, "%s %s (%lld x %d)", i ? "," : "", name.data,
                         (long long)best[i]->count, (int)best[i]->pieces);
        for (int64_t k = 1; ok && k < ids.count - 1; k++) {
            const char *token = gf_tokenizer_token(c->tokenizer, ids.id[k]);
            ok = gf_json_string(pieces, NULL, token ? token : "", e) != NULL;
        }
        gf_free(ids.id);
        gf_text_free(&name);
    }
    return ok;
}

static const char *judge(double pieces, double unknown) {
    if (unknown > 1)
        return "Many words are unknown to this vocabulary; take a base whose vocabulary has the "
               "data's script and language.";
    if (pieces > 1.6)
        return "As a rule of thumb, above 1.6 pieces per word a base with another vocabulary (of "
               "the data's language or field) is worth a try; compare its figure here.";
    return "As a rule of thumb, up to 1.6 pieces per word a vocabulary fits well enough.";
}

static bool find_unfit(gf_checking *c, double pieces, const words *w, gf_err *e) {
    double unknown = gf_check_percent(w->unknown, w->all);
    gf_finding *f;
    if (unknown <= 1 && pieces <= 1.6) return true;
    f = gf_findings_add(&c->findings, unknown > 1 ? "unknown_words" : "broken_words", unknown > 1,
                        unknown > 1 ? w->unknown : w->all - w->whole, e);
    return f &&
           gf_text_add(&f->what, e, "%.2f pieces per word, %.2f %% of the words are [UNK]. %s",
                       pieces, unknown, judge(pieces, unknown)) &&
           gf_text_add(&f->fix, e, "--set model.base=FOLDER");
}

static bool tell_vocabulary(gf_checking *c, const words *w, gf_err *e) {
    double pieces = w->all ? (double)w->pieces / (double)w->all : 0;
    double whole = gf_check_percent(w->whole, w->all),
           unknown = gf_check_percent(w->unknown, w->all);
    gf_text *out = &c->out->text, line = {0};
    cJSON *j = gf_json_object(c->out->json, "vocabulary", e), *broken = NULL;
    bool ok = j && gf_json_number(j, "size", (double)gf_tokenizer_size(c->tokenizer), e) &&
              gf_json_number(j, "words", (double)w->all, e) &&
              gf_json_number(j, "different_words", (double)w->taken, e) &&
              gf_json_number(j, "pieces_per_word", pieces, e) &&
              gf_json_number(j, "whole_percent", whole, e) &&
              gf_json_number(j, "unknown_percent", unknown, e) &&
              (broken = gf_json_array(j, "broken", e));
    ok = ok &&
         gf_text_add(out, e,
                     "vocabulary of %lld pieces on %lld words (%lld different)\n"
                     "  %.2f pieces per word; %.1f %% of words whole, %.2f %% [UNK]\n",
                     (long long)gf_tokenizer_size(c->tokenizer), (long long)w->all,
                     (long long)w->taken, pieces, whole, unknown) &&
         list_broken(c, w, broken, &line, e) &&
         (!line.length || gf_text_add_wrapped(out, "  ", "    ", line.data, e)) &&
         gf_text_add_wrapped(out, "  ", "  ", judge(pieces, unknown), e) &&
         find_unfit(c, pieces, w, e);
    gf_text_free(&line);
    return ok;
}

bool gf_check_vocabulary(gf_checking *c, gf_err *e) {
    words w = {0};
    bool ok = true;
    for (int i = 0; i < GF_PARTS; i++) {
        const gf_split *s = &c->care->split[i];
        for (int64_t k = 0; ok && k < s->rows; k++)
            ok = count_words(&w, gf_care_text(c->care, s, k), s->row[k].size, e);
    }
    ok = ok && cut_words(c, &w, e) && tell_vocabulary(c, &w, e);
    gf_free(w.slot);
    gf_text_free(&w.bytes);
    return ok;
}
