/* select: which metrics a recipe may choose by, and what a mean of them is. */
#include "core/mem.h"
#include "recipes/select.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TASKS = 4 };
static const char *const names[TASKS] = {"one", "many", "value", "grade"};
static const gf_task_type types[TASKS] = {GF_TASK_CLASSIFICATION, GF_TASK_MULTI_LABEL,
                                          GF_TASK_REGRESSION, GF_TASK_ORDINAL};

static gf_select must_parse(const char *text) {
    gf_select s;
    gf_err e = {0};
    if (!gf_select_parse(&s, text, names, types, TASKS, &e)) fail_msg("%s: %s", text, e.text);
    return s;
}

static void metrics_know_their_better_end(void **state) {
    static const char *const lower[] = {"one.loss",  "value.loss", "value.mae",
                                        "grade.mae", "value.rmse", "many.ece"};
    static const char *const higher[] = {"one.accuracy",    "one.balanced_accuracy",
                                         "many.macro_f1",   "many.micro_f1",
                                         "one.weighted_f1", "grade.mcc",
                                         "many.auc",        "many.map",
                                         "value.r2",        "value.pearson",
                                         "value.spearman",  "grade.spearman",
                                         "grade.qwk"};
    (void)state;
    for (size_t i = 0; i < sizeof lower / sizeof *lower; i++) {
        gf_select s = must_parse(lower[i]);
        if (s.higher_is_better) fail_msg("%s: higher is better", lower[i]);
        gf_select_free(&s);
    }
    for (size_t i = 0; i < sizeof higher / sizeof *higher; i++) {
        gf_select s = must_parse(higher[i]);
        if (!s.higher_is_better) fail_msg("%s: lower is better", higher[i]);
        gf_select_free(&s);
    }
}

static void what_makes_no_sense_is_refused(void **state) {
    static const char *const cases[][2] = {
        {"value.accuracy", "task \"value\" is of type regression, which has no accuracy; known: "
                           "loss, mae, rmse, r2, pearson, spearman"},
        {"one.mae", "task \"one\" is of type classification, which has no mae; known: loss, "
                    "accuracy, macro_f1, micro_f1, weighted_f1, balanced_accuracy, mcc, auc, ece"},
        {"many.mcc", "task \"many\" is of type multi_label, which has no mcc; known: loss,"},
        {"grade.rmse", "task \"grade\" is of type ordinal, which has no rmse; known: loss,"},
        {"value.sperman", "there is no metric \"sperman\"; did you mean \"spearman\"?"},
        {"one.macro-f1", "there is no metric \"macro-f1\"; did you mean \"macro_f1\"?"},
        {"ones.loss", "there is no task \"ones\"; did you mean \"one\"?"},
        {"mean(one.macro_f1, value.mae)", "the mean mixes losses or errors, where lower is"},
        {"mean(one.loss, many.ece, grade.qwk)", "the mean mixes losses or errors, where lower"},
        {"mean(one.macro_f1, value)", "\"value\" is not \"last\", \"loss\", TASK.METRIC or"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_select s;
        gf_err e = {0};
        if (gf_select_parse(&s, cases[i][0], names, types, TASKS, &e))
            fail_msg("\"%s\" was taken", cases[i][0]);
        assert_int_equal(e.code, GF_E_INVALID);
        if (!strstr(e.text, cases[i][1]))
            fail_msg("\"%s\" gave \"%s\" instead of \"%s\"", cases[i][0], e.text, cases[i][1]);
        assert_null(s.terms);
    }
}

static void a_mean_counts_undefined_scores_as_0(void **state) {
    gf_task_metrics tasks[TASKS] = {0};
    gf_metrics m = {.tasks = tasks, .n_tasks = TASKS};
    gf_select s = must_parse("mean(one.macro_f1,  value.spearman , grade.qwk)");
    (void)state;
    assert_int_equal(s.n_terms, 3);
    tasks[0].value[GF_METRIC_MACRO_F1] = 0.5;
    tasks[2].value[GF_METRIC_SPEARMAN] = 0.25;
    tasks[3].value[GF_METRIC_QWK] = 0.75;
    assert_true(gf_select_mean(&s, &m) == 0.5);
    tasks[2].value[GF_METRIC_SPEARMAN] = NAN;
    assert_true(gf_select_mean(&s, &m) == 1.25 / 3);
    gf_select_free(&s);
}

static void every_type_has_its_default_and_its_columns(void **state) {
    (void)state;
    for (int t = 0; t < TASKS; t++) {
        gf_metric_kind k = gf_metric_default(types[t]);
        assert_int_equal(k, t == 2 ? GF_METRIC_SPEARMAN : GF_METRIC_MACRO_F1);
        assert_true(gf_metric_has(k, types[t]));
        assert_true(gf_metric_has(gf_metric_main(types[t])[0], types[t]));
        assert_true(gf_metric_has(gf_metric_main(types[t])[1], types[t]));
        assert_true(gf_metric_has(GF_METRIC_LOSS, types[t]));
    }
}

static void no_memory_is_an_error(void **state) {
    int k = 1;
    (void)state;
    for (;; k++) {
        gf_select s;
        gf_err e = {0};
        bool ok;
        gf_mem_fail_at(k, false);
        ok = gf_select_parse(&s, "mean(one.auc, many.auc)", names, types, TASKS, &e);
        assert_true(ok == !gf_mem_fault_fired());
        gf_mem_fail_at(0, false);
        gf_select_free(&s);
        if (ok) break;
        assert_int_equal(e.code, GF_E_NOMEM);
    }
    assert_true(k > 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_know_their_better_end),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(a_mean_counts_undefined_scores_as_0),
        cmocka_unit_test(every_type_has_its_default_and_its_columns),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
