/* Folders of BertForSequenceClassification (tests/golden/make_dense.py), and recipes that start
 * from them or ask for BERT's pooler. What the model computes, with every gradient, is
 * test_encoder's part. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "recipes/evaluate.h"
#include "recipes/run.h"
#include "recipes/step.h"

#include "tests/model_help.h"

#define GOLDEN "tests/golden/"

enum { H = 12 }; /* hidden size */

static void test_opens_a_classifier(void **state) {
    (void)state;
    static const char weights[] = GOLDEN "classifier/model/model.safetensors";
    static const char *const classes[] = {"refund", "praise", "question", "complaint"};
    gf_text lines = {0};
    gf_log log = {keep_line, &lines};
    gf_model m;
    open_ok(&m, GOLDEN "classifier/model", &log);
    assert_null(lines.data); /* nothing is left unused */
    assert_int_equal(m.pooling, GF_POOL_POOLER);
    assert_false(m.normalize);
    assert_int_equal(m.embedding_size, H);
    assert_int_equal(m.n_heads, 1);
    assert_string_equal(m.heads[0].name, "classifier");
    assert_int_equal(m.heads[0].n_classes, 4);
    for (int i = 0; i < 4; i++) assert_string_equal(m.heads[0].classes[i], classes[i]);
    assert_string_equal(m.dense.weight->name, "pooler.dense.weight");
    check_tensor(m.dense.weight, weights, "bert.pooler.dense.weight");
    check_tensor(m.dense.bias, weights, "bert.pooler.dense.bias");
    check_tensor(m.heads[0].linear.weight, weights, "classifier.weight");
    check_tensor(m.heads[0].linear.bias, weights, "classifier.bias");
    gf_model_free(&m);
}

/* The configuration of the classifier with one thing changed. */
static const char *changed(const char *from, const char *to) {
    copy_tree(GOLDEN "classifier/model", path_of("k"));
    edit(path_of("k/config.json"), from, to);
    return path_of("k");
}

#define LABELS                                                                                     \
    "\"id2label\": {\n    \"0\": \"refund\",\n    \"1\": \"praise\",\n    \"2\": "                 \
    "\"question\",\n    \"3\": \"complaint\"\n  }"

