/* metrics: what a task's predictions are worth.
 *
 *     gf_metrics m = {0};
 *     if (!gf_metrics_start(&m, &model, e)) goto done;
 *     gf_metrics_add(&m, h, row_label, logits);                    (once a row with a label)
 *     gf_metrics_finish(&m);
 *
 * Definitions as scikit-learn's: precision, recall and F1 of a class are 0 where undefined, and
 * macro-F1 is the plain mean over the classes that occur as a label or as a prediction. */
#ifndef GF_RECIPES_METRICS_H
#define GF_RECIPES_METRICS_H

#include "core/text.h"
#include "model/model.h"

typedef struct gf_class_metrics {
    int64_t support; /* rows with this label */
    double precision, recall, f1;
} gf_class_metrics;

typedef struct gf_task_metrics {
    const gf_head *head;       /* of the model, for names */
    int64_t support;           /* rows with a label */
    int64_t *confusion;        /* [classes, classes]: label, prediction */
    gf_class_metrics *classes; /* [classes] */
    double loss; /* mean cross-entropy; NaN when there are no labels, like the next two */
    double accuracy, macro_f1;
} gf_task_metrics;

typedef struct gf_metrics {
    gf_task_metrics *tasks; /* [n_tasks], in the order of the model's heads */
    int64_t n_tasks;
} gf_metrics;

bool gf_metrics_start(gf_metrics *m, const gf_model *model, gf_err *e);
/* One row of a task: its label and its logits [classes]; the largest logit is the prediction, the
 * first of equals. The loss is added by gf_metrics_add_loss(). */
void gf_metrics_add(gf_metrics *m, int64_t task, int32_t label, const gf_real *logits);
void gf_metrics_add_loss(gf_metrics *m, int64_t task, double sum);
void gf_metrics_finish(gf_metrics *m);
void gf_metrics_free(gf_metrics *m);

/* {task: {"loss", "accuracy", "macro_f1", "support"}}, with `details` also "classes" (per class
 * precision, recall, f1, support) and "confusion". Added to parent under name (NULL: a new object).
 */
cJSON *gf_metrics_to_json(const gf_metrics *m, bool details, cJSON *parent, const char *name,
                          gf_err *e);
/* A line per task: support, loss, accuracy, macro-F1. `best` NULL, or metrics to show differences
 * to. */
bool gf_metrics_table(const gf_metrics *m, const gf_metrics *before, gf_text *out, gf_err *e);
/* Per class and the confusion matrix, for `graft eval`. */
bool gf_metrics_details(const gf_metrics *m, gf_text *out, gf_err *e);

#endif
