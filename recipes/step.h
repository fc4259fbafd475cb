/* step: one update of the weights, over one or several accumulated batches.
 *
 * A task's loss is the mean over the labels present in the whole update, so 4 batches of 8
 * accumulated give the gradient of one batch of 32. The update follows the sum of weight x loss,
 * the weights fixed or found by optim/balance.h; where the recipe asks for gradient surgery, each
 * task's gradient is taken by itself and optim/surgery.h combines them. */
#ifndef GF_RECIPES_STEP_H
#define GF_RECIPES_STEP_H

#include "data/mask.h"
#include "optim/balance.h"
#include "recipes/apart.h"
#include "recipes/phase.h"
#include "recipes/progress.h"

/* What one update found out. Arrays are [n_losses of the phase] and belong to the caller. */
typedef struct gf_update {
    double *loss;   /* mean raw loss, NaN when the update had no label of the task */
    double *weight; /* factor on it */
    double total;   /* what the update follows the gradient of */
    double grad_norm, factor;
    int64_t rows, tokens;
    bool measured; /* the tasks' gradients were compared */
} gf_update;

/* Memory of an update, reused. */
typedef struct gf_stepper {
    gf_batch batch;
    gf_masked masked;  /* of an mlm phase */
    gf_masker *masker; /* NULL in a run without mlm phases */
    int64_t rows;      /* room in the arrays below */
    gf_real *gathered; /* [rows, E] features of a batch */
    gf_real *hidden;   /* [tokens, H] the same where they are hidden states */
    int64_t tokens;
    int32_t *labels;   /* [n_tasks][rows] */
    gf_real **targets; /* [n_tasks][rows, target width] */
    gf_node **losses;  /* [n_losses] */
    double *divisors;  /* [n_losses] */
    double *after;     /* [n_losses] the losses after the update, for FAMO */
    double *norms;     /* [n_losses] for GradNorm */
    gf_apart apart;
    gf_balance balance;
    gf_surgery surgery;
    gf_conflict conflict; /* the run's statistics so far, when the recipe asks for them */
    bool dense;           /* every gradient is taken whole; see gf_trainer_options */
} gf_stepper;

bool gf_stepper_start(gf_stepper *s, const gf_run *r, gf_err *e);
void gf_stepper_free(gf_stepper *s, const gf_run *r);
/* At the start of a phase, and of each of its stages: gradients are zero. */
bool gf_stepper_begin(gf_stepper *s, gf_run *r, gf_engine *n, const gf_phase *p, gf_err *e);
/* Makes the weights what they are, for whoever reads them: updates leave something to do on rows of
 * the word embeddings that no batch had (optim/sparse.h). */
void gf_stepper_flush(gf_run *r, gf_engine *n);

/* One update over the batches first .. first + count - 1 of an epoch; advances *at. Gradients are
 * zero before and after. A loss or
 * gradient that is not finite is GF_E_NUMERIC, naming phase, task or tensor, and rows; the weights
 * are then unchanged. */
bool gf_step_run(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, gf_progress *at,
                 const gf_epoch *epoch, int64_t first, int64_t count, gf_update *u, gf_err *e);
/* Whether every update of the phase takes the tasks' gradients one by one, which costs memory. */
bool gf_step_is_apart(const gf_stepper *s, const gf_run *r, const gf_phase *p);
/* Builds the tape of one training batch, without running it: for gf_graph_bytes(). Masks are those
 * of the epoch. */
bool gf_step_plan_batch(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, const int64_t *rows,
                        int64_t count, int64_t epoch, gf_err *e);

#endif
