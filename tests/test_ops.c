/* The generic test of the op table: every op in ops.def, over all its cases. Built twice, in float
 * and (test_ops_double) in double, where gradients must agree with central differences to 1e-7. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/graph.h"
#include "core/gemm.h"
#include "core/mem.h"
#include "core/rng.h"

static const gf_op *const ops[] = {
#define GF_OP(name) &gf_op_##name,
#include "autograd/ops.def"
#undef GF_OP
};
enum { N_OPS = sizeof ops / sizeof *ops };

/* One op over one case: inputs as parameters with values and gradients of their own. */
typedef struct trial {
    gf_graph *graph;
    gf_params params;
    gf_node *node;
    gf_real *pull; /* [node] what is pulled back: loss = sum(pull * y) */
} trial;

static void fill(gf_real *x, int64_t n, uint64_t seed) {
    gf_rng r = gf_rng_new(seed, 1);
    for (int64_t i = 0; i < n; i++) x[i] = (gf_real)(2 * gf_rng_uniform(&r) - 1);
}

static void fill_nan(gf_real *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = (gf_real)NAN;
}

static void add_inputs(trial *t, const gf_op *op, const gf_case *c) {
    for (int i = 0; i < op->n_in; i++) {
        gf_err e = {0};
        gf_param *p = gf_params_add(&t->params, "in", &c->in[i], &e);
        int64_t n = gf_shape_count(&c->in[i]);
        assert_non_null(p);
        assert_true(gf_param_own(p, &e));
        fill(p->owned, n, (uint64_t)i + 10);
        p->grad = gf_alloc_array(n, sizeof *p->grad, &e);
        p->trainable = true;
    }
}

/* Builds the tape anew; frozen is a set of inputs without gradient. */
static const char *build(trial *t, const gf_op *op, const gf_case *c, unsigned frozen) {
    static gf_err e;
    gf_node *in[GF_MAX_IN];
    e = (gf_err){0};
    gf_graph_reset(t->graph);
    for (int i = 0; i < op->n_in; i++) {
        gf_param *p = t->params.items[i];
        gf_real *kept = p->grad;
        p->trainable = !(frozen >> i & 1);
        if (!p->trainable) p->grad = NULL;
        in[i] = gf_graph_param(t->graph, p);
        p->grad = kept;
    }
    t->node = gf_graph_call(t->graph, op, &c->attr, in, op->n_in);
    gf_graph_keep(t->node);
    return gf_graph_plan(t->graph, &t->node, t->node != NULL, &e) ? NULL : e.text;
}

static void begin(trial *t, const gf_op *op, const gf_case *c, gf_pool *pool, const gf_vec *vec) {
    gf_err e = {0};
    *t = (trial){0};
    t->graph = gf_graph_new(pool, vec, &e);
    assert_non_null(t->graph);
    add_inputs(t, op, c);
    if (!c->fits) return;
    assert_null(build(t, op, c, 0));
    t->pull = gf_alloc_array(t->node->count, sizeof *t->pull, &e);
    fill(t->pull, t->node->count, 99);
}

static void end(trial *t) {
    gf_graph_free(t->graph);
    gf_params_free(&t->params);
    gf_free(t->pull);
}

static double run_forward(trial *t) {
    double loss = 0;
    fill_nan(gf_out(t->node), t->node->count);
    if (t->node->aux) fill_nan(t->node->aux, t->node->n_aux);
    gf_graph_forward(t->graph);
    for (int64_t i = 0; i < t->node->count; i++) loss += (double)(t->pull[i] * t->node->x[i]);
    return loss;
}

/* Backward with pull as the gradient of y. Ops may use g as scratch, so it is set each time. */
static void run_backward(trial *t) {
    memcpy(t->node->g, t->pull, (size_t)t->node->count * sizeof *t->pull);
    gf_graph_backward(t->graph, NULL);
}

static void clear_grads(trial *t) {
    for (int64_t i = 0; i < t->params.count; i++)
        memset(t->params.items[i]->grad, 0,
               (size_t)gf_param_count(t->params.items[i]) * sizeof(gf_real));
}

static void each_case(void (*check)(const gf_op *, const gf_case *, gf_pool *, const gf_vec *),
                      bool fitting) {
    gf_err e = {0};
    gf_pool *pool = gf_pool_new(2, &e);
    int done = 0;
    assert_non_null(pool);
    for (int o = 0; o < N_OPS; o++)
        for (int c = 0; c < ops[o]->n_cases; c++)
            if (ops[o]->cases[c].fits == fitting) {
                check(ops[o], &ops[o]->cases[c], pool, gf_vec_best());
                done++;
            }
    gf_pool_free(pool);
    assert_true(done >= N_OPS);
}

