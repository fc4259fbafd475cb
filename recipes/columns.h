/* columns: what the columns of a data file look like, to tell text, labels and numbers apart.
 *
 *     gf_columns c = {0};
 *     if (!gf_columns_read(&c, "data.csv", e)) goto done;
 *     int64_t text = gf_columns_find_text(&c);                  (-1: none looks like text)
 *     ... c.list[i].role ...
 *     gf_columns_free(&c);
 *
 * One pass over all rows; of JSON Lines the keys of the first thousand rows count. The text is the
 * column with the longest and most various strings; one with words wins over one without (ids,
 * hashes, addresses). */
#ifndef GF_RECIPES_COLUMNS_H
#define GF_RECIPES_COLUMNS_H

#include "core/err.h"

#include <stdint.h>

enum { GF_MOST_CLASSES = 300 }; /* of a column that is taken for labels without being asked */

typedef enum gf_column_role {
    GF_COLUMN_OTHER,    /* none of these */
    GF_COLUMN_LABEL,    /* few strings, each in several rows */
    GF_COLUMN_NUMBER,   /* numbers only */
    GF_COLUMN_IDS,      /* another string in each row */
    GF_COLUMN_TOO_MANY, /* strings that repeat, but more than GF_MOST_CLASSES */
    GF_COLUMN_CONSTANT  /* one string only */
} gf_column_role;

typedef struct gf_column {
    char *name;
    int64_t strings, numbers, missing, others; /* rows by kind of cell; empty is missing */
    int64_t absent; /* of the missing, those that are no empty strings: no text may be like that */
    int64_t numeric, whole; /* strings that read as numbers, as whole ones without a sign */
    int64_t spaced;         /* strings with a blank in them */
    double mean_chars;
    int64_t distinct; /* different strings */
    gf_column_role role;
    uint64_t *hash; /* while reading: [capacity] of the strings */
    int64_t capacity;
    double chars;
} gf_column;

typedef struct gf_columns {
    gf_column *list; /* [count] */
    int64_t count, rows;
} gf_columns;

/* c must be zeroed; free it also after a failure: GF_E_INVALID for a file without columns or rows.
 */
bool gf_columns_read(gf_columns *c, const char *path, gf_err *e);
void gf_columns_free(gf_columns *c);
/* The column that holds the text: a string in every row, hardly ever empty, no number; -1 if none
 * is like that. */
int64_t gf_columns_find_text(const gf_columns *c);
/* By name; -1. */
int64_t gf_columns_find(const gf_columns *c, const char *name);

#endif
