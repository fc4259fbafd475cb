/* unicode: code points as the fast BERT tokenizer of Hugging Face sees them.
 *
 *     for (size_t at = 0; at < size;) {
 *         int32_t c = gf_unicode_decode(text, size, &at);
 *         if (gf_unicode_class(c) & GF_UNICODE_MARK) ...
 *     }
 *
 * utf8proc does the work. That tokenizer carries older tables, so where newer ones changed a code
 * point or gave it a meaning, data/unicode.def holds what the tokenizer does (it wins over any
 * utf8proc). Nothing here allocates or fails; code points are 0 to 10FFFF without surrogates. */
#ifndef GF_DATA_UNICODE_H
#define GF_DATA_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GF_UNICODE_BAD = 0xFFFD,  /* the replacement character: what malformed UTF-8 is read as */
    GF_UNICODE_LONGEST = 8,   /* code points that one can decompose to; 4 in Unicode 15 */
    GF_UNICODE_MOST_BYTES = 4 /* of one code point in UTF-8 */
};

/* What a code point is to BERT; several may hold. */
typedef enum gf_unicode_flags {
    GF_UNICODE_DROP = 1,    /* clean_text removes it: NUL, U+FFFD, control, format, private use */
    GF_UNICODE_SPACE = 2,   /* White_Space */
    GF_UNICODE_CHINESE = 4, /* gets spaces around it: the CJK ideographs, not kana or hangul */
    GF_UNICODE_MARK = 8,    /* Mn: strip_accents removes it */
    GF_UNICODE_PUNCT = 16   /* a word of its own: category P and the other ASCII signs */
} gf_unicode_flags;

/* Reads one code point at *at < size and moves *at behind it. Malformed UTF-8 is GF_UNICODE_BAD,
 * once for each maximal part of a sequence (The Unicode Standard, section 3.9). */
int32_t gf_unicode_decode(const char *text, size_t size, size_t *at);
/* The start of the code point that ends before `end` > 0, in well-formed UTF-8. */
size_t gf_unicode_back(const char *text, size_t end);
/* Writes a code point as UTF-8; returns its bytes. */
size_t gf_unicode_encode(int32_t c, char out[GF_UNICODE_MOST_BYTES]);
/* Whether all bytes are well-formed UTF-8. */
bool gf_unicode_is_valid(const char *text, size_t size);

unsigned gf_unicode_class(int32_t c); /* gf_unicode_flags */
/* Whether c is a letter of a word for an added token's single_word (\w of Unicode's TR18). */
bool gf_unicode_is_word(int32_t c);
/* Lower case, one code point for each but U+0130, which gives two. Returns their count. */
int gf_unicode_lower(int32_t c, int32_t out[2]);
/* The full canonical decomposition; returns its length, 1 when c does not decompose. */
int gf_unicode_decompose(int32_t c, int32_t out[GF_UNICODE_LONGEST]);
/* The canonical combining class, 0 for a starter. */
int gf_unicode_order(int32_t c);

#endif
