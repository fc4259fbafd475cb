/* dataset: a data file as packed token ids and class numbers, ready for batches.
 *
 *     gf_labels category = {0};
 *     gf_task_field tasks[] = {{"category", "category", &category}};
 *     gf_dataset d = {0};
 *     if (!gf_dataset_learn_labels("train.jsonl", tasks, 1, e) ||
 *         !gf_dataset_read(&d, "train.jsonl", "text", tasks, 1, tokenizer, 128, e)) goto done;
 *     ... row i: tokens d.ids.id[d.start[i] .. d.start[i + 1]), class d.label[0][i] ...
 *     gf_dataset_free(&d);
 *
 * The texts themselves are not kept. A file without rows is GF_E_INVALID, and so is a label that is
 * no string, is empty in JSON, or is not one of the task's classes; the sentence names file and
 * line. */
#ifndef GF_DATA_DATASET_H
#define GF_DATA_DATASET_H

#include "data/labels.h"
#include "data/wordpiece.h"

typedef struct gf_task_field {
    const char *task;
    const char *field; /* the column with its labels */
    gf_labels *labels;
} gf_task_field;

typedef struct gf_dataset {
    char *path;
    int64_t rows, capacity, n_tasks;
    gf_ids ids;                         /* all rows' token ids, one row behind the other */
    int64_t *start;                     /* [rows + 1] offsets into ids.id */
    int64_t *line;                      /* [rows] line in the file, gf_rows_line() */
    int32_t **label;                    /* [n_tasks][rows] class numbers, -1: missing */
    uint64_t *text_hash;                /* [rows] FNV-1a 64 of the text, to find equal texts */
    int64_t truncated, pieces, unknown; /* rows cut at max_length, pieces before the cut, [UNK]s */
} gf_dataset;

/* One pass over the training file: adds the labels it holds to those tasks that are not `fixed`,
 * and sorts them. A task without any label in the file is GF_E_INVALID, fixed or not. */
bool gf_dataset_learn_labels(const char *path, const gf_task_field *tasks, int64_t n_tasks,
                             gf_err *e);
/* d must be zeroed; after a failure it is zeroed again. */
bool gf_dataset_read(gf_dataset *d, const char *path, const char *text_field,
                     const gf_task_field *tasks, int64_t n_tasks, const gf_tokenizer *t,
                     int64_t max_length, gf_err *e);
void gf_dataset_free(gf_dataset *d);

#endif
