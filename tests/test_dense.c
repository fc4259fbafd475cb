/* A projection after pooling: folders with sentence-transformers' Dense, BERT's pooler, and
 * BertForSequenceClassification (tests/golden/make_dense.py). What they compute, with every
 * gradient, is test_encoder's part. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/folder.h"
#include "checkpoints/safetensors.h"
#include "checkpoints/weights.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "include/graft.h"
#include "model/encode.h"
#include "recipes/run.h"

#include "tests/scratch.h"

#define GOLDEN "tests/golden/"

enum { H = 12 }; /* hidden size of all these models */

static void copy_tree(const char *from, const char *to) {
    int64_t n = 0;
    char **names = gf_io_list(from, &n, NULL);
    assert_non_null(names);
    assert_true(gf_io_make_folder(to, NULL));
    for (int64_t i = 0; i < n; i++) {
        char *a = gf_io_join(from, names[i], NULL), *b = gf_io_join(to, names[i], NULL);
        if (gf_io_is_folder(a))
            copy_tree(a, b);
        else
            assert_true(gf_io_copy(a, b, NULL));
        gf_free(a);
        gf_free(b);
    }
    gf_io_free_names(names, n);
}

/* Replaces the first `from` in a file. */
static void edit(const char *path, const char *from, const char *to) {
    size_t size = 0;
    char *text = gf_io_read_all(path, 1 << 20, &size, NULL), *at = strstr(text, from), *edited;
    if (!at) fail_msg("%s has no %s", path, from);
    edited = gf_format(NULL, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    write_file(path, edited);
    gf_free(edited);
    gf_free(text);
}

static void open_ok(gf_model *m, const char *path, const gf_log *log) {
    gf_err e = {0};
    *m = (gf_model){0};
    if (!gf_folder_open(m, path, GF_OPEN_WEIGHTS, log, &e)) fail_msg("%s", e.text);
}

static void open_fails(const char *path, const char *part) {
    gf_model m = {0};
    gf_err e = {0};
    if (gf_folder_open(&m, path, GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("opened; wanted: %s", part);
    if (!strstr(e.text, part)) fail_msg("\"%s\" is not in: %s", part, e.text);
    assert_int_equal(e.code, GF_E_MODEL);
    gf_model_free(&m);
}

/* A parameter must hold what the file's tensor holds. */
static void check_tensor(const gf_param *p, const char *path, const char *name) {
    gf_safetensors s = {0};
    gf_err e = {0};
    const gf_tensor *t;
    if (!gf_safetensors_open(&s, path, &e)) fail_msg("%s", e.text);
    assert_non_null(t = gf_safetensors_find(&s, name));
    assert_int_equal(t->bytes, (size_t)gf_param_count(p) * sizeof(float));
    assert_memory_equal(p->value, t->data, t->bytes);
    gf_safetensors_close(&s);
}

static void keep_line(void *context, gf_log_level level, const char *text) {
    (void)level;
    gf_text_add(context, NULL, "%s\n", text);
}

/* ---- sentence-transformers' Dense ---- */

/* The embeddings of texts through the public API against those of sentence-transformers. */
static void embeds_as(const char *model, const char *golden, int width) {
    char path[128];
    gf_err e = {0};
    gf_safetensors s = {0};
    graft_error error = {0};
    graft_model *m = graft_open(model, 1, &error);
    const char *texts[8];
    float got[8 * 32];
    gf_real wanted[8 * 32];
    cJSON *j, *text;
    int n = 0;
    if (!m) fail_msg("%s", error.text);
    snprintf(path, sizeof path, GOLDEN "%s/case.json", golden);
    assert_non_null(j = gf_json_read(path, 1 << 20, &e));
    cJSON_ArrayForEach(text, cJSON_GetObjectItem(j, "texts")) texts[n++] = text->valuestring;
    assert_int_equal(n, 5);
    assert_int_equal(graft_embedding_size(m), width);
    assert_int_equal(graft_predict(m, texts, n, got, NULL, &error), 1);
    snprintf(path, sizeof path, GOLDEN "%s/expected.safetensors", golden);
    assert_true(gf_safetensors_open(&s, path, &e));
    assert_int_equal(gf_safetensors_find(&s, "texts")->count, n * width);
    assert_true(gf_tensor_to_real(gf_safetensors_find(&s, "texts"), wanted, path, &e));
    for (int i = 0; i < n * width; i++)
        if (!(fabsf(got[i] - wanted[i]) <= 1e-5f * fmaxf(1, fabsf(wanted[i]))))
            fail_msg("%s: element %d is %g, wanted %g", model, i, (double)got[i],
                     (double)wanted[i]);
    gf_safetensors_close(&s);
    cJSON_Delete(j);
    graft_close(m);
}

static void test_texts_embed_as_in_sentence_transformers(void **state) {
    (void)state;
    embeds_as(GOLDEN "dense_tanh/model", "dense_tanh", 7);
    embeds_as(GOLDEN "dense_identity/model", "dense_identity", 19);
}

static void test_opens_a_dense_module(void **state) {
    (void)state;
    gf_model m;
    open_ok(&m, GOLDEN "dense_tanh/model", NULL);
    assert_int_equal(m.pooling, GF_POOL_MEAN);
    assert_true(m.normalize);
    assert_int_equal(m.embedding_size, 7);
    assert_int_equal(m.dense_activation, GF_DENSE_TANH);
    assert_ptr_equal(gf_params_find(&m.params, "dense.weight"), m.dense.weight);
    assert_ptr_equal(m.params.items[m.params.count - 1], m.dense.bias);
    check_tensor(m.dense.weight, GOLDEN "dense_tanh/model/2_Dense/model.safetensors",
                 "linear.weight");
    check_tensor(m.dense.bias, GOLDEN "dense_tanh/model/2_Dense/model.safetensors", "linear.bias");
    assert_true(gf_model_encoder_frozen(&m));
    m.dense.bias->trainable = true;
    assert_false(gf_model_encoder_frozen(&m));
    gf_model_free(&m);
    open_ok(&m, GOLDEN "dense_identity/model", NULL);
    assert_int_equal(m.dense_activation, GF_DENSE_IDENTITY);
    assert_int_equal(m.embedding_size, 19);
    assert_null(m.dense.bias);
    m.dense.weight->trainable = true;
    assert_false(gf_model_encoder_frozen(&m));
    gf_model_free(&m);
}

static void test_refuses_other_dense_modules(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *reason;
    } cases[] = {
        {"activation.Tanh", "activation.ReLU", "activation.ReLU\"; a Dense module with Tanh or"},
        {"torch.nn.modules.activation.Tanh", "mine.Tanh", "\"mine.Tanh\""},
        {"torch.nn.modules.activation.Tanh", "Tanh", "\"Tanh\""},
        {"\"torch.nn.modules.activation.Tanh\"", "null", "\"null\""},
        {"\"in_features\": 12", "\"in_features\": 13", "is 13, the transformer's hidden_size 12"},
        {"\"in_features\": 12", "\"in_features\": \"12\"", "\"in_features\" must be a whole"},
        {"\"out_features\": 7", "\"out_features\": 0", "\"out_features\" must be a whole number"},
        {"\"out_features\": 7", "\"out_features\": 7.5", "\"out_features\" must be a whole"},
        {"\"out_features\": 7", "\"out_features\": 1e9", "\"out_features\" must be a whole"},
        {"\"out_features\": 7", "\"out_features\": 8",
         "\"linear.weight\" has the shape [7, 12], "
         "[8, 12] is wanted"},
        {"\"bias\": true", "\"bias\": true, \"use_residual\": true", "use_residual is true"},
        {"input_name\": \"sentence_embedding", "input_name\": \"token_embeddings",
         "\"module_input_name\" is \"token_embeddings\""},
        {"output_name\": \"sentence_embedding", "output_name\": \"other",
         "\"module_output_name\" is \"other\""},
    };
    const char *config = path_of("r/2_Dense/config.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_tree(GOLDEN "dense_tanh/model", path_of("r"));
        edit(config, cases[i].from, cases[i].to);
        open_fails(path_of("r"), cases[i].reason);
    }
    copy_tree(GOLDEN "dense_tanh/model", path_of("r"));
    assert_true(gf_io_remove(path_of("r/2_Dense/model.safetensors"), NULL));
    open_fails(path_of("r"), "2_Dense/model.safetensors");
    copy_tree(GOLDEN "dense_identity/model", path_of("i"));
    edit(path_of("i/2_Dense/config.json"), "\"bias\": false", "\"bias\": true");
    open_fails(path_of("i"), "tensor \"linear.bias\" of shape [19] is missing");
}

static void test_defaults_of_a_dense_module(void **state) {
    (void)state;
    gf_model m;
    copy_tree(GOLDEN "dense_tanh/model", path_of("d"));
    write_file(path_of("d/2_Dense/config.json"), "{\"in_features\": 12, \"out_features\": 7}");
    open_ok(&m, path_of("d"), NULL);
    assert_int_equal(m.dense_activation, GF_DENSE_TANH);
    assert_non_null(m.dense.bias);
    gf_model_free(&m);
}

#define MODULE(type, path) "{\"path\": \"" path "\", \"type\": \"sentence_transformers." type "\"}"
#define BEGIN              MODULE("models.Transformer", "") "," MODULE("models.Pooling", "1_Pooling")

static void test_modules_come_in_one_order(void **state) {
    (void)state;
    static const struct {
        const char *modules, *reason;
    } cases[] = {
        {"[" BEGIN "," MODULE("models.Dense", "2_Dense") "," MODULE("models.Dense", "2_Dense") "]",
         "module 3 is \"Dense\""},
        {"[" BEGIN
         "," MODULE("models.Normalize", "3_Normalize") "," MODULE("models.Dense", "2_Dense") "]",
         "module 3 is \"Dense\""},
        {"[" MODULE("models.Transformer", "") "," MODULE("models.Dense", "2_Dense") "]",
         "module 1 is \"Dense\""},
        {"[" BEGIN "," MODULE("models.Dense", "../2_Dense") "]", "leads out of the folder"},
    };
    gf_model m;
    copy_tree(GOLDEN "dense_tanh/model", path_of("o"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(path_of("o/modules.json"), cases[i].modules);
        open_fails(path_of("o"), cases[i].reason);
    }
    write_file(path_of("o/modules.json"), "[" BEGIN "," MODULE("models.Dense", "2_Dense") "]");
    open_ok(&m, path_of("o"), NULL); /* the old dialect, without Normalize */
    assert_int_equal(m.embedding_size, 7);
    assert_false(m.normalize);
    gf_model_free(&m);
}

/* ---- saving ---- */

static void same_model(const gf_model *a, const gf_model *b) {
    assert_int_equal(a->pooling, b->pooling);
    assert_int_equal(a->normalize, b->normalize);
    assert_int_equal(a->embedding_size, b->embedding_size);
    assert_int_equal(a->dense_activation, b->dense_activation);
    assert_int_equal(a->n_heads, b->n_heads);
    assert_int_equal(a->params.count, b->params.count);
    for (int64_t i = 0; i < a->params.count; i++) {
        const gf_param *p = a->params.items[i], *q = b->params.items[i];
        assert_string_equal(p->name, q->name);
        assert_memory_equal(p->value, q->value, (size_t)gf_param_count(p) * sizeof *p->value);
    }
}

static void saves(const char *golden, const char *to, const char *modules) {
    gf_model m, again;
    gf_err e = {0};
    size_t size = 0;
    char *list, *path;
    open_ok(&m, golden, NULL);
    if (!gf_folder_save(&m, to, &e)) fail_msg("%s", e.text);
    open_ok(&again, to, NULL);
    same_model(&m, &again);
    path = gf_io_join(to, "modules.json", NULL);
    list = gf_io_read_all(path, 1 << 20, &size, NULL);
    if (!strstr(list, modules)) fail_msg("%s is not in %s", modules, list);
    gf_free(list);
    gf_free(path);
    gf_model_free(&again);
    gf_model_free(&m);
}

static void test_saves_what_it_opens(void **state) {
    (void)state;
    saves(GOLDEN "dense_tanh/model", path_of("tanh"), "\"3_Normalize\"");
    saves(GOLDEN "dense_identity/model", path_of("identity"), "\"2_Dense\"");
    saves(GOLDEN "classifier/model", path_of("classifier"), "\"pooler\"");
    embeds_as(path_of("tanh"), "dense_tanh", 7);
    embeds_as(path_of("identity"), "dense_identity", 19);
    assert_true(gf_io_exists(path_of("tanh/3_Normalize/config.json")));
    assert_false(gf_io_exists(path_of("tanh/2_Normalize")));
    assert_true(gf_io_exists(path_of("classifier/2_Dense/model.safetensors")));
}

/* model.safetensors is a whole BertModel with the pooler, and has none of a Dense's tensors. */
static void test_what_stands_in_model_safetensors(void **state) {
    (void)state;
    int64_t rows = -1;
    gf_err e = {0};
    saves(GOLDEN "classifier/model", path_of("c"), "1_Pooling");
    saves(GOLDEN "dense_tanh/model", path_of("t"), "1_Pooling");
    assert_true(gf_weights_rows(path_of("c/model.safetensors"), "pooler.dense.weight", &rows, &e));
    assert_int_equal(rows, H);
    assert_true(gf_weights_rows(path_of("t/model.safetensors"), "dense.weight", &rows, &e));
    assert_int_equal(rows, 0);
    assert_false(gf_weights_rows(path_of("t/nothing.safetensors"), "dense.weight", &rows, &e));
}

/* A module named "pooler" is BERT's pooler only where it can be. */
static void test_a_module_named_pooler_may_be_another(void **state) {
    (void)state;
    gf_model m;
    copy_tree(GOLDEN "dense_tanh/model", path_of("n"));
    edit(path_of("n/modules.json"), "\"name\": \"2\"", "\"name\": \"pooler\"");
    open_ok(&m, path_of("n"), NULL);
    assert_int_equal(m.pooling, GF_POOL_MEAN);
    assert_string_equal(m.dense.weight->name, "dense.weight");
    gf_model_free(&m);
}

/* ---- BertForSequenceClassification ---- */

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
    assert_true(gf_io_copy(path_of("rewritten"), path, &e));
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

/* ---- the model ---- */

static void check_order(const gf_model *m) {
    int64_t n = m->params.count, heads = 2 * m->n_heads;
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(gf_weights_is_head(m->params.items[i]), i >= n - heads);
    if (m->dense.weight)
        assert_ptr_equal(m->params.items[n - heads - (m->dense.bias ? 2 : 1)], m->dense.weight);
}

static void test_the_pooler_comes_and_goes(void **state) {
    (void)state;
    static const char *const classes[] = {"a", "b"};
    gf_model m;
    gf_err e = {0};
    gf_pooling p;
    open_ok(&m, GOLDEN "mean_gelu/model", NULL);
    assert_true(gf_model_add_head(&m, "x", classes, 2, &e));
    assert_true(gf_model_add_head(&m, "y", classes, 2, &e));
    assert_true(gf_model_set_pooling(&m, GF_POOL_POOLER, &e));
    assert_non_null(m.dense.bias);
    check_order(&m);
    assert_true(gf_folder_read_pooler(&m, GOLDEN "mean_gelu/model", &e));
    check_tensor(m.dense.weight, GOLDEN "mean_gelu/model/model.safetensors", "pooler.dense.weight");
    assert_true(gf_model_set_pooling(&m, GF_POOL_CLS, &e));
    assert_null(m.dense.weight);
    assert_null(gf_params_find(&m.params, "pooler.dense.weight"));
    check_order(&m);
    gf_model_free(&m);
    open_ok(&m, GOLDEN "dense_tanh/model", NULL);
    assert_true(gf_model_set_pooling(&m, GF_POOL_MAX, &e)); /* a Dense stays */
    assert_int_equal(m.embedding_size, 7);
    assert_true(gf_model_set_pooling(&m, GF_POOL_POOLER, &e)); /* and is replaced */
    assert_int_equal(m.embedding_size, H);
    check_order(&m);
    gf_model_free(&m);
    open_ok(&m, GOLDEN "dense_tanh/model", NULL);
    assert_true(gf_model_add_head(&m, "x", classes, 2, &e));
    assert_int_equal(m.heads[0].linear.weight->shape.dim[1], 7);
    assert_false(gf_model_set_pooling(&m, GF_POOL_POOLER, &e)); /* heads stand on 7 elements */
    assert_non_null(strstr(e.text, "the projection to 7 elements on which the head \"x\" stands"));
    gf_model_free(&m);
    assert_true(gf_pooling_find("pooler", &p) && p == GF_POOL_POOLER);
    assert_false(gf_pooling_find("poole", &p));
}

static void test_a_head_takes_another_name(void **state) {
    (void)state;
    static const char *const classes[] = {"a", "b"};
    gf_model m;
    gf_err e = {0};
    open_ok(&m, GOLDEN "classifier/model", NULL);
    assert_true(gf_model_add_head(&m, "x", classes, 2, &e));
    assert_true(gf_model_rename_head(&m, &m.heads[0], "mood", &e));
    assert_ptr_equal(gf_model_find_head(&m, "mood"), &m.heads[0]);
    assert_ptr_equal(gf_params_find(&m.params, "heads.mood.weight"), m.heads[0].linear.weight);
    assert_ptr_equal(gf_params_find(&m.params, "heads.mood.bias"), m.heads[0].linear.bias);
    assert_null(gf_params_find(&m.params, "heads.classifier.bias"));
    assert_false(gf_model_rename_head(&m, &m.heads[0], "x", &e));
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
    return gf_run_open(r, c, NULL, NULL, log, e);
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

/* ---- damage ---- */

/* Every byte of a file changed, and every start of it: an error or a model, never a crash. */
static void survives(const char *file) {
    const char *path = path_of(file);
    size_t size = 0;
    char *good = gf_io_read_all(path, 1 << 20, &size, NULL), *bad = gf_alloc(size, NULL);
    int64_t before, opened = 0, refused = 0;
    assert_non_null(good);
    before = gf_mem_get_stats().live_blocks;
    for (size_t i = 0; i < 3 * size; i++) {
        size_t at = i % size, length = i < size ? i : size;
        gf_model m = {0};
        gf_err e = {0};
        memcpy(bad, good, size);
        if (i >= size) bad[at] = (char)(bad[at] ^ (i < 2 * size ? 1 : 0xff));
        assert_true(gf_io_replace_file(path, bad, length, &e));
        if (gf_folder_open(&m, path_of("f"), GF_OPEN_WEIGHTS, NULL, &e))
            opened++;
        else
            refused += e.code == GF_E_MODEL && e.text[0];
        gf_model_free(&m);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    assert_int_equal(opened + refused, 3 * (int64_t)size);
    assert_true(refused > (int64_t)size);
    assert_true(gf_io_replace_file(path, good, size, NULL));
    gf_free(good);
    gf_free(bad);
}

static void test_damaged_files(void **state) {
    (void)state;
    copy_tree(GOLDEN "dense_tanh/model", path_of("f"));
    survives("f/2_Dense/config.json");
    survives("f/2_Dense/model.safetensors");
    survives("f/modules.json");
    assert_true(gf_io_remove_tree(path_of("f"), NULL));
    copy_tree(GOLDEN "classifier/model", path_of("f"));
    survives("f/config.json");
}

static void runs_out_of_memory(const char *folder_in, int64_t least) {
    int64_t before = gf_mem_get_stats().live_blocks, k = 0;
    bool ok = false;
    while (!ok) {
        gf_model m = {0};
        gf_err e = {0};
        gf_mem_fail_at(++k, false);
        ok = gf_folder_open(&m, folder_in, GF_OPEN_WEIGHTS, NULL, &e) &&
             gf_folder_save(&m, path_of("oom"), &e);
        if (ok != !gf_mem_fault_fired()) fail_msg("allocation %d: %s", (int)k, e.text);
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        gf_model_free(&m);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    gf_mem_fail_at(0, false);
    assert_true(k > least);
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    runs_out_of_memory(GOLDEN "dense_tanh/model", 500);
    runs_out_of_memory(GOLDEN "dense_identity/model", 500);
    runs_out_of_memory(GOLDEN "classifier/model", 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_embed_as_in_sentence_transformers),
        cmocka_unit_test(test_opens_a_dense_module),
        cmocka_unit_test(test_refuses_other_dense_modules),
        cmocka_unit_test(test_defaults_of_a_dense_module),
        cmocka_unit_test(test_modules_come_in_one_order),
        cmocka_unit_test(test_saves_what_it_opens),
        cmocka_unit_test(test_what_stands_in_model_safetensors),
        cmocka_unit_test(test_a_module_named_pooler_may_be_another),
        cmocka_unit_test(test_opens_a_classifier),
        cmocka_unit_test(test_classes_of_a_classifier),
        cmocka_unit_test(test_refuses_other_classifiers),
        cmocka_unit_test(test_refuses_one_label_and_missing_tensors),
        cmocka_unit_test(test_which_folders_are_classifiers),
        cmocka_unit_test(test_the_pooler_comes_and_goes),
        cmocka_unit_test(test_a_head_takes_another_name),
        cmocka_unit_test(test_a_task_goes_on_from_the_classifier),
        cmocka_unit_test(test_a_classifier_that_does_not_fit_is_left_out),
        cmocka_unit_test(test_a_recipe_asks_for_the_pooler),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
