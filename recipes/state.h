/* state: the run state of a checkpoint: all that a resumed run needs besides weights and moments.
 *
 *     gf_state s = {&at, &journal, inputs, &history, &stepper, &engine};
 *     char *json = gf_state_to_json(&s, recipe, e);
 *     ...
 *     if (!gf_state_from_json(&s, recipe, json, path, log, e)) goto done;
 *
 * It holds where the run stands (progress.h), the sums of the next log line, what earlier phases
 * did (history.h), what loss balancing and the conflict report have learned, the digests of what
 * the run reads (inputs.h), the names of its random generators and of the matrix kernels. */
#ifndef GF_RECIPES_STATE_H
#define GF_RECIPES_STATE_H

#include "core/log.h"
#include "recipes/history.h"
#include "recipes/journal.h"
#include "recipes/progress.h"
#include "recipes/step.h"

typedef struct gf_state {
    gf_progress *at;
    gf_journal *journal;
    const cJSON *inputs; /* of gf_inputs_digest() */
    gf_history *history;
    gf_stepper *stepper; /* balancing and the conflict report */
    const gf_engine *engine;
} gf_state;

/* JSON text for a checkpoint; free with gf_free(). */
char *gf_state_to_json(const gf_state *s, const gf_recipe *r, gf_err *e);
/* The digests in such a text, for cJSON_Delete(). */
cJSON *gf_state_read_inputs(const char *json, const char *where, gf_err *e);
/* Fills what s points to, which must be started; s->inputs is not touched. What is missing is
 * GF_E_MODEL; other kernels are a warning. */
bool gf_state_from_json(const gf_state *s, const gf_recipe *r, const char *json, const char *where,
                        const gf_log *log, gf_err *e);

#endif
