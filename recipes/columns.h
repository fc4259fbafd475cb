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
    GF_COLUMN_SETS,     /* lists of strings, or strings with a separator, of few different parts */
    GF_COLUMN_GRADES,   /* few whole numbers beside each other, from about 0 or 1 on */
    GF_COLUMN_VALUES,   /* many numbers with fractions, none of them large */
    GF_COLUMN_NUMBER,   /* other numbers only */
    GF_COLUMN_IDS,      /* another string or whole number in each row */
    GF_COLUMN_TOO_MANY, /* strings that repeat, but more than GF_MOST_CLASSES */
    GF_COLUMN_CONSTANT  /* one value only */
} gf_column_role;

/* The parts of strings, cut at one separator, or the items of lists. */
typedef struct gf_column_parts {
    int64_t rows;    /* strings that hold the separator; lists */
    int64_t empty;   /* parts that are, where the separator is not the whole string */
    int64_t numeric; /* parts that read as numbers */
    int64_t alone;   /* strings that are the separator and nothing else */
    int64_t distinct;
    uint64_t *hash; /* while reading: [count] of [capacity] */
    int64_t count, capacity;
} gf_column_parts;

enum { GF_SEPARATORS = 3 };
extern const char *const gf_column_separators[GF_SEPARATORS]; /* "|", ";", "," */

typedef struct gf_column {
    char *name;
    int64_t strings, numbers, lists, missing, others; /* rows by kind of cell; empty is missing */
    int64_t absent;  /* of the missing, those that are no empty strings: no text may be like that */
    int64_t numeric; /* strings that read as numbers */
    int64_t fractions; /* numbers, in strings too, that are not whole */
    int64_t spaced;    /* strings with a blank in them */
    double mean_chars;
    double least, most; /* of the numbers */
    int64_t distinct;   /* different strings and numbers */
    gf_column_role role;
    const char *separator; /* of SETS in strings, and where LABEL may be sets; else NULL */
    gf_column_parts items, parts[GF_SEPARATORS];
    bool has_long;  /* a string is too long for a set */
    uint64_t *hash; /* while reading: [capacity] of the strings and numbers */
    int64_t hashes, capacity;
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
/* True for few whole numbers, which may be grades. */
bool gf_column_is_graded(const gf_column *c);
/* By name; -1. */
int64_t gf_columns_find(const gf_columns *c, const char *name);

#endif
