/* The masked language model against transformers' BertForMaskedLM and torch (tests/golden/mlm/, see
 * its README), its place in the model, in model folders and in checkpoints. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "model/engine.h"
#include "model/mlm.h"
#include "optim/adamw.h"
#include "tests/model_help.h"

#define GOLDEN "tests/golden/mlm/"

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

/* ---- the golden case ---- */

typedef struct golden {
    cJSON *json;
    gf_model model;
    gf_engine engine;
    gf_safetensors expected;
    gf_batch batch;
    int32_t positions[64], labels[64];
    int64_t masked;
    gf_node *logits, *loss;
} golden;

static const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("case.json lacks %s", key);
    return item;
}

static void open_golden(golden *g, int threads) {
    gf_err e = {0};
    *g = (golden){0};
    check((g->json = gf_json_read(GOLDEN "case.json", 1 << 20, &e)) != NULL, &e);
    open_ok(&g->model, GOLDEN "model", NULL);
    check(gf_model_add_mlm(&g->model, &e), &e);
    check(gf_folder_read_mlm(&g->model, GOLDEN "model", NULL, &e), &e);
    check(gf_safetensors_open(&g->expected, GOLDEN "expected.safetensors", &e), &e);
    check(gf_engine_start(&g->engine, threads, &e), &e);
    g->batch.ids = gf_alloc_array(64, sizeof(int32_t), &e);
    g->batch.start = gf_alloc_array(16, sizeof(int32_t), &e);
}

static void close_golden(golden *g) {
    gf_engine_stop(&g->engine);
    gf_model_free(&g->model);
    gf_safetensors_close(&g->expected);
    gf_batch_free(&g->batch);
    cJSON_Delete(g->json);
}

/* The i-th of the case's batches, packed. */
static void take_batch(golden *g, int i) {
    const cJSON *from = cJSON_GetArrayItem(get(g->json, "batches"), i), *ids, *labels, *id, *label;
    labels = get(from, "labels")->child;
    g->batch.sequences = g->batch.tokens = g->masked = 0;
    cJSON_ArrayForEach(ids, get(from, "ids")) {
        label = labels->child;
        cJSON_ArrayForEach(id, ids) {
            if (cJSON_IsNumber(label)) {
                g->positions[g->masked] = (int32_t)g->batch.tokens;
                g->labels[g->masked++] = label->valueint;
            }
            assert_true(g->batch.tokens < 64);
            g->batch.ids[g->batch.tokens++] = id->valueint;
            label = label->next;
        }
        g->batch.start[++g->batch.sequences] = (int32_t)g->batch.tokens;
        labels = labels->next;
    }
}

static void run_forward(golden *g) {
    gf_graph *graph = g->engine.graph;
    gf_attr attr = {.ids = g->labels, .divisor = (double)g->masked};
    gf_node *hidden;
    gf_err e = {0};
    gf_graph_reset(graph);
    hidden = gf_model_hidden(graph, &g->model, &g->batch, &(gf_mode){0});
    g->logits = gf_mlm_logits(graph, &g->model, hidden, g->positions, g->masked);
    g->loss = gf_call(graph, cross_entropy, &attr, g->logits);
    gf_graph_keep(g->logits);
    gf_graph_keep(g->loss);
    check(gf_graph_plan(graph, &g->loss, 1, &e), &e);
    gf_graph_forward(graph);
}

/* Everything trains; gradients are zeroed. */
static void reserve_all(golden *g, gf_groups *groups) {
    gf_rule rule = {"*", get(g->json, "lr")->valuedouble, NAN, 1, 0};
    gf_err e = {0};
    check(gf_groups_assign(groups, &g->model.params, &rule, 1, 2, -1,
                           get(g->json, "weight_decay")->valuedouble, &e) &&
              gf_groups_reserve(&g->model.params, GF_OPTIMIZER_ADAMW, &e),
          &e);
}

/* Differences relative to the largest expected element, or to `scale` if that is larger. */
static void compare(const golden *g, const char *name, const gf_real *got, int64_t count,
                    double scale, double tolerance) {
    const gf_tensor *t = gf_safetensors_find(&g->expected, name);
    gf_real *wanted;
    gf_err e = {0};
    if (!t || t->count != count) fail_msg("expected.safetensors has no such %s", name);
    wanted = gf_alloc_array(count, sizeof *wanted, &e);
    check(gf_tensor_to_real(t, wanted, name, &e), &e);
    for (int64_t i = 0; i < count; i++) scale = fmax(scale, fabs((double)wanted[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)wanted[i]) <= tolerance * scale))
            fail_msg("%s[%d] is %.9g, torch has %.9g", name, (int)i, (double)got[i],
                     (double)wanted[i]);
    gf_free(wanted);
}

