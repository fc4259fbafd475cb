/* phase: one phase of a recipe as it runs: what trains, at which rates, for how many updates.
 *
 *     gf_phase p = {0};
 *     if (!gf_phase_begin(&p, &run, index, &at, e)) goto done;
 *     ...                                     before each update, where layers open one by one:
 *     if (gf_phase_stage_at(&p, &at) != p.stage) gf_phase_open(&p, &run, stage, e);
 *     ...
 *     gf_phase_end(&p);
 */
#ifndef GF_RECIPES_PHASE_H
#define GF_RECIPES_PHASE_H

#include "optim/blocks.h"
#include "optim/groups.h"
#include "recipes/boundary.h"
#include "recipes/evaluate.h"
#include "recipes/progress.h"
#include "recipes/run.h"

typedef struct gf_phase {
    const gf_recipe_phase *recipe;
    int64_t index;
    const gf_dataset *data; /* whose rows an epoch visits */
    int64_t n_losses;       /* the tasks, or 1: masked language modelling */
    gf_groups groups;
    gf_blocks blocks;
    int64_t *epoch_updates; /* [epochs] NULL: updates_per_epoch each */
    int64_t updates_per_epoch, updates, warmup;
    int64_t stage;          /* of gradual unfreezing, from 0 */
    bool trains;            /* some parameter does, in this stage or a later one */
    bool encoder_frozen;    /* in this stage */
    bool moves_encoder;     /* in some stage the encoder trains */
    gf_features train, dev; /* what this stage begins with, see recipes/boundary.h */
} gf_phase;

/* Decides what trains in the last stage and counts updates, without reserving memory: for plans.
 * Frees an earlier phase. */
bool gf_phase_assign(gf_phase *p, gf_run *r, int64_t index, gf_err *e);
/* Opens the stage in which *at was reached, and reserves gradients, moments, averages and anchors;
 * of a phase that is over nothing any more. */
bool gf_phase_begin(gf_phase *p, gf_run *r, int64_t index, const gf_progress *at, gf_err *e);
/* By its epochs, by patience, or as nothing trains. */
bool gf_phase_is_over(const gf_phase *p, const gf_progress *at);
/* The stage of gradual unfreezing that the next update belongs to; 0 without it. */
int64_t gf_phase_stage_at(const gf_phase *p, const gf_progress *at);
/* Goes on to another stage, without features. */
bool gf_phase_open(gf_phase *p, gf_run *r, int64_t stage, gf_err *e);
/* Takes what the part of the network that stands still makes of train and dev from b, which has to
 * outlive the phase. `visits` are the epochs in which the stage will use it; a single one needs the
 * same passes without. */
bool gf_phase_make_features(gf_phase *p, gf_run *r, gf_engine *n, gf_boundary *b, int64_t visits,
                            const gf_tell *tell, gf_err *e);
/* Whole epochs that the stage lasts from *at on. */
int64_t gf_phase_visits(const gf_phase *p, const gf_progress *at);
/* The point that this stage is to begin with, see recipes/boundary.h. */
int64_t gf_phase_point(const gf_phase *p, const gf_run *r, int64_t visits);
/* For plans, between gf_phase_assign() and the end: how many stages the phase has; assigns what
 * trains in one of them, and says where it begins. */
int64_t gf_phase_stages(const gf_phase *p, const gf_run *r);
bool gf_phase_assign_stage(gf_phase *p, gf_run *r, int64_t stage, gf_progress *begin, gf_err *e);
void gf_phase_end(gf_phase *p);

/* Updates of an epoch of the phase. */
int64_t gf_phase_updates_in(const gf_phase *p, int64_t epoch);
/* The order in which an epoch visits the rows. */
bool gf_phase_make_epoch(const gf_phase *p, const gf_run *r, int64_t epoch, gf_epoch *out,
                         gf_err *e);
/* The largest learning rate of the groups that rule `rule` of the phase made, before the schedule.
 */
double gf_phase_rate(const gf_phase *p, int64_t rule);
/* What loss i of the phase is called: its task's name, or "mlm". */
const char *gf_phase_loss_name(const gf_phase *p, const gf_recipe *r, int64_t i);

#endif
