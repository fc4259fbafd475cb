/* check: what is wrong or odd in a recipe's data, found without training. */
#ifndef GF_RECIPES_CHECK_H
#define GF_RECIPES_CHECK_H

#include "core/text.h"
#include "recipes/run.h"

/* An error where training would refuse a pattern. Per split: rows, tokens, truncation and [UNK]
 * rates; per task: rows of each class, missing labels; equal texts with different labels, and texts
 * shared between splits. *problems counts the lines that begin with "!". */
bool gf_run_check(gf_run *r, gf_text *out, int64_t *problems, gf_err *e);

#endif
