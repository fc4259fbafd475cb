/* vec_kernels: every kernel of the table, written once over the 16 virtual lanes `v16`.
 *
 *     #include "core/vec_lanes_avx2.h"
 *     #include "core/vec_kernels.inc.h"
 *     const gf_vec gf_vec_avx2 = {.name = "avx2", GF_VEC_KERNELS};
 *
 * Element i of an array is in lane i mod 16; behind the end lanes hold the neutral element. So the
 * three tables do the same arithmetic in the same order and differ in speed only. No #include
 * guard: each vec_*.c includes it exactly once, after its lanes. */
#include "core/vec.h"

LANE v16 load(const gf_real *p, int64_t left) {
    return left >= 16 ? v16_load(p) : v16_load_part(p, (int)left);
}

LANE void store(gf_real *p, int64_t left, v16 x) {
    if (left >= 16)
        v16_store(p, x);
    else
        v16_store_part(p, (int)left, x);
}

/* Lanes behind the end become `filler`. */
LANE v16 fill(v16 x, int64_t left, v16 filler) {
    return left >= 16 ? x : v16_fill(x, (int)left, filler);
}

LANE v16 constant(double c) { return v16_set((gf_real)c); }
LANE v16 times(double c, v16 x) { return v16_mul(constant(c), x); }

/* One step of Horner's rule: p x + c. */
LANE v16 horner(v16 p, v16 x, double c) { return v16_fma(p, x, constant(c)); }

/* The fixed tree of a sum over lanes: lane j + lane j + 8, then + 4, + 2, + 1. */
LANE gf_real lanes_sum(v16 x) {
    x = v16_add(x, v16_down(x, 8));
    x = v16_add(x, v16_down(x, 4));
    x = v16_add(x, v16_down(x, 2));
    return v16_first(v16_add(x, v16_down(x, 1)));
}

/* The larger one; NaN where either is. */
LANE v16 max_or_nan(v16 a, v16 b) { return v16_if_nan(a, a, v16_max(a, b)); }

LANE gf_real lanes_max(v16 x) {
    x = max_or_nan(x, v16_down(x, 8));
    x = max_or_nan(x, v16_down(x, 4));
    x = max_or_nan(x, v16_down(x, 2));
    return v16_first(max_or_nan(x, v16_down(x, 1)));
}

/* --- Elementary functions --------------------------------------------------------------------
 *
 * Coefficients: minimax by Lawson's iteratively reweighted least squares over 1200 Chebyshev nodes
 * against mpmath at 40 digits, the weight being the derivative of the relative error of the result;
 * then rounded to float one by one, lowest power first, the rest fitted again each time. */

#if GF_REAL_IS_FLOAT

/* 2^k for integers k in [-126, 127]: adding 1.5 * 2^23 + 127 leaves k + 127 in the low bits. */
LANE v16 two_to(v16 k) { return v16_low_bits_to_exponent(v16_add(k, constant(12583039.0))); }

/* The nearest integer of a b, |a b| < 2^22. */
LANE v16 nearest(v16 a, v16 b) {
    return v16_sub(v16_fma(a, b, constant(12582912.0)), constant(12582912.0));
}

/* Cody & Waite 1980: x = k log 2 + r on |r| <= log(2) / 2, e^x = 2^k e^r. Returns e^r as
 * 1 + r + r^2 P(r), where P's own error is 2^-28. */
LANE v16 exp_reduced(v16 x, v16 *k) {
    v16 r, p;
    *k = nearest(x, constant(0x1.715476p+0));
    r = v16_fma(*k, constant(-0x1.62e400p-1), x); /* log 2 in 15 bits: k times it is exact */
    r = v16_fma(*k, constant(-0x1.7f7d1cp-20), r);
    p = horner(constant(0x1.6a4d60p-10), r, 0x1.12398ep-7);
    p = horner(p, r, 0x1.5558b0p-5);
    p = horner(p, r, 0x1.555492p-3);
    p = horner(p, r, 0x1.fffffcp-2);
    p = horner(p, r, 1.0);
    return horner(p, r, 1.0);
}

