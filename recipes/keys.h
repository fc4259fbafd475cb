/* keys: every key of a recipe with its kind, range and default, as tables for recipes/fields.h.
 * docs/recipe.md explains each. What a table cannot check is in recipes/resolve.c. */
#ifndef GF_RECIPES_KEYS_H
#define GF_RECIPES_KEYS_H

#include "recipes/fields.h"
#include "recipes/recipe.h"

extern const gf_field gf_recipe_keys[];
extern const gf_recipe gf_recipe_defaults;
extern const gf_recipe_phase gf_recipe_phase_defaults;

#endif
