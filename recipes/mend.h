/* mend: what is damaged in a text's characters, and the text without it.
 *
 *     gf_damage d = gf_damage_of(bytes, size);
 *     if (gf_damage_any(&d)) ok = gf_text_mend(&out, bytes, size, e);
 *
 * Double-encoded text is UTF-8 that was read as Windows-1252 or Latin-1 and written as UTF-8
 * again: U+00E9 became U+00C3 U+00A9. A row of characters above U+007F counts as such when their
 * bytes in Windows-1252 (Latin-1 for the five it leaves free) are UTF-8 throughout, and what they
 * spell is likelier than what stands there. Real text gives valid bytes, too: a sharp s before a
 * German closing quote would be U+07D3; an a with grave, a no-break space and a guillemet, as
 * French writes them, U+083B. So a sequence must spell a letter, sign or emoji of the usual blocks
 * (beginning with U+00C2 to U+00C5, U+00E1, U+00E2, U+00EF or U+00F0) with a sign that does not
 * follow these letters in real text; or stand in a row of at least two of one script (Cyrillic,
 * Greek, Chinese, ...). Where a text holds one of these, weaker ones (U+00C3 and a no-break space)
 * count as well. */
#ifndef GF_RECIPES_MEND_H
#define GF_RECIPES_MEND_H

#include "core/text.h"

typedef struct gf_damage {
    int64_t invalid;  /* malformed sequences of UTF-8 */
    int64_t doubled;  /* characters that were encoded twice */
    int64_t controls; /* control characters but tab, newline and carriage return */
    int64_t lost;     /* U+FFFD: a character that an earlier program could not read */
    bool markup;      /* an HTML tag or entity */
} gf_damage;

/* Any bytes are allowed. */
gf_damage gf_damage_of(const char *text, size_t size);
/* Whether gf_text_mend() would change the text. */
bool gf_damage_is_mendable(const gf_damage *d);

/* Appends the text with malformed sequences as U+FFFD, double-encoded characters decoded (as often
 * as they were encoded), control characters that part words as a space, others left out. Mending
 * the result again changes nothing. False when memory is out. */
bool gf_text_mend(gf_text *out, const char *text, size_t size, gf_err *e);

/* Appends the text with malformed sequences as U+FFFD, and nothing else changed. */
bool gf_text_add_valid(gf_text *out, const char *text, size_t size, gf_err *e);

#endif
