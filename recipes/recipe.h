/* recipe: what a run is to do, read from one JSON file. docs/recipe.md explains every key.
 *
 *     const char *sets[] = {"phases.1.epochs=3"};
 *     gf_recipe r = {0};
 *     if (!gf_recipe_read(&r, "recipe.json", sets, 1, e)) goto done;
 *     ...
 *     gf_recipe_free(&r);
 *
 * Reading is strict: an unknown key, a value of the wrong kind or out of range, and names that do
 * not fit together are GF_E_INVALID with "FILE: KEY ...". Whether the patterns, files and label
 * columns it names exist is seen when they are used. */
#ifndef GF_RECIPES_RECIPE_H
#define GF_RECIPES_RECIPE_H

#include "core/err.h"
#include "data/mix.h"
#include "model/engine.h"
#include "model/task.h"
#include "optim/balance.h"
#include "optim/groups.h"
#include "optim/schedule.h"
#include "optim/surgery.h"
#include "recipes/select.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gf_recipe_weight {
    char *name; /* of a task or class; first, as a map's key must be */
    double weight;
} gf_recipe_weight;

typedef struct gf_recipe_task {
    char *name;
    gf_task_type type;
    char *label;       /* field of the data that holds its labels */
    char **classes;    /* [n_classes] in the order of the head's rows */
    int64_t n_classes; /* 0: learned from the training data */
    double weight;
    gf_recipe_weight *class_weights; /* [n_class_weights]; a class not named has 1 */
    int64_t n_class_weights;
    bool balanced; /* class weights from the training data's counts */
    double label_smoothing, focal_gamma;
    char *separator;  /* between the labels in a string of a multi_label task; NULL: "|" */
    double threshold; /* of a multi_label task; NAN: chosen on dev */
    char *train, *dev, *test, *text; /* its own data, each NULL: the recipe's */
} gf_recipe_task;

typedef struct gf_recipe_rule {
    char *pattern; /* first, as a map's key must be */
    double lr;
    double weight_decay; /* NAN: the optimizer's, and none on biases and LayerNorm */
    double layer_decay;  /* 1: none */
    double l2_sp;        /* pull towards the weights it started from; 0: none */
} gf_recipe_rule;

typedef enum gf_objective { GF_OBJECTIVE_TASKS, GF_OBJECTIVE_MLM } gf_objective;

typedef struct gf_recipe_phase {
    char *name;
    gf_objective objective;
    int64_t epochs;
    gf_recipe_rule *rules; /* as written, the most specific first; none: evaluation only */
    int64_t n_rules;
    gf_schedule schedule;
    double warmup;           /* see gf_schedule_warmup() */
    int64_t unfreeze_layers; /* encoder layers opened at a time, from the top; 0: all at once */
    int64_t unfreeze_epochs, unfreeze_steps; /* between two stages; one of them is 0 */
    gf_recipe_weight *own_weights;           /* loss_weights as written */
    int64_t n_own_weights;
    double *loss_weights; /* [n_tasks]: own_weights over the tasks' weights */
} gf_recipe_phase;

/* What is left out: model.max_length, and batch.size when batch.tokens is, too. */
enum { GF_DEFAULT_MAX_LENGTH = 128, GF_DEFAULT_BATCH_SIZE = 32 };

typedef struct gf_recipe {
    char *path;   /* of the recipe */
    char *folder; /* what its relative paths are relative to; the paths below are joined to it */
    char *base;
    char *init;       /* "random": draw the encoder from the seed; NULL: the base's weights */
    char *heads_init; /* NULL: from the seed */
    int64_t
        max_length; /* tokens, special ones included; the default is cut to the base's positions */
    char *pooling;  /* "mean", "cls", "max", "pooler"; NULL: the base's own, else mean */
    int normalize;  /* 0, 1; -1: the base folder's, else 1 */
    double dropout; /* NAN: the base's config */
    char *train, *dev, *test;     /* dev and test may be NULL */
    char *text;                   /* field of the data that holds the text */
    double split_dev, split_test; /* shares of train that become dev and test; 0: none */
    gf_recipe_task *tasks;
    int64_t n_tasks;
    gf_mix mix;           /* of tasks with data of their own */
    int64_t batch_size;   /* rows; 0: as many as batch_tokens holds */
    int64_t batch_tokens; /* 0: no budget */
    int64_t accumulate;
    bool bucket;
    bool checkpointing; /* layers run forward again in the backward run, to save memory */
    gf_optimizer optimizer;
    double beta1, beta2, eps, weight_decay;
    double momentum; /* of SGD */
    bool nesterov;
    double ema;                /* decay of the weights' moving average; 0: none */
    double clip_norm;          /* 0: off */
    char *mlm_data, *mlm_text; /* NULL: the training texts */
    double mlm_probability;
    bool mlm_whole_word;
    int balance_method; /* in gf_balance_names */
    gf_balance_settings balance;
    gf_surgery_method surgery;
    double cagrad_c;
    int64_t conflict_every; /* updates between measurements; 0: no report */
    gf_recipe_phase *phases;
    int64_t n_phases;
    char *select_metric;   /* as written, or the default spelled out */
    gf_select select;      /* the same, parsed */
    int64_t patience;      /* evaluations without improvement before a phase ends; -1: no limit */
    int64_t save_every;    /* updates; 0: at the ends of epochs only */
    int64_t keep;          /* newest checkpoints kept */
    int64_t log_every;     /* updates between lines of log.jsonl */
    int64_t cache_mb;      /* memory for what a frozen part of the network makes of the texts */
    int64_t cache_disk_mb; /* and room in files, where that does not hold it; 0: none */
    char *cache_folder;    /* of these files, shared with other runs; NULL: the run's own */
    bool cache_keep;       /* the files stay at the end */
    uint64_t seed;
    gf_precision precision;
    char *output; /* the run folder */
} gf_recipe;

/* `sets` are overrides "a.b=value": the value is read as JSON, else taken as a string; a path's
 * numbers index lists, and keys may hold dots ("phases.0.trainable.heads.*.lr=1e-3"). A malformed
 * one is GF_E_USAGE, a file that cannot be read GF_E_MODEL. *r is empty after a failure. */
bool gf_recipe_read(gf_recipe *r, const char *path, const char *const *sets, int64_t n_sets,
                    gf_err *e);
/* The same from text; `path` names it in messages and says where relative paths start. */
bool gf_recipe_parse(gf_recipe *r, const char *text, size_t size, const char *path,
                     const char *const *sets, int64_t n_sets, gf_err *e);
/* Every key with its value, paths absolute: read again, from any folder, it is the same recipe.
 * Free with cJSON_Delete(). */
cJSON *gf_recipe_to_json(const gf_recipe *r, gf_err *e);
void gf_recipe_free(gf_recipe *r);

/* A file that a recipe reads besides its base: "train", "task.dev", "mlm", ... */
typedef struct gf_recipe_file {
    char name[160];
    const char *path;
} gf_recipe_file;

/* All of them, for gf_free(); the paths are the recipe's. */
gf_recipe_file *gf_recipe_files(const gf_recipe *r, int64_t *count, gf_err *e);
/* Whether some rows are held back to measure on after each epoch. */
bool gf_recipe_has_dev(const gf_recipe *r);
/* Whether some phase trains on masked language modelling. */
bool gf_recipe_has_mlm(const gf_recipe *r);

#endif
