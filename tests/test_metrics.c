/* metrics: against scikit-learn and scipy (tests/golden/make_metrics.py). */
#include "core/json.h"
#include "core/mem.h"
#include "core/vec.h"
#include "recipes/metrics.h"
#include "recipes/score.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 64 };

/* A case: a model of one head, and rows for it. */
typedef struct example {
    const cJSON *j;
    const char *name;
    gf_head head;
    gf_model model;
    gf_vec vec;
    char task[8], names[MOST][8], *classes[MOST];
    gf_real thresholds[MOST], logits[MOST][MOST], targets[MOST][MOST];
    int32_t labels[MOST];
    int64_t rows;
} example;

static const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("the golden file lacks \"%s\"", key);
    return item;
}

/* A number or a list of them. */
static void fill(gf_real *to, const cJSON *from) {
    const cJSON *item;
    if (cJSON_IsNumber(from)) *to = (gf_real)from->valuedouble;
    cJSON_ArrayForEach(item, from) *to++ = (gf_real)item->valuedouble;
}

/* Scores of a classification are given as they are, so that rounding does not break ties. */
static void copy_scores(int64_t n, gf_real scale, const gf_real *s, gf_real *p) {
    assert_true(scale == 1);
    memcpy(p, s, (size_t)n * sizeof *p);
}

static void open_example(example *x, const cJSON *j) {
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(j, "labels");
    const cJSON *targets = cJSON_GetObjectItemCaseSensitive(j, "targets");
    const cJSON *thresholds = cJSON_GetObjectItemCaseSensitive(j, "thresholds");
    int64_t n = get(j, "classes")->valueint;
    memset(x, 0, sizeof *x);
    x->j = j;
    x->name = get(j, "name")->valuestring;
    snprintf(x->task, sizeof x->task, "task");
    x->vec = *gf_vec_best();
    x->vec.softmax = copy_scores;
    for (int64_t c = 0; c < n; c++) {
        snprintf(x->names[c], sizeof x->names[c], "c%d", (int)c);
        x->classes[c] = x->names[c];
    }
    x->head = (gf_head){.name = x->task, .classes = x->classes, .n_classes = n};
    assert_true(gf_task_type_find(get(j, "type")->valuestring, &x->head.type));
    x->head.outputs = gf_task_outputs(x->head.type, n);
    if (thresholds) fill(x->head.thresholds = x->thresholds, thresholds);
    x->rows = cJSON_GetArraySize(labels ? labels : targets);
    for (int i = 0; i < (int)x->rows; i++) {
        if (labels) x->labels[i] = cJSON_GetArrayItem(labels, i)->valueint;
        if (targets) fill(x->targets[i], cJSON_GetArrayItem(targets, i));
        fill(x->logits[i], cJSON_GetArrayItem(get(j, "logits"), i));
    }
    x->model = (gf_model){.heads = &x->head, .n_heads = 1};
}

/* Row i stands at step * i, so that 1 and another factor prime to the rows give two orders. */
static bool add_rows(const example *x, gf_metrics *m, int64_t step, gf_err *e) {
    for (int64_t i = 0; i < x->rows; i++) {
        int64_t k = i * step % x->rows;
        if (!gf_metrics_add(m, 0, x->labels[k], x->targets[k], x->logits[k], e)) return false;
    }
    return true;
}

static void measure(example *x, gf_metrics *m, int64_t step) {
    gf_err e = {0};
    memset(m, 0, sizeof *m);
    if (!gf_metrics_start(m, &x->model, &x->vec, &e) || !add_rows(x, m, step, &e) ||
        !gf_metrics_finish(m, &e))
        fail_msg("%s", e.text);
}

static cJSON *golden(void) {
    gf_err e = {0};
    cJSON *j = gf_json_read("tests/golden/metrics.json", 1 << 22, &e);
    if (!j) fail_msg("%s", e.text);
    return j;
}

static void assert_near(double have, const cJSON *want, double tolerance, const char *where,
                        const char *what) {
    bool same = cJSON_IsNull(want) ? isnan(have) : fabs(have - want->valuedouble) <= tolerance;
    if (!same)
        fail_msg("%s: %s is %.12g, wanted %.12g", where, what, have,
                 cJSON_IsNull(want) ? (double)NAN : want->valuedouble);
}

