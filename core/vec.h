/* vec: vector kernels behind one table, chosen once at start-up for the processor at hand.
 *
 *     const gf_vec *vec = gf_vec_best();          ("avx512", "avx2" or "plain")
 *     vec->gelu(n, x, y);
 *
 * All tables give the same bits: each is the same arithmetic (add, multiply, fma, divide, sqrt, never
 * an estimate) over the same 16 virtual lanes, and sums over lanes use one fixed tree. The elements of
 * an array may lie at any multiple of sizeof(gf_real); n >= 0 need not be a multiple of 16. Arguments
 * named alike may be the same array where "in place" is said, and may not overlap otherwise.
 * In the double build (core/real.h) only the plain table exists and it calls libm. */
#ifndef GF_CORE_VEC_H
#define GF_CORE_VEC_H

#include "core/real.h"

#include <stdint.h>

/* Which dropout mask: element i of a site in a step is kept iff 16 bits of Philox4x32-10 (Salmon et
 * al. 2011) with key = seed and counter = (i / 8, site, step low, step high) are below `keep`. */
typedef struct gf_dropout {
    uint64_t seed, step;
    uint32_t site;
    uint32_t keep; /* kept iff bits < keep, in [0, 65536]; 65536: no dropout at all */
    gf_real scale; /* 65536 / keep, what kept elements are multiplied by */
} gf_dropout;

/* The mask of rate p in [0, 1); p = 0 switches it off. */
gf_dropout gf_dropout_make(double p, uint64_t seed, uint64_t step, uint32_t site);

typedef struct gf_adamw {
    gf_real decay;      /* 1 - lr * weight_decay */
    gf_real step_size;  /* lr / (1 - beta1^t) */
    gf_real bias2_sqrt; /* sqrt(1 - beta2^t) */
    gf_real beta1, beta2;
    gf_real eps;
    gf_real grad_scale; /* clipping: every gradient is multiplied by it first */
} gf_adamw;

typedef struct gf_vec {
    const char *name;
    /* y = f(x), in place allowed. */
    void (*exp)(int64_t n, const gf_real *x, gf_real *y);
    void (*erf)(int64_t n, const gf_real *x, gf_real *y);
    void (*tanh)(int64_t n, const gf_real *x, gf_real *y);
    void (*gelu)(int64_t n, const gf_real *x, gf_real *y); /* x/2 (1 + erf(x / sqrt 2)) */
    void (*gelu_tanh)(int64_t n, const gf_real *x,
                      gf_real *y); /* Hendrycks & Gimpel 2016, tanh form */
    /* dx = dy * f'(x), dx and dy may be the same array. */
    void (*gelu_slope)(int64_t n, const gf_real *x, const gf_real *dy, gf_real *dx);
    void (*gelu_tanh_slope)(int64_t n, const gf_real *x, const gf_real *dy, gf_real *dx);
    /* y += x, y += a x, y += a b (elementwise), y = a x (in place allowed). */
    void (*add)(int64_t n, const gf_real *x, gf_real *y);
    void (*axpy)(int64_t n, gf_real a, const gf_real *x, gf_real *y);
    void (*multiply_add)(int64_t n, const gf_real *a, const gf_real *b, gf_real *y);
    void (*scale)(int64_t n, gf_real a, const gf_real *x, gf_real *y);
    gf_real (*sum)(int64_t n, const gf_real *x);
    gf_real (*dot)(int64_t n, const gf_real *x, const gf_real *y);
    gf_real (*max)(int64_t n, const gf_real *x);        /* n >= 1; NaN if any is */
    double (*sum_squares)(int64_t n, const gf_real *x); /* accumulated in double */
    /* One row of an attention matrix: p = softmax(scale * s), in place allowed. */
    void (*softmax)(int64_t n, gf_real scale, const gf_real *s, gf_real *p);
    /* ds = scale * p * (dp - sum(p dp)), in place over dp allowed. */
    void (*softmax_slope)(int64_t n, gf_real scale, const gf_real *p, const gf_real *dp,
                          gf_real *ds);
    /* One row of LayerNorm (Ba et al. 2016): xhat = (x - mean) * rstd, y = gamma xhat + beta, with
     * rstd = 1 / sqrt(var + eps) stored in *rstd. xhat may be x; xhat may be NULL. */
    void (*layernorm)(int64_t n, const gf_real *x, const gf_real *gamma, const gf_real *beta,
                      gf_real eps, gf_real *y, gf_real *xhat, gf_real *rstd);
    /* dx = rstd (d - mean(d) - xhat mean(d xhat)) with d = dy gamma; overwrites dx, dx may be dy. */
    void (*layernorm_slope)(int64_t n, const gf_real *dy, const gf_real *gamma, const gf_real *xhat,
                            gf_real rstd, gf_real *dx);
    /* y = x * mask * scale for elements first .. first + n - 1 of the site, in place allowed. `first`
     * may be any index. */
    void (*dropout)(int64_t n, const gf_dropout *d, int64_t first, const gf_real *x, gf_real *y);
    /* One AdamW update as PyTorch's (Loshchilov & Hutter 2019; torch.optim.AdamW, not amsgrad):
     * g *= grad_scale; w *= decay; m += (1 - beta1)(g - m); v = beta2 v + (1 - beta2) g g;
     * w -= step_size * m / (sqrt(v) / bias2_sqrt + eps). g is not written. */
    void (*adamw)(int64_t n, const gf_adamw *a, const gf_real *g, gf_real *w, gf_real *m,
                  gf_real *v);
} gf_vec;

/* The fastest table this processor runs. */
const gf_vec *gf_vec_best(void);
/* The i-th table this processor runs, the plain twin first; NULL behind the last. */
const gf_vec *gf_vec_at(int i);
/* Features of this processor that matter here, e.g. "avx2 fma avx512f amx-bf16". */
const char *gf_vec_cpu_features(char *text, int size);

#endif
