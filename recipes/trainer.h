/* trainer: runs a recipe, phase by phase.
 *
 *     gf_trainer_options o = {.watch = watch};
 *     if (!gf_train(&recipe, &o, e)) goto done;
 *
 * After each epoch the dev set is evaluated, the best model kept and a checkpoint saved; at the end
 * the best model is written to model/ and measured on dev and test. What a run writes is a function
 * of recipe, data and base model, whatever the number of threads and however often it was
 * interrupted; only log.jsonl holds times. */
#ifndef GF_RECIPES_TRAINER_H
#define GF_RECIPES_TRAINER_H

#include "recipes/metrics.h"
#include "recipes/step.h"

/* What a watcher sees of a step. */
typedef struct gf_step_view {
    const gf_recipe *recipe;
    const gf_phase *phase;
    const gf_progress *at;
    const gf_update *update;  /* of this step */
    const double *mean_loss;  /* [n_losses] since the last logged step, NaN without labels */
    double tokens_per_second; /* since the last logged step; rows where texts are not encoded */
    double seconds_left;      /* in this phase, at the present pace */
    bool logged;              /* this step has a line in log.jsonl */
} gf_step_view;

/* And of an evaluation. */
typedef struct gf_eval_view {
    const gf_recipe *recipe;
    const gf_phase *phase;
    const gf_progress *at;
    const gf_metrics *dev;
    const gf_metrics *before; /* the evaluation before, NULL at the first */
    double mlm;               /* loss of masked language modelling on dev, NaN in other phases */
    double value;             /* of select.metric; NaN in an mlm phase of a run with tasks */
    bool is_best;
} gf_eval_view;

/* And of the end. */
typedef struct gf_end_view {
    const gf_metrics *dev, *test; /* of the best model; NULL without such data */
    const char *folder;
    const char *forgetting; /* tables for people, "" where there is nothing to tell */
    const char *conflicts;
} gf_end_view;

/* Functions of the caller; each may be NULL. */
typedef struct gf_watch {
    void *context;
    void (*phase)(void *context, const gf_recipe *r, const gf_phase *p);
    void (*step)(void *context, const gf_step_view *v);
    /* Texts are being encoded, for evaluation or because the encoder stands still. */
    void (*encoding)(void *context, int64_t done, int64_t rows);
    void (*evaluated)(void *context, const gf_eval_view *v);
    void (*finished)(void *context, const gf_end_view *v);
    /* GF_OK, or GF_E_SIGINT or GF_E_SIGTERM to save and stop behind the present step. */
    gf_code (*stop)(void *context);
} gf_watch;

typedef struct gf_trainer_options {
    int threads;              /* 0: gf_pool_processors() */
    bool pin;                 /* each to a processor */
    bool force;               /* replace a run that is there */
    bool resume;              /* go on from the newest checkpoint of the output folder */
    int64_t at_step;          /* with resume: from the checkpoint of this step; -1: the newest */
    const char *cache_folder; /* shared with other runs, see recipes/boundary.h; NULL: none */
    bool dense; /* for tests: no gradient is taken by rows, which is slower, and the same */
    gf_watch watch;
    gf_log log;
    gf_profile *profile; /* of the run, written to its profile.txt and profile.json; NULL: off */
} gf_trainer_options;

/* Failures keep the last good checkpoint; an interruption is GF_E_SIGINT or GF_E_SIGTERM, saved. */
bool gf_train(const gf_recipe *recipe, const gf_trainer_options *o, gf_err *e);

#endif
