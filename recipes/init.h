/* init: a commented recipe for a data file and a base.
 *
 *     gf_init_options o = {.data = "train.csv", .base = "models/all-MiniLM-L6-v2"};
 *     gf_text recipe = {0};
 *     if (!gf_init_recipe(&o, &recipe, log, e)) goto done;
 *     ... recipe.data is JSON as in recipes/, "_" keys say why ...
 *     gf_text_free(&recipe);
 *
 * It finds the text and label columns (recipes/columns.h), the classes, listed up to 50; the
 * max_length that 95 % of the texts keep to, as a multiple of 8; dev and test files beside the
 * data, called like it with "dev", "valid", "validation", "val" or "test" in place of "train", or
 * just that, with the same ending. Where there is no dev, the recipe splits the data, if there are
 * rows enough. Classes of which one has over ten times the rows of another are weighed.
 *
 * A column of strings that repeat becomes a classification; lists, and strings of parts with a
 * common separator, multi_label; few whole numbers beside each other, ordinal; many small numbers
 * with fractions, a regression. What is doubtful stands in a comment of the recipe. A column that
 * training would refuse is left out. What was found goes to the log. */
#ifndef GF_RECIPES_INIT_H
#define GF_RECIPES_INIT_H

#include "core/log.h"
#include "core/text.h"

#include <stdint.h>

typedef struct gf_init_options {
    const char *data;
    const char *base;          /* NULL: all-MiniLM-L6-v2 in models/, which need not be there yet */
    const char *output;        /* where the recipe will be, NULL: in the working folder */
    const char *text;          /* NULL: to be found */
    const char *const *labels; /* [n_labels] none: to be found */
    int64_t n_labels;
} gf_init_options;

bool gf_init_recipe(const gf_init_options *o, gf_text *out, const gf_log *log, gf_err *e);

#endif
