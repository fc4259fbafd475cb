/* Vector kernels: accuracy against libm in double, dropout against its definition, AdamW against
 * PyTorch. */
#include "core/json.h"
#include "core/rng.h"
#include "core/vec.h"
#include "tests/bits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 4400 };

/* --- Accuracy -------------------------------------------------------------------------------- */

/* The error in units of the last place that `want` has as a float. */
static double ulps(float got, double want) {
    int exponent;
    double unit;
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (isinf((float)want)) return (double)got == (double)(float)want ? 0 : INFINITY;
    frexp(want, &exponent);
    unit = ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
    return fabs((double)got - want) / unit;
}

typedef void map(int64_t n, const float *x, float *y);
typedef double truth(double x);

/* Over all floats in steps of 1009: both signs, denormals, infinities, NaN. */
static double worst_ulps(map *f, truth *g, float *at) {
    static float x[MOST], y[MOST];
    double worst = 0;
    uint64_t bits = 0;
    while (bits < (1ull << 32)) {
        int n = 0;
        for (; n < MOST && bits < (1ull << 32); n++, bits += 1009) x[n] = from_bits((uint32_t)bits);
        f(n, x, y);
        for (int i = 0; i < n; i++) {
            double u = ulps(y[i], g((double)x[i]));
            if (u > worst) worst = u, *at = x[i];
        }
    }
    return worst;
}

static void check_ulps(const char *name, map *f, truth *g, double bound) {
    float at = 0;
    double worst = worst_ulps(f, g, &at);
    if (worst > bound) fail_msg("%s: %.3f ulp at %a, allowed %.2f", name, worst, (double)at, bound);
}

static double log1p_from_0(double x) { return x < 0 ? NAN : log1p(x); }

static void elementary_functions_are_accurate(void **state) {
    const gf_vec *vec = gf_vec_best();
    (void)state;
    check_ulps("exp", vec->exp, exp, 0.90);
    check_ulps("erf", vec->erf, erf, 1.10);
    check_ulps("tanh", vec->tanh, tanh, 1.40);
    check_ulps("log1p", vec->log1p, log1p_from_0, 1.00);
}

static double cdf(double x) { return erfc(-x / sqrt(2)) / 2; }
static double gelu(double x) { return x * cdf(x); }
static double gelu_slope(double x) { return cdf(x) + x * exp(-x * x / 2) / sqrt(2 * acos(-1)); }
static double cubic(double x) { return sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x); }
static double gelu_tanh(double x) { return x / 2 * (1 + tanh(cubic(x))); }
static double gelu_tanh_slope(double x) {
    double t = tanh(cubic(x));
    return (1 + t) / 2 + x / 2 * (1 - t * t) * sqrt(2 / acos(-1)) * (1 + 3 * 0.044715 * x * x);
}

typedef void map_slope(int64_t n, const float *x, const float *dy, float *dx);

/* f or slope against g on [-12, 12], to `bound` times max(1, |x|). */
static void check_near(const char *name, map *f, map_slope *slope, truth *g, double bound) {
    static float x[MOST], y[MOST], ones[MOST];
    for (int i = 0; i < MOST; i++) ones[i] = 1;
    for (int block = 0; block < 100; block++) {
        for (int i = 0; i < MOST; i++)
            x[i] = (float)(-12 + 24.0 * (block * MOST + i) / (100.0 * MOST));
        if (f)
            f(MOST, x, y);
        else
            slope(MOST, x, ones, y);
        for (int i = 0; i < MOST; i++) {
            double error = fabs((double)y[i] - g((double)x[i])) / fmax(1, fabs((double)x[i]));
            if (!(error <= bound)) fail_msg("%s: error %g at %a", name, error, (double)x[i]);
        }
    }
}

