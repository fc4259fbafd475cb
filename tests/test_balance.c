/* balance: against the papers' formulas in torch (tests/golden/make_balance.py). */
#include "core/json.h"
#include "core/mem.h"
#include "optim/balance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 };

static const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("the golden file lacks \"%s\"", key);
    return item;
}

static cJSON *golden(void) {
    gf_err e = {0};
    cJSON *j = gf_json_read("tests/golden/balance.json", 1 << 20, &e);
    if (!j) fail_msg("%s", e.text);
    return j;
}

/* null: NaN. */
static int numbers(const cJSON *from, double *to) {
    int n = cJSON_GetArraySize(from);
    assert_true(n <= MOST);
    for (int k = 0; k < n; k++) {
        const cJSON *item = cJSON_GetArrayItem(from, k);
        to[k] = cJSON_IsNull(item) ? (double)NAN : item->valuedouble;
        if (cJSON_IsBool(item)) to[k] = cJSON_IsTrue(item);
    }
    return n;
}

static void assert_near(double have, double want, const char *what) {
    if (fabs(have - want) <= 1e-10 * fmax(1, fabs(want))) return;
    fail_msg("%s: %.17g, wanted %.17g", what, have, want);
}

static void start_case(gf_balance *b, const cJSON *c) {
    const cJSON *j = get(c, "settings");
    gf_balance_settings s = {get(j, "lr")->valuedouble, get(j, "alpha")->valuedouble,
                             get(j, "temperature")->valuedouble, get(j, "decay")->valuedouble};
    double fixed[MOST], flags[MOST];
    bool regression[MOST];
    gf_err e = {0};
    int tasks = numbers(get(c, "fixed"), fixed);
    numbers(get(c, "regression"), flags);
    for (int k = 0; k < tasks; k++) regression[k] = flags[k] > 0;
    if (!gf_balance_start(b, get(c, "method")->valuestring, &s, tasks, fixed, regression, &e))
        fail_msg("%s", e.text);
}

/* What a resumed run does: a fresh start, and the saved numbers written over its state. */
static void resume(gf_balance *b, const cJSON *c) {
    gf_balance fresh = {0};
    double *from, *to;
    int64_t n, count;
    start_case(&fresh, c);
    gf_balance_state(b, &from, &n);
    gf_balance_state(&fresh, &to, &count);
    assert_int_equal(n, count);
    for (int64_t i = 0; i < n; i++) {
        assert_true(isfinite(from[i]));
        to[i] = from[i];
    }
    gf_balance_free(b);
    *b = fresh;
}

static void check_weights(const gf_balance *b, const double *losses, const cJSON *want) {
    double weights[MOST];
    gf_balance_weights(b, losses, weights);
    for (int k = 0; k < cJSON_GetArraySize(want); k++) {
        const cJSON *item = cJSON_GetArrayItem(want, k);
        if (!cJSON_IsNull(item)) assert_near(weights[k], item->valuedouble, "weight");
    }
    if (gf_balance_wants_losses(b)) return;
    double same[MOST];
    gf_balance_weights(b, NULL, same);
    assert_memory_equal(same, weights, (size_t)b->tasks * sizeof *same);
}

static void see(gf_balance *b, const cJSON *update) {
    double losses[MOST], norms[MOST], after[MOST];
    numbers(get(update, "losses"), losses);
    numbers(get(update, "norms"), norms);
    numbers(get(update, "after"), after);
    gf_balance_see(b, losses, gf_balance_wants_norms(b) ? norms : NULL,
                   gf_balance_wants_after(b) ? after : NULL);
    if (cJSON_IsTrue(get(update, "end_epoch"))) gf_balance_end_epoch(b);
}

