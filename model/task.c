#include "model/task.h"

#include <string.h>

const char *const gf_task_type_names[] = {"classification", "multi_label", "regression", "ordinal",
                                          NULL};

bool gf_task_type_find(const char *name, gf_task_type *type) {
    for (int i = 0; gf_task_type_names[i]; i++)
        if (strcmp(gf_task_type_names[i], name) == 0) {
            *type = (gf_task_type)i;
            return true;
        }
    return false;
}

int64_t gf_task_outputs(gf_task_type type, int64_t n_classes) {
    if (type == GF_TASK_REGRESSION) return 1;
    return type == GF_TASK_ORDINAL ? n_classes - 1 : n_classes;
}

int64_t gf_task_score_count(gf_task_type type, int64_t n_classes) {
    return type == GF_TASK_REGRESSION ? 1 : n_classes;
}

/* y = 1 / (1 + exp(-x)), by the exponential of -|x|, which never overflows. */
static void sigmoid(const gf_vec *vec, int64_t n, const gf_real *x, gf_real *y) {
    for (int64_t i = 0; i < n; i++) {
        gf_real power = x[i] < 0 ? x[i] : -x[i], small;
        vec->exp(1, &power, &small);
        y[i] = x[i] < 0 ? small / (1 + small) : 1 / (1 + small);
    }
}

/* P(label > k) is the product of the conditional probabilities up to k. */
static void ordinal_scores(const gf_vec *vec, int64_t n_classes, const gf_real *logits,
                           gf_real *scores) {
    gf_real above = 1, next;
    for (int64_t k = 0; k < n_classes - 1; k++) {
        sigmoid(vec, 1, &logits[k], &next);
        scores[k] = above - above * next;
        above *= next;
    }
    scores[n_classes - 1] = above;
}

void gf_task_scores(gf_task_type type, int64_t n_classes, const gf_vec *vec, const gf_real *logits,
                    gf_real *scores) {
    switch (type) {
    case GF_TASK_CLASSIFICATION: vec->softmax(n_classes, 1, logits, scores); break;
    case GF_TASK_MULTI_LABEL: sigmoid(vec, n_classes, logits, scores); break;
    case GF_TASK_REGRESSION: scores[0] = logits[0]; break;
    case GF_TASK_ORDINAL: ordinal_scores(vec, n_classes, logits, scores); break;
    }
}