static void gelu_and_its_slope_are_accurate(void **state) {
    const gf_vec *vec = gf_vec_best();
    (void)state;
    check_near("gelu", vec->gelu, NULL, gelu, 1.2e-7);
    check_near("gelu_slope", NULL, vec->gelu_slope, gelu_slope, 2.4e-7);
    check_near("gelu_tanh", vec->gelu_tanh, NULL, gelu_tanh, 1.8e-7);
    check_near("gelu_tanh_slope", NULL, vec->gelu_tanh_slope, gelu_tanh_slope, 4e-7);
}

static float one(map *f, float x) {
    float y = -7;
    f(1, &x, &y);
    return y;
}

static void special_values(void **state) {
    (void)state;
    for (int i = 0; gf_vec_at(i); i++) {
        const gf_vec *vec = gf_vec_at(i);
        assert_true(same(one(vec->exp, INFINITY), INFINITY));
        assert_true(same(one(vec->exp, -INFINITY), 0));
        assert_true(isnan(one(vec->exp, NAN)));
        assert_true(same(one(vec->exp, -0.0f), 1));
        assert_true(isfinite(one(vec->exp, 0x1.62e42ep+6f))); /* log of the largest float, below */
        assert_true(same(one(vec->exp, 0x1.62e430p+6f), INFINITY)); /* and above */
        assert_true(same(one(vec->exp, 1e38f), INFINITY));
        assert_true(same(one(vec->exp, -103.9f), 0x1p-149f));
        assert_true(same(one(vec->exp, -104.0f), 0));
        assert_true(same(one(vec->erf, INFINITY), 1) && same(one(vec->erf, -INFINITY), -1));
        assert_true(same(one(vec->erf, -0.0f), -0.0f) && isnan(one(vec->erf, NAN)));
        assert_true(same(one(vec->erf, 0x1p-140f), 0x1.21p-140f)); /* 2 / sqrt(pi) x, denormal */
        assert_true(same(one(vec->tanh, INFINITY), 1) && same(one(vec->tanh, -INFINITY), -1));
        assert_true(same(one(vec->tanh, -0.0f), -0.0f) && isnan(one(vec->tanh, NAN)));
        assert_true(same(one(vec->log1p, INFINITY), INFINITY) && isnan(one(vec->log1p, NAN)));
        assert_true(same(one(vec->log1p, 0), 0) && isnan(one(vec->log1p, -1e-40f)));
        assert_true(same(one(vec->log1p, 0x1p-140f), 0x1p-140f));
        assert_true(same(one(vec->gelu, INFINITY), INFINITY));
        assert_true(isnan(one(vec->gelu, -INFINITY)) && isnan(one(vec->gelu, NAN)));
        assert_true(same(one(vec->gelu, -0.0f), -0.0f));
    }
}

/* --- Against plain mathematics in double -------------------------------------------------------
 */

static void max_finds_nan_anywhere(void **state) {
    float x[70];
    (void)state;
    for (int t = 0; gf_vec_at(t); t++)
        for (int n = 1; n <= 70; n++) {
            for (int i = 0; i < n; i++) x[i] = (float)-i - 1;
            for (int i = 0; i < n; i++) {
                float kept = x[i];
                x[i] = NAN;
                assert_true(isnan(gf_vec_at(t)->max(n, x)));
                x[i] = 5;
                assert_true(gf_vec_at(t)->max(n, x) == 5.0f);
                x[i] = kept;
            }
            assert_true(gf_vec_at(t)->max(n, x) == -1.0f);
        }
}

/* The slope of s in sum(d dropped), dropped = m p, as it is usually written: through the mask m and
 * the slope dp = m d of p. Of a p that is 0 there is no mask to be had, and no slope to expect. */
static void expect_slope(int n, const float *p, const float *dropped, const float *d,
                         const float *ds) {
    double mean = 0, most = 0, dp[200];
    for (int i = 0; i < n; i++) {
        dp[i] = p[i] > 0 ? (double)dropped[i] / (double)p[i] * (double)d[i] : 0;
        mean += (double)p[i] * dp[i];
        most = fmax(most, fabs(dp[i]));
    }
    for (int i = 0; i < n; i++) {
        double want = 0.25 * (double)p[i] * (dp[i] - mean);
        assert_true(fabs((double)ds[i] - want) <= 5e-7 * most * (double)p[i] + 3e-44);
    }
}