static void test_classes_of_a_classifier(void **state) {
    (void)state;
    static const struct {
        const char *labels;
        const char *first, *third; /* of its classes */
    } cases[] = {
        {"\"id2label\": {\"3\": \"d\", \"2\": \"c\", \"0\": \"a\", \"1\": \"b\"}", "a", "c"},
        {"\"id2label\": null", "LABEL_0", "LABEL_2"},
        {"\"_\": 0", "LABEL_0", "LABEL_2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_model m;
        open_ok(&m, changed(LABELS, cases[i].labels), NULL);
        assert_int_equal(m.heads[0].n_classes, 4);
        assert_string_equal(m.heads[0].classes[0], cases[i].first);
        assert_string_equal(m.heads[0].classes[2], cases[i].third);
        gf_model_free(&m);
    }
}

static void test_refuses_other_classifiers(void **state) {
    (void)state;
    static const char problem[] = "\"add_cross_attention\": false";
    static const struct {
        const char *from, *to, *reason;
    } cases[] = {
        {problem, "\"problem_type\": \"multi_label_classification\"",
         "\"problem_type\" is \"multi_label_classification\""},
        {problem, "\"problem_type\": \"regression\"", "\"problem_type\" is \"regression\""},
        {"\"0\": \"refund\"", "\"0\": \"praise\"", "the class \"praise\" stands twice"},
        {"\"0\": \"refund\"", "\"00\": \"refund\"", "\"00\" does not give one of the 4 classes"},
        {"\"0\": \"refund\"", "\"1\": \"refund\"", "the key \"1\" stands twice"},
        {"\"0\": \"refund\"", "\"4\": \"refund\"", "\"4\" does not give one"},
        {"\"0\": \"refund\"", "\"\": \"refund\"", "\"\" does not give one"},
        {"\"0\": \"refund\"", "\"-1\": \"refund\"", "\"-1\" does not give one"},
        {"\"0\": \"refund\"", "\"99999999999999999999\": \"refund\"", "does not give one"},
        {"\"0\": \"refund\"", "\"0\": 7", "\"0\" does not give one"},
        {"\"0\": \"refund\",", "", "\"id2label\" has 3 of the 4 classes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        open_fails(changed(cases[i].from, cases[i].to), cases[i].reason);
    copy_tree("tests/golden/mean_gelu/model", path_of("plain"));
    edit(path_of("plain/config.json"), "BertModel", "BertForSequenceClassification");
    open_fails(path_of("plain"), "tensor \"classifier.weight\" is missing");
}

/* Writes a model file that lacks a tensor, or has one with fewer rows. */
static void rewrite(const char *path, const char *without, const char *one_row) {
    gf_safetensors s = {0};
    gf_named_tensor items[64];
    gf_real *values[64];
    gf_err e = {0};
    int64_t n = 0;
    assert_true(gf_safetensors_open(&s, path, &e));
    for (int64_t i = 0; i < s.count; i++) {
        const gf_tensor *t = &s.items[i];
        gf_shape shape;
        if (strcmp(t->name, without) == 0) continue;
        values[n] = gf_alloc_array(t->count, sizeof(gf_real), &e);
        assert_true(gf_tensor_shape(t, &shape, path, &e));
        assert_true(gf_tensor_to_real(t, values[n], path, &e));
        if (strncmp(t->name, one_row, strlen(one_row)) == 0) shape.dim[0] = 1;
        items[n] = (gf_named_tensor){t->name, shape, values[n]};
        n++;
    }
    assert_true(gf_safetensors_write(path_of("rewritten"), items, n, &e));
    for (int64_t i = 0; i < n; i++) gf_free(values[i]);
    gf_safetensors_close(&s);
    assert_true(gf_io_link(path_of("rewritten"), path, &e));
}

static void test_refuses_one_label_and_missing_tensors(void **state) {
    (void)state;
    const char *folder_k = changed("\"3\"", "\"3\""), *weights = path_of("k/model.safetensors");
    rewrite(weights, "", "classifier.");
    open_fails(folder_k, "it has one label, which makes it a \"regression\"");
    copy_tree(GOLDEN "classifier/model", folder_k);
    rewrite(weights, "bert.pooler.dense.bias", "-");
    open_fails(folder_k, "tensor \"pooler.dense.bias\" of shape [12] is missing");
    copy_tree(GOLDEN "classifier/model", folder_k);
    rewrite(weights, "classifier.bias", "-");
    open_fails(folder_k, "tensor \"classifier.bias\" of shape [4] is missing");
}

static void test_which_folders_are_classifiers(void **state) {
    (void)state;
    static const char name[] = "BertForSequenceClassification";
    gf_text lines = {0};
    gf_log log = {keep_line, &lines};
    gf_model m;
    gf_err e = {0};
    open_ok(&m, changed(name, "BertModel"), NULL); /* told by its tensors */
    assert_int_equal(m.pooling, GF_POOL_POOLER);
    assert_int_equal(m.n_heads, 1);
    gf_model_free(&m);
    open_ok(&m, changed(name, "BertForTokenClassification"), &log); /* of which these are parts */
    assert_int_equal(m.pooling, GF_POOL_MEAN);
    assert_true(m.normalize);
    assert_int_equal(m.n_heads, 0);
    assert_null(m.dense.weight);
    assert_non_null(strstr(lines.data, "unused: classifier.bias, classifier.weight"));
    gf_text_free(&lines);
    gf_model_free(&m);
    changed(name, "BertModel");
    rewrite(path_of("k/model.safetensors"), "bert.pooler.dense.weight", "-");
    open_ok(&m, path_of("k"), NULL); /* no pooler: the classifier stands on something else */
    assert_int_equal(m.n_heads, 0);
    gf_model_free(&m);
    m = (gf_model){0};
    assert_true(gf_folder_open(&m, GOLDEN "classifier/model", GF_OPEN_NO_WEIGHTS, NULL, &e));
    assert_int_equal(m.pooling, GF_POOL_POOLER);
    assert_int_equal(m.n_heads, 0);
    assert_null(m.dense.weight->value);
    gf_model_free(&m);
}

/* ---- recipes ---- */

static void write_recipe(const char *base, const char *more_model, const char *tasks) {
    char text[2048], here[1024];
    assert_non_null(realpath(base, here));
    snprintf(text, sizeof text,
             "{\"model\": {\"base\": \"%s\"%s}, \"data\": {\"train\": \"train.jsonl\"}, "
             "\"tasks\": [%s], \"phases\": [{\"trainable\": {\"*\": {\"lr\": 1e-3}}}]}",
             here, more_model, tasks);
    write_file(path_of("recipe.json"), text);
    write_file(path_of("train.jsonl"), "{\"text\": \"good\", \"mood\": \"praise\", \"b\": \"x\"}\n"
                                       "{\"text\": \"bad\", \"mood\": \"refund\", \"b\": \"y\"}\n"
                                       "{\"text\": \"why\", \"mood\": \"question\"}\n"
                                       "{\"text\": \"a\", \"mood\": \"complaint\"}\n");
}

/* Opens the recipe; the caller closes both. */
static bool open_run(gf_run *r, gf_recipe *c, const gf_log *log, gf_err *e) {
    *r = (gf_run){0};
    *c = (gf_recipe){0};
    if (!gf_recipe_read(c, path_of("recipe.json"), NULL, 0, e)) fail_msg("%s", e->text);
    return gf_run_open(r, c, NULL, log, e);
}

/* One task goes on from the base's head: its rows stand in the order of the task's classes. */
static void goes_on(const char *task, const char *const *order, const char *said) {
    static const char weights[] = GOLDEN "classifier/model/model.safetensors";
    static const char *const base[] = {"refund", "praise", "question", "complaint"};
    gf_text lines = {0};
    gf_log log = {keep_line, &lines};
    gf_safetensors s = {0};
    gf_recipe c;
    gf_run r;
    gf_err e = {0};
    gf_real rows[4 * H], bias[4];
    write_recipe(GOLDEN "classifier/model", "", task);
    if (!open_run(&r, &c, &log, &e)) fail_msg("%s", e.text);
    assert_non_null(strstr(lines.data, said));
    assert_int_equal(r.model.n_heads, 1);
    assert_string_equal(r.model.heads[0].name, c.tasks[0].name);
    assert_true(gf_safetensors_open(&s, weights, &e));
    assert_true(gf_tensor_to_real(gf_safetensors_find(&s, "classifier.weight"), rows, "", &e));
    assert_true(gf_tensor_to_real(gf_safetensors_find(&s, "classifier.bias"), bias, "", &e));
    for (int i = 0; i < 4; i++) {
        int from = 0;
        while (strcmp(base[from], order[i]) != 0) from++;
        assert_string_equal(r.model.heads[0].classes[i], order[i]);
        assert_string_equal(r.labels[0].names[i], order[i]);
        assert_memory_equal(r.model.heads[0].linear.weight->value + i * H, rows + from * H,
                            H * sizeof *rows);
        assert_true(r.model.heads[0].linear.bias->value[i] == bias[from]);
    }
    gf_safetensors_close(&s);
    gf_text_free(&lines);
    gf_run_close(&r);
    gf_recipe_free(&c);
}

static void test_a_task_goes_on_from_the_classifier(void **state) {
    (void)state;
    static const char *const sorted[] = {"complaint", "praise", "question", "refund"};
    static const char *const given[] = {"question", "refund", "complaint", "praise"};
    goes_on("{\"name\": \"mood\"}", sorted, "task \"mood\" takes over the base's head");
    goes_on("{\"name\": \"mood\", \"classes\": [\"question\", \"refund\", \"complaint\", "
            "\"praise\"]}",
            given, "takes over");
    goes_on("{\"name\": \"classifier\", \"label\": \"mood\"}", sorted, "goes on from the head");
}

static void leaves_the_head(const char *model, const char *tasks) {
    gf_text lines = {0};
    gf_log log = {keep_line, &lines};
    gf_recipe c;
    gf_run r;
    gf_err e = {0};
    write_recipe(GOLDEN "classifier/model", model, tasks);
    if (!open_run(&r, &c, &log, &e)) fail_msg("%s", e.text);
    assert_non_null(strstr(lines.data, "the base's head \"classifier\" is left out"));
    assert_int_equal(r.model.n_heads, c.n_tasks);
    gf_text_free(&lines);
    gf_run_close(&r);
    gf_recipe_free(&c);
}

static void test_a_classifier_that_does_not_fit_is_left_out(void **state) {
    (void)state;
    leaves_the_head("", "{\"name\": \"b\"}");                           /* other classes */
    leaves_the_head("", "{\"name\": \"mood\"}, {\"name\": \"b\"}");     /* two tasks */
    leaves_the_head(", \"pooling\": \"mean\"", "{\"name\": \"mood\"}"); /* another embedding */
}

static void test_a_recipe_asks_for_the_pooler(void **state) {
    (void)state;
    static const char pooler[] = ", \"pooling\": \"pooler\"";
    static const char weights[] = GOLDEN "mean_gelu/model/model.safetensors";
    gf_recipe c;
    gf_run r;
    gf_err e = {0};
    write_recipe(GOLDEN "mean_gelu/model", pooler, "{\"name\": \"mood\"}");
    if (!open_run(&r, &c, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(r.model.pooling, GF_POOL_POOLER);
    check_tensor(r.model.dense.weight, weights, "pooler.dense.weight");
    check_order(&r.model);
    gf_run_close(&r);
    gf_recipe_free(&c);
    copy_tree(GOLDEN "mean_gelu/model", path_of("without"));
    rewrite(path_of("without/model.safetensors"), "pooler.dense.weight", "-");
    write_recipe(path_of("without"), pooler, "{\"name\": \"mood\"}");
    assert_false(open_run(&r, &c, NULL, &e));
    assert_non_null(strstr(e.text, "model.pooling is \"pooler\""));
    assert_non_null(strstr(e.text, "tensor \"pooler.dense.weight\" of shape [24, 24] is missing"));
    gf_run_close(&r);
    gf_recipe_free(&c);
    e = (gf_err){0};
    write_recipe(path_of("without"), ", \"pooling\": \"pooler\", \"init\": \"random\"",
                 "{\"name\": \"mood\"}");
    if (!open_run(&r, &c, NULL, &e)) fail_msg("%s", e.text);
    assert_non_null(r.model.dense.weight->value);
    gf_run_close(&r);
    gf_recipe_free(&c);
}

/* Kept embeddings are as wide as the projection, and heads score them as they score texts; a batch
 * of them fits the heads. */
static void test_kept_embeddings_are_the_projected_ones(void **state) {
    (void)state;
    gf_features f = {0};
    gf_engine n = {0};
    gf_metrics kept = {0}, fresh = {0};
    gf_phase p = {0};
    gf_stepper s = {0};
    gf_recipe c;
    gf_run r;
    gf_err e = {0};
    write_recipe(GOLDEN "dense_tanh/model", "", "{\"name\": \"mood\"}");
    if (!open_run(&r, &c, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(r.model.heads[0].linear.weight->shape.dim[1], 7);
    assert_true(gf_engine_start(&n, 1, &e));
    if (!gf_features_make(&f, &n, &r.model, &r.train, 2, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(f.width, 7);
    if (!gf_evaluate(&kept, &n, &r.model, &r.train, &f, 2, NULL, &e)) fail_msg("%s", e.text);
    if (!gf_evaluate(&fresh, &n, &r.model, &r.train, NULL, 2, NULL, &e)) fail_msg("%s", e.text);
    assert_true(fabs(kept.tasks[0].value[GF_METRIC_LOSS] - fresh.tasks[0].value[GF_METRIC_LOSS]) <
                1e-6);
    assert_true(kept.tasks[0].value[GF_METRIC_LOSS] > 0);
    if (!gf_phase_assign(&p, &r, 0, &e)) fail_msg("%s", e.text);
    p.train = f; /* goes with the phase */
    assert_true(gf_stepper_start(&s, &r, &e));
    if (!gf_step_plan_batch(&s, &r, &n, &p, (const int64_t[]){2, 0, 3}, 3, 0, &e))
        fail_msg("%s", e.text);
    assert_memory_equal(s.gathered + 7, f.x, 7 * sizeof *f.x);
    gf_stepper_free(&s, &r);
    gf_metrics_free(&kept);
    gf_metrics_free(&fresh);
    gf_phase_end(&p);
    gf_engine_stop(&n);
    gf_run_close(&r);
    gf_recipe_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_a_classifier),
        cmocka_unit_test(test_classes_of_a_classifier),
        cmocka_unit_test(test_refuses_other_classifiers),
        cmocka_unit_test(test_refuses_one_label_and_missing_tensors),
        cmocka_unit_test(test_which_folders_are_classifiers),
        cmocka_unit_test(test_a_task_goes_on_from_the_classifier),
        cmocka_unit_test(test_a_classifier_that_does_not_fit_is_left_out),
        cmocka_unit_test(test_a_recipe_asks_for_the_pooler),
        cmocka_unit_test(test_kept_embeddings_are_the_projected_ones),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
