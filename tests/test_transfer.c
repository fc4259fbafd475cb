/* SGD, moving averages of weights, L2-SP and gradual unfreezing: against torch
 * (tests/golden/make_transfer.py). */
#include "tests/optim_help.h"

#include "core/mem.h"
#include "core/pool.h"
#include "core/vec.h"
#include "optim/adamw.h"
#include "optim/anchor.h"
#include "optim/average.h"
#include "optim/blocks.h"
#include "optim/clip.h"
#include "optim/groups.h"
#include "optim/sgd.h"

/* ---- the golden cases ---- */

typedef struct trial {
    const cJSON *root, *item;
    gf_optimizer optimizer;
    gf_params params;
    gf_rule rules[4];
    int64_t n_rules;
    gf_groups groups;
    gf_blocks blocks;
    gf_pool *pool;
    double average; /* 0: none */
} trial;

static void read_rules(trial *t) {
    const cJSON *item;
    cJSON_ArrayForEach(item, get(t->item, "rules")) {
        const cJSON *decay = get(item, "weight_decay");
        t->rules[t->n_rules++] =
            (gf_rule){.pattern = get(item, "pattern")->valuestring,
                      .lr = number(item, "lr"),
                      .weight_decay = cJSON_IsNull(decay) ? NAN : decay->valuedouble,
                      .layer_decay = number(item, "layer_decay"),
                      .l2_sp = number(item, "l2_sp")};
    }
}

static void begin_stage(trial *t, int64_t lowest) {
    assert_true(gf_groups_assign(&t->groups, &t->params, t->rules, t->n_rules,
                                 (int64_t)number(t->root, "layers"), lowest,
                                 number(t->root, "weight_decay"), NULL));
    assert_true(gf_groups_reserve(&t->params, t->optimizer, NULL));
    assert_true(gf_blocks_cut(&t->blocks, &t->params, NULL));
    assert_true(gf_anchor_reserve(&t->params, &t->groups, NULL));
    if (t->average > 0) assert_true(gf_average_start(&t->params, NULL));
}

static void step(trial *t, double factor, double scale) {
    const cJSON *o = get(t->item, "optimizer"), *betas = cJSON_GetObjectItem(o, "betas");
    if (t->optimizer == GF_OPTIMIZER_SGD) {
        gf_sgd_settings s = {number(o, "momentum"), cJSON_IsTrue(get(o, "nesterov"))};
        gf_sgd_update(&t->blocks, &t->groups, &s, factor, scale, t->pool);
    } else {
        gf_adamw_settings s = {cJSON_GetArrayItem(betas, 0)->valuedouble,
                               cJSON_GetArrayItem(betas, 1)->valuedouble, number(o, "eps")};
        gf_adamw_update(&t->blocks, &t->groups, &s, factor, scale, gf_vec_best(), t->pool);
    }
    if (t->average > 0) gf_average_update(&t->blocks, t->average, t->pool);
}

static void run_update(trial *t, int update) {
    const cJSON *grads = cJSON_GetArrayItem(get(t->root, "grads"), update);
    const cJSON *lowest = get(t->item, "lowest"),
                *factors = cJSON_GetObjectItem(t->item, "factors");
    int low = cJSON_GetArrayItem(lowest, update)->valueint;
    double want = cJSON_GetArrayItem(get(t->item, "norms"), update)->valuedouble, norm;
    if (update == 0 || low != cJSON_GetArrayItem(lowest, update - 1)->valueint) begin_stage(t, low);
    for (int64_t i = 0; i < t->params.count; i++) {
        gf_param *p = t->params.items[i];
        assert_true(p->trainable == (p->grad != NULL));
        if (p->trainable) fill(p->grad, get(grads, p->name));
    }
    gf_anchor_pull(&t->blocks, &t->groups, t->pool);
    norm = gf_grad_norm(&t->blocks, gf_vec_best(), t->pool);
    assert_near(norm, want, 2e-6 * want, get(t->item, "name")->valuestring);
    step(t, factors ? cJSON_GetArrayItem(factors, update)->valuedouble : 1,
         gf_grad_scale(norm, number(t->item, "clip_norm")));
}

/* An array that torch has not, or whose parameter never trained, is not there or still zero. */
static void check_array(const gf_real *have, int64_t count, const cJSON *want, const char *what) {
    if (want) {
        assert_non_null(have);
        assert_int_equal(cJSON_GetArraySize(want), count);
        assert_array_near(have, want, 2e-6, what);
    } else if (have) {
        for (int64_t i = 0; i < count; i++) assert_true(have[i] == 0);
    }
}