/* A key bias' gradient is zero but for noise on the scale of the query bias' (see the README). */
static double scale_of(const golden *g, const gf_param *p) {
    char query[192];
    const char *at = strstr(p->name, "key.bias");
    double most = 0;
    if (!at) return 0;
    snprintf(query, sizeof query, "%.*squery.bias", (int)(at - p->name), p->name);
    p = gf_params_find(&g->model.params, query);
    for (int64_t i = 0; i < gf_param_count(p); i++) most = fmax(most, fabs((double)p->grad[i]));
    return most;
}

static void test_logits_loss_and_every_gradient(void **state) {
    golden g;
    gf_groups groups = {0};
    char name[224];
    (void)state;
    open_golden(&g, 2);
    take_batch(&g, 0);
    reserve_all(&g, &groups);
    run_forward(&g);
    compare(&g, "logits", g.logits->x, g.logits->count, 0, 1e-5);
    compare(&g, "loss/0", g.loss->x, 1, 0, 1e-6);
    gf_graph_backward(g.engine.graph, (double[]){1});
    for (int64_t i = 0; i < g.model.params.count; i++) {
        const gf_param *p = g.model.params.items[i];
        snprintf(name, sizeof name, "grad/%s", p->name);
        compare(&g, name, p->grad, gf_param_count(p), scale_of(&g, p), 2e-5);
    }
    g.model.config.gelu_tanh = true;
    run_forward(&g);
    compare(&g, "logits/gelu_new", g.logits->x, g.logits->count, 0, 1e-5);
    gf_groups_free(&groups);
    close_golden(&g);
}

static void test_five_updates(void **state) {
    golden g;
    gf_groups groups = {0};
    gf_blocks blocks = {0};
    gf_err e = {0};
    char name[224];
    (void)state;
    open_golden(&g, 3);
    gf_adamw_settings s = {cJSON_GetArrayItem(get(g.json, "betas"), 0)->valuedouble,
                           cJSON_GetArrayItem(get(g.json, "betas"), 1)->valuedouble,
                           get(g.json, "eps")->valuedouble};
    for (int i = 0; i < 5; i++) {
        take_batch(&g, i);
        reserve_all(&g, &groups);
        check(gf_blocks_cut(&blocks, &g.model.params, &e), &e);
        run_forward(&g);
        snprintf(name, sizeof name, "loss/%d", i);
        compare(&g, name, g.loss->x, 1, 0, 2e-5);
        gf_graph_backward(g.engine.graph, (double[]){1});
        gf_adamw_update(&blocks, &groups, &s, 1, 1, g.engine.vec, g.engine.pool);
    }
    for (int64_t i = 0; i < g.model.params.count; i++) {
        const gf_param *p = g.model.params.items[i];
        bool key = strstr(p->name, "key.bias") != NULL;
        snprintf(name, sizeof name, "value/%s", p->name);
        compare(&g, name, p->value, gf_param_count(p), key ? 1 : 0, key ? 1e-4 : 2e-5);
    }
    gf_blocks_free(&blocks);
    gf_groups_free(&groups);
    close_golden(&g);
}

static void test_no_masked_token_is_no_loss(void **state) {
    golden g;
    gf_groups groups = {0};
    (void)state;
    open_golden(&g, 2);
    take_batch(&g, 0);
    g.masked = 0;
    reserve_all(&g, &groups);
    run_forward(&g);
    assert_int_equal(g.logits->count, 0);
    assert_true(g.loss->x[0] == 0);
    gf_graph_backward(g.engine.graph, (double[]){1});
    for (int64_t i = 0; i < g.model.params.count; i++)
        for (int64_t k = 0; k < gf_param_count(g.model.params.items[i]); k++)
            assert_true(g.model.params.items[i]->grad[k] == 0);
    gf_groups_free(&groups);
    close_golden(&g);
}

static void test_threads_do_not_change_bits(void **state) {
    golden one, many;
    gf_groups groups = {0};
    (void)state;
    open_golden(&one, 1);
    open_golden(&many, 5);
    for (int k = 0; k < 2; k++) {
        golden *g = k ? &many : &one;
        take_batch(g, 2);
        reserve_all(g, &groups);
        run_forward(g);
        gf_graph_backward(g->engine.graph, (double[]){1});
    }
    for (int64_t i = 0; i < one.model.params.count; i++)
        assert_memory_equal(one.model.params.items[i]->grad, many.model.params.items[i]->grad,
                            (size_t)gf_param_count(one.model.params.items[i]) * sizeof(gf_real));
    gf_groups_free(&groups);
    close_golden(&one);
    close_golden(&many);
}

