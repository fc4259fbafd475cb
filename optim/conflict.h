/* conflict: how the tasks' gradients of the shared parameters get on over a run, and what to do.
 *
 *     gf_conflict c = {0};
 *     if (!gf_conflict_start(&c, tasks, places, e)) goto done;
 *     ...                                        per measured update, grams[places, tasks, tasks]:
 *     gf_conflict_add(&c, grams);
 *     ...
 *     if (!gf_conflict_write_table(&c, task_names, place_names, &text, e)) goto done;
 *     if (!gf_conflict_write_advice(&c, task_names, place_names, &text, e)) goto done;
 *     ...
 *     gf_conflict_free(&c);
 *
 * A place is a part of the shared parameters, from the input to the output: embeddings, layer 0,
 * ... . Its Gram matrix holds the dot products of the tasks' gradients in one update over its
 * parameters (gf_surgery_gram()); places without trainable parameters have zeros. A pair has a
 * cosine where both gradients are finite and not 0; else the update does not count for it there.
 *
 *   cosine     g[i] . g[j] / (|g[i]| |g[j]|), the mean over updates.
 *   conflicts  updates with a cosine below 0 (Yu et al. 2020, definition 1).
 *   effect     of i on j: to first order, a step along -g[i] changes the loss of j by -g[i] . g[j],
 *              a step of j's own by -g[j] . g[j]; the effect is the ratio of their sums over the
 *              updates in which both have gradients, so that an update with a tiny g[j] does not
 *              drown the others. -0.4: i's steps undo 40 % of what j's own gain.
 *   norm       |g[k]| over all places, the mean over updates in which it is not 0. */
#ifndef GF_OPTIM_CONFLICT_H
#define GF_OPTIM_CONFLICT_H

#include "core/err.h"
#include "core/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gf_conflict {
    int64_t tasks, places;
    double *state; /* see gf_conflict_state() */
    int64_t count; /* of numbers in it */
} gf_conflict;

typedef struct gf_conflict_pair {
    int64_t updates, conflicts;
    double cosine; /* mean; 0 without updates */
} gf_conflict_pair;

/* `c` is zeroed or freed. */
bool gf_conflict_start(gf_conflict *c, int64_t tasks, int64_t places, gf_err *e);
void gf_conflict_free(gf_conflict *c);
/* One update: grams[places, tasks, tasks], symmetric. */
void gf_conflict_add(gf_conflict *c, const double *grams);

/* Updates seen, measurable or not. */
int64_t gf_conflict_updates(const gf_conflict *c);
/* Tasks i != j at a place; place == places: over all places together. */
gf_conflict_pair gf_conflict_get(const gf_conflict *c, int64_t i, int64_t j, int64_t place);
/* Of i on j, over all places; 0 without updates. */
double gf_conflict_effect(const gf_conflict *c, int64_t i, int64_t j);
double gf_conflict_norm(const gf_conflict *c, int64_t k);

/* All numbers in a fixed layout per (tasks, places), owned by c; to resume, write what was saved
 * over them: updates; per task: updates, sum of norms; per pair i < j: sum of g[i] . g[j], of
 * |g[i]|^2 and of |g[j]|^2, then per place and for all: updates, sum of cosines, conflicts. */
void gf_conflict_state(gf_conflict *c, double **values, int64_t *count);

/* A table for people, at most 80 columns wide, a line per pair, the lowest cosine first, at most 20
 * lines and a line that counts the rest: names, mean cosine, share of updates in conflict, the
 * place with the lowest mean cosine, effects of the first on the second and back. Appended to
 * `text`, lines end with '\n'. Names are UTF-8 and cut where they do not fit. */
bool gf_conflict_write_table(const gf_conflict *c, const char *const *tasks,
                             const char *const *places, gf_text *text, gf_err *e);
/* The advice: sentences on one line, ending with '\n', a function of the numbers and names. A pair
 * is said to conflict where its mean cosine is below -0.02 and at least half of its updates are in
 * conflict: gradients of many parameters that have nothing to do with each other are near 0. */
bool gf_conflict_write_advice(const gf_conflict *c, const char *const *tasks,
                              const char *const *places, gf_text *text, gf_err *e);

#endif