/* 2^k is applied in two factors, so that infinity and denormals come by rounding of the last
 * product. The limits are where the result is surely infinity and 0; a NaN passes them. */
LANE v16 v16_exp(v16 x) {
    v16 k, half, p;
    p = exp_reduced(v16_max(constant(-104.0), v16_min(constant(89.0), x)), &k);
    half = nearest(k, constant(0.5));
    return v16_mul(v16_mul(p, two_to(half)), two_to(v16_sub(k, half)));
}

/* Without these cares, for |x| < 87 or NaN. */
LANE v16 exp_of_moderate(v16 x) {
    v16 k, p = exp_reduced(x, &k);
    return v16_mul(p, two_to(k));
}

/* |x| < 0.93: erf x = x + x P(x^2), error 2^-25.8; above: 1 - exp(x Q(x)), error 2^-28 up to 4,
 * from where on the result is 1. */
LANE v16 v16_erf(v16 x) {
    v16 a = v16_abs(x), s = v16_mul(x, x), t = v16_min(constant(4.0), a), p, q;
    p = horner(constant(-0x1.38741cp-11), s, 0x1.46d9e2p-8);
    p = horner(p, s, -0x1.b67c04p-6);
    p = horner(p, s, 0x1.ce1986p-4);
    p = horner(p, s, -0x1.8126e2p-2);
    p = horner(p, s, 0x1.06eba6p-3);
    p = v16_fma(p, x, x);
    q = horner(constant(0x1.c20e10p-13), t, -0x1.a60ea2p-9);
    q = horner(q, t, 0x1.774bb6p-6);
    q = horner(q, t, -0x1.af4196p-4);
    q = horner(q, t, -0x1.457a5cp-1);
    q = horner(q, t, -0x1.20e6b0p+0);
    q = v16_sub(constant(1.0), exp_of_moderate(v16_mul(q, t)));
    return v16_if_less(a, constant(0.93), p, v16_copysign(q, x));
}

/* |x| < 0.625: tanh x = x + x^3 P(x^2), error 2^-27.7; above: 1 - 2 / (exp(2 |x|) + 1), which is 1
 * from 10 on. */
LANE v16 v16_tanh(v16 x) {
    v16 a = v16_abs(x), s = v16_mul(x, x), t = v16_min(constant(10.0), a), p, q;
    p = horner(constant(-0x1.750ce4p-8), s, 0x1.51f8cep-6);
    p = horner(p, s, -0x1.b835a4p-5);
    p = horner(p, s, 0x1.1106f6p-3);
    p = horner(p, s, -0x1.555532p-2);
    p = v16_fma(v16_mul(p, s), x, x);
    q = v16_add(exp_of_moderate(v16_add(t, t)), constant(1.0));
    q = v16_sub(constant(1.0), v16_div(constant(2.0), q));
    return v16_copysign(v16_if_less(a, constant(0.625), p, q), x); /* p loses the sign of -0 */
}

/* Tang 1990: 1 + x = 2^k (1 + r) with 1 + r in [sqrt 1/2, sqrt 2), s = r / (2 + r), and
 * log(1 + r) = 2 atanh s = r - h + s (h + R) with h = r^2 / 2, R = 2/3 s^2 + 2/5 s^4 + ..., cut off
 * behind s^8: error 2^-28. Steps by halves of the exponent find k exactly. */
