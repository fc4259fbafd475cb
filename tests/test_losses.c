/* losses: every loss op against torch (tests/golden/make_losses.py), alone and through five AdamW
 * updates of a linear layer; and gradients of each of several losses from one forward run. */
#include "autograd/graph.h"
#include "core/gemm.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/rng.h"
#include "optim/adamw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("the golden file lacks \"%s\"", key);
    return item;
}

static double number(const cJSON *j, const char *key) { return get(j, key)->valuedouble; }

static cJSON *golden(void) {
    gf_err e = {0};
    cJSON *j = gf_json_read("tests/golden/losses.json", 1 << 20, &e);
    if (!j) fail_msg("%s", e.text);
    return j;
}

/* A null becomes NaN. */
static void fill(gf_real *to, const cJSON *from) {
    const cJSON *item;
    cJSON_ArrayForEach(item, from) *to++ = cJSON_IsNull(item) ? NAN : (gf_real)item->valuedouble;
}

/* Relative to each element, but at least to `floor` of the largest, whose rounding it may carry. */
static void assert_array_near(const gf_real *have, const cJSON *want, double floor,
                              const char *what) {
    double largest = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, want) largest = fmax(largest, fabs(item->valuedouble));
    cJSON_ArrayForEach(item, want) {
        double size = fmax(fabs(item->valuedouble), floor * largest), got = (double)*have++;
        if (!(fabs(got - item->valuedouble) <= 2e-5 * size))
            fail_msg("%s: %.9g, wanted %.9g", what, got, item->valuedouble);
    }
}

static gf_param *add_param(gf_params *params, const char *name, gf_shape shape) {
    gf_err e = {0};
    gf_param *p = gf_params_add(params, name, &shape, &e);
    assert_non_null(p);
    assert_true(gf_param_own(p, &e));
    p->grad = gf_alloc_array(gf_param_count(p), sizeof *p->grad, &e);
    assert_non_null(p->grad);
    p->trainable = true;
    return p;
}

static void clear_grads(gf_params *params) {
    for (int64_t i = 0; i < params->count; i++) {
        gf_param *p = params->items[i];
        memset(p->grad, 0, (size_t)gf_param_count(p) * sizeof *p->grad);
    }
}

/* ---- one loss against torch ---- */

enum { MOST = 256 };

/* Room for what gf_attr points to. */
typedef struct labels {
    int32_t ids[MOST];
    gf_real target[MOST], weight[MOST];
} labels;

static const gf_op *find_op(const char *name) {
    static const gf_op *const ops[] = {&gf_op_cross_entropy, &gf_op_binary_cross_entropy,
                                       &gf_op_squared_error, &gf_op_ordinal};
    for (int i = 0; i < 4; i++)
        if (strcmp(ops[i]->name, name) == 0) return ops[i];
    fail_msg("no loss is called %s", name);
    return NULL;
}

/* The settings stand in `loss`, labels and divisor in `batch`, which may be the same. */
static gf_attr read_attr(const cJSON *loss, const cJSON *batch, labels *l) {
    gf_attr a = {.divisor = number(batch, "divisor"),
                 .smoothing = number(loss, "smoothing"),
                 .gamma = number(loss, "gamma")};
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(batch, "ids");
    const cJSON *target = cJSON_GetObjectItemCaseSensitive(batch, "target"), *item;
    int n = 0;
    if (cJSON_IsArray(get(loss, "class_weight"))) {
        fill(l->weight, get(loss, "class_weight"));
        a.class_weight = l->weight;
    }
    cJSON_ArrayForEach(item, ids) l->ids[n++] = item->valueint;
    if (ids) a.ids = l->ids;
    if (target) fill(l->target, target);
    if (target) a.target = l->target;
    return a;
}

static void check_case(const cJSON *c, int index, const gf_vec *vec, gf_pool *pool) {
    gf_err e = {0};
    gf_graph *g = gf_graph_new(pool, vec, &e);
    gf_params params = {0};
    labels l;
    gf_attr attr = read_attr(c, c, &l);
    int64_t rows = (int64_t)number(c, "rows"), columns = (int64_t)number(c, "columns");
    gf_param *p = add_param(&params, "z", gf_shape2(rows, columns));
    gf_node *z = gf_graph_param(g, p), *loss;
    char what[96];
    double want = number(c, "loss");
    snprintf(what, sizeof what, "case %d, %s with %s", index, get(c, "op")->valuestring, vec->name);
    fill(p->owned, get(c, "z"));
    loss = gf_graph_call(g, find_op(get(c, "op")->valuestring), &attr, &z, 1);
    gf_graph_keep(loss);
    if (!gf_graph_plan(g, &loss, 1, &e)) fail_msg("%s: %s", what, e.text);
    gf_graph_forward(g);
    if (!(fabs((double)*loss->x - want) <= 2e-5 * fmax(fabs(want), 1e-3)))
        fail_msg("%s: loss %.9g, wanted %.9g", what, (double)*loss->x, want);
    gf_graph_backward(g, (double[]){1});
    assert_array_near(p->grad, get(c, "gradient"), 1e-2, what);
    gf_graph_free(g);
    gf_params_free(&params);
}

