/* text: a growing string, and the nearest of several names for "did you mean". */
#ifndef GF_CORE_TEXT_H
#define GF_CORE_TEXT_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gf_text {
    char *data; /* ends with a 0 byte; NULL while empty */
    size_t length;
    int64_t capacity;
} gf_text;

bool gf_text_add(gf_text *t, gf_err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool gf_text_add_bytes(gf_text *t, const void *bytes, size_t size, gf_err *e);
/* UTF-8 text cut and padded with spaces to `columns` characters, for tables. */
bool gf_text_add_column(gf_text *t, const char *text, int columns, gf_err *e);
/* Takes the spaces at its end away. */
void gf_text_trim(gf_text *t);
void gf_text_free(gf_text *t);

/* True when `text` ends with `end`. */
bool gf_text_ends_with(const char *text, const char *end);

/* The candidate with the smallest edit distance to name (Levenshtein 1966), NULL when none is close
 * enough to be meant: more than a third of the longer name, and at least 2, would have to change.
 */
const char *gf_text_nearest(const char *name, const char *const *candidates, int64_t count);

#endif