/* ---- in the model ---- */

static const char *const names[] = {
    "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.bias"};
static const char *const classes[] = {"no", "yes"};

/* The five stand in one row, behind the encoder and a projection, before all heads. */
static void check_place(const gf_model *m) {
    int64_t first = m->params.count - 2 * m->n_heads - 5;
    for (int i = 0; i < 5; i++) {
        const gf_param *p = m->params.items[first + i];
        assert_string_equal(p->name, names[i]);
        assert_true(gf_model_is_mlm(m, p));
    }
    for (int64_t i = 0; i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        assert_int_equal(gf_weights_is_head(p), i >= first + 5);
        assert_int_equal(gf_model_is_mlm(m, p), i >= first && i < first + 5);
    }
    if (m->dense.weight) assert_ptr_equal(m->params.items[first - 2], m->dense.weight);
}

static void test_it_stands_before_the_heads_and_goes(void **state) {
    gf_model m;
    gf_err e = {0};
    int64_t before;
    (void)state;
    open_ok(&m, GOLDEN "model", NULL);
    before = m.params.count;
    assert_false(gf_model_is_mlm(&m, NULL));
    gf_model_drop_mlm(&m);
    assert_int_equal(m.params.count, before);
    check(gf_model_add_head(&m, "a", classes, 2, &e), &e);
    check(gf_model_add_mlm(&m, &e) && gf_model_add_mlm(&m, &e), &e);
    check_place(&m);
    check(gf_model_add_head(&m, "b", classes, 2, &e), &e);
    check(gf_model_set_pooling(&m, GF_POOL_POOLER, &e), &e);
    check_place(&m);
    assert_int_equal(m.params.count, before + 2 + 5 + 4);
    gf_model_drop_last_head(&m);
    check_place(&m);
    check(gf_model_set_pooling(&m, GF_POOL_MEAN, &e), &e);
    check_place(&m);
    m.mlm.bias->trainable = m.mlm.dense.weight->trainable = true;
    assert_true(gf_model_encoder_frozen(&m));
    gf_model_drop_mlm(&m);
    assert_int_equal(m.params.count, before + 2);
    check_order(&m);
    check(gf_model_add_mlm(&m, &e), &e);
    check_place(&m);
    gf_model_free(&m);
}

static double mean_square(const gf_param *p) {
    double sum = 0;
    for (int64_t i = 0; i < gf_param_count(p); i++) sum += (double)(p->value[i] * p->value[i]);
    return sum / (double)gf_param_count(p);
}

static void test_what_is_drawn(void **state) {
    gf_model m;
    gf_err e = {0};
    (void)state;
    open_ok(&m, "tests/golden/mean_gelu/model", NULL);
    check(gf_model_add_mlm(&m, &e) && gf_model_init(&m, 5, &e), &e);
    assert_true(mean_square(m.mlm.dense.bias) == 0 && mean_square(m.mlm.norm.bias) == 0 &&
                mean_square(m.mlm.bias) == 0);
    for (int64_t i = 0; i < m.config.hidden_size; i++)
        assert_true(m.mlm.norm.weight->value[i] == 1);
    /* 576 draws: the share's standard deviation is sqrt(2 / 576) = 0.06 */
    assert_true(fabs(mean_square(m.mlm.dense.weight) / pow(m.config.initializer_range, 2) - 1) <
                0.3);
    gf_model_free(&m);
}

static void test_memory_that_runs_out_while_adding(void **state) {
    gf_model m;
    int64_t before, k;
    bool added = false;
    (void)state;
    open_ok(&m, GOLDEN "model", NULL);
    before = m.params.count;
    for (k = 1; !added; k++) {
        gf_err e = {0};
        gf_mem_fail_at(k, false);
        added = gf_model_add_mlm(&m, &e);
        assert_true(added != gf_mem_fault_fired());
        gf_mem_fail_at(0, false);
        if (!added) assert_int_equal(e.code, GF_E_NOMEM);
        if (!added) assert_int_equal(m.params.count, before);
    }
    assert_true(k > 10);
    check_place(&m);
    gf_model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_loss_and_every_gradient),
        cmocka_unit_test(test_five_updates),
        cmocka_unit_test(test_no_masked_token_is_no_loss),
        cmocka_unit_test(test_threads_do_not_change_bits),
        cmocka_unit_test(test_it_stands_before_the_heads_and_goes),
        cmocka_unit_test(test_what_is_drawn),
        cmocka_unit_test(test_memory_that_runs_out_while_adding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