static void losses_and_gradients_are_torchs(void **state) {
    cJSON *j = golden();
    const cJSON *c;
    gf_err e = {0};
    gf_pool *pool = gf_pool_new(2, &e);
    int index = 0;
    (void)state;
    cJSON_ArrayForEach(c, get(j, "cases")) {
        check_case(c, index, gf_vec_best(), pool);
        check_case(c, index++, gf_vec_at(0), pool);
    }
    assert_true(index >= 80);
    gf_pool_free(pool);
    cJSON_Delete(j);
}

/* ---- many rows, as of a vocabulary ---- */

enum { WIDE_ROWS = 37, WIDE = 1001 };

/* The label is as likely as all others together: each row's loss is log 2, its gradient -1/2 at the
 * label and 1/2 over the others, whichever thread took it. Every fifth row has no label. */
static void check_wide(int threads, const gf_vec *vec) {
    gf_err e = {0};
    gf_params params = {0};
    gf_pool *pool = gf_pool_new(threads, &e);
    gf_graph *g = gf_graph_new(pool, vec, &e);
    gf_param *p = add_param(&params, "z", gf_shape2(WIDE_ROWS, WIDE));
    gf_node *z = gf_graph_param(g, p), *loss;
    int32_t ids[WIDE_ROWS];
    gf_attr attr = {.ids = ids, .divisor = 20};
    for (int64_t b = 0; b < WIDE_ROWS; b++) {
        ids[b] = b % 5 == 4 ? -1 : (int32_t)(b * 27);
        if (ids[b] >= 0) p->owned[b * WIDE + ids[b]] = (gf_real)log(WIDE - 1);
    }
    loss = gf_graph_call(g, find_op("cross_entropy"), &attr, &z, 1);
    gf_graph_keep(loss);
    if (!gf_graph_plan(g, &loss, 1, &e)) fail_msg("%s", e.text);
    gf_graph_forward(g);
    assert_true(fabs((double)*loss->x / (30 * log(2) / 20) - 1) < 1e-6);
    gf_graph_backward(g, (double[]){1});
    for (int64_t i = 0; i < WIDE_ROWS * WIDE; i++) {
        double want = i % WIDE == ids[i / WIDE] ? -0.5 / 20 : 0.5 / (WIDE - 1) / 20;
        if (ids[i / WIDE] < 0) want = 0;
        if (fabs((double)p->grad[i] - want) > 1e-5 * fabs(want))
            fail_msg("%d threads: [%d] %g, wanted %g", threads, (int)i, (double)p->grad[i], want);
    }
    gf_graph_free(g);
    gf_params_free(&params);
    gf_pool_free(pool);
}

static void many_wide_rows_are_each_right(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        check_wide(threads, gf_vec_best());
        check_wide(threads, gf_vec_at(0));
    }
}

/* ---- five updates ---- */

static void check_update(const cJSON *run, const cJSON *update, gf_graph *g, gf_params *params) {
    int64_t rows = (int64_t)number(run, "rows"), width = (int64_t)number(run, "width");
    gf_real x[MOST];
    gf_err e = {0};
    labels l;
    gf_attr attr = read_attr(run, update, &l), none = {.kind = GF_ACT_NONE};
    gf_node *z, *loss;
    fill(x, get(update, "x"));
    gf_graph_reset(g);
    z = gf_call(g, linear, &none, gf_graph_input(g, gf_shape2(rows, width), x),
                gf_graph_param(g, params->items[0]), gf_graph_param(g, params->items[1]));
    loss = gf_graph_call(g, find_op(get(run, "op")->valuestring), &attr, &z, 1);
    gf_graph_keep(loss);
    if (!gf_graph_plan(g, &loss, 1, &e)) fail_msg("%s", e.text);
    gf_graph_forward(g);
    assert_true(fabs((double)*loss->x / number(update, "loss") - 1) <= 2e-5);
    clear_grads(params);
    gf_graph_backward(g, (double[]){1});
}

