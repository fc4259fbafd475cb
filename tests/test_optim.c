/* optim: patterns, groups, clipping; AdamW against torch.optim.AdamW under transformers' schedules
 * (tests/golden/make_optim.py). */
#include "tests/optim_help.h"

#include "core/mem.h"
#include "core/pool.h"
#include "core/vec.h"
#include "optim/adamw.h"
#include "optim/blocks.h"
#include "optim/clip.h"
#include "optim/groups.h"
#include "optim/pattern.h"
#include "optim/schedule.h"

static cJSON *golden(void) { return read_golden("optim.json"); }

/* ---- patterns ---- */

static void patterns_match(void **state) {
    static const struct {
        const char *pattern, *name;
        bool want;
    } cases[] = {
        {"*", "heads.a.bias", true},
        {"*", "", true},
        {"heads.*", "heads.a.bias", true},
        {"heads.*", "heads", false},
        {"heads.*", "xheads.a", false},
        {"*.bias", "encoder.layer.1.output.dense.bias", true},
        {"*.bias", "encoder.bias.weight", false},
        {"a*b*c", "abbbxc", true},
        {"a*b*c", "abbbxcd", false},
        {"*ab*ab", "abab", true},
        {"*ab*ab", "aabb", false},
        {"**", "x", true},
        {"heads.a", "heads.a", true},
        {"heads.a", "heads.a.bias", false},
        {"heads.?", "heads.a", false},
        {"encoder.layer[-2:].*", "encoder.layer.4.x", true},
        {"encoder.layer[-2:].*", "encoder.layer.5.x", true},
        {"encoder.layer[-2:].*", "encoder.layer.3.x", false},
        {"encoder.layer[-2:].*", "encoder.layer.6.x", false},
        {"encoder.layer[0:3].*", "encoder.layer.0.x", true},
        {"encoder.layer[0:3].*", "encoder.layer.2.x", true},
        {"encoder.layer[0:3].*", "encoder.layer.3.x", false},
        {"encoder.layer[5].*", "encoder.layer.5.x", true},
        {"encoder.layer[5].*", "encoder.layer.4.x", false},
        {"encoder.layer[-1].*", "encoder.layer.5.x", true},
        {"encoder.layer[-6].*", "encoder.layer.0.x", true},
        {"encoder.layer[-7].*", "encoder.layer.0.x", false},
        {"encoder.layer[6].*", "encoder.layer.6.x", false},
        {"encoder.layer[:].*", "encoder.layer.5.x", true},
        {"encoder.layer[:-4].*", "encoder.layer.1.x", true},
        {"encoder.layer[:-4].*", "encoder.layer.2.x", false},
        {"encoder.layer[-99:99].*", "encoder.layer.0.x", true},
        {"encoder.layer[4:2].*", "encoder.layer.3.x", false},
        {"encoder.layer[99999999999999999999:].*", "encoder.layer.5.x", false},
        {"encoder.layer[1]*", "encoder.layer.11.x", false},
        {"encoder.layer[-99:].*", "encoder.layer.-1.x", false},
        {"encoder.layer[0:99].*", "encoder.layer.6.x", false},
        {"encoder.layer[:-99].*", "encoder.layer.0.x", false},
        {"encoder.layer[1:].*", "encoder.layer.x", false},
        {"encoder.layer[1:].*", "encoder.layer", false},
        {"*layer[0].*bias", "encoder.layer.0.output.dense.bias", true},
        {"*layer[0].*bias", "encoder.layer.1.output.dense.bias", false},
        {"encoder.layer[1", "encoder.layer.1", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (gf_pattern_matches(cases[i].pattern, cases[i].name, 6) != cases[i].want)
            fail_msg("\"%s\" against \"%s\"", cases[i].pattern, cases[i].name);
}

static void assert_text_has(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\" lacks \"%s\"", text, part);
}

static void bad_patterns_are_named(void **state) {
    static const char *const cases[][2] = {
        {"", "it is empty"},
        {"layer[1", "never closed"},
        {"layer[", "never closed"},
        {"layer[1:", "never closed"},
        {"layer[x]", "not a number"},
        {"layer[1,2]", "not a number"},
        {"layer[-]", "not a number"},
        {"layer[1:y]", "not a number"},
        {"layer[*]", "not a number"},
        {"layer[]", "brackets are empty"},
        {"layer[0:6:2]", "a step"},
        {"layer1]", "has no '['"},
        {"heads[0]", "does not follow \"layer\""},
        {"[0]", "does not follow \"layer\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_err e = {0};
        assert_false(gf_pattern_check(cases[i][0], &e));
        assert_int_equal(e.code, GF_E_INVALID);
        assert_text_has(e.text, cases[i][1]);
    }
    assert_true(gf_pattern_check("encoder.layer[-2:].*", NULL));
    assert_true(gf_pattern_check("*layer[:]*layer[3]", NULL));
}

/* ---- groups ---- */

static gf_params small_model(void) {
    gf_params p = {0};
    add(&p, "embeddings.word_embeddings.weight", 12);
    add(&p, "embeddings.LayerNorm.weight", 4);
    for (int i = 0; i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "encoder.layer.%d.output.dense.weight", i);
        add(&p, name, 8);
        snprintf(name, sizeof name, "encoder.layer.%d.output.dense.bias", i);
        add(&p, name, 4);
    }
    add(&p, "heads.category.weight", 8);
    add(&p, "heads.category.bias", 2);
    return p;
}

static const gf_group *group_of(const gf_groups *g, const gf_params *p, const char *name) {
    const gf_param *found = gf_params_find(p, name);
    assert_non_null(found);
    assert_true(found->trainable == (found->group >= 0));
    return found->trainable ? &g->items[found->group] : NULL;
}

static void first_rule_decides(void **state) {
    static const gf_rule rules[] = {{"heads.*", 1e-3, NAN, 1, 0},
                                    {"encoder.layer[-2:].*", 1e-4, NAN, 0.5, 0},
                                    {"encoder.*", 1e-5, 0.3, 1, 0},
                                    {"*word*", 1, NAN, 0.5, 0}};
    gf_params p = small_model();
    gf_groups g = {0};
    gf_err e = {0};
    int64_t params = 0;
    (void)state;
    if (!gf_groups_assign(&g, &p, rules, 4, 6, -1, 0.01, &e)) fail_msg("%s", e.text);
    assert_int_equal(g.count, 2 + 4 + 1 + 1);
    for (int64_t i = 0; i < g.count; i++) params += g.items[i].params;
    assert_int_equal(params, p.count - 1);
    assert_null(group_of(&g, &p, "embeddings.LayerNorm.weight"));
    assert_string_equal(group_of(&g, &p, "heads.category.bias")->pattern, "heads.*");
    assert_true(group_of(&g, &p, "heads.category.bias")->weight_decay == 0);
    assert_true(group_of(&g, &p, "heads.category.weight")->weight_decay == 0.01);
    assert_true(group_of(&g, &p, "encoder.layer.5.output.dense.weight")->lr == 1e-4);
    assert_true(group_of(&g, &p, "encoder.layer.4.output.dense.weight")->lr == 0.5e-4);
    assert_true(group_of(&g, &p, "encoder.layer.3.output.dense.bias")->lr == 1e-5);
    assert_true(group_of(&g, &p, "encoder.layer.3.output.dense.bias")->weight_decay == 0.3);
    assert_true(group_of(&g, &p, "embeddings.word_embeddings.weight")->lr == 1.0 / 64);
    assert_int_equal(group_of(&g, &p, "encoder.layer.0.output.dense.bias")->elements, 4 * 12);
    gf_groups_free(&g);
    gf_params_free(&p);
}

static void idle_rules_are_refused(void **state) {
    static const struct {
        const char *first, *second, *want;
    } cases[] = {
        {"heads.*", "head.*", "did you mean \"heads.*\""},
        {"heads.*", "embedings.LayerNorm.*", "did you mean \"embeddings.LayerNorm.*\""},
        {"heads.*", "encoder.layr.0.*", "did you mean \"encoder.layer.0.*\""},
        {"heads.*", "heads.category.weights", "did you mean \"heads.category.weight\""},
        {"heads.*", "encoder.layer[6].*", "the encoder has 6 layers"},
        {"heads.*", "*.gamma", "have names like \"embeddings.word_embeddings.weight\""},
        {"*", "heads.*", "earlier patterns already took; write the most specific first"},
        {"heads.*", "encoder.layer[-2.*", "not a number"},
    };
    gf_params p = small_model();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_rule rules[] = {{cases[i].first, 1, NAN, 1, 0}, {cases[i].second, 1, NAN, 1, 0}};
        gf_groups g = {0};
        gf_err e = {0};
        assert_false(gf_groups_assign(&g, &p, rules, 2, 6, -1, 0.01, &e));
        assert_int_equal(e.code, GF_E_INVALID);
        assert_text_has(e.text, cases[i].second);
        assert_text_has(e.text, cases[i].want);
        for (int64_t k = 0; k < p.count; k++) assert_false(p.items[k]->trainable);
        gf_groups_free(&g);
    }
    gf_params_free(&p);
}

