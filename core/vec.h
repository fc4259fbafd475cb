/* vec: vector kernels behind one table, chosen once at start-up for the processor at hand.
 *
 *     const gf_vec *vec = gf_vec_best();          ("avx512", "avx2" or "plain")
 *     vec->gelu(n, x, y);
 *
 * All tables give the same bits: each is the same arithmetic (add, multiply, fma, divide, sqrt,
 * never an estimate) over the same 16 virtual lanes, element i in lane i mod 16, and sums over
 * lanes use one fixed tree. Only which of several NaNs comes out is left open. The elements of an
 * array may lie at any multiple of sizeof(gf_real); n >= 0 need not be a multiple of 16, and
 * nothing behind the n elements is touched. Arguments may be the same array where "in place" is
 * said, and may not overlap otherwise. No function can fail, allocates or keeps anything. Errors of
 * exp, erf, tanh and log1p against the true value are at most 0.9, 1.1, 1.4 and 1.0 ulp. In the
 * double build (core/real.h) only the plain table exists and it calls libm. */
#ifndef GF_CORE_VEC_H
#define GF_CORE_VEC_H

#include "core/real.h"

#include <stdbool.h>
#include <stdint.h>

/* Which dropout mask. Element i of a site in a step is kept iff half h = i mod 8 of a block of
 * Philox4x32-10 (Salmon et al. 2011) is below `keep`. The block is that of
 *     key     = (low, high 32 bits of seed),
 *     counter = (low, high 32 bits of site * 2^32 + i / 8, low, high 32 bits of step),
 * and its half h is the low (h even) or high (h odd) 16 bits of its output word h / 2. So counter
 * word 1 is the site for the first 2^35 elements of a site; were there more, they would go on with
 * the numbers of site + 1. */
typedef struct gf_dropout {
    uint64_t seed, step;
    uint32_t site;
    uint32_t keep; /* kept iff bits < keep, in [0, 65536]; 65536: no dropout at all */
    gf_real scale; /* 65536 / keep, what kept elements are multiplied by */
} gf_dropout;

/* The mask of rate p in [0, 1), to the nearest 1/65536; p = 0 switches it off. */
gf_dropout gf_dropout_make(double p, uint64_t seed, uint64_t step, uint32_t site);

typedef struct gf_adamw {
    gf_real decay;      /* 1 - lr * weight_decay */
    gf_real step_size;  /* lr / (1 - beta1^t) */
    gf_real bias2_sqrt; /* sqrt(1 - beta2^t) */
    gf_real rate1;      /* 1 - beta1, rounded from double: 1 - 0.999f is not 0.001f */
    gf_real rate2;      /* 1 - beta2, likewise */
    gf_real beta2;
    gf_real eps;
    gf_real grad_scale; /* clipping: every gradient is multiplied by it first */
} gf_adamw;