static void check_run(const cJSON *run, gf_pool *pool) {
    gf_params params = {0};
    gf_err e = {0};
    gf_graph *g = gf_graph_new(pool, gf_vec_best(), &e);
    gf_group group = {.lr = number(run, "lr"), .weight_decay = number(run, "weight_decay")};
    gf_groups groups = {.items = &group, .count = 1};
    gf_adamw_settings settings = {0.9, 0.999, 1e-8};
    gf_blocks blocks = {0};
    int64_t columns = (int64_t)number(run, "columns"), width = (int64_t)number(run, "width");
    const char *op = get(run, "op")->valuestring;
    const cJSON *update;
    gf_param *w = add_param(&params, "weight", gf_shape2(columns, width));
    gf_param *b = add_param(&params, "bias", gf_shape1(columns));
    fill(w->owned, get(run, "weight"));
    fill(b->owned, get(run, "bias"));
    for (int64_t i = 0; i < 2; i++) {
        gf_param *p = params.items[i];
        p->group = 0;
        p->moment1 = gf_alloc_array(gf_param_count(p), sizeof *p->moment1, &e);
        p->moment2 = gf_alloc_array(gf_param_count(p), sizeof *p->moment2, &e);
    }
    assert_true(gf_blocks_cut(&blocks, &params, &e));
    cJSON_ArrayForEach(update, get(run, "updates")) {
        check_update(run, update, g, &params);
        gf_adamw_update(&blocks, &groups, &settings, 1, 1, gf_vec_best(), pool);
        assert_array_near(w->owned, get(update, "weight"), 0.25, op);
        assert_array_near(b->owned, get(update, "bias"), 0.25, op);
    }
    assert_int_equal(w->updates, 5);
    gf_blocks_free(&blocks);
    gf_graph_free(g);
    gf_params_free(&params);
}

static void five_updates_are_torchs(void **state) {
    cJSON *j = golden();
    const cJSON *run;
    gf_err e = {0};
    gf_pool *pool = gf_pool_new(2, &e);
    int runs = 0;
    (void)state;
    cJSON_ArrayForEach(run, get(j, "runs")) {
        check_run(run, pool);
        runs++;
    }
    assert_int_equal(runs, 7);
    gf_pool_free(pool);
    cJSON_Delete(j);
}

/* ---- several backward runs after one forward run ---- */

enum { LOSSES = 4, WEIGHTS = 14, SUBSETS = 1 << LOSSES };

/* x -> lower -> middle -> upper; losses 0 to 2 stand on upper, 3 on middle, so that who writes a
 * gradient first goes by which losses count, and lower's gradient may take the place of upper. */
typedef struct forked {
    gf_pool *pool;
    gf_graph *graph;
    gf_params params; /* weight and bias of the three layers and the four heads */
    gf_node *losses[LOSSES];
    int64_t elements; /* of all parameters */
} forked;

static gf_real inputs[6 * 5];

static void begin(forked *f) {
    static const int64_t sizes[WEIGHTS / 2][2] = {{7, 5}, {8, 7}, {8, 8}, {3, 8},
                                                  {4, 8}, {1, 8}, {3, 8}};
    gf_err e = {0};
    gf_rng r = gf_rng_new(3, 1);
    *f = (forked){.pool = gf_pool_new(2, &e)};
    f->graph = gf_graph_new(f->pool, gf_vec_best(), &e);
    assert_non_null(f->graph);
    for (int i = 0; i < WEIGHTS / 2; i++) {
        add_param(&f->params, "weight", gf_shape2(sizes[i][0], sizes[i][1]));
        add_param(&f->params, "bias", gf_shape1(sizes[i][0]));
    }
    for (int64_t i = 0; i < WEIGHTS; i++) {
        gf_param *p = f->params.items[i];
        for (int64_t k = 0; k < gf_param_count(p); k++)
            p->owned[k] = (gf_real)(2 * gf_rng_uniform(&r) - 1);
        f->elements += gf_param_count(p);
    }
    for (int i = 0; i < 30; i++) inputs[i] = (gf_real)(2 * gf_rng_uniform(&r) - 1);
}

static void end(forked *f) {
    gf_graph_free(f->graph);
    gf_params_free(&f->params);
    gf_pool_free(f->pool);
}

static gf_node *layer(forked *f, gf_node *x, int i, gf_activation kind) {
    return gf_call(f->graph, linear, &(gf_attr){.kind = kind}, x,
                   gf_graph_param(f->graph, f->params.items[2 * i]),
                   gf_graph_param(f->graph, f->params.items[2 * i + 1]));
}