static void check_after(const trial *t) {
    const cJSON *item;
    char what[128];
    cJSON_ArrayForEach(item, get(t->item, "after")) {
        const gf_param *p = gf_params_find(&t->params, item->string);
        int64_t count = gf_param_count(p);
        snprintf(what, sizeof what, "%s: %s", get(t->item, "name")->valuestring, p->name);
        assert_int_equal(p->updates, (int64_t)number(item, "updates"));
        if (!p->updates) assert_true(!p->moment1 && !p->average && !p->anchor);
        if (t->optimizer == GF_OPTIMIZER_SGD) assert_null(p->moment2);
        check_array(p->value, count, get(item, "value"), what);
        check_array(p->moment1, count, cJSON_GetObjectItem(item, "moment1"), what);
        check_array(p->moment2, count, cJSON_GetObjectItem(item, "moment2"), what);
        check_array(p->average, count, cJSON_GetObjectItem(item, "average"), what);
    }
}

/* What never trained must be what it was, to the bit. */
static void check_unmoved(const trial *t, const cJSON *start) {
    gf_params before = golden_params(start);
    for (int64_t i = 0; i < before.count; i++) {
        const gf_param *a = before.items[i], *b = t->params.items[i];
        size_t size = (size_t)gf_param_count(a) * sizeof(gf_real);
        assert_true((memcmp(a->value, b->value, size) == 0) == (b->updates == 0));
    }
    gf_params_free(&before);
}

static void run_case(const cJSON *root, const cJSON *item) {
    const cJSON *average = cJSON_GetObjectItem(item, "average");
    trial t = {.root = root, .item = item, .params = golden_params(get(root, "start"))};
    bool sgd = strcmp(get(get(item, "optimizer"), "type")->valuestring, "sgd") == 0;
    int updates = cJSON_GetArraySize(get(root, "grads"));
    t.optimizer = sgd ? GF_OPTIMIZER_SGD : GF_OPTIMIZER_ADAMW;
    t.average = average ? average->valuedouble : 0;
    assert_non_null(t.pool = gf_pool_new(2, NULL));
    read_rules(&t);
    for (int update = 0; update < updates; update++) run_update(&t, update);
    check_after(&t);
    check_unmoved(&t, get(root, "start"));
    gf_blocks_free(&t.blocks);
    gf_groups_free(&t.groups);
    gf_params_free(&t.params);
    gf_pool_free(t.pool);
}

static void updates_are_torch(void **state) {
    cJSON *root = read_golden("transfer.json");
    const cJSON *item;
    int cases = 0;
    (void)state;
    cJSON_ArrayForEach(item, get(root, "cases")) {
        run_case(root, item);
        cases++;
    }
    assert_int_equal(cases, 11);
    cJSON_Delete(root);
}

/* ---- threads ---- */

static const gf_rule anchored = {"*", 1e-2, 0.01, 1, 0.5};

static void two_updates_with(int threads, gf_params *p) {
    gf_sgd_settings settings = {0.9, true};
    gf_groups groups = {0};
    gf_blocks blocks = {0};
    gf_pool *pool = gf_pool_new(threads, NULL);
    *p = random_params();
    assert_non_null(pool);
    assert_true(gf_groups_assign(&groups, p, &anchored, 1, 0, -1, 0, NULL));
    assert_true(gf_groups_reserve(p, GF_OPTIMIZER_SGD, NULL) && gf_blocks_cut(&blocks, p, NULL));
    assert_true(gf_anchor_reserve(p, &groups, NULL) && gf_average_start(p, NULL));
    for (int update = 0; update < 2; update++) {
        for (int64_t k = 0; k < p->count; k++)
            memcpy(p->items[k]->grad, p->items[k]->value,
                   (size_t)gf_param_count(p->items[k]) * sizeof(gf_real));
        gf_anchor_pull(&blocks, &groups, pool);
        gf_sgd_update(&blocks, &groups, &settings, 1, 0.3, pool);
        gf_average_update(&blocks, 0.9, pool);
    }
    gf_blocks_free(&blocks);
    gf_groups_free(&groups);
    gf_pool_free(pool);
}

