/* A model with a head of every type: what the public API, info, diff and ONNX make of it. Expected
 * scores are the formulas of model/task.h in double, over the embeddings that came with them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/compare.h"
#include "checkpoints/describe.h"
#include "checkpoints/export.h"
#include "checkpoints/folder.h"
#include "checkpoints/onnx.h"
#include "checkpoints/onnx_read.h"
#include "checkpoints/open.h"
#include "core/mem.h"
#include "include/graft.h"
#include "tests/scratch.h"

enum { N = 3, H = 24, C = 4 };
static const char *const texts[N] = {"lovely", "smells for, FRESH bread", ""};
static const char *const names[C] = {"a", "b", "c", "d"};
static const gf_real thresholds[C] = {0.25f, 0.5f, 0.625f, 0.875f};

/* Task i has type i; weights of that size that the seed draws would leave all scores alike. */
static void make_model(gf_model *m) {
    static const char *const tasks[] = {"one", "many", "value", "grade"};
    gf_err e = {0};
    bool ok = gf_folder_open(m, "tests/golden/mean_gelu/model", GF_OPEN_WEIGHTS, NULL, &e);
    for (int t = 0; ok && t < 4; t++)
        ok = gf_model_add_task_head(m, tasks[t], (gf_task_type)t, names,
                                    t == GF_TASK_REGRESSION ? 0 : C, &e);
    ok = ok && gf_model_init(m, 5, &e);
    for (int t = 0; ok && t < 4; t++) {
        gf_param *p = m->heads[t].linear.weight;
        ok = gf_param_own(p, &e);
        for (int64_t i = 0; ok && i < gf_param_count(p); i++) p->owned[i] *= 150;
    }
    if (!ok) fail_msg("%s", e.text);
    memcpy(m->heads[GF_TASK_MULTI_LABEL].thresholds, thresholds, sizeof thresholds);
}