/* Plans the whole tape for the losses of the set; false when memory is out. */
static bool plan(forked *f, unsigned set, bool retain, gf_err *e) {
    static const int32_t ids[] = {0, 2, -1, 1, 2, 0}, ranks[] = {3, 0, 1, -1, 2, 1};
    static const gf_real many[24] = {1, 0, 0, 1, NAN, 0, 0, 0, 0, 1},
                         value[] = {1, NAN, 2, 0, -1, 3};
    gf_graph *g = f->graph;
    gf_node *middle, *upper, *all[LOSSES];
    int n = 0;
    gf_graph_reset(g);
    middle = layer(f, gf_graph_input(g, gf_shape2(6, 5), inputs), 0, GF_ACT_GELU);
    middle = layer(f, middle, 1, GF_ACT_TANH);
    upper = layer(f, middle, 2, GF_ACT_TANH);
    all[0] = gf_call(g, cross_entropy, (&(gf_attr){.ids = ids, .divisor = 5, .smoothing = 0.1}),
                     layer(f, upper, 3, GF_ACT_NONE));
    all[1] =
        gf_call(g, binary_cross_entropy, (&(gf_attr){.target = many, .divisor = 20, .gamma = 2}),
                layer(f, upper, 4, GF_ACT_NONE));
    all[2] = gf_call(g, squared_error, (&(gf_attr){.target = value, .divisor = 5}),
                     layer(f, upper, 5, GF_ACT_NONE));
    all[3] = gf_call(g, ordinal, (&(gf_attr){.ids = ranks, .divisor = 11}),
                     layer(f, middle, 6, GF_ACT_NONE));
    for (int i = 0; i < LOSSES; i++)
        if (set >> i & 1) f->losses[n++] = all[i];
    if (retain) gf_graph_retain(g);
    return gf_graph_plan(g, f->losses, n, e);
}

/* The gradient of every parameter, one after the other, into out [f->elements]. */
static void pull(forked *f, const double *weights, gf_real *out) {
    clear_grads(&f->params);
    gf_graph_backward(f->graph, weights);
    for (int64_t i = 0; i < WEIGHTS; i++) {
        const gf_param *p = f->params.items[i];
        memcpy(out, p->grad, (size_t)gf_param_count(p) * sizeof *out);
        out += gf_param_count(p);
    }
}

/* Weights of the losses in a set, and the same without those left out: `few` has only the set's. */
static void weigh(unsigned set, double *weights, double *few) {
    static const double each[LOSSES] = {1, 0.5, 2, 0.75};
    for (int i = 0; i < LOSSES; i++) {
        weights[i] = set >> i & 1 ? each[i] : 0;
        if (set >> i & 1) *few++ = each[i];
    }
}

enum { ROOM = 512 };

static void every_subset_equals_a_plan_of_its_own(void **state) {
    static gf_real alone[SUBSETS][ROOM], some[ROOM];
    forked f;
    gf_err e = {0};
    double weights[LOSSES], few[LOSSES];
    (void)state;
    begin(&f);
    assert_true(f.elements <= ROOM);
    for (unsigned set = 0; set < SUBSETS; set++) {
        weigh(set, weights, few);
        assert_true(plan(&f, set, false, &e));
        gf_graph_forward(f.graph);
        pull(&f, few, alone[set]);
    }
    assert_true(plan(&f, SUBSETS - 1, true, &e));
    gf_graph_forward(f.graph);
    for (unsigned i = 0; i < 3 * SUBSETS; i++) { /* in an order in which sets shrink and grow */
        unsigned set = i * 7 % SUBSETS;
        weigh(set, weights, few);
        pull(&f, weights, some);
        for (int64_t k = 0; k < f.elements; k++)
            if (some[k] != alone[set][k])
                fail_msg("losses %x, gradient %d: %.9g, in a plan of their own %.9g", set, (int)k,
                         (double)some[k], (double)alone[set][k]);
    }
    end(&f);
}

static void gradients_of_single_losses_add_up(void **state) {
    static gf_real whole[ROOM], sum[ROOM], one[ROOM];
    forked f;
    gf_err e = {0};
    double weights[LOSSES], few[LOSSES], largest = 0;
    (void)state;
    begin(&f);
    assert_true(plan(&f, SUBSETS - 1, true, &e));
    gf_graph_forward(f.graph);
    memset(sum, 0, sizeof sum);
    for (int i = 0; i < LOSSES; i++) {
        weigh(1u << i, weights, few);
        pull(&f, weights, one);
        for (int64_t k = 0; k < f.elements; k++) sum[k] += one[k];
    }
    weigh(SUBSETS - 1, weights, few);
    pull(&f, weights, whole);
    for (int64_t k = 0; k < f.elements; k++) largest = fmax(largest, fabs((double)whole[k]));
    assert_true(largest > 0.1);
    for (int64_t k = 0; k < f.elements; k++)
        assert_true(fabs((double)(sum[k] - whole[k])) <= 2e-6 * largest);
    end(&f);
}

