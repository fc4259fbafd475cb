/* spread: what several seeds of several recipes come to: mean and sample standard deviation, as
 * JSON and as a table.
 *
 *     cJSON *report = gf_spread_report(&compare, e);
 *     if (report && gf_spread_table(report, false, &text, e)) fputs(text.data, stdout);
 *     cJSON_Delete(report);
 *
 * A task's figure is its metric in the first finished run's select.metric, else the first of
 * macro_f1, spearman, accuracy and loss that it has. The best recipe is the one with the best mean
 * of select.metric on dev; of these figures' mean where the recipes select by different metrics. */
#ifndef GF_RECIPES_SPREAD_H
#define GF_RECIPES_SPREAD_H

#include "core/text.h"
#include "recipes/compare.h"

typedef struct gf_spread {
    int64_t n;   /* values that were no NaN */
    double mean; /* NaN without values */
    double sd;   /* sample standard deviation, over n - 1; NaN below two values */
} gf_spread;

gf_spread gf_spread_of(const double *values, int64_t count);

/* {"graft", "criterion", "lower_is_better", "metrics": {task: metric}, "best", "recipes": [...]};
 * of each recipe its figures as {"mean", "sd", "n"} and "runs" with every run's. docs/transfer.md
 * lists the keys. For cJSON_Delete(). */
cJSON *gf_spread_report(const gf_compare *c, gf_err *e);
/* The same in 80 columns; `bold` marks the best recipe's line for a terminal. */
bool gf_spread_table(const cJSON *report, bool bold, gf_text *out, gf_err *e);
/* What each phase did to the embedding, and to the tasks that it did not train; part of the table.
 */
bool gf_spread_phases(const cJSON *report, gf_text *out, gf_err *e);

#endif
