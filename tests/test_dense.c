/* A projection after pooling: folders with sentence-transformers' Dense, and BERT's pooler in a
 * model (tests/golden/make_dense.py). What they compute, with every gradient, is test_encoder's
 * part. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "include/graft.h"
#include "model/encode.h"

#include "tests/model_help.h"

#define GOLDEN "tests/golden/"

enum { H = 12 }; /* hidden size of all these models */

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
    assert_int_equal(graft_predict(m, texts, (size_t)n, got, NULL, &error), 1);
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

#define BEGIN MODULE("models.Transformer", "") "," MODULE("models.Pooling", "1_Pooling")

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

/* ---- the model ---- */

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
        cmocka_unit_test(test_the_pooler_comes_and_goes),
        cmocka_unit_test(test_a_head_takes_another_name),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