/* What is NaN in a head must not come down through a loss of weight 0: 0 times NaN is NaN. */
static void losses_of_weight_0_are_not_run(void **state) {
    static gf_real out[ROOM];
    forked f;
    gf_err e = {0};
    (void)state;
    begin(&f);
    f.params.items[6]->owned[0] = NAN;
    for (int retain = 0; retain < 2; retain++) {
        assert_true(plan(&f, SUBSETS - 1, retain == 1, &e));
        gf_graph_forward(f.graph);
        pull(&f, (double[]){0, 1, 1, 1}, out);
        for (int64_t k = 0; k < f.elements; k++) assert_true(isfinite(out[k]));
    }
    pull(&f, (double[]){1, 1, 1, 1}, out);
    assert_true(isnan(out[0]));
    end(&f);
}

/* Pulls lower and upper back, those of them that are in the set, by gradients of 1 and -1. */
static void pull_tensors(forked *f, unsigned set, gf_real *out) {
    gf_err e = {0};
    gf_node *roots[2], *outer[2];
    int n = 0;
    gf_graph_reset(f->graph);
    outer[0] = layer(f, gf_graph_input(f->graph, gf_shape2(6, 5), inputs), 0, GF_ACT_GELU);
    outer[1] = layer(f, layer(f, outer[0], 1, GF_ACT_TANH), 2, GF_ACT_TANH);
    for (int i = 0; i < 2; i++)
        if (set >> i & 1) roots[n++] = outer[i];
    assert_true(gf_graph_plan(f->graph, roots, n, &e));
    gf_graph_forward(f->graph);
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < roots[i]->count; k++)
            roots[i]->g[k] = roots[i] == outer[0] ? 1 : -1;
    pull(f, NULL, out);
}

static void what_the_caller_pulls_on_may_lie_below_another(void **state) {
    static gf_real lower[ROOM], upper[ROOM], both[ROOM];
    forked f;
    (void)state;
    begin(&f);
    pull_tensors(&f, 1, lower);
    pull_tensors(&f, 2, upper);
    pull_tensors(&f, 3, both);
    assert_true(lower[0] != 0 && upper[0] != 0);
    for (int64_t k = 0; k < f.elements; k++)
        assert_true(fabs((double)(lower[k] + upper[k] - both[k])) <= 1e-4);
    end(&f);
}

/* Retaining costs memory, which the next tape does not pay unless it asks again. */
static void retaining_ends_with_the_tape(void **state) {
    forked f;
    gf_err e = {0};
    size_t plain;
    (void)state;
    begin(&f);
    assert_true(plan(&f, SUBSETS - 1, false, &e));
    plain = gf_graph_bytes(f.graph);
    assert_true(plan(&f, SUBSETS - 1, true, &e));
    assert_true(gf_graph_bytes(f.graph) > plain);
    assert_true(plan(&f, SUBSETS - 1, false, &e));
    assert_int_equal(gf_graph_bytes(f.graph), plain);
    end(&f);
}

static void every_allocation_may_fail(void **state) {
    int64_t fired = 0;
    bool ok = false;
    (void)state;
    for (int64_t k = 1; !ok; k++) {
        forked f;
        gf_err e = {0};
        begin(&f);
        gf_mem_fail_at(k, false);
        ok = plan(&f, SUBSETS - 1, true, &e);
        assert_true(ok != gf_mem_fault_fired());
        gf_mem_fail_at(0, false);
        assert_true(ok || e.code == GF_E_NOMEM);
        fired += !ok;
        end(&f);
    }
    assert_true(fired > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_are_torchs),
        cmocka_unit_test(many_wide_rows_are_each_right),
        cmocka_unit_test(five_updates_are_torchs),
        cmocka_unit_test(every_subset_equals_a_plan_of_its_own),
        cmocka_unit_test(gradients_of_single_losses_add_up),
        cmocka_unit_test(losses_of_weight_0_are_not_run),
        cmocka_unit_test(what_the_caller_pulls_on_may_lie_below_another),
        cmocka_unit_test(retaining_ends_with_the_tape),
        cmocka_unit_test(every_allocation_may_fail),
    };
    gf_err e = {0};
    if (!gf_gemm_start(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