static void frozen_ones_keep_moments_only(void **state) {
    static const gf_rule heads = {"heads.*", 1, NAN, 1, 0}, none = {"embeddings.*", 1, NAN, 1, 0};
    gf_params p = small_model();
    gf_groups g = {0};
    gf_param *head = gf_params_find(&p, "heads.category.bias");
    (void)state;
    assert_true(gf_groups_assign(&g, &p, &heads, 1, 6, -1, 0, NULL));
    assert_true(gf_groups_reserve(&p, GF_OPTIMIZER_ADAMW, NULL));
    assert_non_null(head->grad);
    assert_ptr_equal(head->value, head->owned);
    assert_null(gf_params_find(&p, "embeddings.LayerNorm.weight")->grad);
    head->grad[0] = head->moment1[0] = head->moment2[1] = 5;
    assert_true(gf_groups_reserve(&p, GF_OPTIMIZER_ADAMW, NULL));
    assert_true(head->grad[0] == 0 && head->moment1[0] == 5);
    assert_true(gf_groups_assign(&g, &p, &none, 1, 6, -1, 0, NULL));
    assert_true(gf_groups_reserve(&p, GF_OPTIMIZER_ADAMW, NULL));
    assert_null(head->grad);
    assert_true(head->moment1[0] == 5 && head->moment2[1] == 5);
    gf_groups_free(&g);
    gf_params_free(&p);
}

