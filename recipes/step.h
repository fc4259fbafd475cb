/* step: one update of the weights, over one or several accumulated batches.
 *
 * A task's loss is the mean over the labels present in the whole update, so 4 batches of 8
 * accumulated give the gradient of one batch of 32. */
#ifndef GF_RECIPES_STEP_H
#define GF_RECIPES_STEP_H

#include "model/engine.h"
#include "optim/adamw.h"
#include "optim/blocks.h"
#include "optim/clip.h"
#include "optim/groups.h"
#include "recipes/evaluate.h"
#include "recipes/progress.h"
#include "recipes/run.h"

/* A phase as it runs. */
typedef struct gf_phase {
    const gf_recipe_phase *recipe;
    int64_t index;
    gf_groups groups;
    gf_blocks blocks;
    int64_t updates_per_epoch, updates, warmup;
    bool trains;         /* some parameter does */
    bool encoder_frozen; /* then texts are encoded once, into features, if they fit */
    gf_features train, dev;
} gf_phase;

/* Decides what trains and counts updates, without reserving memory. Frees an earlier phase. */
bool gf_phase_assign(gf_phase *p, gf_run *r, int64_t index, gf_err *e);
/* The same, and reserves gradients and moments. */
bool gf_phase_begin(gf_phase *p, gf_run *r, int64_t index, gf_err *e);
/* Encodes train and dev once, where the encoder stands still and the result fits cache.memory_mb.
 */
bool gf_phase_make_features(gf_phase *p, gf_run *r, gf_engine *n, const gf_tell *tell, gf_err *e);
void gf_phase_end(gf_phase *p);
/* The largest learning rate of the groups that rule `rule` of the phase made, before the schedule.
 */
double gf_phase_rate(const gf_phase *p, int64_t rule);

/* What one update found out. Arrays are [n_tasks] and belong to the caller. */
typedef struct gf_update {
    double *loss; /* mean cross-entropy, NaN when the update had no label of the task */
    double total; /* sum of weight * loss */
    double grad_norm, factor;
    int64_t rows, tokens;
} gf_update;

/* Memory of an update, reused. */
typedef struct gf_stepper {
    gf_batch batch;
    gf_real *gathered;          /* [batch, E] features of a batch */
    int32_t *labels;            /* [n_tasks][batch] */
    gf_node **losses;           /* [n_tasks] */
    double *divisors, *weights; /* [n_tasks] */
} gf_stepper;

bool gf_stepper_start(gf_stepper *s, const gf_run *r, gf_err *e);
void gf_stepper_free(gf_stepper *s);

/* One update over these rows of the training data; advances *at. A loss or gradient that is not
 * finite is GF_E_NUMERIC, naming phase, task or tensor, and rows; the weights are then unchanged.
 */
bool gf_step_run(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, gf_progress *at,
                 const int64_t *rows, int64_t count, gf_update *u, gf_err *e);
/* Builds the tape of one training batch, without running it: for gf_graph_bytes(). */
bool gf_step_plan_batch(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, const int64_t *rows,
                        int64_t count, gf_err *e);

#endif
