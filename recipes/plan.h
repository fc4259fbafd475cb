/* plan: what a run will do and need, told before step 1.
 *
 * The memory is what gf_phase_begin() and the tape of the phase's largest batch will reserve,
 * counted exactly, without reserving gradients or moments. */
#ifndef GF_RECIPES_PLAN_H
#define GF_RECIPES_PLAN_H

#include "core/text.h"
#include "recipes/step.h"

/* Phases, steps, memory and disk, and the table parameter x phase. Holds no time, and apart from
 * the threads' scratch nothing of the machine. *disk gets the most bytes that the run will have
 * written at a time. Leaves every parameter frozen. */
bool gf_run_plan(gf_run *r, gf_engine *n, gf_text *out, int64_t *disk, gf_err *e);
/* Seconds the training of all phases will take, from a short measurement of this machine's speed.
 */
bool gf_run_estimate(gf_run *r, gf_engine *n, double *seconds, gf_err *e);

#endif