static void save_model(const char *path) {
    gf_model m = {0};
    gf_err e = {0};
    make_model(&m);
    if (!gf_folder_save(&m, path, &e)) fail_msg("%s", e.text);
    gf_model_free(&m);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double logit(const gf_head *h, int64_t k, const float *embedding) {
    double z = (double)h->linear.bias->value[k];
    for (int64_t i = 0; i < H; i++)
        z += (double)h->linear.weight->value[k * H + i] * (double)embedding[i];
    return z;
}

/* The score of class c by its definition. */
static double expected(const gf_head *h, int64_t c, const float *embedding) {
    double above = 1, sum = 0;
    switch (h->type) {
    case GF_TASK_REGRESSION: return logit(h, 0, embedding);
    case GF_TASK_MULTI_LABEL: return sigmoid(logit(h, c, embedding));
    case GF_TASK_CLASSIFICATION:
        for (int64_t k = 0; k < C; k++) sum += exp(logit(h, k, embedding));
        return exp(logit(h, c, embedding)) / sum;
    case GF_TASK_ORDINAL: break;
    }
    for (int64_t k = 0; k < c; k++) above *= sigmoid(logit(h, k, embedding));
    return c == C - 1 ? above : above * (1 - sigmoid(logit(h, c, embedding)));
}

static void predictions_follow_the_formulas(void **state) {
    static float x[N * H], out[4][N * C];
    float *const scores[] = {out[0], out[1], out[2], out[3]};
    graft_error e;
    gf_model m = {0};
    graft_model *g;
    (void)state;
    make_model(&m);
    save_model(path_of("model"));
    if (!(g = graft_open(path_of("model"), 1, &e)) || !graft_predict(g, texts, N, x, scores, &e))
        fail_msg("%s", e.text);
    for (int t = 0; t < 4; t++) {
        int n = graft_class_count(g, t);
        assert_int_equal(n, t == GRAFT_REGRESSION ? 1 : C);
        for (int i = 0; i < N; i++)
            for (int c = 0; c < n; c++) {
                double want = expected(&m.heads[t], c, x + i * H);
                if (fabs((double)out[t][i * n + c] - want) > 2e-5)
                    fail_msg("task %d, class %d: %g, wanted %g", t, c, (double)out[t][i * n + c],
                             want);
            }
    }
    graft_close(g);
    gf_model_free(&m);
}

static void kinds_and_thresholds_are_told(void **state) {
    static const float row[C] = {0.4f, 0.15f, 0.25f, 0.2f}, last[C] = {0.3f, 0, 0.15f, 0.55f};
    graft_error e;
    graft_model *g;
    (void)state;
    save_model(path_of("told"));
    if (!(g = graft_open(path_of("told"), 1, &e))) fail_msg("%s", e.text);
    for (int t = 0; t < 4; t++) assert_int_equal(graft_task_kind(g, t), t);
    assert_int_equal(graft_task_kind(g, 4), -1);
    assert_int_equal(graft_task_kind(NULL, 0), -1);
    for (int c = 0; c < C; c++) {
        assert_true(graft_class_threshold(g, GRAFT_MULTI_LABEL, c) == thresholds[c]);
        assert_true(isnan(graft_class_threshold(g, GRAFT_ORDINAL, c)));
    }
    assert_true(isnan(graft_class_threshold(g, GRAFT_MULTI_LABEL, C)));
    assert_string_equal(graft_class_name(g, GRAFT_REGRESSION, 0), "value");
    assert_null(graft_class_name(g, GRAFT_REGRESSION, 1));
    assert_int_equal(graft_best_class(g, GRAFT_CLASSIFICATION, row), 0);
    assert_int_equal(graft_best_class(g, GRAFT_ORDINAL, row),
                     1); /* reached with 0.6; c with 0.45 */
    assert_int_equal(graft_best_class(g, GRAFT_ORDINAL, last), 3);
    assert_int_equal(graft_best_class(g, GRAFT_MULTI_LABEL, row), -1);
    assert_int_equal(graft_best_class(g, GRAFT_REGRESSION, row), -1);
    assert_int_equal(graft_best_class(g, GRAFT_ORDINAL, NULL), -1);
    graft_close(g);
}

static void info_tells_types_and_thresholds(void **state) {
    static const char *const want[] = {
        "one, 4 classes:\n                a, b, c, d\n",
        "many, multi_label, 4 classes:\n                a >= 0.25, b >= 0.5, c >= 0.625, d >= "
        "0.875\n",
        "value, regression\n", "grade, ordinal, 4 classes:\n                a, b, c, d\n"};
    gf_text t = {0};
    gf_err e = {0};
    (void)state;
    save_model(path_of("info"));
    if (!gf_describe(path_of("info"), &t, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!strstr(t.data, want[i])) fail_msg("\"%s\" is not in:\n%s", want[i], t.data);
    gf_text_free(&t);
}

static void diff_sees_types_and_thresholds(void **state) {
    gf_model a = {0}, b = {0};
    gf_comparison c = {0};
    gf_err e = {0};
    (void)state;
    make_model(&a);
    make_model(&b);
    assert_true(gf_compare_models(&a, &b, "x", "y", &c, &e));
    assert_int_equal(c.different, 0);
    b.heads[GF_TASK_MULTI_LABEL].thresholds[2] = 0.75f;
    b.heads[0].type = GF_TASK_MULTI_LABEL;
    assert_true(gf_compare_models(&a, &b, "x", "y", &c, &e));
    assert_int_equal(c.different, 2);
    assert_non_null(strstr(c.text.data, "many threshold of c"));
    assert_non_null(strstr(c.text.data, "0.625 against 0.75\n"));
    assert_non_null(strstr(c.text.data, "classification against multi_label\n"));
    b.heads[0].type = GF_TASK_CLASSIFICATION;
    gf_comparison_free(&c);
    gf_model_free(&a);
    gf_model_free(&b);
}

/* Export reads again and compares, types and thresholds too. */
static void every_format_carries_them(void **state) {
    (void)state;
    for (size_t i = 0; i < GF_EXPORTS; i++) {
        gf_export_options o = {.format = gf_export_names[i], .dtype = GF_DTYPE_F32};
        gf_export_result r = {0};
        gf_model m = {0};
        gf_err e = {0};
        if (strcmp(o.format, "gguf") == 0) continue; /* no heads */
        make_model(&m);
        if (!gf_export(&m, path_of(o.format), &o, &r, &e)) fail_msg("%s: %s", o.format, e.text);
        assert_true(r.largest == 0);
        gf_model_free(&m);
    }
}

static void onnx_declares_as_many_logits_as_there_are(void **state) {
    static const struct {
        const char *name;
        int64_t width;
    } want[] = {
        {"logits_one", C}, {"logits_many", C}, {"logits_value", 1}, {"logits_grade", C - 1}};
    gf_tensors memory = {0};
    gf_model m = {0};
    gf_err e = {0};
    size_t size = 0, seen = 0;
    char *bytes = NULL;
    const GraftOnnx__Model *file;
    (void)state;
    make_model(&m);
    if (!gf_onnx_write(&m, false, path_of("kinds.onnx"), &e) ||
        !(bytes = gf_io_read_all(path_of("kinds.onnx"), 1 << 20, &size, &e)) ||
        !(file = gf_onnx_unpack(&memory, (unsigned char *)bytes, size, "kinds.onnx", &e)))
        fail_msg("%s", e.text);
    for (size_t i = 0; i < file->graph->n_output; i++)
        for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
            const GraftOnnx__ValueInfo *v = file->graph->output[i];
            if (strcmp(v->name, want[k].name) != 0) continue;
            assert_int_equal(v->type->tensor_type->shape->dim[1]->dim_value, want[k].width);
            seen++;
        }
    assert_int_equal(seen, sizeof want / sizeof *want);
    gf_free(bytes);
    gf_tensors_close(&memory);
    gf_model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_follow_the_formulas),
        cmocka_unit_test(kinds_and_thresholds_are_told),
        cmocka_unit_test(info_tells_types_and_thresholds),
        cmocka_unit_test(diff_sees_types_and_thresholds),
        cmocka_unit_test(every_format_carries_them),
        cmocka_unit_test(onnx_declares_as_many_logits_as_there_are),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
