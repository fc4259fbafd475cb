/* unused: keys of a recipe that nothing in it would look at.
 *
 *     if (!gf_recipe_check_unused(&recipe, e)) goto done;         (once it is resolved)
 *
 * A key that goes with another method, schedule or optimizer, and is not at its default, is
 * GF_E_INVALID with "FILE: KEY goes with ...": whoever wrote it believes that it does something. At
 * its default it is taken, since a resolved recipe holds every key. */
#ifndef GF_RECIPES_UNUSED_H
#define GF_RECIPES_UNUSED_H

#include "recipes/recipe.h"

bool gf_recipe_check_unused(const gf_recipe *r, gf_err *e);

#endif
