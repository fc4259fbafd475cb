/* saver: checkpoints of a run, written beside the training from a snapshot of its memory.
 *
 *     gf_saver_start(&s, "runs/a/checkpoints/step-000000007.h5", &job, e);    (returns at once)
 *     ... training goes on ...
 *     if (!gf_saver_settle(&s, e)) goto done;                                  (waits)
 *
 * A forked process writes, so that neither a full disk nor a crash of libhdf5 takes the run down.
 * One save is under way at a time; the next waits for it. */
#ifndef GF_RECIPES_SAVER_H
#define GF_RECIPES_SAVER_H

#include "core/child.h"
#include "model/model.h"

#include <stdint.h>

typedef struct gf_saver {
    gf_child child;
    char *path; /* of the save under way, NULL without one */
} gf_saver;

typedef struct gf_save_job {
    const gf_model *model;
    const char *recipe_json, *state_json;
    const char *also; /* best.h5 when this is the best model too, else NULL */
    const char *folder;
    int64_t keep, step; /* how many step-N.h5 stay, N up to this step; later ones go */
    const char *spare;  /* a checkpoint that goes when this one is there, or NULL */
} gf_save_job;

/* Needs no save under way. Fails with GF_E_IO when there is too little space or no process. */
bool gf_saver_start(gf_saver *s, const char *path, const gf_save_job *job, gf_err *e);
/* True when gf_saver_settle() would have something to tell without waiting. */
bool gf_saver_has_news(const gf_saver *s);
/* Waits for the save under way, if any; false with its failure. */
bool gf_saver_settle(gf_saver *s, gf_err *e);

/* The step of "step-000000123.h5", -1 for another name. */
int64_t gf_checkpoint_step(const char *name);
/* Names of the checkpoints in a folder, oldest first; free with gf_io_free_names(). */
char **gf_checkpoint_list(const char *folder, int64_t *count, gf_err *e);
/* Removes all but the newest `keep` up to `step`, and with `later` those of later steps. */
bool gf_checkpoint_prune(const char *folder, int64_t keep, int64_t step, bool later, gf_err *e);

#endif