/* One that is resumed after every update, beside one that never is. */
static void run_case(const cJSON *c) {
    gf_balance b = {0}, whole = {0};
    double losses[MOST], *values, *same;
    int64_t count;
    const cJSON *update;
    start_case(&b, c);
    start_case(&whole, c);
    cJSON_ArrayForEach(update, get(c, "updates")) {
        numbers(get(update, "losses"), losses);
        check_weights(&b, losses, get(update, "weights"));
        assert_near(gf_balance_total(&b, losses), get(update, "total")->valuedouble, "total");
        see(&b, update);
        see(&whole, update);
        resume(&b, c);
    }
    gf_balance_state(&whole, &same, &count);
    gf_balance_state(&b, &values, &count);
    assert_memory_equal(values, same, (size_t)count * sizeof *same);
    gf_balance_free(&b);
    gf_balance_free(&whole);
}

static void methods_follow_their_papers(void **state) {
    cJSON *j = golden();
    const cJSON *c;
    int met = 0;
    (void)state;
    cJSON_ArrayForEach(c, get(j, "cases")) {
        run_case(c);
        met++;
    }
    assert_int_equal(met, 8);
    cJSON_Delete(j);
}

static void one_task_has_its_fixed_weight(void **state) {
    static const double fixed[] = {0, 0.5, 0}, losses[] = {9, 3, 9}, after[] = {1, 1, 1};
    (void)state;
    for (int m = 0; gf_balance_names[m]; m++) {
        gf_balance b = {0};
        double weights[3];
        assert_true(gf_balance_start(&b, gf_balance_names[m], NULL, 3, fixed, NULL, NULL));
        assert_false(gf_balance_wants_losses(&b) || gf_balance_wants_norms(&b) ||
                     gf_balance_wants_after(&b));
        for (int i = 0; i < 4; i++) {
            gf_balance_see(&b, losses, after, after);
            gf_balance_end_epoch(&b);
        }
        gf_balance_weights(&b, losses, weights);
        assert_true(weights[0] == 0 && weights[1] == 0.5 && weights[2] == 0);
        assert_true(gf_balance_total(&b, losses) == 1.5);
        gf_balance_free(&b);
    }
}

/* Losses of 0, steep weights, updates without a label: numbers stay finite and weights above 0. */
static void odd_losses_do_no_harm(void **state) {
    static const double fixed[] = {1, 1, 1};
    static const gf_balance_settings s = {50, 1.5, 1e-3, 0.01};
    (void)state;
    for (int m = 0; gf_balance_names[m]; m++) {
        gf_balance b = {0};
        double *values, weights[3];
        int64_t count;
        assert_true(gf_balance_start(&b, gf_balance_names[m], &s, 3, fixed, NULL, NULL));
        for (int i = 0; i < 40; i++) {
            double losses[] = {0, i % 3 ? 1e6 : (double)NAN, (double)INFINITY};
            double norms[] = {0, 1e6, 1}, after[] = {i % 4 ? 1e-9 : (double)NAN, 2, 1};
            if (i % 10 == 9) losses[0] = losses[1] = (double)NAN;
            gf_balance_weights(&b, losses, weights);
            for (int k = 0; k < 2; k++) assert_true(isfinite(weights[k]) && weights[k] >= 0);
            assert_true(isfinite(gf_balance_total(&b, losses)));
            gf_balance_see(&b, losses, norms, after);
            if (i % 4 == 3) gf_balance_end_epoch(&b);
        }
        gf_balance_state(&b, &values, &count);
        for (int64_t i = 0; i < count; i++) assert_true(isfinite(values[i]));
        gf_balance_free(&b);
    }
}

/* A step of Adam that would take a weight through 0 leaves it above. */
static void gradnorm_stays_above_0(void **state) {
    static const gf_balance_settings s = {50, 1.5, 2, 0.01};
    static const double fixed[] = {1, 1}, losses[] = {1, 1}, norms[] = {1, 10};
    double weights[2];
    gf_balance b = {0};
    (void)state;
    assert_true(gf_balance_start(&b, "gradnorm", &s, 2, fixed, NULL, NULL));
    gf_balance_see(&b, losses, norms, NULL);
    gf_balance_weights(&b, losses, weights);
    /* Adam's first step is lr, but for eps. */
    assert_true(fabs(weights[0] / weights[1] * 1e-3 / 51 - 1) < 1e-6);
    assert_near(weights[0] + weights[1], 2, "sum");
    gf_balance_free(&b);
}