typedef struct gf_vec {
    const char *name;
    /* y = f(x), in place allowed. exp is infinity above 88.7, denormal from -87.3 to -104, then 0.
     */
    void (*exp)(int64_t n, const gf_real *x, gf_real *y);
    void (*erf)(int64_t n, const gf_real *x, gf_real *y);
    void (*tanh)(int64_t n, const gf_real *x, gf_real *y);
    void (*log1p)(int64_t n, const gf_real *x, gf_real *y); /* log(1 + x); NaN below 0 */
    /* x/2 (1 + erf(x / sqrt 2)); of -infinity it is NaN, as PyTorch's. */
    void (*gelu)(int64_t n, const gf_real *x, gf_real *y);
    /* x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), Hendrycks & Gimpel 2016. */
    void (*gelu_tanh)(int64_t n, const gf_real *x, gf_real *y);
    /* dx = dy * f'(x); dx may be dy or x. */
    void (*gelu_slope)(int64_t n, const gf_real *x, const gf_real *dy, gf_real *dx);
    void (*gelu_tanh_slope)(int64_t n, const gf_real *x, const gf_real *dy, gf_real *dx);
    /* y += x, y += a x, y = a x (in place allowed). */
    void (*add)(int64_t n, const gf_real *x, gf_real *y);
    void (*axpy)(int64_t n, gf_real a, const gf_real *x, gf_real *y);
    void (*scale)(int64_t n, gf_real a, const gf_real *x, gf_real *y);
    /* sum[c] += a[r, c] and products[c] += a[r, c] b[r, c] for c < n, one row after the other, the
     * products by fma; row r of a and b begins at r * stride, stride >= n. Either result may be
     * NULL, and b where products is. */
    void (*add_rows)(int64_t rows, int64_t n, int64_t stride, const gf_real *a, const gf_real *b,
                     gf_real *sum, gf_real *products);
    gf_real (*sum)(int64_t n, const gf_real *x);
    gf_real (*dot)(int64_t n, const gf_real *x, const gf_real *y);
    gf_real (*max)(int64_t n, const gf_real *x);        /* n >= 1; NaN if any is */
    double (*sum_squares)(int64_t n, const gf_real *x); /* accumulated in double */
    /* One row of an attention matrix: p = softmax(scale * s), in place allowed. -infinity gives 0;
     * a NaN anywhere, or no number above -infinity, makes all of p NaN. */
    void (*softmax)(int64_t n, gf_real scale, const gf_real *s, gf_real *p);
    /* The slope of s in dropped = m p, p = softmax(scale * s), from d, the slope of dropped, for
     * any mask m: ds = scale * p * (m d - sum(p m d)) = scale * (dropped d - p sum(dropped d)),
     * so m itself is not needed. Without dropout, dropped is p. In place over d allowed. */
    void (*softmax_slope)(int64_t n, gf_real scale, const gf_real *p, const gf_real *dropped,
                          const gf_real *d, gf_real *ds);
    /* One row of LayerNorm (Ba et al. 2016): xhat = (x - mean) * rstd, y = gamma xhat + beta, with
     * rstd = 1 / sqrt(var + eps) stored in *rstd. xhat or y may be x; xhat may be NULL. n >= 1. */
    void (*layernorm)(int64_t n, const gf_real *x, const gf_real *gamma, const gf_real *beta,
                      gf_real eps, gf_real *y, gf_real *xhat, gf_real *rstd);
    /* y = gamma x + beta, elementwise, as layernorm ends, to the bit. In place allowed. */
    void (*scale_shift)(int64_t n, const gf_real *gamma, const gf_real *beta, const gf_real *x,
                        gf_real *y);
    /* dx = rstd (d - mean(d) - xhat mean(d xhat)) with d = dy gamma; overwrites dx, dx may be dy
     * or xhat. n >= 1. */
    void (*layernorm_slope)(int64_t n, const gf_real *dy, const gf_real *gamma, const gf_real *xhat,
                            gf_real rstd, gf_real *dx);
    /* y = x * scale where kept and +0 where not, NaN or not, for elements first .. first + n - 1 of
     * the site, in place allowed. `first` >= 0 may be any index. */
    void (*dropout)(int64_t n, const gf_dropout *d, int64_t first, const gf_real *x, gf_real *y);
    /* One AdamW update as PyTorch's (Loshchilov & Hutter 2019; torch.optim.AdamW, not amsgrad):
     * g *= grad_scale; w *= decay; m += (1 - beta1)(g - m); v = beta2 v + (1 - beta2) g g;
     * w -= step_size * m / (sqrt(v) / bias2_sqrt + eps). g is not written. */
    void (*adamw)(int64_t n, const gf_adamw *a, const gf_real *g, gf_real *w, gf_real *m,
                  gf_real *v);
    /* The nearest bf16 (the upper half of a float's bits), ties to even; what is above the largest
     * becomes infinity, NaN stays NaN, denormals are kept. */
    void (*round_bf16)(int64_t n, const gf_real *x, uint16_t *y);
} gf_vec;

/* The fastest table this processor runs. */
const gf_vec *gf_vec_best(void);
/* The i-th table this processor runs, the plain twin first; NULL behind the last. */
const gf_vec *gf_vec_at(int i);
/* Features of this processor that matter here, e.g. "avx2 fma avx512f amx-bf16". */
const char *gf_vec_cpu_features(char *text, int size);
/* Whether it multiplies bf16 numbers: AVX512-BF16, which those with AMX-BF16 have as well. */
bool gf_vec_cpu_has_bf16(void);

#endif