LANE v16 v16_log1p(v16 x) {
    static const double steps[8] = {64, 32, 16, 8, 4, 2, 1, 1};
    static const double power[8] = {0x1p64, 0x1p32, 0x1p16,       0x1p8,
                                    0x1p4,  0x1p2,  0x1.6a09e6p0, 0x1.6a09e6p0};
    static const double scale[8] = {0x1p-64, 0x1p-32, 0x1p-16, 0x1p-8,
                                    0x1p-4,  0x1p-2,  0x1p-1,  0x1p-1};
    v16 u = v16_add(constant(1.0), x), f = u, k = constant(0.0), lost, r, s, w, h, p;
    for (int i = 0; i < 8; i++) {
        v16 limit = constant(power[i]);
        k = v16_if_less(f, limit, k, v16_add(k, constant(steps[i])));
        f = v16_if_less(f, limit, f, times(scale[i], f));
    }
    r = v16_if_less(k, constant(0.5), x, v16_sub(f, constant(1.0)));
    lost = v16_div(v16_sub(x, v16_sub(u, constant(1.0))), u); /* by rounding 1 + x */
    lost = v16_if_less(k, constant(0.5), constant(0.0), lost);
    s = v16_div(r, v16_add(constant(2.0), r));
    w = v16_mul(s, s);
    h = v16_mul(times(0.5, r), r);
    p = horner(constant(0x1.c71c72p-3), w, 0x1.24924ap-2);
    p = horner(p, w, 0x1.99999ap-2);
    p = horner(p, w, 0x1.555556p-1);
    p = v16_mul(s, v16_fma(p, w, h));
    p = v16_sub(v16_add(v16_fma(k, constant(0x1.7f7d1cp-20), p), lost), h);
    p = v16_fma(k, constant(0x1.62e400p-1), v16_add(r, p)); /* log 2 in two parts, as in exp */
    p = v16_if_less(x, constant((double)INFINITY), p, x);
    return v16_if_less(x, constant(0.0), constant((double)NAN), p);
}

#else /* the double build checks derivatives: libm's are the right functions to 1e-16 */

LANE v16 v16_exp(v16 x) {
    for (int i = 0; i < 16; i++) x.x[i] = exp(x.x[i]);
    return x;
}

LANE v16 v16_erf(v16 x) {
    for (int i = 0; i < 16; i++) x.x[i] = erf(x.x[i]);
    return x;
}

LANE v16 v16_tanh(v16 x) {
    for (int i = 0; i < 16; i++) x.x[i] = tanh(x.x[i]);
    return x;
}

LANE v16 v16_log1p(v16 x) {
    for (int i = 0; i < 16; i++) x.x[i] = x.x[i] < 0 ? (gf_real)NAN : log1p(x.x[i]);
    return x;
}

#endif

/* --- Maps: y = f(x), dx = dy f'(x) ----------------------------------------------------------- */

typedef v16 lanes_function(v16 x);

LANE void map(int64_t n, const gf_real *x, gf_real *y, lanes_function *f) {
    for (int64_t i = 0; i < n; i += 16) store(y + i, n - i, f(load(x + i, n - i)));
}

LANE void map_slope(int64_t n, const gf_real *x, const gf_real *dy, gf_real *dx,
                    lanes_function *slope) {
    for (int64_t i = 0; i < n; i += 16) {
        v16 s = slope(load(x + i, n - i));
        store(dx + i, n - i, v16_mul(load(dy + i, n - i), s));
    }
}

/* Phi(x), the normal distribution. */
LANE v16 normal_cdf(v16 x) {
    return v16_fma(constant(0.5), v16_erf(times(0.70710678118654752440, x)), constant(0.5));
}

LANE v16 v16_gelu(v16 x) { return v16_mul(x, normal_cdf(x)); }

/* Phi(x) + x phi(x), phi(x) = exp(-x^2 / 2) / sqrt(2 pi). */
LANE v16 v16_gelu_slope(v16 x) {
    v16 density = times(0.39894228040143267794, v16_exp(v16_mul(times(-0.5, x), x)));
    return v16_fma(x, density, normal_cdf(x));
}

