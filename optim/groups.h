/* groups: which parameters train in a phase, and how fast.
 *
 *     gf_groups groups = {0};
 *     if (!gf_groups_assign(&groups, params, rules, n_rules, layers, 0.01, e)) goto done;
 *     if (!gf_groups_reserve(params, e)) goto done;
 *     ...
 *     gf_groups_free(&groups);
 *
 * The first rule whose pattern matches a parameter decides; a parameter that none matches is
 * frozen. layer_decay d trains encoder layer i of L at lr d^(L-1-i) and the embeddings at lr d^L
 * (Howard & Ruder 2018, discriminative fine-tuning; Clark et al. 2020, ELECTRA's layerwise
 * decay). Biases and LayerNorm get no weight decay unless their rule gives one. */
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
} gf_rule;

typedef struct gf_group {
    const char *pattern; /* of the rule it comes from, which owns it */
    double lr, weight_decay;
    int64_t params, elements; /* how many are in it */
} gf_group;

typedef struct gf_groups {
    gf_group *items; /* by rule, then in the order of the model: one per rule, lr and decay */
    int64_t count, capacity;
} gf_groups;

/* Fills the groups and sets `trainable` and `group` of every parameter. GF_E_INVALID when a
 * pattern cannot be read or decides for no parameter; every parameter is frozen then, or when
 * memory is out. */
bool gf_groups_assign(gf_groups *g, gf_params *params, const gf_rule *rules, int64_t n_rules,
                      int64_t layers, double default_decay, gf_err *e);
void gf_groups_free(gf_groups *g);

/* Gives every trainable parameter a value of its own, a zeroed gradient and, when it trains for the
 * first time, zeroed moments. A frozen one loses its gradient and keeps its moments. */
bool gf_groups_reserve(gf_params *params, gf_err *e);

#endif
