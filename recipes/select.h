/* select: how the best evaluation of a run is told, the recipe's select.metric.
 *
 *     gf_select s = {0};
 *     if (!gf_select_parse(&s, "mean(a.macro_f1, b.macro_f1)", names, 2, e)) goto done;
 *     ...
 *     gf_select_free(&s);
 *
 * "last" takes the final weights, "loss" the lowest total loss, "TASK.METRIC" one number of one
 * task and "mean(TASK.METRIC, ...)" the mean of several. Metrics: loss, accuracy, macro_f1. */
#ifndef GF_RECIPES_SELECT_H
#define GF_RECIPES_SELECT_H

#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum gf_metric_kind {
    GF_METRIC_LOSS,
    GF_METRIC_ACCURACY,
    GF_METRIC_MACRO_F1
} gf_metric_kind;

typedef enum gf_select_kind { GF_SELECT_LAST, GF_SELECT_LOSS, GF_SELECT_MEAN } gf_select_kind;

typedef struct gf_select_term {
    int64_t task; /* index of the recipe's task */
    gf_metric_kind metric;
} gf_select_term;

typedef struct gf_select {
    gf_select_kind kind;
    gf_select_term *terms; /* of GF_SELECT_MEAN, one or more */
    int64_t n_terms, capacity;
    bool higher_is_better; /* false for losses */
} gf_select;

/* Names of the metrics, by gf_metric_kind; NULL ends the list. */
extern const char *const gf_metric_names[];

/* GF_E_INVALID with what is wrong and the nearest name; *s is empty then. */
bool gf_select_parse(gf_select *s, const char *text, const char *const *tasks, int64_t n_tasks,
                     gf_err *e);
void gf_select_free(gf_select *s);

#endif