static void threads_change_no_bit(void **state) {
    static const int threads[] = {2, 3, 5};
    gf_params one;
    (void)state;
    two_updates_with(1, &one);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        gf_params many;
        two_updates_with(threads[t], &many);
        for (int64_t k = 0; k < one.count; k++) {
            const gf_param *a = one.items[k], *b = many.items[k];
            size_t size = (size_t)gf_param_count(a) * sizeof(gf_real);
            assert_int_equal(a->updates, 2);
            assert_int_equal(b->updates, 2);
            assert_memory_equal(a->value, b->value, size);
            assert_memory_equal(a->grad, b->grad, size);
            assert_memory_equal(a->moment1, b->moment1, size);
            assert_memory_equal(a->average, b->average, size);
        }
        gf_params_free(&many);
    }
    gf_params_free(&one);
}

/* All elements take the same way, so a block that is left out or done twice shows. */
static void blocks_cover_every_element(void **state) {
    gf_params p;
    (void)state;
    two_updates_with(3, &p);
    for (int64_t k = 0; k < p.count; k++)
        for (int64_t i = 1000; i < gf_param_count(p.items[k]); i++) {
            /* random_params() repeats itself after 1000 elements. */
            assert_true(p.items[k]->value[i] == p.items[k]->value[i - 1000]);
            assert_true(p.items[k]->average[i] == p.items[k]->average[i - 1000]);
            assert_true(p.items[k]->grad[i] == p.items[k]->grad[i - 1000]);
        }
    gf_params_free(&p);
}

/* ---- averages and anchors ---- */

static void averages_swap_and_finish(void **state) {
    gf_params p = {0};
    gf_param *a, *b;
    (void)state;
    add(&p, "a", 2);
    add(&p, "b", 1);
    a = p.items[0];
    b = p.items[1];
    assert_true(gf_param_own(a, NULL) && gf_param_own(b, NULL));
    a->trainable = true;
    a->owned[0] = 3;
    b->owned[0] = 5;
    assert_true(gf_average_start(&p, NULL));
    assert_null(b->average);
    assert_true(a->average[0] == 3 && a->average != a->owned);
    a->owned[0] = 7;
    assert_true(gf_average_start(&p, NULL)); /* has one already */
    assert_true(a->average[0] == 3);
    gf_average_swap(&p);
    assert_true(a->value[0] == 3 && a->average[0] == 7 && a->value == a->owned);
    gf_average_swap(&p);
    assert_true(a->value[0] == 7 && a->average[0] == 3 && a->value == a->owned);
    a->trainable = false; /* a frozen one keeps its average until the phase ends */
    gf_params_take_averages(&p);
    assert_true(a->value[0] == 3 && a->value == a->owned && !a->average);
    gf_params_take_averages(&p);
    assert_true(a->value[0] == 3 && b->value[0] == 5 && !b->average);
    gf_params_free(&p);
}

static void anchors_stay(void **state) {
    static const gf_rule rules[] = {{"heads.a", 1, 0, 1, 0}, {"*", 1, 0, 1, 2}};
    gf_params p = random_params();
    gf_groups g = {0};
    gf_param *a = p.items[0], *b = p.items[1], *c = p.items[2];
    (void)state;
    b->owned[0] = 4;
    assert_true(gf_groups_assign(&g, &p, rules, 2, 0, -1, 0, NULL));
    assert_int_equal(g.count, 2);
    assert_true(g.items[0].l2_sp == 0 && g.items[1].l2_sp == 2);
    assert_true(gf_anchor_reserve(&p, &g, NULL));
    assert_true(!a->anchor && b->anchor && c->anchor);
    b->owned[0] = 9;
    assert_true(gf_anchor_reserve(&p, &g, NULL));
    assert_true(b->anchor[0] == 4);
    gf_groups_free(&g);
    gf_params_free(&p);
}

/* ---- gradual unfreezing ---- */

static void stages_open_from_the_top(void **state) {
    static const struct {
        int64_t layers, per_stage, lowest[6];
    } cases[] = {
        {3, 1, {3, 2, 1, 0, -1, -1}},   {6, 2, {6, 4, 2, 0, -1, -1}},
        {5, 2, {5, 3, 1, 0, -1, -1}},   {4, 4, {4, 0, -1, -1, -1, -1}},
        {4, 9, {4, 0, -1, -1, -1, -1}}, {1, 1, {1, 0, -1, -1, -1, -1}},
        {12, INT64_MAX, {12, 0, -1}},
    };
    (void)state;
    for (size_t i = 0; i < 6; i++)
        for (int64_t stage = 0; stage < 6; stage++)
            assert_int_equal(gf_unfreeze_lowest(cases[i].layers, cases[i].per_stage, stage),
                             cases[i].lowest[stage]);
    for (int64_t stage = 0; stage < 3; stage++)
        assert_int_equal(gf_unfreeze_lowest(12, INT64_MAX, stage), cases[6].lowest[stage]);
    assert_int_equal(gf_unfreeze_lowest(12, 1, INT64_MAX), -1);
}

