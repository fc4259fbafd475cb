/* folder: the run folder, as the contract lists it.
 *
 *     recipe.json  plan.txt  log.jsonl  metrics.json  checkpoints/step-000000123.h5
 * checkpoints/best.h5 model/
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
} gf_run_folder;

/* A new run: GF_E_USAGE when a run is there already, unless `force`, which removes it. What is no
 * run or holds what the recipe reads is never removed. */
bool gf_run_folder_create(gf_run_folder *f, const gf_recipe *recipe, bool force, gf_err *e);
/* An existing one, whose log is cut to the lines that were written by then. `rewind` also removes
 * the checkpoints of later steps: all that comes will be written again. */
bool gf_run_folder_reopen(gf_run_folder *f, const gf_recipe *recipe, const gf_progress *at,
                          bool rewind, gf_err *e);
void gf_run_folder_close(gf_run_folder *f);

/* Appends one object as one line, and flushes it. */
bool gf_run_folder_log(gf_run_folder *f, const cJSON *line, gf_err *e);
/* Publishes a file of the folder. */
bool gf_run_folder_write(gf_run_folder *f, const char *name, const char *text, gf_err *e);
/* Saves step-N.h5, then removes all but the newest `keep`, and those of later steps. */
bool gf_run_folder_save(gf_run_folder *f, const gf_run *r, const gf_progress *at, gf_err *e);
/* Saves best.h5. */
bool gf_run_folder_save_best(gf_run_folder *f, const gf_run *r, const gf_progress *at, gf_err *e);

/* The newest checkpoint step-N.h5 of a run folder that can be read; what was skipped goes to the
 * log. With at_step >= 0 the one of that step. NULL when there is none. Free with gf_free(). */
char *gf_run_folder_newest(const char *folder, int64_t at_step, const gf_log *log, gf_err *e);

#endif
