/* surgery: the tasks' gradients of the shared parameters, put together so that they do not fight.
 *
 *     gf_surgery s = {0};
 *     if (!gf_surgery_start(&s, "pcgrad", 0.5, seed, tasks, e)) goto done;
 *     ...                                                   per update, with g[tasks] of [n]:
 *     gf_surgery_apply(&s, g, n, step, out, vec, pool);
 *     ...
 *     gf_surgery_free(&s);
 *
 * K tasks; g[k] is the gradient of weight * loss of task k with respect to all shared parameters,
 * flat, [n]; NULL when the task has none in this update. A task whose gradient is 0 takes no part
 * either. Everything is the caller's; out[n] may not overlap any g[k]; n >= 0.
 *
 *   none     the sum, as without surgery.
 *   pcgrad   Yu et al. 2020, algorithm 1: each task's gradient is projected onto the normal plane
 *            of every other task's that it conflicts with, in random order; the sum of the results.
 *   cagrad   Liu, Liu, Jin, Stone, Liu 2021, eq. 4 and 5: d = g0 + c |g0| g_w / |g_w|, where g0 is
 *            the mean gradient and g_w = sum w[k] g[k] with w of the simplex minimising
 *            g_w . g0 + c |g0| |g_w|. graft's total loss is a SUM over tasks where the paper's is a
 *            mean, so out is K d, without the rescaling by 1 / (1 + c^2) that the authors' code
 *            offers. It does not depend on K, then: with G = sum g[k], K d = G + c |G| g_w / |g_w|.
 *
 * All these are linear combinations of the gradients, and their coefficients depend on the dot
 * products alone: one pass over the gradients makes the K x K Gram matrix (in double), the
 * coefficients are found on it (in double), and a second pass combines. The passes are cut by n and
 * K alone, so the number of threads changes no bit. The three steps may be called one by one: to
 * add up the Gram matrix parameter by parameter, and to use it for the report of optim/conflict.h
 * too. */
#ifndef GF_OPTIM_SURGERY_H
#define GF_OPTIM_SURGERY_H

#include "core/err.h"
#include "core/pool.h"
#include "core/real.h"
#include "core/vec.h"

#include <stdbool.h>
#include <stdint.h>

enum { GF_SURGERY_TASKS = 1000 }; /* at most */

typedef enum gf_surgery_method {
    GF_SURGERY_NONE,
    GF_SURGERY_PCGRAD,
    GF_SURGERY_CAGRAD
} gf_surgery_method;

/* Their names in a recipe, by their value; NULL ends the list. */
extern const char *const gf_surgery_names[];

typedef struct gf_surgery {
    gf_surgery_method method;
    double c;
    uint64_t seed;
    int64_t tasks, slices;
    double *parts;        /* [slices, K, K] partial sums of the Gram matrix */
    double *gram;         /* [K, K] for gf_surgery_apply() */
    double *coefficients; /* [K] likewise */
    double *scratch;      /* [4, K] */
    int64_t *order;       /* [K] */
} gf_surgery;

/* `s` is zeroed or freed. c is cagrad's, in [0, 1) (the paper's condition for convergence to a
 * minimum of the mean loss; 0.5 is its authors' default). GF_E_INVALID for an unknown method, c out
 * of range, or tasks not in 1 .. GF_SURGERY_TASKS. */
bool gf_surgery_start(gf_surgery *s, const char *method, double c, uint64_t seed, int64_t tasks,
                      gf_err *e);
void gf_surgery_free(gf_surgery *s);

/* out[n] for the update `step` (which pcgrad's orders depend on). The three below in one. */
void gf_surgery_apply(gf_surgery *s, const gf_real *const *g, int64_t n, int64_t step, gf_real *out,
                      const gf_vec *vec, gf_pool *pool);

/* ADDS to gram[K, K] the dot products over the elements first .. first + count - 1 of every pair
 * of gradients; those of a task whose g is NULL stay. */
void gf_surgery_gram(gf_surgery *s, const gf_real *const *g, int64_t first, int64_t count,
                     double *gram, gf_pool *pool);
/* coefficients[K] such that the result is sum coefficients[k] g[k]. A function of gram (which is
 * symmetric), the settings and, for pcgrad, the step, any number of at least 0: for task 0, 1, ...
 * in turn the others are shuffled (ascending before), by one gf_rng of the stream "pcgrad" advanced
 * by step * 2^24 numbers. cagrad's minimum is that of the convex function with
 * sqrt(|g_w|^2 + (1e-6 max |g[k]|)^2) for |g_w|, which is smooth where gradients cancel out; by
 * descent along pairs of coordinates to the exact minimum on each line, until no slope of a used
 * task is above the least by 1e-10 of the largest, or 20000 + 2e7 / K lines are done (near-parallel
 * gradients of very unlike lengths take many). A gram that is not finite gives NaN. */
void gf_surgery_coefficients(gf_surgery *s, const double *gram, int64_t step, double *coefficients);
/* out[n] = sum coefficients[k] g[k], in the order of the tasks; those with g NULL left out. */
void gf_surgery_combine(const gf_surgery *s, const gf_real *const *g, const double *coefficients,
                        int64_t n, gf_real *out, const gf_vec *vec, gf_pool *pool);

#endif
