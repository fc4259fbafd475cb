/* progress: where a run stands, all of it that a resumed run needs besides weights and moments.
 * Data order and dropout are functions of these numbers. */
#ifndef GF_RECIPES_PROGRESS_H
#define GF_RECIPES_PROGRESS_H

#include "core/json.h"
#include "optim/schedule.h"

typedef struct gf_progress {
    int64_t phase, epoch; /* indices, from 0 */
    int64_t update;       /* updates done in this epoch */
    int64_t phase_update; /* updates done in this phase: the schedule's step */
    int64_t step;         /* updates done in the run */
    int64_t batches;      /* batches seen in the run, accumulated ones too: dropout's step */
    int64_t lines;        /* written to log.jsonl */
    bool phase_over;      /* ended before its epochs: by patience, or as nothing trains */
    bool has_best;
    int64_t best_step;
    double best_value;  /* of select.metric */
    int64_t stale;      /* evaluations of this phase without a new best */
    gf_plateau plateau; /* of this phase's schedule, if it is reduce_on_plateau */
} gf_progress;

/* True between two points at which every run saves: within an epoch, at no save_every-th step (0:
 * none). Only an interruption leaves a checkpoint there. */
bool gf_progress_is_between(const gf_progress *p, int64_t save_every);

/* Adds the fields to a JSON object, and reads them from one; a missing one is GF_E_MODEL. */
bool gf_progress_add(const gf_progress *p, cJSON *j, gf_err *e);
bool gf_progress_read(gf_progress *p, const cJSON *j, const char *where, gf_err *e);

#endif
