/* state: the run state of a checkpoint: all that a resumed run needs besides weights and moments.
 *
 *     char *json = gf_state_to_json(&(gf_state){at, journal, inputs}, recipe, e);
 *     ...
 *     if (!gf_state_from_json(&at, &journal, recipe, json, path, log, e)) goto done;
 *
 * It holds where the run stands (progress.h), the sums of the next log line, the digests of what
 * run reads (inputs.h), the names of its random generators and of the matrix kernels. */
#ifndef GF_RECIPES_STATE_H
#define GF_RECIPES_STATE_H

#include "core/log.h"
#include "recipes/journal.h"
#include "recipes/progress.h"

typedef struct gf_state {
    gf_progress *at;
    gf_journal *journal;
    const cJSON *inputs; /* of gf_inputs_digest() */
} gf_state;

/* JSON text for a checkpoint; free with gf_free(). */
char *gf_state_to_json(const gf_state *s, const gf_recipe *r, gf_err *e);
/* The digests in such a text, for cJSON_Delete(). */
cJSON *gf_state_read_inputs(const char *json, const char *where, gf_err *e);
/* Fills *at and *journal, which must be started. What is missing is GF_E_MODEL; other kernels are a
 * warning. */
bool gf_state_from_json(gf_progress *at, gf_journal *journal, const gf_recipe *r, const char *json,
                        const char *where, const gf_log *log, gf_err *e);

#endif
