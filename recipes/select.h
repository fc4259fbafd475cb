/* select: how the best evaluation of a run is told, the recipe's select.metric.
 *
 *     gf_select s = {0};
 *     if (!gf_select_parse(&s, "mean(a.macro_f1, b.mcc)", names, types, 2, e)) goto done;
 *     value = gf_select_mean(&s, &metrics);                         (of GF_SELECT_MEAN)
 *     gf_select_free(&s);
 *
 * "last" takes the final weights, "loss" the lowest total loss, "TASK.METRIC" one number of one
 * task and "mean(TASK.METRIC, ...)" the mean of several. Metrics are those that the task's type has
 * (recipes/metrics.def); a mean takes those alone of which the same end is the better one. */
#ifndef GF_RECIPES_SELECT_H
#define GF_RECIPES_SELECT_H

#include "core/err.h"
#include "recipes/metric.h"
#include "recipes/metrics.h"

typedef enum gf_select_kind { GF_SELECT_LAST, GF_SELECT_LOSS, GF_SELECT_MEAN } gf_select_kind;

typedef struct gf_select_term {
    int64_t task; /* index of the recipe's task */
    gf_metric_kind metric;
} gf_select_term;

typedef struct gf_select {
    gf_select_kind kind;
    gf_select_term *terms; /* of GF_SELECT_MEAN, one or more */
    int64_t n_terms, capacity;
    bool higher_is_better; /* false for losses and errors */
} gf_select;

/* types [n_tasks] are those of the tasks. GF_E_INVALID with what is wrong and the nearest name; *s
 * is empty then. */
bool gf_select_parse(gf_select *s, const char *text, const char *const *tasks,
                     const gf_task_type *types, int64_t n_tasks, gf_err *e);
/* The mean of the terms. A score that is undefined on these rows, such as the correlation with a
 * constant, counts as 0. */
double gf_select_mean(const gf_select *s, const gf_metrics *m);
void gf_select_free(gf_select *s);

#endif