static void softmax_and_slope_are_right(void **state) {
    const gf_vec *v = gf_vec_best();
    float s[200], p[200], dropped[200], d[200], ds[200];
    gf_rng r = gf_rng_new(13, 14);
    (void)state;
    for (int n = 1; n <= 200; n += n < 40 ? 1 : 37) {
        double sum = 0, top = -INFINITY;
        for (int i = 0; i < n; i++) {
            s[i] = 300 * gf_rng_normal(&r); /* overflows without subtracting the largest */
            d[i] = gf_rng_normal(&r);
            top = fmax(top, 0.25 * (double)s[i]);
        }
        if (n > 3) s[2] = -INFINITY; /* a masked place */
        top = -INFINITY;
        for (int i = 0; i < n; i++) top = fmax(top, 0.25 * (double)s[i]);
        for (int i = 0; i < n; i++) sum += exp(0.25 * (double)s[i] - top);
        v->softmax(n, 0.25f, s, p);
        for (int i = 0; i < n; i++) {
            double below = 0.25 * (double)s[i] - top, want = exp(below) / sum;
            double allowed = 6e-8 * (10 + fmin(-below, 200)); /* the rounding of exp's argument */
            assert_true(fabs((double)p[i] - want) <= allowed * want + 3e-45);
        }
        v->softmax_slope(n, 0.25f, p, p, d, ds);
        expect_slope(n, p, p, d, ds);
        for (int i = 0; i < n; i++) dropped[i] = i % 3 == 1 ? 0 : 1.5f * p[i];
        v->softmax_slope(n, 0.25f, p, dropped, d, ds);
        expect_slope(n, p, dropped, d, ds);
    }
}

static void layernorm_and_slope_are_right(void **state) {
    const gf_vec *v = gf_vec_best();
    static float x[768], gamma[768], beta[768], y[768], xhat[768], dy[768], dx[768];
    gf_rng r = gf_rng_new(15, 16);
    (void)state;
    for (int n = 1; n <= 768; n += n < 40 ? 1 : 91) {
        double mean = 0, var = 0, a = 0, b = 0, rstd;
        float got = 0;
        for (int i = 0; i < n; i++) {
            x[i] = 1000 + gf_rng_normal(&r); /* one-pass variance would lose 3 digits here */
            gamma[i] = gf_rng_normal(&r), beta[i] = gf_rng_normal(&r), dy[i] = gf_rng_normal(&r);
        }
        for (int i = 0; i < n; i++) mean += (double)x[i] / n;
        for (int i = 0; i < n; i++) var += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
        rstd = 1 / sqrt(var + 1e-3);
        v->layernorm(n, x, gamma, beta, 1e-3f, y, xhat, &got);
        assert_true(fabs((double)got - rstd) <= 1e-5 * rstd);
        for (int i = 0; i < n; i++) { /* the mean is rounded to 1 / 16384 */
            double want = ((double)x[i] - mean) * rstd;
            assert_true(fabs((double)xhat[i] - want) <= 1.3e-4 * rstd + 1e-5 * fabs(want));
            assert_true(fabs((double)y[i] - (double)gamma[i] * (double)xhat[i] - (double)beta[i]) <=
                        1e-6);
        }
        v->scale_shift(n, gamma, beta, xhat, dx);
        assert_memory_equal(dx, y, (size_t)n * sizeof *y);
        v->layernorm_slope(n, dy, gamma, xhat, got, dx);
        for (int i = 0; i < n; i++) {
            a += (double)dy[i] * (double)gamma[i] / n;
            b += (double)dy[i] * (double)gamma[i] * (double)xhat[i] / n;
        }
        for (int i = 0; i < n; i++) {
            double want =
                (double)got * ((double)dy[i] * (double)gamma[i] - a - (double)xhat[i] * b);
            assert_true(fabs((double)dx[i] - want) <= 4e-6 * (double)got);
        }
    }
}

