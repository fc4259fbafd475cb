/* check: what is wrong or odd in a recipe's data, found without training.
 *
 *     gf_check c = {0};
 *     if (!gf_check_run(&c, &recipe, "graft check r.json --fix cleaned", log, e)) goto done;
 *     ... c.text.data, or c.json; c.problems; c.refused.code ...
 *     gf_check_free(&c);
 *
 * Per split, with all files that make it, or as data.split makes it, and of mlm.data: rows,
 * lengths, truncation, [UNK] and rows without a label; per task: rows of each class, or the values
 * of a regression; how well the vocabulary fits; and findings (recipes/findings.h): equal texts
 * with other labels, in several splits or again, near-empty and damaged texts, absent, rare and
 * uneven classes, odd values. What training would refuse is an error as in training, but malformed
 * UTF-8: that is reported whole, and `refused` then holds training's error. */
#ifndef GF_RECIPES_CHECK_H
#define GF_RECIPES_CHECK_H

#include "core/log.h"
#include "core/text.h"
#include "recipes/recipe.h"

typedef struct gf_check {
    gf_text text;
    cJSON *json;
    int64_t problems;
    gf_err refused; /* GF_OK: training would begin */
} gf_check;

/* c must be zeroed; free it also after a failure. fix_command is told where cleaning is the way. */
bool gf_check_run(gf_check *c, const gf_recipe *r, const char *fix_command, const gf_log *log,
                  gf_err *e);
void gf_check_free(gf_check *c);

/* Cleans all files into FOLDER (recipes/care.h) and says per rule what was done, and how to use
 * the new files. */
bool gf_check_fix(const gf_recipe *r, const char *folder, bool force, const gf_log *log,
                  gf_text *report, gf_err *e);

#endif