/* tanh(u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
LANE v16 tanh_of_cubic(v16 x, v16 squared) {
    v16 bracket = v16_fma(v16_mul(constant(0.044715), squared), x, x);
    return v16_tanh(times(0.79788456080286535588, bracket));
}

LANE v16 v16_gelu_tanh(v16 x) {
    v16 t = tanh_of_cubic(x, v16_mul(x, x));
    return v16_mul(x, v16_fma(constant(0.5), t, constant(0.5)));
}

/* (1 + t) / 2 + x / 2 (1 - t^2) u'. */
LANE v16 v16_gelu_tanh_slope(v16 x) {
    v16 squared = v16_mul(x, x), t = tanh_of_cubic(x, squared);
    v16 inner = times(0.79788456080286535588, horner(constant(3 * 0.044715), squared, 1.0));
    v16 sech2 = v16_sub(constant(1.0), v16_mul(t, t));
    v16 factor = v16_mul(v16_mul(times(0.5, x), sech2), inner);
    return v16_add(factor, v16_fma(constant(0.5), t, constant(0.5)));
}

static void vec_exp(int64_t n, const gf_real *x, gf_real *y) { map(n, x, y, v16_exp); }
static void vec_erf(int64_t n, const gf_real *x, gf_real *y) { map(n, x, y, v16_erf); }
static void vec_tanh(int64_t n, const gf_real *x, gf_real *y) { map(n, x, y, v16_tanh); }
static void vec_log1p(int64_t n, const gf_real *x, gf_real *y) { map(n, x, y, v16_log1p); }
static void vec_gelu(int64_t n, const gf_real *x, gf_real *y) { map(n, x, y, v16_gelu); }
static void vec_gelu_tanh(int64_t n, const gf_real *x, gf_real *y) { map(n, x, y, v16_gelu_tanh); }

static void vec_gelu_slope(int64_t n, const gf_real *x, const gf_real *dy, gf_real *dx) {
    map_slope(n, x, dy, dx, v16_gelu_slope);
}

static void vec_gelu_tanh_slope(int64_t n, const gf_real *x, const gf_real *dy, gf_real *dx) {
    map_slope(n, x, dy, dx, v16_gelu_tanh_slope);
}

/* --- Sums of arrays, and sums over them ------------------------------------------------------- */

static void vec_add(int64_t n, const gf_real *x, gf_real *y) {
    for (int64_t i = 0; i < n; i += 16)
        store(y + i, n - i, v16_add(load(y + i, n - i), load(x + i, n - i)));
}

static void vec_axpy(int64_t n, gf_real a, const gf_real *x, gf_real *y) {
    v16 factor = v16_set(a);
    for (int64_t i = 0; i < n; i += 16)
        store(y + i, n - i, v16_fma(factor, load(x + i, n - i), load(y + i, n - i)));
}

typedef struct row_sums {
    int64_t rows, stride;
    const gf_real *a, *b;
    gf_real *sum, *products;
} row_sums;

/* Columns i to i + 15 of all rows; with_sum and with_products are constants where it is used. */
LANE void add_columns(const row_sums *j, int64_t i, int64_t left, bool with_sum,
                      bool with_products) {
    v16 s = constant(0), p = s;
    if (with_sum) s = load(j->sum + i, left);
    if (with_products) p = load(j->products + i, left);
    for (int64_t r = 0, at = i; r < j->rows; r++, at += j->stride) {
        v16 a = load(j->a + at, left);
        if (with_sum) s = v16_add(s, a);
        if (with_products) p = v16_fma(a, load(j->b + at, left), p);
    }
    if (with_sum) store(j->sum + i, left, s);
    if (with_products) store(j->products + i, left, p);
}

LANE void add_all_columns(row_sums j, int64_t n, bool with_sum, bool with_products) {
    int64_t i = 0;
    for (; n - i >= 16; i += 16) add_columns(&j, i, 16, with_sum, with_products);
    if (i < n) add_columns(&j, i, n - i, with_sum, with_products);
}

static void vec_add_rows(int64_t rows, int64_t n, int64_t stride, const gf_real *a,
                         const gf_real *b, gf_real *sum, gf_real *products) {
    row_sums j = {rows, stride, a, b, sum, products};
    if (sum && products)
        add_all_columns(j, n, true, true);
    else if (sum)
        add_all_columns(j, n, true, false);
    else if (products)
        add_all_columns(j, n, false, true);
}