/* ---- clipping and AdamW ---- */

static int64_t read_rules(const cJSON *list, gf_rule rules[4]) {
    int64_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        const cJSON *decay = get(item, "weight_decay");
        rules[n++] = (gf_rule){get(item, "pattern")->valuestring, number(item, "lr"),
                               cJSON_IsNull(decay) ? NAN : decay->valuedouble,
                               number(item, "layer_decay"), 0};
    }
    return n;
}

static void check_after(const gf_params *p, const cJSON *after) {
    const cJSON *item;
    cJSON_ArrayForEach(item, after) {
        const gf_param *param = gf_params_find(p, item->string);
        assert_non_null(param);
        assert_int_equal(param->updates, (int64_t)number(item, "updates"));
        assert_array_near(param->value, get(item, "value"), 1e-6, item->string);
        if (param->updates == 0) continue;
        assert_array_near(param->moment1, get(item, "moment1"), 1e-6, item->string);
        assert_array_near(param->moment2, get(item, "moment2"), 1e-6, item->string);
    }
}

static void run_phase(gf_params *p, const cJSON *root, const cJSON *phase, gf_pool *pool) {
    const cJSON *betas = get(root, "betas"), *update, *grad;
    gf_adamw_settings settings = {cJSON_GetArrayItem(betas, 0)->valuedouble,
                                  cJSON_GetArrayItem(betas, 1)->valuedouble, number(root, "eps")};
    int64_t warmup = (int64_t)number(phase, "warmup"), step = 0;
    int64_t total = cJSON_GetArraySize(get(phase, "updates"));
    gf_schedule schedule = gf_schedule_make(schedule_kind(phase, "schedule"));
    gf_rule rules[4];
    gf_groups groups = {0};
    gf_blocks blocks = {0};
    assert_true(gf_groups_assign(&groups, p, rules, read_rules(get(phase, "rules"), rules),
                                 (int64_t)number(root, "layers"), -1, number(root, "weight_decay"),
                                 NULL));
    assert_true(gf_groups_reserve(p, GF_OPTIMIZER_ADAMW, NULL) && gf_blocks_cut(&blocks, p, NULL));
    cJSON_ArrayForEach(update, get(phase, "updates")) {
        double norm;
        cJSON_ArrayForEach(grad, get(update, "grads"))
            fill(gf_params_find(p, grad->string)->grad, grad);
        norm = gf_grad_norm(&blocks, gf_vec_best(), pool);
        assert_near(norm, number(update, "norm"), 1e-6 * norm, "norm");
        gf_adamw_update(&blocks, &groups, &settings,
                        gf_schedule_factor(&schedule, warmup, total, step++, NULL),
                        gf_grad_scale(norm, number(phase, "clip_norm")), gf_vec_best(), pool);
    }
    check_after(p, get(phase, "after"));
    gf_blocks_free(&blocks);
    gf_groups_free(&groups);
}