/* A phase with other tasks: the weights of those that count sum to their number again. */
static void other_tasks_are_scaled(void **state) {
    static const double all[] = {1, 1, 1}, two[] = {1, 0, 1}, same[] = {3, 0, 1};
    static const double losses[] = {1, 2, 3}, norms[] = {1, 4, 9};
    double before[3], behind[3];
    gf_balance b = {0};
    (void)state;
    assert_true(gf_balance_start(&b, "gradnorm", NULL, 3, all, NULL, NULL));
    for (int i = 0; i < 5; i++) gf_balance_see(&b, losses, norms, NULL);
    gf_balance_weights(&b, losses, before);
    assert_near(before[0] + before[1] + before[2], 3, "sum");
    assert_true(before[0] > 1.05 && before[2] < 0.95);
    assert_true(gf_balance_set_fixed(&b, two, NULL));
    gf_balance_weights(&b, losses, behind);
    assert_true(behind[1] == 0);
    assert_near(behind[0] + behind[2], 2, "sum");
    assert_near(behind[0] / behind[2], before[0] / before[2], "ratio");
    memcpy(before, behind, sizeof before);
    assert_true(gf_balance_set_fixed(&b, same, NULL));
    gf_balance_weights(&b, losses, behind);
    assert_true(behind[0] == 3 * before[0] && behind[2] == before[2]);
    gf_balance_free(&b);
}

static void nonsense_is_refused(void **state) {
    static const struct {
        const char *method;
        gf_balance_settings s;
        double fixed;
        const char *want;
    } cases[] = {
        {"gradnrom", {1, 1, 1, 1}, 1, "did you mean \"gradnorm\"?"},
        {"xyz", {1, 1, 1, 1}, 1, "there are fixed, uncertainty, dwa, gradnorm and famo"},
        {"famo", {0, 1, 1, 1}, 1, "lr is 0; give a number above 0"},
        {"famo", {1, -1, 1, 1}, 1, "alpha is -1; give a number of at least 0"},
        {"dwa", {1, 1, 0, 1}, 1, "temperature is 0"},
        {"famo", {1, 1, 1, NAN}, 1, "decay is nan"},
        {"famo", {1, 0, 1, 0}, -0.5, "the weight of task 1 is -0.5"},
        {"famo", {1, 0, 1, 0}, INFINITY, "the weight of task 1 is inf"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_balance b = {0};
        gf_err e = {0};
        double fixed[] = {1, cases[i].fixed};
        assert_false(gf_balance_start(&b, cases[i].method, &cases[i].s, 2, fixed, NULL, &e));
        assert_int_equal(e.code, GF_E_INVALID);
        if (!strstr(e.text, cases[i].want)) fail_msg("\"%s\"", e.text);
        assert_null(b.state);
    }
}

static void out_of_memory_is_told(void **state) {
    static const double fixed[] = {1, 1};
    int k = 1;
    (void)state;
    for (;; k++) {
        gf_balance b = {0};
        gf_err e = {0};
        int64_t live = gf_mem_get_stats().live_blocks;
        gf_mem_fail_at(k, false);
        bool ok = gf_balance_start(&b, "gradnorm", NULL, 2, fixed, NULL, &e);
        bool fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        assert_true(ok == !fired);
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        gf_balance_free(&b);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
        if (ok) break;
    }
    assert_true(k >= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_follow_their_papers),
        cmocka_unit_test(one_task_has_its_fixed_weight),
        cmocka_unit_test(odd_losses_do_no_harm),
        cmocka_unit_test(gradnorm_stays_above_0),
        cmocka_unit_test(other_tasks_are_scaled),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(out_of_memory_is_told),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
