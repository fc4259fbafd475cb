/* task: what the type of a head means: how many logits it has and how they become scores.
 *
 *     int64_t n = gf_task_score_count(head->type, head->n_classes);
 *     gf_task_scores(head->type, head->n_classes, vec, logits, scores);            scores [n]
 *
 * C classes, O logits:
 *   classification  O = C       softmax over the classes
 *   multi_label     O = C       a sigmoid each; a class is predicted at or above its threshold
 *   regression      O = 1       the logit is the value; there are no classes
 *   ordinal         O = C - 1   logit k says whether the label is above class k, given that it is
 *                               not below it (CORN; Shi, Cao & Raschka 2023, section 3.3); the
 *                               classes stand in their order */
#ifndef GF_MODEL_TASK_H
#define GF_MODEL_TASK_H

#include "core/real.h"
#include "core/vec.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum gf_task_type {
    GF_TASK_CLASSIFICATION,
    GF_TASK_MULTI_LABEL,
    GF_TASK_REGRESSION,
    GF_TASK_ORDINAL
} gf_task_type;

/* Their names in a recipe and in heads.json, by their value; NULL ends the list. */
extern const char *const gf_task_type_names[];
bool gf_task_type_find(const char *name, gf_task_type *type);

/* Logits of a head with n_classes classes. */
int64_t gf_task_outputs(gf_task_type type, int64_t n_classes);
/* Scores of a row: the classes, or 1 for a regression. */
int64_t gf_task_score_count(gf_task_type type, int64_t n_classes);
/* Probabilities [C] of the classes (each its own for multi_label), or the value [1]. In place over
 * the logits is allowed but for ordinal. */
void gf_task_scores(gf_task_type type, int64_t n_classes, const gf_vec *vec, const gf_real *logits,
                    gf_real *scores);

#endif
