/* metrics: what a model's predictions are worth, task by task.
 *
 *     gf_metrics m = {0};
 *     if (!gf_metrics_start(&m, &model, vec, e)) goto done;
 *     if (!gf_metrics_add(&m, h, label, target, logits, e)) goto done;     (a row that has a label)
 *     gf_metrics_add_loss(&m, h, sum_of_losses, divisor);
 *     if (!gf_metrics_finish(&m, e)) goto done;
 *     f1 = m.tasks[h].value[GF_METRIC_MACRO_F1];
 *     gf_metrics_free(&m);
 *
 * Which metrics a type has stands in recipes/metrics.def, the formulas in recipes/score.h; they are
 * scikit-learn's and scipy's. A metric is NaN where it is undefined or the type has none, null in
 * JSON and "-" in tables:
 *   all                 without a row
 *   macro_f1            precision, recall and F1 of a class are 0 where undefined. Mean over the
 *                       classes that occur as a label or as a prediction; of multi_label over all
 *   micro_f1            of one label a row it is the accuracy
 *   weighted_f1         by the rows with the label; 0 without any
 *   accuracy            of multi_label: the rows in which every class is right
 *   auc                 one class against the rest, the mean over the classes that some rows have
 *                       and some have not; undefined where there are none. Of two classes (not
 *                       multi_label) the second one's
 *   map                 mean over the classes that occur as a label; undefined where there are none
 *   ece                 of the predicted class's score; of multi_label over all cells, of the score
 *                       itself
 *   mae                 of ordinal in ranks
 *   spearman, pearson   undefined where labels or predictions are all the same
 *   qwk                 undefined where both are of one class
 *
 * No result but the loss depends on the order in which rows come. auc, map, ece, the metrics of
 * multi_label and of regression need all rows: those are kept, classes + 2 floats each (twice the
 * classes for multi_label, 2 for regression) and, while finishing, 16 bytes a row (of multi_label:
 * a cell) more. Beyond GF_METRICS_CELLS floats a task's rows are given up, and these are NaN. */
#ifndef GF_RECIPES_METRICS_H
#define GF_RECIPES_METRICS_H

#include "core/text.h"
#include "model/model.h"
#include "recipes/metric.h"

enum { GF_METRICS_CELLS = 1 << 27 };

typedef struct gf_class_metrics {
    int64_t support;         /* rows with this label */
    int64_t predicted, hits; /* rows with this prediction, and those of them that are right */
    double precision, recall, f1;
} gf_class_metrics;

typedef struct gf_task_metrics {
    const gf_head *head;       /* of the model, for names and thresholds */
    int64_t support;           /* rows with a label */
    int64_t *confusion;        /* [classes, classes]: label, prediction; one label a row only */
    gf_class_metrics *classes; /* [classes] */
    double value[GF_METRICS];
    double density;              /* of multi_label: the share of cells that are 1 */
    double loss_sum, loss_share; /* over the rows; the loss is their ratio */
    gf_real *rows;               /* [support, width] what is kept; NULL when given up */
    int64_t n_kept, capacity, width;
    bool given_up;
} gf_task_metrics;

typedef struct gf_metrics {
    gf_task_metrics *tasks; /* [n_tasks], in the order of the model's heads */
    int64_t n_tasks;
    const gf_vec *vec;
    int64_t most_cells; /* GF_METRICS_CELLS */
} gf_metrics;

/* The model must outlive m; free m also after a failure. */
bool gf_metrics_start(gf_metrics *m, const gf_model *model, const gf_vec *vec, gf_err *e);
/* One row of a task with its logits [O]: label of classification and ordinal; target [C] of 0 and 1
 * of multi_label, [1] of regression. What the type does not need is not looked at. */
bool gf_metrics_add(gf_metrics *m, int64_t task, int32_t label, const gf_real *target,
                    const gf_real *logits, gf_err *e);
/* The sum over some rows of their losses, and of what they add to the divisor (model/loss.h). */
void gf_metrics_add_loss(gf_metrics *m, int64_t task, double sum, double share);
/* Computes the values. May be called again, after other thresholds or more rows. */
bool gf_metrics_finish(gf_metrics *m, gf_err *e);
/* thresholds [C] of a multi_label task: per class the one that has the largest F1 on these rows;
 * 0.5 for a class that no row has. They take effect in the head, before gf_metrics_finish(). Where
 * the rows were given up, thresholds stay as they are. */
bool gf_metrics_choose_thresholds(const gf_metrics *m, int64_t task, gf_real *thresholds,
                                  gf_err *e);
/* Frees the kept rows; the values stay, and gf_metrics_finish() comes no more. */
void gf_metrics_forget_rows(gf_metrics *m);
void gf_metrics_free(gf_metrics *m);

/* {task: {"loss", "accuracy", "macro_f1", "support", ...}}, the metrics that the type has; with
 * `details` also "type", "classes" (per class precision, recall, f1, support; of multi_label the
 * threshold and density too), "confusion" (one label a row), "density" (multi_label). Added to
 * parent under name (NULL: a new object). */
cJSON *gf_metrics_to_json(const gf_metrics *m, bool details, cJSON *parent, const char *name,
                          gf_err *e);
/* A line per task, 80 columns: support, loss and the type's two main metrics, and, unless `before`
 * is NULL, how they differ from that. */
bool gf_metrics_table(const gf_metrics *m, const gf_metrics *before, gf_text *out, gf_err *e);
/* All metrics, per class, and the confusion matrix, for `graft eval`. */
bool gf_metrics_details(const gf_metrics *m, gf_text *out, gf_err *e);

#endif
