/* Every vector kernel of every table: bit for bit as the plain twin, nothing touched behind the
 * end, in place as out of place. */
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

#include "tests/guard.h"

enum { MOST = 4400 };

typedef void map(int64_t n, const float *x, float *y);
typedef void map_slope(int64_t n, const float *x, const float *dy, float *dx);

/* --- Twins ----------------------------------------------------------------------------------- */

/* What one call reads and writes. Outputs start as copies of `out`'s filling. */
typedef struct call {
    float in[4][MOST], out[3][MOST], scalar;
    double wide;
} call;

/* The same, wherever it lies. */
typedef struct operands {
    float *in[4], *out[3], scalar;
    double wide;
} operands;

typedef void kernel(const gf_vec *v, int64_t n, operands *o);

static void k_exp(const gf_vec *v, int64_t n, operands *o) { v->exp(n, o->in[0], o->out[0]); }
static void k_erf(const gf_vec *v, int64_t n, operands *o) { v->erf(n, o->in[0], o->out[0]); }
static void k_tanh(const gf_vec *v, int64_t n, operands *o) { v->tanh(n, o->in[0], o->out[0]); }
static void k_log1p(const gf_vec *v, int64_t n, operands *o) { v->log1p(n, o->in[0], o->out[0]); }
static void k_gelu(const gf_vec *v, int64_t n, operands *o) { v->gelu(n, o->in[0], o->out[0]); }
static void k_gelu_tanh(const gf_vec *v, int64_t n, operands *o) {
    v->gelu_tanh(n, o->in[0], o->out[0]);
}
static void k_gelu_slope(const gf_vec *v, int64_t n, operands *o) {
    v->gelu_slope(n, o->in[0], o->in[1], o->out[0]);
}
static void k_gelu_tanh_slope(const gf_vec *v, int64_t n, operands *o) {
    v->gelu_tanh_slope(n, o->in[0], o->in[1], o->out[0]);
}
static void k_add(const gf_vec *v, int64_t n, operands *o) { v->add(n, o->in[0], o->out[0]); }
static void k_axpy(const gf_vec *v, int64_t n, operands *o) {
    v->axpy(n, 0.3f, o->in[0], o->out[0]);
}
static void k_scale(const gf_vec *v, int64_t n, operands *o) {
    v->scale(n, 0.3f, o->in[0], o->out[0]);
}
static void k_sum(const gf_vec *v, int64_t n, operands *o) { o->scalar = v->sum(n, o->in[0]); }
static void k_dot(const gf_vec *v, int64_t n, operands *o) {
    o->scalar = v->dot(n, o->in[0], o->in[1]);
}
static void k_max(const gf_vec *v, int64_t n, operands *o) {
    if (n > 0) o->scalar = v->max(n, o->in[0]);
}
static void k_sum_squares(const gf_vec *v, int64_t n, operands *o) {
    o->wide = v->sum_squares(n, o->in[0]);
}
static void k_softmax(const gf_vec *v, int64_t n, operands *o) {
    v->softmax(n, 0.7f, o->in[0], o->out[0]);
}
static void k_softmax_slope(const gf_vec *v, int64_t n, operands *o) {
    v->softmax_slope(n, 0.7f, o->in[0], o->in[1], o->in[2], o->out[0]);
}
/* n elements as eleven rows with a gap between them, or as one. */
static void add_rows(const gf_vec *v, int64_t n, const float *a, const float *b, float *sum,
                     float *products) {
    int64_t rows = n > 30 ? 11 : 1, wide = (n - rows + 1) / rows;
    v->add_rows(rows, wide, wide + 1, a, b, sum, products);
}
static void k_add_rows(const gf_vec *v, int64_t n, operands *o) {
    add_rows(v, n, o->in[0], o->in[1], o->out[0], o->out[1]);
}
static void k_add_rows_sum(const gf_vec *v, int64_t n, operands *o) {
    add_rows(v, n, o->in[0], NULL, o->out[0], NULL);
}
static void k_add_rows_products(const gf_vec *v, int64_t n, operands *o) {
    add_rows(v, n, o->in[0], o->in[1], NULL, o->out[0]);
}
static void k_layernorm(const gf_vec *v, int64_t n, operands *o) {
    if (n > 0)
        v->layernorm(n, o->in[0], o->in[1], o->in[2], 1e-12f, o->out[0], o->out[1], &o->scalar);
}
static void k_layernorm_no_xhat(const gf_vec *v, int64_t n, operands *o) {
    if (n > 0) v->layernorm(n, o->in[0], o->in[1], o->in[2], 1e-5f, o->out[0], NULL, &o->scalar);
}
static void k_layernorm_slope(const gf_vec *v, int64_t n, operands *o) {
    if (n > 0) v->layernorm_slope(n, o->in[0], o->in[1], o->in[2], 1.3f, o->out[0]);
}
static void k_scale_shift(const gf_vec *v, int64_t n, operands *o) {
    v->scale_shift(n, o->in[0], o->in[1], o->in[2], o->out[0]);
}
static void k_dropout(const gf_vec *v, int64_t n, operands *o) {
    gf_dropout d = gf_dropout_make(0.4, 0x123456789abcdefu, 0xfedcba987u, 77);
    v->dropout(n, &d, 1000 + 7 * n, o->in[0], o->out[0]);
}
static void k_adamw(const gf_vec *v, int64_t n, operands *o) {
    gf_adamw a = {0.999f, 0.01f, 0.3f, 0.1f, 0.001f, 0.999f, 1e-8f, 0.5f};
    v->adamw(n, &a, o->in[0], o->out[0], o->out[1], o->out[2]);
}
/* Two of them take the place of a float. */
static void k_round_bf16(const gf_vec *v, int64_t n, operands *o) {
    v->round_bf16(n, o->in[0], (uint16_t *)(void *)o->out[0]);
}

