/* history: what each phase of a run did to the embedding, and to the tasks that it did not train.
 *
 *     gf_history h = {0};
 *     if (!gf_history_start(&h, recipe, e)) goto done;
 *     gf_history_begin_phase(&h);
 *     gf_history_see(&h, recipe, &dev);                                   (each evaluation)
 *     if (!gf_history_end_phase(&h, &phase, recipe, &model, &cosines, e)) goto done;
 *     ... gf_history_table(&h, &text, e); cJSON_Duplicate(h.phases, true) for metrics.json ...
 *     gf_history_free(&h);
 *
 * A phase is {"name", "cosine", "cosine_base", "tasks": {TASK: {"metric", "before", "after",
 * "trained"}}}: the mean cosine of dev texts' embeddings before and after the phase, and between
 * the base's and those after it (null where the encoder stood still or nothing is known), and each
 * task's main metric on dev. All of it belongs to the run's state. */
#ifndef GF_RECIPES_HISTORY_H
#define GF_RECIPES_HISTORY_H

#include "core/json.h"
#include "recipes/forgetting.h"
#include "recipes/phase.h"

typedef struct gf_history {
    cJSON *phases;        /* those that are over, a list */
    double *start, *last; /* [n_tasks] before the phase, and by the last evaluation; NaN: unknown */
    int64_t n_tasks;
} gf_history;

bool gf_history_start(gf_history *h, const gf_recipe *r, gf_err *e);
void gf_history_free(gf_history *h);
void gf_history_begin_phase(gf_history *h);
void gf_history_see(gf_history *h, const gf_recipe *r, const gf_metrics *dev);
/* cosines NULL: the phase left the encoder as it was. */
bool gf_history_end_phase(gf_history *h, const gf_phase *p, const gf_recipe *r, const gf_model *m,
                          const gf_cosines *cosines, gf_err *e);
/* True when a phase that is over moved the encoder. */
bool gf_history_moved(const gf_history *h);

/* To the run's state as "history", and from it; what is missing is GF_E_MODEL. */
bool gf_history_add(const gf_history *h, const gf_recipe *r, cJSON *state, gf_err *e);
bool gf_history_read(gf_history *h, const gf_recipe *r, const cJSON *state, const char *where,
                     gf_err *e);
/* A line a phase, 80 columns; nothing when no phase moved the encoder or left a task out. */
bool gf_history_table(const cJSON *phases, gf_text *out, gf_err *e);

#endif
