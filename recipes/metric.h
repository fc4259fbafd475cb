/* metric: the list of metrics (recipes/metrics.def): which types of task have one, and which end of
 * it is the better one.
 *
 *     gf_metric_kind k;
 *     if (gf_metric_find("macro_f1", 8, &k) && gf_metric_has(k, GF_TASK_ORDINAL)) ...
 *     puts(gf_metric_list[k].title);
 *
 * recipes/metrics.h computes them, recipes/select.h chooses by them. */
#ifndef GF_RECIPES_METRIC_H
#define GF_RECIPES_METRIC_H

#include "model/task.h"

#include <stddef.h>

typedef enum gf_metric_kind {
#define GF_METRIC(id, name, title, higher, types) GF_METRIC_##id,
#include "recipes/metrics.def"
#undef GF_METRIC
    GF_METRICS /* how many there are */
} gf_metric_kind;

typedef struct gf_metric {
    const char *name;  /* in recipes and JSON */
    const char *title; /* in tables */
    bool higher_is_better;
    unsigned types; /* bit 1 << gf_task_type: the type has it */
} gf_metric;

extern const gf_metric gf_metric_list[GF_METRICS];

bool gf_metric_has(gf_metric_kind kind, gf_task_type type);
/* The metric whose name is name[length]; false when there is none. */
bool gf_metric_find(const char *name, size_t length, gf_metric_kind *kind);
/* Names of the metrics that a type has, in the list's order; returns how many. */
int64_t gf_metric_names(gf_task_type type, const char *names[GF_METRICS]);
/* By which a run is judged when its recipe does not say: macro_f1, and spearman for a regression,
 * which like macro_f1 lies at or below 1 and is better when higher, so that a mean of both makes
 * sense, and which asks for the right order rather than for a scale. */
gf_metric_kind gf_metric_default(gf_task_type type);
/* The two that stand beside the loss where there is no room for all. */
const gf_metric_kind *gf_metric_main(gf_task_type type);

#endif