static void vec_scale(int64_t n, gf_real a, const gf_real *x, gf_real *y) {
    v16 factor = v16_set(a);
    for (int64_t i = 0; i < n; i += 16) store(y + i, n - i, v16_mul(factor, load(x + i, n - i)));
}

static gf_real vec_sum(int64_t n, const gf_real *x) {
    v16 sum = constant(0);
    for (int64_t i = 0; i < n; i += 16) sum = v16_add(sum, load(x + i, n - i));
    return lanes_sum(sum);
}

static gf_real vec_dot(int64_t n, const gf_real *x, const gf_real *y) {
    v16 sum = constant(0);
    for (int64_t i = 0; i < n; i += 16) sum = v16_fma(load(x + i, n - i), load(y + i, n - i), sum);
    return lanes_sum(sum);
}

static gf_real vec_max(int64_t n, const gf_real *x) {
    v16 lowest = constant(-INFINITY), best = lowest;
    for (int64_t i = 0; i < n; i += 16)
        best = max_or_nan(best, fill(load(x + i, n - i), n - i, lowest));
    return lanes_max(best);
}

static double vec_sum_squares(int64_t n, const gf_real *x) {
    d16 sum = d16_zero();
    double a[16];
    for (int64_t i = 0; i < n; i += 16) sum = d16_add_square(sum, load(x + i, n - i));
    d16_store(a, sum);
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++) a[j] += a[j + half];
    return a[0];
}

/* --- Softmax -----------------------------------------------------------------------------------
 */

static void vec_softmax(int64_t n, gf_real scale, const gf_real *s, gf_real *p) {
    v16 factor = v16_set(scale), zero = constant(0), sum = zero;
    v16 lowest = constant(-INFINITY), best = lowest, minus_max;
    for (int64_t i = 0; i < n; i += 16) {
        v16 x = v16_mul(factor, load(s + i, n - i));
        best = max_or_nan(best, fill(x, n - i, lowest));
    }
    minus_max = v16_set(-lanes_max(best));
    for (int64_t i = 0; i < n; i += 16) {
        v16 e = v16_exp(v16_fma(factor, load(s + i, n - i), minus_max));
        store(p + i, n - i, e);
        sum = v16_add(sum, fill(e, n - i, zero));
    }
    vec_scale(n, 1 / lanes_sum(sum), p, p);
}

static void vec_softmax_slope(int64_t n, gf_real scale, const gf_real *p, const gf_real *dropped,
                              const gf_real *d, gf_real *ds) {
    v16 factor = v16_set(scale), minus_mean = v16_set(-vec_dot(n, dropped, d));
    for (int64_t i = 0; i < n; i += 16) {
        v16 product = v16_mul(load(dropped + i, n - i), load(d + i, n - i));
        product = v16_fma(load(p + i, n - i), minus_mean, product);
        store(ds + i, n - i, v16_mul(factor, product));
    }
}

/* --- LayerNorm ---------------------------------------------------------------------------------
 */

/* In two passes: sum(x^2) - n mean^2 would cancel. */
static void vec_layernorm(int64_t n, const gf_real *x, const gf_real *gamma, const gf_real *beta,
                          gf_real eps, gf_real *y, gf_real *xhat, gf_real *rstd) {
    v16 mean = v16_set(vec_sum(n, x) / (gf_real)n), zero = constant(0), squares = zero, factor;
    for (int64_t i = 0; i < n; i += 16) {
        v16 d = fill(v16_sub(load(x + i, n - i), mean), n - i, zero);
        squares = v16_fma(d, d, squares);
    }
    *rstd = 1 / real_sqrt(lanes_sum(squares) / (gf_real)n + eps);
    factor = v16_set(*rstd);
    for (int64_t i = 0; i < n; i += 16) {
        v16 h = v16_mul(v16_sub(load(x + i, n - i), mean), factor);
        v16 out = v16_fma(load(gamma + i, n - i), h, load(beta + i, n - i));
        if (xhat) store(xhat + i, n - i, h);
        store(y + i, n - i, out);
    }
}

