/* journal: the lines of log.jsonl and the means between them. */
#ifndef GF_RECIPES_JOURNAL_H
#define GF_RECIPES_JOURNAL_H

#include "recipes/folder.h"
#include "recipes/trainer.h"

typedef struct gf_journal {
    double *sum;                 /* [n_tasks] losses since the last line */
    double *mean;                /* [n_tasks] */
    int64_t *count;              /* [n_tasks] updates with labels since the last line */
    int64_t tokens, rows, steps; /* since the clock was read */
    double since;                /* clock at the last line, or when the run was resumed */
} gf_journal;

bool gf_journal_start(gf_journal *j, const gf_recipe *r, gf_err *e);
void gf_journal_free(gf_journal *j);
/* Begins to count anew, at the start of a phase. */
void gf_journal_restart(gf_journal *j, const gf_recipe *r);
/* Begins to measure anew and keeps the sums of losses, in a resumed run. */
void gf_journal_resume(gf_journal *j);
/* Adds a step and fills the view's means and rates. */
void gf_journal_add(gf_journal *j, gf_step_view *v);
/* Writes the line of a step, or of an evaluation. */
bool gf_journal_write_step(gf_journal *j, gf_run_folder *f, const gf_step_view *v, gf_err *e);
bool gf_journal_write_eval(gf_run_folder *f, const gf_eval_view *v, gf_err *e);

/* Seconds of a clock that only runs forward. */
double gf_seconds(void);

#endif