static void assert_classes(const example *x, const gf_task_metrics *t) {
    const cJSON *each = cJSON_GetObjectItemCaseSensitive(x->j, "each");
    for (int c = 0; each && c < (int)x->head.n_classes; c++) {
        const gf_class_metrics *k = &t->classes[c];
        assert_near(k->precision, cJSON_GetArrayItem(get(each, "precision"), c), 1e-12, x->name,
                    "precision");
        assert_near(k->recall, cJSON_GetArrayItem(get(each, "recall"), c), 1e-12, x->name,
                    "recall");
        assert_near(k->f1, cJSON_GetArrayItem(get(each, "f1"), c), 1e-12, x->name, "F1");
        assert_int_equal(k->support, cJSON_GetArrayItem(get(each, "support"), c)->valueint);
    }
}

/* The calibration error sums scores, which are float; of a classification's they are exact. */
static double tolerance_of(const example *x, int metric) {
    return metric == GF_METRIC_ECE && x->head.type != GF_TASK_CLASSIFICATION ? 1e-6 : 1e-9;
}

static void metrics_are_scikit_learns(void **state) {
    cJSON *all = golden();
    const cJSON *j;
    int seen = 0;
    static example x;
    (void)state;
    cJSON_ArrayForEach(j, get(all, "cases")) {
        gf_metrics m;
        open_example(&x, j);
        measure(&x, &m, 1);
        assert_int_equal(m.tasks[0].support, x.rows);
        for (int i = 1; i < GF_METRICS; i++) {
            double have = m.tasks[0].value[i];
            const char *name = gf_metric_list[i].name;
            if (gf_metric_has((gf_metric_kind)i, x.head.type))
                assert_near(have, get(get(j, "want"), name), tolerance_of(&x, i), x.name, name);
            else if (!isnan(have))
                fail_msg("%s has %s", x.name, name);
        }
        assert_classes(&x, &m.tasks[0]);
        if (x.head.type == GF_TASK_MULTI_LABEL)
            assert_near(m.tasks[0].density, get(j, "density"), 1e-12, x.name, "density");
        gf_metrics_free(&m);
        seen++;
    }
    assert_true(seen > 25);
    cJSON_Delete(all);
}

static void the_order_of_rows_does_not_show(void **state) {
    cJSON *all = golden();
    const cJSON *j;
    static example x;
    (void)state;
    cJSON_ArrayForEach(j, get(all, "cases")) {
        gf_metrics a, b;
        open_example(&x, j);
        if (x.head.type !=
            GF_TASK_CLASSIFICATION) /* numbers of all sizes, whose sums are rounded */
            for (int i = 0; i < MOST * MOST; i++) x.logits[i / MOST][i % MOST] *= 7.3f;
        measure(&x, &a, 1);
        measure(&x, &b, x.rows % 7 ? 7 : 11);
        for (int i = 1; i < GF_METRICS; i++)
            if (memcmp(&a.tasks[0].value[i], &b.tasks[0].value[i], sizeof(double)) != 0)
                fail_msg("%s: %s depends on the order", x.name, gf_metric_list[i].name);
        gf_metrics_free(&a);
        gf_metrics_free(&b);
    }
    cJSON_Delete(all);
}

static void thresholds_have_the_largest_f1(void **state) {
    cJSON *all = golden();
    const cJSON *j, *want;
    int seen = 0;
    static example x;
    (void)state;
    cJSON_ArrayForEach(j, get(all, "cases")) {
        gf_err e = {0};
        gf_metrics m;
        if (!(want = cJSON_GetObjectItemCaseSensitive(j, "chosen"))) continue;
        open_example(&x, j);
        measure(&x, &m, 1);
        assert_true(gf_metrics_choose_thresholds(&m, 0, x.thresholds, &e));
        for (int c = 0; c < (int)x.head.n_classes; c++)
            assert_near((double)x.thresholds[c], cJSON_GetArrayItem(want, c), 1e-6, x.name,
                        "a threshold");
        assert_true(gf_metrics_finish(&m, &e));
        assert_near(m.tasks[0].value[GF_METRIC_MACRO_F1], get(j, "chosen_macro_f1"), 1e-9, x.name,
                    "macro_f1 after choosing");
        gf_metrics_free(&m);
        seen++;
    }
    assert_true(seen > 4);
    cJSON_Delete(all);
}