/* --- Dropout ---------------------------------------------------------------------------------- */

/* The definition in core/vec.h, word for word. */
static bool kept(const gf_dropout *d, int64_t i) {
    uint64_t low = ((uint64_t)d->site << 32) + (uint64_t)i / 8;
    uint32_t key[2] = {(uint32_t)d->seed, (uint32_t)(d->seed >> 32)};
    uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)d->step,
                           (uint32_t)(d->step >> 32)};
    uint32_t out[4], half = (uint32_t)(i % 8);
    gf_philox(counter, key, out);
    return (out[half / 2] >> (half % 2 ? 16 : 0) & 0xffff) < d->keep;
}

static void dropout_follows_its_definition(void **state) {
    static const int64_t firsts[] = {
        0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 1000003, (1ll << 35) - 40, 1ll << 35, (1ll << 40) + 5};
    float x[300], y[300];
    (void)state;
    for (int i = 0; i < 300; i++) x[i] = (float)i + 1;
    for (int t = 0; gf_vec_at(t); t++)
        for (size_t f = 0; f < sizeof firsts / sizeof *firsts; f++)
            for (int n = 0; n <= 300; n += n < 70 ? 1 : 46) {
                gf_dropout d =
                    gf_dropout_make(0.25, 0x8765432112345678u, 0x100000007u, 0xfffffff0u);
                gf_vec_at(t)->dropout(n, &d, firsts[f], x, y);
                for (int i = 0; i < n; i++)
                    assert_true(same(y[i], kept(&d, firsts[f] + i) ? x[i] * d.scale : 0));
            }
}

static void dropout_zero_copies_and_dropped_is_plus_zero(void **state) {
    float x[40], y[40];
    (void)state;
    for (int t = 0; gf_vec_at(t); t++) {
        gf_dropout off = gf_dropout_make(0, 1, 2, 3), most = gf_dropout_make(0.999999, 1, 2, 3);
        assert_int_equal(off.keep, 65536);
        assert_int_equal(most.keep, 1);
        for (int i = 0; i < 40; i++) x[i] = i % 3 ? -1.0f : NAN;
        gf_vec_at(t)->dropout(40, &off, 3, x, y);
        assert_memory_equal(x, y, sizeof x);
        gf_vec_at(t)->dropout(40, &most, 3, x, y);
        for (int i = 0; i < 40; i++) assert_int_equal(bits_of(y[i]), 0);
    }
}

/* Rates within 5 standard deviations; masks of other sites, steps and seeds are independent. */
static void dropout_keeps_its_rate(void **state) {
    enum { N = 1 << 17 };
    static float ones[N], y[N], z[N];
    const double rates[] = {0.1, 0.5, 0.9};
    const gf_vec *v = gf_vec_best();
    (void)state;
    for (int i = 0; i < N; i++) ones[i] = 1;
    for (int k = 0; k < 3; k++) {
        double p = rates[k], count = 0, both = 0, q = 1 - p;
        gf_dropout d = gf_dropout_make(p, 42, 7, 1), e = gf_dropout_make(p, 42, 7, 2);
        assert_true(fabs((double)d.scale - 1 / q) < 1e-4 / q);
        v->dropout(N, &d, 0, ones, y);
        v->dropout(N, &e, 0, ones, z);
        for (int i = 0; i < N; i++) count += y[i] != 0.0f, both += y[i] != 0.0f && z[i] != 0.0f;
        assert_true(fabs(count - q * N) < 5 * sqrt(N * p * q) + N / 65536.0);
        assert_true(fabs(both - q * q * N) < 5 * sqrt(N * q * q * (1 - q * q)) + N / 32768.0);
    }
}

