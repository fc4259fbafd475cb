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
#include "optim/schedule.h"
#include "recipes/select.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gf_recipe_task {
    char *name, *type;
    char *label;       /* field of the data that holds its labels */
    char **classes;    /* [n_classes] in the order of the head's rows */
    int64_t n_classes; /* 0: learned from the training data */
    double weight;
} gf_recipe_task;

typedef struct gf_recipe_rule {
    char *pattern; /* first, as a map's key must be */
    double lr;
    double weight_decay; /* NAN: the optimizer's, and none on biases and LayerNorm */
    double layer_decay;  /* 1: none */
} gf_recipe_rule;

typedef struct gf_recipe_weight {
    char *task; /* first, as a map's key must be */
    double weight;
} gf_recipe_weight;

typedef struct gf_recipe_phase {
    char *name;
    int64_t epochs;
    gf_recipe_rule *rules; /* as written, the most specific first; none: evaluation only */
    int64_t n_rules;
    gf_schedule_kind schedule;
    double warmup;                 /* see gf_schedule_warmup() */
    gf_recipe_weight *own_weights; /* loss_weights as written */
    int64_t n_own_weights;
    double *loss_weights; /* [n_tasks]: own_weights over the tasks' weights */
} gf_recipe_phase;

/* model.max_length when it is left out. */
enum { GF_DEFAULT_MAX_LENGTH = 128 };

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
    char *train, *dev, *test; /* dev and test may be NULL */
    char *text;               /* field of the data that holds the text */
    gf_recipe_task *tasks;
    int64_t n_tasks;
    int64_t batch_size, accumulate;
    bool bucket;
    char *optimizer;
    double beta1, beta2, eps, weight_decay;
    double clip_norm; /* 0: off */
    gf_recipe_phase *phases;
    int64_t n_phases;
    char *select_metric; /* as written, or the default spelled out */
    gf_select select;    /* the same, parsed */
    int64_t patience;    /* evaluations without improvement before a phase ends; -1: no limit */
    int64_t save_every;  /* updates; 0: at the ends of epochs only */
    int64_t keep;        /* newest checkpoints kept */
    int64_t log_every;   /* updates between lines of log.jsonl */
    int64_t cache_mb;    /* memory for embeddings of a frozen encoder; 0: off */
    uint64_t seed;
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

#endif
