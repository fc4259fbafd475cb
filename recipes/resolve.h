/* resolve: a recipe's values as one whole: defaults that follow from other keys, and what does not
 * fit together. */
#ifndef GF_RECIPES_RESOLVE_H
#define GF_RECIPES_RESOLVE_H

#include "recipes/recipe.h"

/* `folder` is what relative paths start from, NULL for the working folder. GF_E_INVALID names file
 * and key. */
bool gf_recipe_resolve(gf_recipe *r, const char *folder, gf_err *e);

#endif
