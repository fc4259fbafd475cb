/* What the commands around training share. */
#ifndef GF_CLI_TRAIN_H
#define GF_CLI_TRAIN_H

#include "cli/cli.h"
#include "core/profile.h"
#include "recipes/run.h"

/* Reads a recipe with --set and --output applied. */
bool gf_cli_read_recipe(gf_recipe *r, gf_args *a, const char *path, gf_err *e);
/* Trains it: signals caught, the run shown on standard error. */
bool gf_cli_train(const gf_recipe *r, gf_args *a, bool resume, gf_err *e);
/* Its table on standard error; NULL: nothing. */
void gf_cli_show_profile(const gf_profile *p);

#endif
