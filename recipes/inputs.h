/* inputs: digests of all that a run reads, so that a resumed run can tell what has changed.
 *
 *     cJSON *now = gf_inputs_digest(&recipe, e);         {"train": {"train.jsonl": "9f86..."}, ...}
 *     if (!gf_inputs_compare(before, now, stored, current, where, e)) goto done;
 *
 * Files are named without their places: a run that moved with its data is the same run. */
#ifndef GF_RECIPES_INPUTS_H
#define GF_RECIPES_INPUTS_H

#include "core/json.h"
#include "recipes/recipe.h"

/* The SHA-256 of each file of the base model and of each data file; for cJSON_Delete(). */
cJSON *gf_inputs_digest(const gf_recipe *r, gf_err *e);
/* Compares the digests and the recipes, then and now, both as JSON texts. Fails with GF_E_INVALID
 * and a sentence that lists what differs. `where` names the run. */
bool gf_inputs_compare(const cJSON *then, const cJSON *now, const char *recipe_then,
                       const char *recipe_now, const char *where, gf_err *e);

#endif