static const struct {
    const char *name;
    kernel *run;
    size_t out_size; /* of an element it writes */
} kernels[] = {
    {"exp", k_exp, sizeof(float)},
    {"erf", k_erf, sizeof(float)},
    {"tanh", k_tanh, sizeof(float)},
    {"log1p", k_log1p, sizeof(float)},
    {"gelu", k_gelu, sizeof(float)},
    {"gelu_tanh", k_gelu_tanh, sizeof(float)},
    {"gelu_slope", k_gelu_slope, sizeof(float)},
    {"gelu_tanh_slope", k_gelu_tanh_slope, sizeof(float)},
    {"add", k_add, sizeof(float)},
    {"axpy", k_axpy, sizeof(float)},
    {"add_rows", k_add_rows, sizeof(float)},
    {"add_rows, sum alone", k_add_rows_sum, sizeof(float)},
    {"add_rows, products alone", k_add_rows_products, sizeof(float)},
    {"scale", k_scale, sizeof(float)},
    {"sum", k_sum, sizeof(float)},
    {"dot", k_dot, sizeof(float)},
    {"max", k_max, sizeof(float)},
    {"sum_squares", k_sum_squares, sizeof(float)},
    {"softmax", k_softmax, sizeof(float)},
    {"softmax_slope", k_softmax_slope, sizeof(float)},
    {"layernorm", k_layernorm, sizeof(float)},
    {"layernorm without xhat", k_layernorm_no_xhat, sizeof(float)},
    {"layernorm_slope", k_layernorm_slope, sizeof(float)},
    {"scale_shift", k_scale_shift, sizeof(float)},
    {"dropout", k_dropout, sizeof(float)},
    {"adamw", k_adamw, sizeof(float)},
    {"round_bf16", k_round_bf16, sizeof(uint16_t)},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

static void run(int k, const gf_vec *v, int64_t n, int at, call *c) {
    operands o = {{c->in[0] + at, c->in[1] + at, c->in[2] + at, c->in[3] + at},
                  {c->out[0] + at, c->out[1] + at, c->out[2] + at},
                  c->scalar,
                  c->wide};
    kernels[k].run(v, n, &o);
    c->scalar = o.scalar, c->wide = o.wide;
}

static const float odd_values[] = {0.0f,      -0.0f,    1.0f,      -1.0f,    INFINITY,
                                   -INFINITY, NAN,      0x1p-149f, 1e-40f,   -1e-40f,
                                   3.4e38f,   -3.4e38f, 88.72f,    -87.5f,   -103.0f,
                                   0.93f,     0.625f,   1e-20f,    -0.6249f, 16777216.0f};

/* odd: how many of 16 values are special ones. */
static void fill_inputs(call *c, gf_rng *r, uint32_t odd) {
    float *all = c->in[0];
    memset(c, 0, sizeof *c);
    for (int i = 0; i < 7 * MOST; i++) {
        all = i < 4 * MOST ? c->in[i / MOST] : c->out[i / MOST - 4];
        all[i % MOST] = gf_rng_below(r, 16) < odd
                            ? odd_values[gf_rng_below(r, sizeof odd_values / sizeof *odd_values)]
                            : 4 * gf_rng_normal(r);
    }
}

static void compare(const char *what, const gf_vec *v, int64_t n, int at, const call *a,
                    const call *b) {
    bool equal =
        same(a->scalar, b->scalar) && (a->wide == b->wide || (isnan(a->wide) && isnan(b->wide)));
    for (int k = 0; equal && k < 3; k++) /* all of the arrays: nothing around may be touched */
        for (int i = 0; equal && i < MOST; i++) equal = same(a->out[k][i], b->out[k][i]);
    if (!equal) fail_msg("%s of %s differs, n = %d, offset %d", what, v->name, (int)n, at);
}

static void check_twins(int64_t n, int at, const call *filled) {
    static call plain, other;
    for (int k = 0; k < KERNELS; k++) {
        plain = *filled;
        run(k, gf_vec_at(0), n, at, &plain);
        for (int t = 1; gf_vec_at(t); t++) {
            other = *filled;
            run(k, gf_vec_at(t), n, at, &other);
            compare(kernels[k].name, gf_vec_at(t), n, at, &other, &plain);
        }
    }
}

static void all_tables_give_the_same_bits(void **state) {
    static const int large[] = {127, 128, 384, 1000, 4099};
    static call filled;
    gf_rng r = gf_rng_new(3, 4);
    (void)state;
    for (uint32_t odd = 0; odd <= 16; odd += odd < 1 ? 1 : 5) {
        fill_inputs(&filled, &r, odd);
        for (int n = 0; n <= 70; n++) check_twins(n, n % 5, &filled);
        for (int i = 0; i < 5; i++) check_twins(large[i], i, &filled);
    }
}

/* Sums really go over 16 lanes by index, then down one tree. */
static void sums_use_sixteen_lanes_and_one_tree(void **state) {
    static call c;
    gf_rng r = gf_rng_new(5, 6);
    (void)state;
    fill_inputs(&c, &r, 0);
    for (int n = 0; n < 70; n++) {
        float lane[16] = {0};
        for (int i = 0; i < n; i++) lane[i % 16] += c.in[0][i];
        for (int half = 8; half > 0; half /= 2)
            for (int j = 0; j < half; j++) lane[j] += lane[j + half];
        for (int t = 0; gf_vec_at(t); t++)
            assert_true(same(gf_vec_at(t)->sum(n, c.in[0]), lane[0]));
    }
}

static void nothing_behind_the_end_changes(void **state) {
    static call c, before;
    gf_rng r = gf_rng_new(7, 8);
    (void)state;
    fill_inputs(&before, &r, 0);
    for (int k = 0; k < KERNELS; k++)
        for (int t = 0; gf_vec_at(t); t++)
            for (int n = 0; n < 40; n++) {
                c = before;
                run(k, gf_vec_at(t), n, 3, &c);
                assert_memory_equal(c.in, before.in, sizeof c.in);
                for (int o = 0; o < 3; o++) {
                    assert_memory_equal(c.out[o], before.out[o], 3 * sizeof(float));
                    assert_memory_equal(c.out[o] + 3 + n, before.out[o] + 3 + n, 100);
                }
            }
}

/* Every array begins, or ends, at a page that nobody may read or write. */
static void nothing_outside_is_read_or_written(void **state) {
    static call c;
    guard rooms[7];
    gf_rng r = gf_rng_new(13, 14);
    (void)state;
    fill_inputs(&c, &r, 0);
    for (int i = 0; i < 7; i++) rooms[i] = guard_new(MOST);
    for (int k = 0; k < KERNELS; k++)
        for (int t = 0; gf_vec_at(t); t++)
            for (int n = 0; n <= 1000; n += n < 70 ? 1 : 155)
                for (int at_end = 0; at_end < 2; at_end++) {
                    operands o = {.scalar = 0};
                    for (int i = 0; i < 4; i++)
                        memcpy(o.in[i] = guard_place(&rooms[i], n, at_end), c.in[i],
                               (size_t)n * sizeof(float));
                    for (int i = 0; i < 3; i++) {
                        size_t size = (size_t)n * kernels[k].out_size;
                        o.out[i] = guard_place_bytes(&rooms[4 + i], size, at_end);
                        memcpy(o.out[i], c.out[i], size);
                    }
                    kernels[k].run(gf_vec_at(t), n, &o);
                }
    for (int i = 0; i < 7; i++) guard_free(&rooms[i]);
}

/* Every in-place use the header allows gives what separate arrays give. */

static void maps_in_place(const gf_vec *v, int n, const call *c) {
    static call d;
    map *maps[] = {v->exp, v->erf, v->tanh, v->log1p, v->gelu, v->gelu_tanh};
    map_slope *slopes[] = {v->gelu_slope, v->gelu_tanh_slope};
    gf_dropout drop = gf_dropout_make(0.3, 1, 2, 3);
    float *x = d.in[0], *dy = d.in[1], *y = d.out[0];
    size_t size = (size_t)n * sizeof *x;
    for (int k = 0; k < 6; k++) {
        d = *c;
        maps[k](n, x, y), maps[k](n, x, x);
        assert_memory_equal(x, y, size);
    }
    for (int k = 0; k < 2; k++) {
        d = *c;
        slopes[k](n, x, dy, y), slopes[k](n, x, dy, dy);
        assert_memory_equal(dy, y, size);
        d = *c;
        slopes[k](n, x, dy, y), slopes[k](n, x, dy, x);
        assert_memory_equal(x, y, size);
    }
    d = *c;
    v->scale(n, 0.7f, x, y), v->scale(n, 0.7f, x, x);
    assert_memory_equal(x, y, size);
    d = *c;
    v->dropout(n, &drop, 5, x, y), v->dropout(n, &drop, 5, x, x);
    assert_memory_equal(x, y, size);
}

static void rows_in_place(const gf_vec *v, int n, const call *c) {
    static call d;
    float *x = d.in[0], *gamma = d.in[1], *beta = d.in[2], *y = d.out[0], rstd;
    size_t size = (size_t)n * sizeof *x;
    d = *c;
    v->softmax(n, 0.7f, x, y), v->softmax(n, 0.7f, x, x);
    assert_memory_equal(x, y, size);
    d = *c;
    v->softmax_slope(n, 0.7f, x, gamma, beta, y), v->softmax_slope(n, 0.7f, x, gamma, beta, beta);
    assert_memory_equal(beta, y, size);
    d = *c;
    v->layernorm(n, x, gamma, beta, 1e-5f, y, d.out[1], &rstd);
    v->layernorm(n, x, gamma, beta, 1e-5f, d.out[2], x, &rstd); /* xhat is x */
    assert_memory_equal(x, d.out[1], size);
    assert_memory_equal(d.out[2], y, size);
    memcpy(x, c->in[0], size);
    v->layernorm(n, x, gamma, beta, 1e-5f, x, NULL, &rstd); /* y is x */
    assert_memory_equal(x, y, size);
    d = *c;
    v->layernorm_slope(n, x, gamma, beta, 1.1f, y), v->layernorm_slope(n, x, gamma, beta, 1.1f, x);
    assert_memory_equal(x, y, size);
    d = *c;
    v->layernorm_slope(n, x, gamma, beta, 1.1f, y);
    v->layernorm_slope(n, x, gamma, beta, 1.1f, beta); /* dx is xhat */
    assert_memory_equal(beta, y, size);
}

static void in_place_equals_out_of_place(void **state) {
    static call c;
    gf_rng r = gf_rng_new(9, 10);
    (void)state;
    fill_inputs(&c, &r, 0);
    for (int t = 0; gf_vec_at(t); t++)
        for (int n = 1; n < 90; n += 11) {
            maps_in_place(gf_vec_at(t), n, &c);
            rows_in_place(gf_vec_at(t), n, &c);
        }
}

static void reductions_and_maps_mean_what_they_say(void **state) {
    static call c;
    const gf_vec *v = gf_vec_best();
    gf_rng r = gf_rng_new(11, 12);
    double sum = 0, dot = 0, squares = 0, largest = -INFINITY, size = 0;
    int n = 1003;
    (void)state;
    fill_inputs(&c, &r, 0);
    for (int i = 0; i < n; i++) {
        double a = (double)c.in[0][i], b = (double)c.in[1][i];
        sum += a, dot += a * b, squares += a * a, largest = fmax(largest, a), size += fabs(a * b);
    }
    assert_true(fabs((double)v->sum(n, c.in[0]) - sum) < 1e-6 * size);
    assert_true(fabs((double)v->dot(n, c.in[0], c.in[1]) - dot) < 1e-6 * size);
    assert_true(fabs(v->sum_squares(n, c.in[0]) - squares) < 1e-13 * squares);
    assert_true((double)v->max(n, c.in[0]) == largest);
    v->axpy(n, 2, c.in[0], c.out[0]);
    v->add_rows(1, n, n, c.in[1], c.in[2], NULL, c.out[1]);
    v->add(n, c.in[3], c.out[2]);
    gf_rng again = gf_rng_new(11, 12);
    static call d;
    fill_inputs(&d, &again, 0);
    for (int i = 0; i < n; i++) {
        assert_true(same(c.out[0][i], fmaf(2, d.in[0][i], d.out[0][i])));
        assert_true(same(c.out[1][i], fmaf(d.in[1][i], d.in[2][i], d.out[1][i])));
        assert_true(same(c.out[2][i], d.in[3][i] + d.out[2][i]));
    }
}

/* To the bit: the order of the rows is promised. */
static void rows_are_added_one_after_the_other(void **state) {
    static call c, d;
    gf_rng r = gf_rng_new(13, 14);
    (void)state;
    fill_inputs(&c, &r, 0);
    for (int t = 0; gf_vec_at(t); t++)
        for (int rows = 0; rows < 20; rows++)
            for (int n = 0; n < 40; n += 3) {
                const gf_vec *v = gf_vec_at(t);
                int stride = n + rows % 4;
                d = c;
                v->add_rows(rows, n, stride, d.in[0], d.in[1], d.out[0], d.out[1]);
                v->add_rows(rows, n, stride, d.in[0], NULL, d.out[2], NULL);
                v->add_rows(rows, n, stride, d.in[0], NULL, NULL, NULL);
                for (int i = 0; i < n; i++) {
                    float sum = c.out[0][i], products = c.out[1][i], alone = c.out[2][i];
                    for (int k = i; k < i + rows * stride; k += stride) {
                        sum += c.in[0][k], alone += c.in[0][k];
                        products = fmaf(c.in[0][k], c.in[1][k], products);
                    }
                    assert_true(same(d.out[0][i], sum) && same(d.out[1][i], products));
                    assert_true(same(d.out[2][i], alone));
                }
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_tables_give_the_same_bits),
        cmocka_unit_test(sums_use_sixteen_lanes_and_one_tree),
        cmocka_unit_test(nothing_behind_the_end_changes),
        cmocka_unit_test(nothing_outside_is_read_or_written),
        cmocka_unit_test(in_place_equals_out_of_place),
        cmocka_unit_test(reductions_and_maps_mean_what_they_say),
        cmocka_unit_test(rows_are_added_one_after_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