static void adamw_is_torch(void **state) {
    cJSON *root = golden();
    const cJSON *adamw = get(root, "adamw"), *phase;
    gf_params p = golden_params(get(adamw, "start"));
    gf_pool *pool = gf_pool_new(2, NULL);
    (void)state;
    assert_non_null(pool);
    cJSON_ArrayForEach(phase, get(adamw, "phases")) run_phase(&p, adamw, phase, pool);
    gf_pool_free(pool);
    gf_params_free(&p);
    cJSON_Delete(root);
}

static const gf_rule all = {"*", 1e-3, 0.01, 1, 0};

static double update_with(int threads, gf_params *p) {
    gf_adamw_settings settings = {0.9, 0.999, 1e-8};
    gf_groups groups = {0};
    gf_blocks blocks = {0};
    gf_pool *pool = gf_pool_new(threads, NULL);
    double norm;
    *p = random_params();
    assert_non_null(pool);
    assert_true(gf_groups_assign(&groups, p, &all, 1, 0, -1, 0, NULL));
    assert_true(gf_groups_reserve(p, GF_OPTIMIZER_ADAMW, NULL) && gf_blocks_cut(&blocks, p, NULL));
    assert_int_equal(blocks.count, 3 + 1 + 1);
    for (int64_t k = 0; k < p->count; k++)
        memcpy(p->items[k]->grad, p->items[k]->owned,
               (size_t)gf_param_count(p->items[k]) * sizeof(gf_real));
    norm = gf_grad_norm(&blocks, gf_vec_best(), pool);
    gf_adamw_update(&blocks, &groups, &settings, 1, gf_grad_scale(norm, 1), gf_vec_best(), pool);
    gf_blocks_free(&blocks);
    gf_groups_free(&groups);
    gf_pool_free(pool);
    return norm;
}

static void threads_change_no_bit(void **state) {
    static const int threads[] = {2, 3, 5};
    gf_params one;
    double norm = update_with(1, &one);
    (void)state;
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        gf_params many;
        assert_true(update_with(threads[t], &many) == norm);
        for (int64_t k = 0; k < one.count; k++) {
            const gf_param *a = one.items[k], *b = many.items[k];
            size_t size = (size_t)gf_param_count(a) * sizeof(gf_real);
            assert_int_equal(a->updates, 1);
            assert_int_equal(b->updates, 1);
            assert_memory_equal(a->value, b->value, size);
            assert_memory_equal(a->moment2, b->moment2, size);
        }
        gf_params_free(&many);
    }
    gf_params_free(&one);
}

