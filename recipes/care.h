/* care: the rows of a recipe's data files as they stand, to look over and to clean.
 *
 *     gf_care c = {0};
 *     gf_cleaning done = {0};
 *     if (!gf_care_read(&c, &recipe, e) || !gf_care_mend(&c, &done, e) ||
 *         !gf_care_mark(&c, tokenizer, &done, e) || !gf_care_write(&c, "cleaned", false, e)) ...
 *     gf_care_free(&c);
 *
 * Texts are kept, labels as numbers of strings; malformed UTF-8 is no error here, unlike a file, a
 * column or a row that cannot be read, which fails as in training. Nothing of a data set or a model
 * is needed.
 *
 * Equal texts are found by 64-bit hashes (FNV-1a) of the text, and of the text in lower case with
 * its white space made single blanks. Equal hashes are taken for equal texts. */
#ifndef GF_RECIPES_CARE_H
#define GF_RECIPES_CARE_H

#include "core/text.h"
#include "data/labels.h"
#include "data/wordpiece.h"
#include "recipes/mend.h"
#include "recipes/recipe.h"

enum { GF_SPLITS = 3 }; /* train, dev, test */
/* In place of a label's number; OTHER is a value that is no string. */
enum { GF_LABEL_OTHER = -3, GF_LABEL_NULL = -2, GF_LABEL_MISSING = -1 };

/* Why a row is not written; the first that applies. */
typedef enum gf_drop {
    GF_KEPT,
    GF_DROP_NEAR_EMPTY,
    GF_DROP_CONFLICT,      /* an equal text has another label */
    GF_DROP_NEAR_CONFLICT, /* so has one that is equal but for white space and case */
    GF_DROP_SHARED,        /* the text stands in a later split */
    GF_DROP_REPEAT,        /* text and labels stood before */
    GF_DROPS
} gf_drop;

typedef struct gf_care_row {
    size_t text, size; /* in the split's bytes */
    int64_t line;
    int64_t bad_byte; /* gf_rows_bad_byte() */
    uint64_t hash, folded;
    gf_drop drop;
} gf_care_row;

typedef struct gf_split {
    const char *name;  /* "train", "dev", "test" */
    const char *path;  /* the recipe's; NULL: there is no such split */
    const char *shown; /* for places: the path's last part, or all where that is ambiguous */
    gf_care_row *row;  /* [rows] */
    int64_t rows, capacity;
    gf_text bytes;
    int32_t **label; /* [n_tasks][rows] in labels[task], or below 0 */
} gf_split;

/* A row among all, for groups of equal texts. */
typedef struct gf_care_key {
    uint64_t hash;
    int32_t split;
    int64_t row;
} gf_care_key;

typedef struct gf_care {
    const gf_recipe *recipe; /* not owned */
    gf_labels *labels;       /* [n_tasks] those listed, in their order, then those found */
    gf_split split[GF_SPLITS];
    int64_t rows, bad_rows; /* of all splits; with malformed UTF-8 */
    int64_t odd_labels;     /* neither string nor null */
} gf_care;

/* c must be zeroed; free it also after a failure. */
bool gf_care_read(gf_care *c, const gf_recipe *r, gf_err *e);
void gf_care_free(gf_care *c);

const char *gf_care_text(const gf_split *s, int64_t row);
/* True for a text without a letter, digit or sign: white space and punctuation only. */
bool gf_care_is_blank(const char *text, size_t size);
/* True where different labels of one text contradict each other: not in a regression. */
bool gf_care_task_can_conflict(const gf_care *c, int64_t task);

/* All rows, those with equal texts beside each other, in the order of the splits and rows; with
 * `folded`, texts that are equal but for white space and case. Free with gf_free(). */
gf_care_key *gf_care_sort(const gf_care *c, bool folded, gf_err *e);
/* The end of the group that begins at keys[first]. */
int64_t gf_care_group_end(const gf_care *c, const gf_care_key *keys, int64_t first);

/* The first of keys[first .. i), all of one split and text, with the labels of keys[i]; -1. */
int64_t gf_care_find_repeat(const gf_care *c, const gf_care_key *keys, int64_t first, int64_t i);

/* What cleaning did. */
typedef struct gf_cleaning {
    int64_t invalid, doubled, controls; /* rows mended for it; a row may count several times */
    int64_t dropped[GF_SPLITS][GF_DROPS];
} gf_cleaning;

/* Mends the texts in place. */
bool gf_care_mend(gf_care *c, gf_cleaning *done, gf_err *e);
/* Decides which rows are dropped. Near-empty are texts that are blank or of fewer than two pieces
 * of this tokenizer. */
bool gf_care_mark(gf_care *c, const gf_tokenizer *t, gf_cleaning *done, gf_err *e);
/* Writes FOLDER/train.jsonl, dev.jsonl, test.jsonl, as many as there are splits: the text and the
 * tasks' labels of the rows that are kept. An existing file is GF_E_IO without `force`, a split
 * without a row or labels that are no strings GF_E_INVALID, and then nothing is written. */
bool gf_care_write(const gf_care *c, const char *folder, bool force, gf_err *e);

#endif