static void vec_scale_shift(int64_t n, const gf_real *gamma, const gf_real *beta, const gf_real *x,
                            gf_real *y) {
    for (int64_t i = 0; i < n; i += 16)
        store(y + i, n - i,
              v16_fma(load(gamma + i, n - i), load(x + i, n - i), load(beta + i, n - i)));
}

static void vec_layernorm_slope(int64_t n, const gf_real *dy, const gf_real *gamma,
                                const gf_real *xhat, gf_real rstd, gf_real *dx) {
    v16 sum = constant(0), sum_xhat = sum, factor = v16_set(rstd), mean, mean_xhat;
    for (int64_t i = 0; i < n; i += 16) {
        v16 d = v16_mul(load(dy + i, n - i), load(gamma + i, n - i));
        sum = v16_add(sum, d);
        sum_xhat = v16_fma(d, load(xhat + i, n - i), sum_xhat);
    }
    mean = v16_set(lanes_sum(sum) / (gf_real)n);
    mean_xhat = v16_set(-lanes_sum(sum_xhat) / (gf_real)n);
    for (int64_t i = 0; i < n; i += 16) {
        v16 d = v16_mul(load(dy + i, n - i), load(gamma + i, n - i));
        d = v16_fma(load(xhat + i, n - i), mean_xhat, v16_sub(d, mean));
        store(dx + i, n - i, v16_mul(factor, d));
    }
}

/* --- Dropout -----------------------------------------------------------------------------------
 */

enum { CHUNK = 64 /* elements of 8 blocks */, ROUNDS = 10 };

/* The four words in each of the four blocks. */
LANE u16x32 in_each_block(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    uint32_t w[16] = {a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d};
    return u16x32_load(w);
}

LANE void make_keys(const gf_dropout *d, u16x32 keys[ROUNDS]) {
    u16x32 bump = in_each_block(0x9E3779B9u, 0, 0xBB67AE85u, 0); /* Weyl constants of the paper */
    keys[0] = in_each_block((uint32_t)d->seed, 0, (uint32_t)(d->seed >> 32), 0);
    for (int i = 1; i < ROUNDS; i++) keys[i] = u16x32_add(keys[i - 1], bump);
}

/* The counters of the four blocks from `block` on. */
LANE u16x32 make_counters(const gf_dropout *d, uint64_t block) {
    static const uint32_t ahead[16] = {0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3};
    uint64_t low = ((uint64_t)d->site << 32) + block;
    return u16x32_add64(in_each_block((uint32_t)low, (uint32_t)(low >> 32), (uint32_t)d->step,
                                      (uint32_t)(d->step >> 32)),
                        u16x32_load(ahead));
}

LANE void drop_16(u16x32 bits, const gf_dropout *d, const gf_real *x, gf_real *y) {
    v16_store(y, v16_keep(v16_mul(v16_set(d->scale), v16_load(x)), bits, d->keep));
}

/* Twice four blocks side by side: a round waits for the one before it, and two chains fill the
 * wait. */
LANE void drop_chunk(u16x32 counters, const u16x32 keys[ROUNDS], const gf_dropout *d,
                     const gf_real *x, gf_real *y) {
    u16x32 low = counters, high = u16x32_add64(counters, in_each_block(4, 0, 0, 0));
    for (int i = 0; i < ROUNDS; i++) {
        low = u16x32_philox(low, keys[i]);
        high = u16x32_philox(high, keys[i]);
    }
    drop_16(u16x32_halves(low, false), d, x, y);
    drop_16(u16x32_halves(low, true), d, x + 16, y + 16);
    drop_16(u16x32_halves(high, false), d, x + 32, y + 32);
    drop_16(u16x32_halves(high, true), d, x + 48, y + 48);
}