static void refuses(const gf_op *op, const gf_case *c, gf_pool *pool, const gf_vec *vec) {
    trial t;
    const char *why;
    begin(&t, op, c, pool, vec);
    why = build(&t, op, c, 0);
    if (!why || !strstr(why, op->name) || strlen(why) < 20)
        fail_msg("%s, case %d: not refused with a reason: %s", op->name, (int)(c - op->cases),
                 why ? why : "accepted");
    end(&t);
}

static void test_bad_shapes_are_refused_with_a_reason(void **state) {
    (void)state;
    each_case(refuses, false);
}

/* --- Dropout in attention, by the formula at the head of op_attention.c ----------------------- */

enum { SEQUENCES = 4, TOKENS = 80, HEADS = 2, WIDTH = 6 };

static double kept_times(const gf_dropout *d, int64_t i) {
    uint64_t low = ((uint64_t)d->site << 32) + (uint64_t)i / 8;
    uint32_t key[2] = {(uint32_t)d->seed, (uint32_t)(d->seed >> 32)};
    uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)d->step,
                           (uint32_t)(d->step >> 32)};
    uint32_t out[4];
    gf_philox(counter, key, out);
    return (out[i % 8 / 2] >> (i % 2 ? 16 : 0) & 0xffff) < d->keep ? (double)d->scale : 0;
}

static double multiply_heads(const gf_real *a, const gf_real *b) {
    double sum = 0;
    for (int x = 0; x < WIDTH / HEADS; x++) sum += (double)a[x] * (double)b[x];
    return sum;
}

/* Row i of one head of one sequence, in double, one number after the other; q, k, v and y begin at
 * the head's column of the sequence's first token, `index` is dropout's of probability (i, 0). */
static void expect_row(const gf_attr *a, int64_t s, int64_t i, int64_t index, const gf_real *q,
                       const gf_real *k, const gf_real *v, const gf_real *y) {
    double p[TOKENS], sum = 0, want;
    for (int64_t j = 0; j < s; j++) {
        p[j] = exp(multiply_heads(q + i * WIDTH, k + j * WIDTH) / sqrt(WIDTH / HEADS));
        sum += p[j];
    }
    for (int x = 0; x < WIDTH / HEADS; x++) {
        want = 0;
        for (int64_t j = 0; j < s; j++)
            want += p[j] / sum * kept_times(&a->dropout, index + j) * (double)v[j * WIDTH + x];
        assert_true(fabs(want - (double)y[i * WIDTH + x]) <=
                    (sizeof(gf_real) == sizeof(double) ? 1e-12 : 2e-6));
    }
}

static void test_attention_drops_what_it_says(void **state) {
    static const int32_t start[] = {0, 3, 40, 41, 80};
    const gf_case c = {{{2, {TOKENS, WIDTH}}, {2, {TOKENS, WIDTH}}, {2, {TOKENS, WIDTH}}},
                       {.heads = HEADS,
                        .start = start,
                        .sequences = SEQUENCES,
                        .dropout = {5, 6, 7, 30000, 65536 / (gf_real)30000}},
                       true};
    gf_err e = {0};
    gf_pool *pool = gf_pool_new(2, &e);
    trial t;
    (void)state;
    begin(&t, &gf_op_attention, &c, pool, gf_vec_best());
    run_forward(&t);
    for (int64_t b = 0; b < SEQUENCES; b++)
        for (int64_t head = 0; head < HEADS; head++) {
            int64_t first = start[b], s = start[b + 1] - first, wide = (s + 31) / 32 * 32;
            int64_t at = first * WIDTH + head * (WIDTH / HEADS);
            for (int64_t i = 0; i < s; i++)
                expect_row(&c.attr, s, i, (first * HEADS + head * s) * 64 + i * wide,
                           t.params.items[0]->owned + at, t.params.items[1]->owned + at,
                           t.params.items[2]->owned + at, t.node->x + at);
        }
    end(&t);
    gf_pool_free(pool);
}

static void writes_all(const gf_op *op, const gf_case *c, gf_pool *pool, const gf_vec *vec) {
    trial t;
    begin(&t, op, c, pool, vec);
    run_forward(&t);
    for (int64_t i = 0; i < t.node->count; i++)
        if (isnan(t.node->x[i])) fail_msg("%s: element %d is not written", op->name, (int)i);
    for (int64_t i = 0; i < t.node->n_aux; i++)
        if (isnan(t.node->aux[i])) fail_msg("%s: aux %d is not written", op->name, (int)i);
    clear_grads(&t);
    run_backward(&t);
    for (int64_t k = 0; k < t.params.count; k++)
        for (int64_t i = 0; i < gf_param_count(t.params.items[k]); i++)
            if (!isfinite(t.params.items[k]->grad[i]))
                fail_msg("%s: gradient %d of input %d is not finite", op->name, (int)i, (int)k);
    end(&t);
}