/* Halfway between neighbouring floats there is nothing: the upper one is the threshold. */
static void a_threshold_lets_no_lower_score_pass(void **state) {
    float low = 0.75f, high = nextafterf(low, 1);
    gf_pair p[] = {{(double)low, 0}, {(double)high, 1}, {(double)high, 1}};
    gf_real t = gf_score_threshold(p, 3);
    (void)state;
    assert_true(t > (gf_real)low && t <= (gf_real)high);
    assert_true(gf_score_threshold(p, 0) == (gf_real)0.5);
}

static void open_named(example *x, const cJSON *all, const char *name) {
    const cJSON *j;
    cJSON_ArrayForEach(j, get(all, "cases")) {
        if (strcmp(get(j, "name")->valuestring, name) != 0) continue;
        open_example(x, j);
        return;
    }
    fail_msg("no case \"%s\"", name);
}

static void too_many_rows_are_given_up(void **state) {
    cJSON *all = golden();
    static const char *const names[] = {"four classes", "five ranks", "five labels", "values"};
    static example x;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gf_err e = {0};
        gf_metrics m = {0}, whole;
        bool one;
        open_named(&x, all, names[i]);
        measure(&x, &whole, 1);
        one = x.head.type == GF_TASK_CLASSIFICATION || x.head.type == GF_TASK_ORDINAL;
        assert_true(gf_metrics_start(&m, &x.model, &x.vec, &e));
        m.most_cells = m.tasks[0].width * (x.rows - 1);
        assert_true(add_rows(&x, &m, 1, &e));
        gf_metrics_add_loss(&m, 0, 3 * (double)x.rows, (double)x.rows);
        assert_true(gf_metrics_finish(&m, &e));
        assert_null(m.tasks[0].rows);
        assert_true(m.tasks[0].value[GF_METRIC_LOSS] == 3);
        for (int k = 1; k < GF_METRICS; k++) {
            bool needs = k == GF_METRIC_AUC || k == GF_METRIC_ECE || !one;
            double have = m.tasks[0].value[k], want = whole.tasks[0].value[k];
            assert_true(needs || isnan(want) ? isnan(have) : have == want);
        }
        m.most_cells++; /* one more would do, and nothing is lost before */
        gf_metrics_free(&m);
        assert_true(gf_metrics_start(&m, &x.model, &x.vec, &e));
        m.most_cells = m.tasks[0].width * x.rows;
        assert_true(add_rows(&x, &m, 1, &e) && gf_metrics_finish(&m, &e));
        assert_memory_equal(m.tasks[0].value + 1, whole.tasks[0].value + 1,
                            (GF_METRICS - 1) * sizeof(double));
        gf_metrics_free(&m);
        gf_metrics_free(&whole);
    }
    cJSON_Delete(all);
}

static void without_rows_nothing_is_defined(void **state) {
    cJSON *all = golden();
    static example x;
    (void)state;
    for (int i = 0; i < 2; i++) {
        gf_metrics m;
        open_named(&x, all, i ? "five labels" : "values");
        x.rows = 0;
        measure(&x, &m, 1);
        for (int k = 0; k < GF_METRICS; k++) assert_true(isnan(m.tasks[0].value[k]));
        gf_metrics_free(&m);
    }
    cJSON_Delete(all);
}

/* ---- how they are shown ---- */

static void assert_keys(const cJSON *j, const char *want) {
    gf_text t = {0};
    gf_err e = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, j) assert_true(gf_text_add(&t, &e, "%s ", item->string));
    assert_string_equal(t.data, want);
    gf_text_free(&t);
}

static cJSON *as_json(const gf_metrics *m, bool details) {
    gf_err e = {0};
    cJSON *j = gf_metrics_to_json(m, details, NULL, NULL, &e);
    if (!j) fail_msg("%s", e.text);
    return j;
}

