/* dataset: data files as packed token ids and labels, ready for batches.
 *
 *     gf_labels category = {0}, stars = {0};
 *     gf_task_field tasks[] = {
 *         {.task = "category", .field = "category", .labels = &category},
 *         {.task = "stars", .field = "stars", .labels = &stars, .kind = GF_LABEL_ORDER}};
 *     gf_dataset d = {0};
 *     if (!gf_dataset_learn_labels("a.jsonl", tasks, 2, e) ||            (for each training file)
 *         !gf_dataset_finish_labels(tasks, 2, e) ||
 *         !gf_dataset_add(&d, "a.jsonl", "text", tasks, 2, tokenizer, 128, e) || ...) goto done;
 *     ... row i: tokens d.ids.id[d.start[i] .. d.start[i + 1]), class d.label[0][i] ...
 *     gf_dataset_free(&d);
 *
 * The texts themselves are not kept. A data set is one file or several, one behind the other, its
 * sources; each may name its own text column, and columns for some of the tasks only.
 *
 * What a label is, by the task's kind; absent or null is a missing label of any task:
 *   CLASS   a string that is one of the classes; learned ones are sorted by bytes
 *   ORDER   a string or a whole number that is one of the classes, which stand in their order;
 *           learned ones must be numbers and are sorted by value
 *   SET     any of the classes: a JSON list of strings, or one string cut at the separator, with
 *           the white space around each taken away ("a | b"). [] and the separator alone ("|") mean
 *           none of them. Learned classes are all that occur, sorted by bytes
 *   NUMBER  a finite number, or a string that is one
 *
 * A file without rows is GF_E_INVALID, and so is a label of another form, an empty string in JSON,
 * and a class that is not one of the task's; the sentence names file and line. */
#ifndef GF_DATA_DATASET_H
#define GF_DATA_DATASET_H

#include "core/real.h"
#include "data/labels.h"
#include "data/wordpiece.h"

typedef enum gf_label_kind {
    GF_LABEL_CLASS,
    GF_LABEL_ORDER,
    GF_LABEL_SET,
    GF_LABEL_NUMBER
} gf_label_kind;

typedef struct gf_task_field {
    const char *task;
    const char *field; /* the column with its labels; NULL: the file has none for this task */
    gf_labels *labels; /* may be NULL for NUMBER */
    gf_label_kind kind;
    const char *separator; /* of a SET in one string; NULL: "|" */
} gf_task_field;

/* A file's rows. */
typedef struct gf_source {
    char *path; /* as messages name it */
    int64_t first, rows;
} gf_source;

typedef struct gf_dataset {
    gf_source *source; /* [n_sources], by first */
    int64_t n_sources, source_capacity;
    int64_t rows, capacity, n_tasks;
    gf_ids ids;            /* all rows' token ids, one row behind the other */
    int64_t *start;        /* [rows + 1] offsets into ids.id */
    int64_t *line;         /* [rows] line in its file, gf_rows_line() */
    int32_t **label;       /* [n_tasks][rows] class number, or 0 for SET and NUMBER; -1: missing */
    gf_real **target;      /* [n_tasks], NULL for CLASS and ORDER; else [rows, W], of a missing
                               label 0: 1 for each class of a SET, the value of a NUMBER (W = 1) */
    int64_t *target_width; /* [n_tasks] W: 0 for CLASS and ORDER */
    uint64_t *text_hash;   /* [rows] FNV-1a 64 of the text, to find equal texts */
    int32_t *row_pieces;   /* [rows] pieces of the whole text, before it was cut */
    int32_t *row_unknown;  /* [rows] [UNK]s among the kept ones */
    int64_t truncated, pieces, unknown; /* rows cut at max_length, the sums of the two */
} gf_dataset;

/* One pass over a training file: adds the labels it holds to those tasks that are not `fixed`. A
 * task with a field here, fixed or not, and without any label in the file is GF_E_INVALID. */
bool gf_dataset_learn_labels(const char *path, const gf_task_field *tasks, int64_t n_tasks,
                             gf_err *e);
/* Once after the last file: sorts what was learned. A SET of which only the empty one occurred is
 * GF_E_INVALID. */
bool gf_dataset_finish_labels(const gf_task_field *tasks, int64_t n_tasks, gf_err *e);

/* Appends a file's rows as a further source. d is zeroed before the first; the number, kinds and
 * classes of the tasks are the same each time. After a failure d is freed and zeroed. */
bool gf_dataset_add(gf_dataset *d, const char *path, const char *text_field,
                    const gf_task_field *tasks, int64_t n_tasks, const gf_tokenizer *t,
                    int64_t max_length, gf_err *e);
/* Makes `to`, which is zeroed, of these rows of another data set, in ascending order: all that is
 * told of a row, and all sources, even where no row is left of one. After a failure `to` is zeroed
 * again. */
bool gf_dataset_select(gf_dataset *to, const gf_dataset *from, const int64_t *rows, int64_t count,
                       gf_err *e);
/* Where a row comes from, for messages; *path is the data set's, and "" if it has no sources. */
void gf_dataset_place(const gf_dataset *d, int64_t row, const char **path, int64_t *line);
void gf_dataset_free(gf_dataset *d);

#endif
