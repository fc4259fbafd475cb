/* folder: the run folder, as the contract lists it.
 *
 *     recipe.json  plan.txt  log.jsonl  metrics.json  lock
 *     checkpoints/step-000000123.h5  checkpoints/best.h5  model/  forgetting/
 *
 * All but log.jsonl is published whole; log.jsonl is written a line at a time. */
#ifndef GF_RECIPES_FOLDER_H
#define GF_RECIPES_FOLDER_H

#include "core/io.h"
#include "core/json.h"
#include "recipes/progress.h"
#include "recipes/run.h"

typedef struct gf_run_folder {
    char *path, *checkpoints, *best; /* FOLDER, FOLDER/checkpoints, .../best.h5 */
    char *recipe;                    /* the resolved recipe's JSON, as recipe.json holds it */
    char *stored; /* the same for checkpoints: without what depends on where the folders lie */
    gf_file *log;
    gf_lock lock; /* on FOLDER/lock, held while the run is open */
} gf_run_folder;

/* Takes the folders off a resolved recipe's paths, and its output and cache: equal runs write equal
 * checkpoints and cards wherever their files lie. */
void gf_run_folder_drop_places(cJSON *recipe);

/* A new run: GF_E_USAGE when a run is there already, unless `force`, which removes it. What is no
 * run or holds what the recipe reads is never removed. */
bool gf_run_folder_create(gf_run_folder *f, const gf_recipe *recipe, bool force, gf_err *e);
/* An existing one: locks it, so that gf_run_folder_newest() can look. GF_E_IO when another process
 * works on it. */
bool gf_run_folder_lock(gf_run_folder *f, const gf_recipe *recipe, gf_err *e);
/* And then goes on with it: cuts the log to the lines that were written by then, removes what a
 * kill left of a save, and the checkpoints that it came too early to remove. `rewind` also removes
 * those of later steps: all that comes will be written again. */
bool gf_run_folder_reopen(gf_run_folder *f, const gf_progress *at, const gf_recipe *r, bool rewind,
                          gf_err *e);
void gf_run_folder_close(gf_run_folder *f);

/* Appends one object as one line, and flushes it. */
bool gf_run_folder_log(gf_run_folder *f, const cJSON *line, gf_err *e);
/* Publishes a file of the folder. */
bool gf_run_folder_write(gf_run_folder *f, const char *name, const char *text, gf_err *e);
/* FOLDER/checkpoints/step-N.h5; free with gf_free(). */
char *gf_run_folder_step_path(const gf_run_folder *f, int64_t step, gf_err *e);
/* The newest checkpoint whose digest holds; what was skipped goes to the log. With at_step >= 0 the
 * one of that step. NULL when there is none. Free with gf_free(). */
char *gf_run_folder_newest(const gf_run_folder *f, int64_t at_step, const gf_log *log, gf_err *e);
/* The step a whole best.h5 was saved at; -1 when there is none. */
int64_t gf_run_folder_best_step(const gf_run_folder *f);
/* Makes best.h5 the one that *at speaks of, from the checkpoint of that step if need be; one of a
 * later step may stay when the run is the `same` and will write it again. If it is lost, *at
 * forgets it, with a warning. */
bool gf_run_folder_check_best(gf_run_folder *f, gf_progress *at, bool same, const gf_log *log,
                              gf_err *e);

#endif
