/* strategies: what a recipe trains when, apart from model, data and tasks. The ready recipes in
 * recipes/ are the strategies: the program carries them, and puts the phases of one in place of
 * another recipe's.
 *
 *     const gf_strategy *s = gf_strategy_find("two-phase", e);
 *     char *text = s ? gf_strategy_apply(s, recipe_text, size, "recipe.json", e) : NULL;
 *     if (text && gf_recipe_parse(&r, text, strlen(text), "recipe.json", sets, n_sets, e)) ...
 *     gf_free(text);
 *
 * One that names tasks of its own ("heads.sentiment.*") is fitted to another recipe's by their
 * places: its first task is the other's first task, and so on. */
#ifndef GF_RECIPES_STRATEGIES_H
#define GF_RECIPES_STRATEGIES_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gf_strategy {
    const char *name;
    const char *json; /* the ready recipe, as its file is */
} gf_strategy;

/* The i-th in the order of the table, NULL behind the last. */
const gf_strategy *gf_strategy_at(int64_t i);
/* The one of this name, or NULL with a GF_E_USAGE that proposes the nearest. */
const gf_strategy *gf_strategy_find(const char *name, gf_err *e);
/* The first sentence of its description; free with gf_free(). */
char *gf_strategy_summary(const gf_strategy *s, gf_err *e);

/* The recipe's text with the phases of the strategy, and its optimizer and mlm where it has such:
 * an mlm of the recipe's own stays. Free with gf_free(). NULL with GF_E_INVALID when the text is no
 * recipe, GF_E_USAGE when the strategy names tasks and the recipe has not as many; `path` is for
 * messages. */
char *gf_strategy_apply(const gf_strategy *s, const char *recipe, size_t size, const char *path,
                        gf_err *e);

#endif
