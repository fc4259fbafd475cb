/* sources: which files of a recipe belong together, and which tasks find their labels there.
 *
 *     for (int64_t i = 0; i < recipe->n_tasks; i++) {
 *         gf_recipe_source s = gf_source_of(recipe, i);
 *         if (gf_source_is_first(recipe, i)) ...                read s.train, s.dev, s.test once
 *     }
 *
 * A source is the recipe's own data, or that of a task that brings some; tasks that name the same
 * files share one. Nothing is owned. */
#ifndef GF_RECIPES_SOURCES_H
#define GF_RECIPES_SOURCES_H

#include "data/dataset.h"
#include "recipes/recipe.h"

typedef struct gf_recipe_source {
    const char *train, *dev, *test; /* dev and test may be NULL */
    const char *text;               /* the text's field */
} gf_recipe_source;

gf_recipe_source gf_source_of(const gf_recipe *r, int64_t task);
/* Whether two tasks share their source. */
bool gf_source_is_shared(const gf_recipe *r, int64_t a, int64_t b);
/* The task that names the source first is the one for which it is read. */
bool gf_source_is_first(const gf_recipe *r, int64_t task);
/* The kind of a task's labels. */
gf_label_kind gf_source_label_kind(gf_task_type type);

#endif
