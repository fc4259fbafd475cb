/* groups: which parameters train in a phase, and how fast.
 *
 *     gf_groups groups = {0};
 *     int64_t lowest = gf_unfreeze_lowest(layers, 1, stage);           (-1: all may train)
 *     if (!gf_groups_assign(&groups, params, rules, n_rules, layers, lowest, 0.01, e)) goto done;
 *     if (!gf_groups_reserve(params, GF_OPTIMIZER_ADAMW, e)) goto done;
 *     ...
 *     gf_groups_free(&groups);
 *
 * The first rule whose pattern matches a parameter decides; a parameter that none matches is
 * frozen. layer_decay d trains encoder layer i of L at lr d^(L-1-i) and the embeddings at lr d^L
 * (Howard & Ruder 2018, discriminative fine-tuning; Clark et al. 2020, ELECTRA's layerwise
 * decay). Biases and LayerNorm get no weight decay unless their rule gives one.
 *
 * Gradual unfreezing (Howard & Ruder 2018, section 3.3) opens the encoder from the top, some layers
 * a stage: the same rules, assigned again with a lower `lowest_layer` at each stage. */
#ifndef GF_OPTIM_GROUPS_H
#define GF_OPTIM_GROUPS_H

#include "core/err.h"
#include "core/param.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gf_rule {
    const char *pattern; /* see optim/pattern.h */
    double lr;
    double weight_decay; /* NAN: the default, and none on biases and LayerNorm */
    double layer_decay;  /* 1: none */
    double l2_sp;        /* see optim/anchor.h; 0: none */
} gf_rule;

typedef struct gf_group {
    const char *pattern; /* of the rule it comes from, which owns it */
    double lr, weight_decay, l2_sp;
    int64_t params, elements; /* how many are in it */
} gf_group;

typedef struct gf_groups {
    gf_group *items; /* by rule, then in the order of the model: one per rule, lr, decay */
    int64_t count, capacity;
} gf_groups;

/* Which optimizer, and its name in a recipe by its value; NULL ends the list. */
typedef enum gf_optimizer { GF_OPTIMIZER_ADAMW, GF_OPTIMIZER_SGD } gf_optimizer;
extern const char *const gf_optimizer_names[];

/* Fills the groups and sets `trainable` and `group` of every parameter. Whatever the rules say,
 * encoder layers below lowest_layer stay frozen, and so do the embeddings unless it is negative: -1
 * freezes nothing. GF_E_INVALID when a pattern cannot be read or decides for no parameter, frozen
 * by lowest_layer or not; every parameter is frozen then, or when memory is out. A rule whose
 * parameters are all below lowest_layer makes no group, so there may be none at all. */
bool gf_groups_assign(gf_groups *g, gf_params *params, const gf_rule *rules, int64_t n_rules,
                      int64_t layers, int64_t lowest_layer, double default_decay, gf_err *e);
/* Then freezes the parameters whose names begin so, whatever the rules said. */
void gf_groups_freeze(gf_groups *g, gf_params *params, const char *prefix);
void gf_groups_free(gf_groups *g);

/* The lowest_layer of a stage of gradual unfreezing, counted from 0: first the heads alone, then
 * per_stage >= 1 layers more in each stage, the last of them perhaps fewer. The embeddings open in
 * the stage after all layers are open, from which on this is -1. */
int64_t gf_unfreeze_lowest(int64_t layers, int64_t per_stage, int64_t stage);

/* Gives every trainable parameter a value of its own, a zeroed gradient and, when it trains for the
 * first time, zeroed moments: AdamW's two, or SGD's one. A frozen one loses its gradient and keeps
 * its moments. */
bool gf_groups_reserve(gf_params *params, gf_optimizer optimizer, gf_err *e);

#endif
