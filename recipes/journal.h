/* journal: the lines of log.jsonl and the means between them. */
#ifndef GF_RECIPES_JOURNAL_H
#define GF_RECIPES_JOURNAL_H

#include "recipes/folder.h"
#include "recipes/trainer.h"

typedef struct gf_journal {
    int64_t losses;              /* most that a phase has: the tasks, or 1 */
    double *sum;                 /* [losses] since the last line */
    double *mean;                /* [losses] */
    int64_t *count;              /* [losses] updates with labels since the last line */
    int64_t tokens, rows, steps; /* since the clock was read */
    double since;                /* clock at the last line, or when the run was resumed */
} gf_journal;

bool gf_journal_start(gf_journal *j, const gf_recipe *r, gf_err *e);
void gf_journal_free(gf_journal *j);
/* Begins to count anew, at the start of a phase. */
void gf_journal_restart(gf_journal *j);
/* Begins to measure anew and keeps the sums of losses, in a resumed run. */
void gf_journal_resume(gf_journal *j);
/* Adds a step and fills the view's means and rates. */
void gf_journal_add(gf_journal *j, gf_step_view *v);
/* Writes the line of a step, of a comparison of the tasks' gradients in that step, of an
 * evaluation, or of a phase that is over. */
bool gf_journal_write_step(gf_journal *j, gf_run_folder *f, const gf_step_view *v, gf_err *e);
bool gf_journal_write_conflict(gf_run_folder *f, const gf_step_view *v, const gf_apart *a,
                               gf_err *e);
bool gf_journal_write_phase(gf_run_folder *f, const gf_phase *p, const gf_progress *at,
                            const cJSON *done, gf_err *e);
bool gf_journal_write_eval(gf_run_folder *f, const gf_eval_view *v, gf_err *e);

/* Seconds of a clock that only runs forward. */
double gf_seconds(void);

#endif