static void low_layers_stay_frozen(void **state) {
    static const struct {
        const char *name;
        int64_t opens_at; /* trains when lowest_layer is at most this */
    } cases[] = {{"embeddings.word_embeddings.weight", -1},
                 {"encoder.layer.0.x.weight", 0},
                 {"encoder.layer.2.x.weight", 2},
                 {"encoder.layer.10.x.weight", 10},
                 {"pooler.dense.weight", 99},
                 {"dense.weight", 99},
                 {"heads.encoder.layer.0.weight", 99}};
    const int n = sizeof cases / sizeof *cases;
    static const gf_rule all = {"*", 1, 0, 1, 0};
    gf_params p = {0};
    gf_groups g = {0};
    (void)state;
    for (int i = 0; i < n; i++) add(&p, cases[i].name, 1);
    for (int64_t lowest = -1; lowest <= 12; lowest++) {
        int64_t open = 0;
        assert_true(gf_groups_assign(&g, &p, &all, 1, 12, lowest, 0, NULL));
        for (int i = 0; i < n; i++) {
            assert_true(p.items[i]->trainable == (lowest <= cases[i].opens_at));
            assert_true(p.items[i]->trainable == (p.items[i]->group == 0));
            open += p.items[i]->trainable;
        }
        assert_int_equal(g.count, 1);
        assert_int_equal(g.items[0].params, open);
    }
    gf_groups_free(&g);
    gf_params_free(&p);
}

/* A rule that only waits is no mistake; one that never decides is, at any stage. */
static void waiting_rules_are_no_mistake(void **state) {
    gf_rule rules[] = {{"encoder.*", 1, 0, 1, 0}, {"encodr.*", 1, 0, 1, 0}};
    gf_params p = {0};
    gf_groups g = {0};
    gf_err e = {0};
    (void)state;
    add(&p, "encoder.layer.0.x.weight", 1);
    assert_true(gf_groups_assign(&g, &p, rules, 1, 1, 1, 0, &e));
    assert_int_equal(g.count, 0);
    assert_false(p.items[0]->trainable);
    assert_false(gf_groups_assign(&g, &p, rules, 2, 1, 1, 0, &e));
    assert_int_equal(e.code, GF_E_INVALID);
    gf_groups_free(&g);
    gf_params_free(&p);
}

/* ---- memory ---- */

static bool reserve_all(gf_params *p, gf_groups *g, gf_err *e) {
    return gf_groups_assign(g, p, &anchored, 1, 0, -1, 0, e) &&
           gf_groups_reserve(p, GF_OPTIMIZER_SGD, e) && gf_anchor_reserve(p, g, e) &&
           gf_average_start(p, e);
}

static void every_allocation_may_fail(void **state) {
    int64_t live = gf_mem_get_stats().live_blocks, k = 1;
    (void)state;
    for (bool fired = true; fired; k++) {
        gf_params p = random_params();
        gf_groups g = {0};
        gf_err e = {0};
        bool ok;
        gf_mem_fail_at(k, false);
        ok = reserve_all(&p, &g, &e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        assert_true(ok == !fired);
        if (fired) {
            assert_int_equal(e.code, GF_E_NOMEM);
            assert_true(reserve_all(&p, &g, &e)); /* and what was made can be built upon */
        }
        gf_groups_free(&g);
        gf_params_free(&p);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    }
    assert_true(k > 3 * 4); /* per parameter: gradient, moment, anchor, average */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_are_torch),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(blocks_cover_every_element),
        cmocka_unit_test(averages_swap_and_finish),
        cmocka_unit_test(anchors_stay),
        cmocka_unit_test(stages_open_from_the_top),
        cmocka_unit_test(low_layers_stay_frozen),
        cmocka_unit_test(waiting_rules_are_no_mistake),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("transfer", tests, NULL, NULL);
}