static void vec_dropout(int64_t n, const gf_dropout *d, int64_t first, const gf_real *x,
                        gf_real *y) {
    u16x32 counters, keys[ROUNDS], eight = in_each_block(8, 0, 0, 0);
    gf_real part[CHUNK] = {0};
    int64_t i = -(first % CHUNK); /* the chunk that element `first` lies in begins here */
    if (d->keep > 65535) {
        if (x != y && n > 0) memcpy(y, x, (size_t)n * sizeof *y);
        return;
    }
    make_keys(d, keys);
    counters = make_counters(d, (uint64_t)(first + i) / 8);
    for (; i < n; i += CHUNK, counters = u16x32_add64(counters, eight)) {
        int64_t from = i < 0 ? 0 : i, to = n - i < CHUNK ? n : i + CHUNK;
        size_t bytes = (size_t)(to - from) * sizeof *x;
        if (to - from == CHUNK) {
            drop_chunk(counters, keys, d, x + i, y + i);
            continue;
        }
        memcpy(part + (from - i), x + from, bytes);
        drop_chunk(counters, keys, d, part, part);
        memcpy(y + from, part + (from - i), bytes);
    }
}

/* --- AdamW -------------------------------------------------------------------------------------
 */

static void vec_adamw(int64_t n, const gf_adamw *a, const gf_real *g, gf_real *w, gf_real *m,
                      gf_real *v) {
    v16 grad_scale = v16_set(a->grad_scale), decay = v16_set(a->decay), eps = v16_set(a->eps);
    v16 rate1 = v16_set(a->rate1), rate2 = v16_set(a->rate2), beta2 = v16_set(a->beta2);
    v16 bias2_sqrt = v16_set(a->bias2_sqrt), step_size = v16_set(-a->step_size);
    for (int64_t i = 0; i < n; i += 16) {
        v16 gi = v16_mul(grad_scale, load(g + i, n - i)), mi = load(m + i, n - i);
        v16 vi = v16_mul(beta2, load(v + i, n - i)), wi = v16_mul(decay, load(w + i, n - i));
        mi = v16_fma(rate1, v16_sub(gi, mi), mi);
        vi = v16_fma(v16_mul(rate2, gi), gi, vi);
        wi = v16_fma(step_size, v16_div(mi, v16_add(v16_div(v16_sqrt(vi), bias2_sqrt), eps)), wi);
        store(m + i, n - i, mi);
        store(v + i, n - i, vi);
        store(w + i, n - i, wi);
    }
}

/* --- bf16 --------------------------------------------------------------------------------------
 */

static void vec_round_bf16(int64_t n, const gf_real *x, uint16_t *y) {
    uint16_t last[16];
    for (int64_t i = 0; i < n; i += 16) {
        v16_store_bf16(n - i >= 16 ? y + i : last, load(x + i, n - i));
        if (n - i < 16) memcpy(y + i, last, (size_t)(n - i) * sizeof *y);
    }
}

#define GF_VEC_KERNELS                                                                             \
    .exp = vec_exp, .erf = vec_erf, .tanh = vec_tanh, .log1p = vec_log1p, .gelu = vec_gelu,        \
    .gelu_tanh = vec_gelu_tanh, .gelu_slope = vec_gelu_slope,                                      \
    .gelu_tanh_slope = vec_gelu_tanh_slope, .add = vec_add, .axpy = vec_axpy, .scale = vec_scale,  \
    .add_rows = vec_add_rows, .sum = vec_sum, .dot = vec_dot, .max = vec_max,                      \
    .sum_squares = vec_sum_squares, .softmax = vec_softmax, .softmax_slope = vec_softmax_slope,    \
    .layernorm = vec_layernorm, .scale_shift = vec_scale_shift,                                    \
    .layernorm_slope = vec_layernorm_slope, .dropout = vec_dropout, .adamw = vec_adamw,            \
    .round_bf16 = vec_round_bf16