static void test_every_element_is_written(void **state) {
    (void)state;
    each_case(writes_all, true);
}

/* (f(x + h) - f(x - h)) / 2h against the gradient, relative to the largest of the input's
 * gradients. */
static void check_input(trial *t, const gf_op *op, int k, double step, double tolerance) {
    gf_param *p = t->params.items[k];
    int64_t n = gf_param_count(p);
    double largest = 1e-3;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)p->grad[i]));
    for (int64_t i = 0; i < n; i++) {
        gf_real kept = p->owned[i];
        double up, down, slope;
        p->owned[i] = (gf_real)((double)kept + step);
        up = run_forward(t);
        p->owned[i] = (gf_real)((double)kept - step);
        down = run_forward(t);
        p->owned[i] = kept;
        slope = (up - down) / (2 * step);
        if (!(fabs(slope - (double)p->grad[i]) <= tolerance * largest))
            fail_msg("%s, input %d, element %d: slope %.12g, gradient %.12g", op->name, k, (int)i,
                     slope, (double)p->grad[i]);
    }
}

static void has_right_gradient(const gf_op *op, const gf_case *c, gf_pool *pool,
                               const gf_vec *vec) {
    trial t;
    bool real_is_double = sizeof(gf_real) == sizeof(double);
    begin(&t, op, c, pool, vec);
    run_forward(&t);
    clear_grads(&t);
    run_backward(&t);
    for (int k = 0; k < op->n_in; k++)
        check_input(&t, op, k, real_is_double ? 1e-5 : 4e-3, real_is_double ? 1e-7 : 2e-2);
    end(&t);
}

static void test_gradients_agree_with_central_differences(void **state) {
    (void)state;
    each_case(has_right_gradient, true);
}

static gf_real *copy_grads(const trial *t, int64_t *count) {
    gf_real *all;
    *count = 0;
    for (int64_t k = 0; k < t->params.count; k++) *count += gf_param_count(t->params.items[k]);
    all = gf_alloc_array(*count, sizeof *all, NULL);
    for (int64_t k = 0, at = 0; k < t->params.count; k++) {
        int64_t n = gf_param_count(t->params.items[k]);
        memcpy(all + at, t->params.items[k]->grad, (size_t)n * sizeof *all);
        at += n;
    }
    return all;
}

static void adds(const gf_op *op, const gf_case *c, gf_pool *pool, const gf_vec *vec) {
    trial t;
    int64_t count;
    gf_real *once, *twice;
    begin(&t, op, c, pool, vec);
    run_forward(&t);
    clear_grads(&t);
    run_backward(&t);
    once = copy_grads(&t, &count);
    run_forward(&t);
    run_backward(&t);
    twice = copy_grads(&t, &count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)(twice[i] - 2 * once[i])) <= 1e-4 * (fabs((double)once[i]) + 1e-2)))
            fail_msg("%s: gradient %d is set, not added: %g then %g", op->name, (int)i,
                     (double)once[i], (double)twice[i]);
    gf_free(once);
    gf_free(twice);
    end(&t);
}

static void test_backward_adds(void **state) {
    (void)state;
    each_case(adds, true);
}

/* Each input frozen in turn: its gradient stays as it was and the others' bits do not change. */
static void respects_frozen(const gf_op *op, const gf_case *c, gf_pool *pool, const gf_vec *vec) {
    trial t;
    int64_t count;
    gf_real *all, *some;
    begin(&t, op, c, pool, vec);
    run_forward(&t);
    clear_grads(&t);
    run_backward(&t);
    all = copy_grads(&t, &count);
    for (int frozen = 0; frozen < op->n_in; frozen++) {
        int64_t at = 0;
        assert_null(build(&t, op, c, 1u << frozen));
        clear_grads(&t);
        if (!t.node->wants_grad) continue;
        run_forward(&t);
        run_backward(&t);
        some = copy_grads(&t, &count);
        for (int k = 0; k < op->n_in; at += gf_param_count(t.params.items[k++]))
            for (int64_t i = 0; i < gf_param_count(t.params.items[k]); i++)
                if (some[at + i] != (k == frozen ? 0 : all[at + i]))
                    fail_msg("%s: input %d frozen: gradient %d of input %d is %g", op->name, frozen,
                             (int)i, k, (double)some[at + i]);
        gf_free(some);
    }
    gf_free(all);
    end(&t);
}

