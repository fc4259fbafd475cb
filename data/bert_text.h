/* bert_text: BERT's normaliser and its division of a text into words.
 *
 *     gf_bert bert = gf_bert_make(rules);
 *     gf_text text = {0};
 *     gf_word w;
 *     if (!gf_bert_normalize(&bert, bytes, size, &text, e)) goto done;
 *     for (size_t at = 0; gf_bert_next_word(&bert, text.data, text.length, &at, &w);) ...
 *
 * The steps are those of the Hugging Face fast tokenizer (BertNormalizer, BertPreTokenizer), in its
 * order: clean, spaces around Chinese characters, NFD without its marks, lower case; then words end
 * at white space, and each punctuation character is a word. The original is Devlin et al. 2018,
 * google-research/bert tokenization.py, which differs in details. */
#ifndef GF_DATA_BERT_TEXT_H
#define GF_DATA_BERT_TEXT_H

#include "core/err.h"
#include "core/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gf_bert_rules {
    bool clean_text;    /* removes control characters and makes every white space a blank */
    bool chinese;       /* puts spaces around Chinese characters */
    bool strip_accents; /* decomposes and removes the marks */
    bool lowercase;
} gf_bert_rules;

/* The rules, with what they do to ASCII looked up beforehand. */
typedef struct gf_bert {
    gf_bert_rules rules;
    unsigned char ascii[128]; /* what the character becomes; 128: removed */
    unsigned char flags[128]; /* its gf_unicode_flags */
} gf_bert;

gf_bert gf_bert_make(gf_bert_rules rules);

/* Appends the normalised text, which is well-formed UTF-8 whatever the bytes are: a malformed
 * sequence is read as U+FFFD (which clean_text removes). False when memory is out. */
bool gf_bert_normalize(const gf_bert *b, const char *bytes, size_t size, gf_text *out, gf_err *e);

typedef struct gf_word {
    size_t start, end; /* bytes of the normalised text */
    int64_t chars;     /* code points */
} gf_word;

/* The next word at or behind *at, which moves behind it; false at the end of the text. */
bool gf_bert_next_word(const gf_bert *b, const char *text, size_t size, size_t *at, gf_word *w);

#endif
