/* report: the conflict report of a run, as JSON and for people. */
#ifndef GF_RECIPES_REPORT_H
#define GF_RECIPES_REPORT_H

#include "core/json.h"
#include "core/text.h"
#include "recipes/step.h"

/* Adds "conflicts": {"updates", "pairs": [{"a", "b", "cosine", "conflicting", "a_on_b", "b_on_a",
 * "places": [...]}], "norms": {TASK: ...}, "advice"} to j; nothing without measurements. The places
 * are the embeddings, each layer, and what follows. */
bool gf_report_conflicts(gf_stepper *s, const gf_recipe *r, cJSON *j, gf_err *e);
/* Table and advice, 80 columns. */
bool gf_report_conflict_table(gf_stepper *s, const gf_run *r, gf_text *out, gf_err *e);

#endif