static void test_frozen_inputs_are_not_touched(void **state) {
    (void)state;
    each_case(respects_frozen, true);
}

/* Value and gradients of one run, as one array. */
static gf_real *run_whole(const gf_op *op, const gf_case *c, int threads, const gf_vec *vec,
                          int64_t *count) {
    gf_err e = {0};
    gf_pool *pool = gf_pool_new(threads, &e);
    trial t;
    gf_real *grads, *all;
    int64_t n;
    assert_non_null(pool);
    begin(&t, op, c, pool, vec);
    run_forward(&t);
    clear_grads(&t);
    run_backward(&t);
    grads = copy_grads(&t, &n);
    *count = n + t.node->count;
    all = gf_alloc_array(*count, sizeof *all, &e);
    if (t.node->count > 0) memcpy(all, t.node->x, (size_t)t.node->count * sizeof *all);
    memcpy(all + t.node->count, grads, (size_t)n * sizeof *all);
    gf_free(grads);
    end(&t);
    gf_pool_free(pool);
    return all;
}

static void is_same(const gf_op *op, const gf_case *c, const gf_real *a, int threads,
                    const gf_vec *vec) {
    int64_t count;
    gf_real *b = run_whole(op, c, threads, vec, &count);
    if (memcmp(a, b, (size_t)count * sizeof *a) != 0)
        fail_msg("%s: other bits with %d threads and the %s kernels", op->name, threads, vec->name);
    gf_free(b);
}

static void test_threads_and_kernels_do_not_change_bits(void **state) {
    static const int threads[] = {1, 2, 3, 5, 8};
    (void)state;
    for (int o = 0; o < N_OPS; o++)
        for (int c = 0; c < ops[o]->n_cases; c++) {
            int64_t count;
            gf_real *first;
            if (!ops[o]->cases[c].fits) continue;
            first = run_whole(ops[o], &ops[o]->cases[c], 1, gf_vec_at(0), &count);
            for (int i = 0; i < 5; i++)
                is_same(ops[o], &ops[o]->cases[c], first, threads[i], gf_vec_best());
            for (int i = 0; gf_vec_at(i); i++)
                is_same(ops[o], &ops[o]->cases[c], first, 2, gf_vec_at(i));
            gf_free(first);
        }
}

/* What an op writes again is what forward wrote, to the bit. */
static void rebuilds(const gf_op *op, const gf_case *c, gf_pool *pool, const gf_vec *vec) {
    trial t;
    gf_real *x;
    size_t bytes;
    begin(&t, op, c, pool, vec);
    if (t.node->rebuild && t.node->n_aux > 0) {
        bytes = (size_t)t.node->count * sizeof *x;
        x = gf_alloc(bytes, NULL);
        run_forward(&t);
        memcpy(x, t.node->x, bytes);
        fill_nan(gf_out(t.node), t.node->count);
        t.node->rebuild(t.node);
        if (memcmp(x, t.node->x, bytes) != 0) fail_msg("%s: it is rebuilt otherwise", op->name);
        gf_free(x);
    }
    end(&t);
}

static void test_what_is_rebuilt_is_what_was(void **state) {
    (void)state;
    each_case(rebuilds, true);
}

static const gf_op *beneath; /* the op that `fresh_op` stands for */
static int overwritten;

/* Nothing is read from a gradient that is to be overwritten. */
static void spoil_and_pull(gf_node *n) {
    for (int i = 0; i < n->op->n_in; i++)
        if (n->fresh >> i & 1) {
            fill_nan(n->in[i]->g, n->in[i]->count);
            overwritten++;
        }
    beneath->backward(n);
}

static const char *same_shape(gf_node *n) {
    n->shape = n->in[0]->shape;
    return NULL;
}

static void copy_through(gf_node *n) {
    if (n->count > 0) memcpy(gf_out(n), n->in[0]->x, (size_t)n->count * sizeof(gf_real));
}

static void add_through(gf_node *n) {
    if (n->in[0]->g) gf_node_vec(n)->add(n->count, n->g, n->in[0]->g);
}

