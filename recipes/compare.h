/* compare: several recipes, each with several seeds, as one set of runs that can be stopped and
 * gone on with.
 *
 *     gf_compare c = {0};
 *     ok = gf_compare_add_recipe(&c, "a.json", e) && gf_compare_add_recipe(&c, "b.json", e) &&
 *          gf_compare_plan(&c, &options, e);
 *     ... each run whose state is not GF_COMPARE_DONE, in a process of its own:
 *         gf_compare_read(&c, entry, run, &recipe, e), gf_train(&recipe, ...),
 *         gf_compare_note(run, seconds, peak, NULL, e)
 *     ... and back here: gf_compare_collect(entry, run, keep, e)
 *     cJSON *report = gf_spread_report(&c, e);               (recipes/spread.h: figures and table)
 *     gf_compare_free(&c);
 *
 * A run is an ordinary run folder, OUTPUT/NAME/seed-S, of the recipe with that seed. Beside it lies
 * OUTPUT/NAME/seed-S.json: the time and memory it took so far, added up over interruptions, and the
 * error it ended with, if any. All else is read off the folders, so nothing can get out of step. */
#ifndef GF_RECIPES_COMPARE_H
#define GF_RECIPES_COMPARE_H

#include "core/log.h"
#include "recipes/recipe.h"
#include "recipes/strategies.h"

typedef enum gf_compare_state {
    GF_COMPARE_NEW,     /* nothing of it is there */
    GF_COMPARE_REPLACE, /* what is there is of no use: another recipe's with --force, or damaged */
    GF_COMPARE_STARTED, /* it can go on from a checkpoint */
    GF_COMPARE_DONE     /* its digests hold */
} gf_compare_state;

typedef struct gf_compare_run {
    uint64_t seed;
    char *folder, *notes; /* OUTPUT/NAME/seed-S, and the same with .json */
    gf_compare_state state;
    double seconds, peak_mib;      /* so far; 0: not known */
    int64_t trainable, parameters; /* the most that train in a phase, of all; of plan.txt */
    char *error;                   /* what it ended with, NULL: no failure */
    int status;                    /* and the exit status that stands for it */
    cJSON *metrics;                /* metrics.json of one that is done */
} gf_compare_run;

typedef struct gf_compare_entry {
    char *name;           /* the recipe's file name without .json, or the strategy's */
    char *path;           /* of the recipe file that model and data are taken from */
    char *text;           /* the recipe as JSON */
    char *summary;        /* of a strategy, else NULL */
    gf_compare_run *runs; /* [n_seeds] */
} gf_compare_entry;

typedef struct gf_compare {
    char *output;
    gf_compare_entry *entries; /* [n] */
    int64_t n, capacity;
    int64_t n_seeds;
    const char *const *sets; /* [n_sets] the caller's overrides, for every recipe; not owned */
    int64_t n_sets;
} gf_compare;

typedef struct gf_compare_options {
    const char *output; /* NULL: runs/compare beside the first recipe */
    int64_t seeds;
    bool force; /* replace runs of other recipes */
    gf_log log;
} gf_compare_options;

/* Adding: GF_E_USAGE when the name is taken, GF_E_MODEL when the file cannot be read. */
bool gf_compare_add_recipe(gf_compare *c, const char *path, gf_err *e);
/* The recipe at PATH with each strategy of "NAME,NAME" or "all", which leaves those out that do not
 * fit the recipe's tasks, with a note. */
bool gf_compare_add_strategies(gf_compare *c, const char *path, const char *names,
                               const gf_log *log, gf_err *e);

/* Reads every recipe and looks at what is there of every run. A run of another recipe or of other
 * data is GF_E_USAGE without `force`. */
bool gf_compare_plan(gf_compare *c, const gf_compare_options *o, gf_err *e);
/* The recipe of a run, with its seed and its folder as output; free with gf_recipe_free(). */
bool gf_compare_read(const gf_compare *c, const gf_compare_entry *entry, const gf_compare_run *run,
                     gf_recipe *r, gf_err *e);
/* Writes the file beside the run. error NULL: it goes well. */
bool gf_compare_note(const gf_compare_run *run, double seconds, double peak_mib,
                     const gf_err *error, gf_err *e);
/* Reads what a run has come to. Checkpoints but the best are removed from one that is done, unless
 * `keep`. */
bool gf_compare_collect(gf_compare_run *run, bool keep, gf_err *e);
void gf_compare_free(gf_compare *c);

#endif