static void json_has_the_types_metrics(void **state) {
    static const char *const want[][2] = {
        {"one class of two", "loss accuracy macro_f1 support micro_f1 weighted_f1 "
                             "balanced_accuracy mcc auc ece type classes confusion "},
        {"five ranks", "loss accuracy macro_f1 support micro_f1 weighted_f1 balanced_accuracy mcc "
                       "auc ece mae spearman qwk type classes confusion "},
        {"five labels", "loss accuracy macro_f1 support micro_f1 weighted_f1 auc map ece type "
                        "classes density "},
        {"values", "loss support mae rmse r2 pearson spearman type "}};
    cJSON *all = golden();
    static example x;
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        gf_metrics m;
        cJSON *j;
        const cJSON *task;
        open_named(&x, all, want[i][0]);
        measure(&x, &m, 1);
        j = as_json(&m, true);
        task = get(j, "task");
        assert_keys(task, want[i][1]);
        assert_string_equal(get(task, "type")->valuestring, gf_task_type_names[x.head.type]);
        if (i == 0) assert_true(cJSON_IsNull(get(task, "auc")));
        if (i == 2)
            assert_keys(get(get(task, "classes"), "c1"),
                        "precision recall f1 support threshold density ");
        cJSON_Delete(j);
        gf_metrics_free(&m);
    }
    cJSON_Delete(all);
}

/* Every line has at most 80 columns, also with changes and large numbers. */
static void assert_narrow(const char *text) {
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        if (n > 80) fail_msg("%d columns: %.*s", (int)n, (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void tables_show_the_types_metrics(void **state) {
    static const char *const want[][3] = {{"four classes", "accuracy", "balanced accuracy"},
                                          {"five ranks", "MAE", "quadratic kappa"},
                                          {"five labels", "micro-F1", "threshold   density"},
                                          {"values", "Spearman", "Pearson"}};
    cJSON *all = golden();
    static example x;
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        gf_metrics m, before;
        gf_text t = {0};
        gf_err e = {0};
        open_named(&x, all, want[i][0]);
        measure(&x, &m, 1);
        measure(&x, &before, 1);
        m.tasks[0].value[GF_METRIC_LOSS] = 1234567.25;
        m.tasks[0].value[GF_METRIC_MAE] = -23456.75;
        m.tasks[0].value[GF_METRIC_MACRO_F1] = -9.99999;
        before.tasks[0].value[GF_METRIC_LOSS] = -99999.96;
        assert_true(gf_metrics_table(&m, &before, &t, &e));
        assert_non_null(strstr(t.data, want[i][1]));
        assert_narrow(t.data);
        assert_true(gf_metrics_details(&m, &t, &e));
        assert_non_null(strstr(t.data, want[i][2]));
        assert_true((strstr(t.data, "confusion matrix") != NULL) == (i < 2));
        gf_text_free(&t);
        gf_metrics_free(&m);
        gf_metrics_free(&before);
    }
    cJSON_Delete(all);
}

/* ---- faults ---- */

static bool everything(example *x, gf_err *e) {
    gf_metrics m = {0};
    gf_text t = {0};
    bool ok = gf_metrics_start(&m, &x->model, &x->vec, e) && add_rows(x, &m, 1, e) &&
              gf_metrics_finish(&m, e) && gf_metrics_table(&m, NULL, &t, e) &&
              gf_metrics_details(&m, &t, e);
    if (ok && x->head.type == GF_TASK_MULTI_LABEL)
        ok = gf_metrics_choose_thresholds(&m, 0, x->thresholds, e);
    gf_text_free(&t);
    gf_metrics_free(&m);
    return ok;
}

static void no_memory_is_an_error(void **state) {
    static const char *const names[] = {"five ranks", "five labels", "values"};
    cJSON *all = golden();
    static example x;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gf_err e = {0};
        int64_t live, k = 1;
        open_named(&x, all, names[i]);
        live = gf_mem_get_stats().live_blocks;
        for (;; k++) {
            bool ok, fired;
            e = (gf_err){0};
            gf_mem_fail_at(k, false);
            ok = everything(&x, &e);
            fired = gf_mem_fault_fired();
            gf_mem_fail_at(0, false);
            assert_int_equal(gf_mem_get_stats().live_blocks, live);
            assert_true(ok == !fired);
            if (ok) break;
            assert_int_equal(e.code, GF_E_NOMEM);
        }
        assert_true(k > 5);
    }
    cJSON_Delete(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_scikit_learns),
        cmocka_unit_test(the_order_of_rows_does_not_show),
        cmocka_unit_test(thresholds_have_the_largest_f1),
        cmocka_unit_test(a_threshold_lets_no_lower_score_pass),
        cmocka_unit_test(too_many_rows_are_given_up),
        cmocka_unit_test(without_rows_nothing_is_defined),
        cmocka_unit_test(json_has_the_types_metrics),
        cmocka_unit_test(tables_show_the_types_metrics),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
