/* care: the rows of a recipe's data files as they stand, to look over and to clean.
 *
 *     gf_care c = {0};
 *     gf_cleaning done = {0};
 *     if (!gf_care_read(&c, &recipe, e) || !gf_care_mend(&c, &done, e) ||
 *         !gf_care_mark(&c, tokenizer, &done, e) || !gf_care_write(&c, "cleaned", false, e)) ...
 *     gf_care_free(&c);
 *
 * Texts and labels are kept, of every kind of task, and of tasks with files of their own; malformed
 * UTF-8 is no error here, nor is a label that its task does not take. A file, a column or a row
 * that cannot be read fails as in training. Nothing of a data set or a model is needed.
 *
 * Equal texts are found by 64-bit hashes (FNV-1a) of the text, and of the text in lower case with
 * its white space made single blanks. Equal hashes are taken for equal texts. */
#ifndef GF_RECIPES_CARE_H
#define GF_RECIPES_CARE_H

#include "core/text.h"
#include "data/labels.h"
#include "data/split.h"
#include "data/wordpiece.h"
#include "recipes/mend.h"
#include "recipes/recipe.h"

/* train, dev, test; and behind them the texts of mlm.data, which are no split. */
enum { GF_SPLITS = 3, GF_MLM_TEXTS = GF_SPLITS, GF_PARTS };

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
    size_t text, size; /* in the bytes of all */
    int64_t line;
    int64_t bad_byte; /* gf_rows_bad_byte() */
    uint64_t hash, folded;
    int32_t file;
    gf_drop drop;
} gf_care_row;

/* In place of a label's class: a label that its task does not take, and kinds of no label; NONE:
 * the file is no source of the task. */
enum { GF_LABEL_NONE = -4, GF_LABEL_OTHER = -3, GF_LABEL_NULL = -2, GF_LABEL_MISSING = -1 };

typedef struct gf_care_label {
    int32_t class;    /* in labels[task]; 0 of a set or a number; or below 0 */
    int32_t count;    /* of a set: the classes set[first] .. set[first + count - 1], ascending */
    int64_t first;    /*           in the care's `set` */
    double value;     /* of a number */
    uint64_t same;    /* equal labels have equal ones */
    size_t raw, size; /* the label as it was read, in JSON, in the bytes of all */
} gf_care_label;

typedef struct gf_care_file {
    const char *path;
    const char *shown; /* for places: the path's last part, or all where that is ambiguous */
    const char *text;  /* the text's field */
    int64_t task;      /* the first whose labels are here; -1: none */
    int split;
    bool own; /* it is not the recipe's, but the task's */
} gf_care_file;

/* Rows of the recipe's file and of those that tasks bring, or the texts of mlm.data. */
typedef struct gf_split {
    const char *name; /* "train", "dev", "test", "mlm" */
    bool named;       /* there is such a split, */
    double share;     /* and data.split makes it of train */
    gf_care_row *row; /* [rows] */
    int64_t rows, capacity;
    gf_care_label **label; /* [n_tasks][rows] */
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
    gf_task_field *field;    /* [n_tasks] */
    gf_care_file *file;      /* [files] */
    int64_t files;
    gf_split split[GF_PARTS];
    gf_text bytes; /* of texts and raw labels */
    int32_t *set;  /* the classes of sets */
    int64_t sets, set_capacity;
    int64_t rows, bad_rows; /* of the splits; with malformed UTF-8 */
    int64_t odd_labels;     /* that their tasks do not take */
    gf_err odd;             /* what training would say of the first one */
} gf_care;

/* c must be zeroed; free it also after a failure. */
bool gf_care_read(gf_care *c, const gf_recipe *r, gf_err *e);
/* Divides train as the recipe's data.split will; without that key it does nothing. */
bool gf_care_divide(gf_care *c, gf_split_counts *counts, gf_err *e);
void gf_care_free(gf_care *c);

const char *gf_care_text(const gf_care *c, const gf_split *s, int64_t row);
/* "train.jsonl", for "train.jsonl:12". */
const char *gf_care_shown(const gf_care *c, const gf_split *s, int64_t row);
/* True for a text without a letter, digit or sign: white space and punctuation only. */
bool gf_care_is_blank(const char *text, size_t size);
/* True where different labels of one text contradict each other: not in a regression. */
bool gf_care_task_can_conflict(const gf_care *c, int64_t task);
/* Whether some of the file's rows may have labels of the task. */
bool gf_care_file_has(const gf_care *c, const gf_care_file *f, int64_t task);

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
    int64_t dropped[GF_PARTS][GF_DROPS];
} gf_cleaning;

/* Mends the texts in place. */
bool gf_care_mend(gf_care *c, gf_cleaning *done, gf_err *e);
/* Decides which rows are dropped. Near-empty are texts that are blank or of fewer than two pieces
 * of this tokenizer; of mlm.data nothing else is dropped. */
bool gf_care_mark(gf_care *c, const gf_tokenizer *t, gf_cleaning *done, gf_err *e);
/* The name of the cleaned file: "train.jsonl", "TASK.dev.jsonl", "mlm.jsonl"; for gf_free(). */
char *gf_care_name(const gf_care *c, const gf_care_file *f, gf_err *e);
/* Writes FOLDER/train.jsonl and so on, for each file its own: the text and the labels, as they
 * were read, of the rows that are kept. An existing file is GF_E_IO without `force`, a file without
 * a row or a label that its task does not take GF_E_INVALID, and then nothing is written. */
bool gf_care_write(const gf_care *c, const char *folder, bool force, gf_err *e);

#endif
