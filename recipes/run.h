/* run: everything a recipe names, opened and checked: the model with its heads, the label lists,
 * the data sets as token ids.
 *
 *     gf_run run = {0};
 *     if (!gf_run_open(&run, &recipe, NULL, log, e)) goto done;
 *     ...
 *     gf_run_close(&run);
 *
 * Task i of the recipe is head i of the model and label column i of every data set. Tasks with data
 * of their own are further sources of the same data sets, in whose rows the others have no
 * label. */
#ifndef GF_RECIPES_RUN_H
#define GF_RECIPES_RUN_H

#include "core/log.h"
#include "data/dataset.h"
#include "model/loss.h"
#include "recipes/recipe.h"

typedef struct gf_run {
    const gf_recipe *recipe; /* not owned */
    gf_model model;
    gf_labels *labels;           /* [n_tasks] */
    gf_task_field *fields;       /* [n_tasks] */
    gf_dataset train, dev, test; /* dev and test have no rows when the recipe names none */
    gf_dataset unlabelled;       /* mlm.data; no rows: the training texts */
    gf_loss_rule *loss_rules;    /* [n_tasks] for training */
    gf_real **class_weights;     /* [n_tasks] what the rules point to, NULL where there are none */
    double hidden_dropout, attention_dropout;
} gf_run;

/* checkpoint NULL: the model is the recipe's base with new heads; else the model, its heads and the
 * optimizer's moments come from that HDF5 checkpoint. */
bool gf_run_open(gf_run *r, const gf_recipe *recipe, const char *checkpoint, const gf_log *log,
                 gf_err *e);
void gf_run_close(gf_run *r);

#endif