/* The first writer of a gradient gives the same as a writer that adds to zeros. */
static void overwrites(const gf_op *op, const gf_case *c, gf_pool *pool, const gf_vec *vec) {
    static const gf_op identity = {"identity", 1, same_shape, copy_through, add_through, NULL, 0};
    gf_op fresh_op = *op;
    gf_node *in[GF_MAX_IN];
    gf_real *added, *written;
    int64_t count;
    gf_err e = {0};
    trial t;
    begin(&t, op, c, pool, vec);
    run_forward(&t);
    clear_grads(&t);
    run_backward(&t);
    added = copy_grads(&t, &count);
    beneath = op;
    fresh_op.backward = spoil_and_pull;
    gf_graph_reset(t.graph);
    for (int i = 0; i < op->n_in; i++)
        in[i] = gf_graph_call(t.graph, &identity, &c->attr,
                              (gf_node *[]){gf_graph_param(t.graph, t.params.items[i])}, 1);
    t.node = gf_graph_call(t.graph, &fresh_op, &c->attr, in, op->n_in);
    gf_graph_keep(t.node);
    assert_true(gf_graph_plan(t.graph, &t.node, 1, &e));
    clear_grads(&t);
    run_forward(&t);
    run_backward(&t);
    written = copy_grads(&t, &count);
    for (int64_t i = 0; i < count; i++)
        if (!(added[i] == written[i]))
            fail_msg("%s: gradient %d is %g, overwritten %g", op->name, (int)i, (double)added[i],
                     (double)written[i]);
    gf_free(added);
    gf_free(written);
    end(&t);
}

static void test_first_writers_overwrite_what_others_add(void **state) {
    (void)state;
    overwritten = 0;
    each_case(overwrites, true);
    assert_true(overwritten >= 3);
}

/* Those of gamma and beta: 64 rows one after the other from 0, then these sums one after the other.
 * The bits of every run hang on it. */
static void test_sums_over_rows_keep_their_order(void **state) {
    enum { ROWS = 200, WIDE = 600 };
    gf_case c = {{{2, {ROWS, WIDE}}, {1, {WIDE}}, {1, {WIDE}}}, {.eps = 1e-5}, true};
    gf_err e = {0};
    gf_pool *pool = gf_pool_new(3, &e);
    trial t;
    (void)state;
    assert_non_null(pool);
    begin(&t, &gf_op_layer_norm, &c, pool, gf_vec_best());
    run_forward(&t);
    clear_grads(&t);
    run_backward(&t);
    for (int i = 0; i < WIDE; i++) {
        gf_real gamma = 0, beta = 0;
        for (int r = 0; r < ROWS;) {
            gf_real products = 0, sum = 0;
            for (int stop = r + 64; r < ROWS && r < stop; r++) {
                gf_real dy = t.pull[r * WIDE + i], xhat = t.node->aux[r * WIDE + i];
                sum += dy;
                products = sizeof(gf_real) == sizeof(float)
                               ? (gf_real)fmaf((float)dy, (float)xhat, (float)products)
                               : (gf_real)fma((double)dy, (double)xhat, (double)products);
            }
            gamma += products, beta += sum;
        }
        assert_memory_equal(&t.params.items[1]->grad[i], &gamma, sizeof gamma);
        assert_memory_equal(&t.params.items[2]->grad[i], &beta, sizeof beta);
    }
    end(&t);
    gf_pool_free(pool);
}

static void test_every_op_is_complete(void **state) {
    (void)state;
    for (int o = 0; o < N_OPS; o++) {
        int good = 0, bad = 0;
        assert_non_null(ops[o]->infer);
        assert_non_null(ops[o]->forward);
        assert_non_null(ops[o]->backward);
        assert_true(ops[o]->n_in >= 1 && ops[o]->n_in <= GF_MAX_IN);
        for (int c = 0; c < ops[o]->n_cases; c++) *(ops[o]->cases[c].fits ? &good : &bad) += 1;
        if (good < 1 || bad < 1)
            fail_msg("%s: it needs cases to accept and to refuse", ops[o]->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_is_complete),
        cmocka_unit_test(test_bad_shapes_are_refused_with_a_reason),
        cmocka_unit_test(test_every_element_is_written),
        cmocka_unit_test(test_attention_drops_what_it_says),
        cmocka_unit_test(test_gradients_agree_with_central_differences),
        cmocka_unit_test(test_backward_adds),
        cmocka_unit_test(test_frozen_inputs_are_not_touched),
        cmocka_unit_test(test_what_is_rebuilt_is_what_was),
        cmocka_unit_test(test_first_writers_overwrite_what_others_add),
        cmocka_unit_test(test_sums_over_rows_keep_their_order),
        cmocka_unit_test(test_threads_and_kernels_do_not_change_bits),
    };
    gf_err e = {0};
    if (!gf_gemm_start(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