/* --- AdamW -------------------------------------------------------------------------------------
 */

static double number(const cJSON *j, const char *name) {
    const cJSON *item = cJSON_GetObjectItem(j, name);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void numbers(const cJSON *j, const char *name, float out[8]) {
    const cJSON *list = cJSON_GetObjectItem(j, name);
    assert_int_equal(cJSON_GetArraySize(list), 8);
    for (int i = 0; i < 8; i++) out[i] = (float)cJSON_GetArrayItem(list, i)->valuedouble;
}

static void check_close(const cJSON *update, const char *name, const float got[8]) {
    float want[8];
    numbers(update, name, want);
    for (int i = 0; i < 8; i++)
        if (fabsf(got[i] - want[i]) > 3e-7f * fabsf(want[i]))
            fail_msg("%s[%d] is %.9g, torch has %.9g", name, i, (double)got[i], (double)want[i]);
}

static void check_adamw(const cJSON *c) {
    const cJSON *update;
    float w[8], g[8], m[8] = {0}, v[8] = {0};
    double lr = number(c, "lr"), beta1 = number(c, "beta1"), beta2 = number(c, "beta2"), t = 0;
    numbers(c, "start", w);
    cJSON_ArrayForEach(update, cJSON_GetObjectItem(c, "updates")) {
        gf_adamw a = {.decay = (float)(1 - lr * number(c, "weight_decay")),
                      .rate1 = (float)(1 - beta1),
                      .rate2 = (float)(1 - beta2),
                      .beta2 = (float)beta2,
                      .eps = (float)number(c, "eps"),
                      .grad_scale = (float)number(c, "grad_scale")};
        t++;
        a.step_size = (float)(lr / (1 - pow(beta1, t)));
        a.bias2_sqrt = (float)sqrt(1 - pow(beta2, t));
        numbers(update, "g", g);
        gf_vec_best()->adamw(8, &a, g, w, m, v);
        check_close(update, "w", w);
        check_close(update, "m", m);
        check_close(update, "v", v);
    }
    assert_true(t >= 6);
}

static void adamw_is_pytorchs(void **state) {
    gf_err e = {0};
    cJSON *j = gf_json_read("tests/golden/adamw.json", 1 << 20, &e), *c;
    (void)state;
    if (!j) fail_msg("%s", e.text);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(j, "cases")), 2);
    cJSON_ArrayForEach(c, cJSON_GetObjectItem(j, "cases")) check_adamw(c);
    cJSON_Delete(j);
}

static void tables_and_features(void **state) {
    char text[200], tiny[5];
    int count = 0;
    (void)state;
    while (gf_vec_at(count)) count++;
    assert_string_equal(gf_vec_at(0)->name, "plain");
    assert_ptr_equal(gf_vec_best(), gf_vec_at(count - 1));
    assert_null(gf_vec_at(-1));
    assert_null(gf_vec_at(count + 1));
    gf_vec_cpu_features(text, sizeof text);
    assert_int_equal(count > 1, strstr(text, "avx2") && strstr(text, "fma"));
    assert_true(strlen(gf_vec_cpu_features(tiny, sizeof tiny)) < sizeof tiny);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementary_functions_are_accurate),
        cmocka_unit_test(gelu_and_its_slope_are_accurate),
        cmocka_unit_test(special_values),
        cmocka_unit_test(max_finds_nan_anywhere),
        cmocka_unit_test(softmax_and_slope_are_right),
        cmocka_unit_test(layernorm_and_slope_are_right),
        cmocka_unit_test(dropout_follows_its_definition),
        cmocka_unit_test(dropout_zero_copies_and_dropped_is_plus_zero),
        cmocka_unit_test(dropout_keeps_its_rate),
        cmocka_unit_test(adamw_is_pytorchs),
        cmocka_unit_test(tables_and_features),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
