/* apart: each task's own gradient of an update, side by side, for gradient surgery, GradNorm and
 * the conflict report.
 *
 *     gf_apart a = {0};
 *     if (!gf_apart_start(&a, &model, tasks, e)) goto done;      (what trains is decided)
 *     gf_apart_clear(&a);
 *     ... a backward pass of task t alone; gf_apart_take(&a, t);
 *     gf_apart_combine(&a, &surgery, weights, step, vec, pool);  (the parameters' gradients)
 *     gf_apart_free(&a);
 *
 * Costs the trainable parameters' memory once a task. */
#ifndef GF_RECIPES_APART_H
#define GF_RECIPES_APART_H

#include "model/model.h"
#include "optim/conflict.h"
#include "optim/surgery.h"

typedef struct gf_apart_part {
    gf_param *param;
    int64_t at, count; /* its elements in a task's gradient */
    int64_t place;     /* in the conflict report: 0 embeddings, 1 + layer, L + 1 what follows */
} gf_apart_part;

typedef struct gf_apart {
    gf_apart_part *parts; /* [n_parts] the trainable parameters, shared ones first */
    int64_t n_parts, n_shared_parts;
    int64_t shared, elements; /* of the shared parameters, and of all */
    int64_t tasks, places;
    gf_real **gradient;     /* [tasks][elements] */
    const gf_real **slices; /* [tasks] scratch: where a part begins in each, NULL if absent */
    bool *present;          /* [tasks] some backward pass of it was taken */
    double *grams;          /* [places, tasks, tasks] */
    double *coefficients;   /* [tasks] */
} gf_apart;

/* Replaces an earlier start. */
bool gf_apart_start(gf_apart *a, const gf_model *m, int64_t tasks, gf_err *e);
void gf_apart_free(gf_apart *a);

void gf_apart_clear(gf_apart *a);
/* Adds the parameters' present gradients to the task's, and zeroes them. */
void gf_apart_take(gf_apart *a, int64_t task, const gf_vec *vec);
/* norms[tasks]: of the tasks' gradients over the highest shared layer that trains (GradNorm's W),
 * multiplied by their weights; NaN for an absent task. */
void gf_apart_norms(const gf_apart *a, const double *weights, const gf_vec *vec, double *norms);
/* Adds the update to the statistics, whose places are a->places. */
void gf_apart_measure(gf_apart *a, gf_surgery *s, gf_conflict *c, gf_pool *pool);
/* Weighs the tasks' gradients, combines those of the shared parameters by surgery, sums the others,
 * and makes the result the parameters' gradients. The tasks' are used up. */
void gf_apart_combine(gf_apart *a, gf_surgery *s, const double *weights, int64_t step,
                      const gf_vec *vec, gf_pool *pool);

#endif