static void norm_covers_every_element(void **state) {
    gf_params p, start = random_params(); /* which were the gradients */
    double norm = update_with(1, &p), sum = 0;
    (void)state;
    for (int64_t k = 0; k < p.count; k++)
        for (int64_t i = 0; i < gf_param_count(p.items[k]); i++) {
            sum += (double)start.items[k]->owned[i] * (double)start.items[k]->owned[i];
            assert_true(p.items[k]->grad[i] == 0);
        }
    assert_near(norm, sqrt(sum), 1e-12 * norm, "norm");
    gf_params_free(&start);
    assert_null(gf_grad_find_nonfinite(&p));
    p.items[1]->grad[2] = INFINITY;
    assert_ptr_equal(gf_grad_find_nonfinite(&p), p.items[1]);
    p.items[0]->grad[2 * GF_BLOCK + 16] = NAN;
    assert_ptr_equal(gf_grad_find_nonfinite(&p), p.items[0]);
    gf_params_free(&p);
}

static void norm_shows_what_is_not_finite(void **state) {
    static const gf_real bad[] = {NAN, INFINITY};
    gf_pool *pool = gf_pool_new(1, NULL);
    (void)state;
    for (int i = 0; i < 2; i++) {
        gf_params p = random_params();
        gf_groups groups = {0};
        gf_blocks blocks = {0};
        assert_true(gf_groups_assign(&groups, &p, &all, 1, 0, -1, 0, NULL));
        assert_true(gf_groups_reserve(&p, GF_OPTIMIZER_ADAMW, NULL) &&
                    gf_blocks_cut(&blocks, &p, NULL));
        assert_true(gf_grad_norm(&blocks, gf_vec_best(), pool) == 0);
        p.items[2]->grad[GF_BLOCK - 1] = bad[i];
        assert_true(!isfinite(gf_grad_norm(&blocks, gf_vec_best(), pool)));
        gf_blocks_free(&blocks);
        gf_groups_free(&groups);
        gf_params_free(&p);
    }
    gf_pool_free(pool);
}

static void clipping_scales_down_only(void **state) {
    (void)state;
    assert_true(gf_grad_scale(0.5, 1) == 1);
    assert_true(gf_grad_scale(4, 1) == 1 / (4 + 1e-6));
    assert_true(gf_grad_scale(4, 0) == 1);
    assert_true(gf_grad_scale(0, 1) == 1);
}

static bool assign_and_reserve(gf_err *e) {
    gf_params p = random_params();
    gf_groups groups = {0};
    gf_blocks blocks = {0};
    gf_rule wrong = {"head.*", 1, NAN, 1, 0};
    bool ok = gf_groups_assign(&groups, &p, &all, 1, 0, -1, 0, e) &&
              gf_groups_reserve(&p, GF_OPTIMIZER_ADAMW, e) && gf_blocks_cut(&blocks, &p, e);
    if (ok && !gf_groups_assign(&groups, &p, &wrong, 1, 0, -1, 0, e)) ok = e->code == GF_E_INVALID;
    gf_blocks_free(&blocks);
    gf_groups_free(&groups);
    gf_params_free(&p);
    return ok;
}

/* The fault is armed with the parameters already made: their 3 x 3 + 1 allocations come first. */
static void every_allocation_may_fail(void **state) {
    int64_t blocks = gf_mem_get_stats().live_blocks, made, k = 0;
    gf_params p = random_params();
    (void)state;
    gf_params_free(&p);
    made = gf_mem_get_stats().calls;
    p = random_params();
    made = gf_mem_get_stats().calls - made;
    gf_params_free(&p);
    for (bool fired = true; fired; k++) {
        gf_err e = {0};
        bool ok;
        gf_mem_fail_at(made + 1 + k, false);
        ok = assign_and_reserve(&e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        assert_true(ok == !fired);
        if (fired) assert_int_equal(e.code, GF_E_NOMEM);
        assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
    }
    assert_true(k > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match),
        cmocka_unit_test(bad_patterns_are_named),
        cmocka_unit_test(first_rule_decides),
        cmocka_unit_test(idle_rules_are_refused),
        cmocka_unit_test(frozen_ones_keep_moments_only),
        cmocka_unit_test(adamw_is_torch),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(norm_covers_every_element),
        cmocka_unit_test(norm_shows_what_is_not_finite),
        cmocka_unit_test(clipping_scales_down_only),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("optim", tests, NULL, NULL);
}
