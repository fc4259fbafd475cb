/* The masked language model's parameters in files: read from bases of several spellings, kept in
 * checkpoints, left out of model folders and exports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "checkpoints/export.h"
#include "checkpoints/store.h"
#include "tests/model_help.h"

#define GOLDEN "tests/golden/mlm/"

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

static const char *const names[] = {
    "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.bias"};
static const char *const classes[] = {"no", "yes"};

/* ---- read from a base ---- */

enum { MOST = 64 };

/* A copy of the golden model under path_of(name), whose tensors get other names by `rename`, or are
 * left out where that writes none; returns the folder. */
static const char *make_base(const char *name, void (*rename)(const char *from, char to[256])) {
    const char *to = path_of(name);
    char *weights = gf_io_join(to, "model.safetensors", NULL);
    static char texts[MOST][256];
    gf_named_tensor items[MOST];
    gf_safetensors s = {0};
    gf_err e = {0};
    int64_t n = 0;
    copy_tree(GOLDEN "model", to);
    check(gf_safetensors_open(&s, GOLDEN "model/model.safetensors", &e), &e);
    for (int64_t i = 0; i < s.count; i++) {
        gf_shape shape;
        assert_true(n < MOST);
        rename(s.items[i].name, texts[n]);
        if (!texts[n][0]) continue;
        check(gf_tensor_shape(&s.items[i], &shape, "golden", &e), &e);
        items[n] = (gf_named_tensor){texts[n], shape, (const float *)(const void *)s.items[i].data};
        n++;
    }
    gf_io_remove(weights, NULL);
    check(gf_safetensors_write(weights, items, n, &e), &e);
    gf_safetensors_close(&s);
    gf_free(weights);
    return to;
}

/* Reads it; the log's lines are the caller's to free. */
static gf_text read_base(gf_model *m, const char *path) {
    gf_text lines = {0};
    gf_log log = {keep_line, &lines};
    gf_err e = {0};
    open_ok(m, path, NULL);
    check(gf_model_add_mlm(m, &e), &e);
    check(gf_folder_read_mlm(m, path, &log, &e), &e);
    return lines;
}

static void check_values(const gf_model *m) {
    for (int i = 0; i < 5; i++)
        check_tensor(gf_params_find(&m->params, names[i]), GOLDEN "model/model.safetensors",
                     names[i]);
}

static void as_it_is(const char *from, char to[256]) { snprintf(to, 256, "%s", from); }
static void bare(const char *from, char to[256]) {
    snprintf(to, 256, "%s", strncmp(from, "bert.", 5) == 0 ? from + 5 : from);
}
static void wrapped(const char *from, char to[256]) { snprintf(to, 256, "model.%s", from); }
static void all_under_bert(const char *from, char to[256]) {
    snprintf(to, 256, "%s%s", strncmp(from, "bert.", 5) == 0 ? "" : "bert.", from);
}
static void wrapped_encoder(const char *from, char to[256]) {
    snprintf(to, 256, "%s%s", strncmp(from, "bert.", 5) == 0 ? "model." : "", from);
}
static void old_names(const char *from, char to[256]) {
    const char *at = strstr(from, "LayerNorm.");
    snprintf(to, 256, "%s", strcmp(from, names[4]) == 0 ? "cls.predictions.decoder.bias" : from);
    if (at)
        snprintf(to, 256, "%.*sLayerNorm.%s", (int)(at - from), from,
                 strcmp(at + 10, "weight") == 0 ? "gamma" : "beta");
}

static void test_names_of_a_base(void **state) {
    static void (*const renames[])(const char *, char[256]) = {
        as_it_is, bare, wrapped, all_under_bert, wrapped_encoder, old_names};
    (void)state;
    for (size_t i = 0; i < sizeof renames / sizeof *renames; i++) {
        char name[16];
        gf_model m;
        snprintf(name, sizeof name, "base-%d", (int)i);
        gf_text lines = read_base(&m, make_base(name, renames[i]));
        check_values(&m);
        if (lines.length) fail_msg("%s: %s", name, lines.data);
        gf_model_free(&m);
    }
}

static void without_some(const char *from, char to[256]) {
    bool gone = strcmp(from, names[1]) == 0 || strcmp(from, names[4]) == 0;
    snprintf(to, 256, "%s", gone ? "" : from);
}

static void without_all(const char *from, char to[256]) {
    snprintf(to, 256, "%s", strncmp(from, "cls.", 4) == 0 ? "" : from);
}

static void test_what_a_base_lacks_is_left_to_the_seed(void **state) {
    gf_model m;
    gf_text lines = read_base(&m, make_base("some", without_some));
    (void)state;
    assert_non_null(strstr(lines.data, "cls.predictions.transform.dense.bias, "
                                       "cls.predictions.bias"));
    assert_null(strstr(lines.data, names[0]));
    assert_null(m.mlm.bias->value);
    assert_null(m.mlm.dense.bias->value);
    check_tensor(m.mlm.dense.weight, GOLDEN "model/model.safetensors", names[0]);
    gf_text_free(&lines);
    gf_model_free(&m);
    lines = read_base(&m, make_base("none", without_all));
    for (int i = 0; i < 5; i++) {
        assert_non_null(strstr(lines.data, names[i]));
        assert_null(gf_params_find(&m.params, names[i])->value);
    }
    gf_text_free(&lines);
    gf_model_free(&m);
}

static void wrong_bias(const char *from, char to[256]) {
    as_it_is(from, to);
    if (strcmp(from, names[4]) == 0) snprintf(to, 256, "cls.other");
    if (strcmp(from, names[3]) == 0) snprintf(to, 256, "cls.predictions.bias");
}

/* Adds the decoder's matrix to a base's file: the word embeddings', one element of it off. */
static void add_decoder(const char *path, gf_real off) {
    char *weights = gf_io_join(path, "model.safetensors", NULL);
    gf_named_tensor items[MOST];
    gf_safetensors s = {0};
    gf_err e = {0};
    gf_real *decoder = NULL;
    int64_t n = 0;
    check(gf_safetensors_open(&s, GOLDEN "model/model.safetensors", &e), &e);
    for (; n < s.count; n++) {
        const gf_tensor *t = &s.items[n];
        items[n].name = t->name;
        items[n].data = (const float *)(const void *)t->data;
        check(gf_tensor_shape(t, &items[n].shape, "golden", &e), &e);
        if (!strstr(t->name, "word_embeddings")) continue;
        decoder = gf_alloc_array(t->count, sizeof *decoder, &e);
        memcpy(decoder, t->data, t->bytes);
        decoder[7] += off;
        items[s.count] =
            (gf_named_tensor){"cls.predictions.decoder.weight", items[n].shape, decoder};
    }
    gf_io_remove(weights, NULL);
    check(gf_safetensors_write(weights, items, n + 1, &e), &e);
    gf_safetensors_close(&s);
    gf_free(decoder);
    gf_free(weights);
}

static void test_a_decoder_of_its_own_is_warned_of(void **state) {
    (void)state;
    for (int off = 0; off < 2; off++) {
        gf_model m;
        const char *path = make_base(off ? "untied" : "tied", as_it_is);
        add_decoder(path, (gf_real)off);
        gf_text lines = read_base(&m, path);
        check_values(&m);
        assert_int_equal(lines.length != 0, off);
        if (off) assert_non_null(strstr(lines.data, "cls.predictions.decoder.weight"));
        gf_text_free(&lines);
        gf_model_free(&m);
    }
}

static void test_a_wrong_shape_is_refused(void **state) {
    const char *path = make_base("wrong", wrong_bias);
    gf_err e = {0};
    gf_model m;
    (void)state;
    open_ok(&m, path, NULL);
    check(gf_model_add_mlm(&m, &e), &e);
    assert_false(gf_folder_read_mlm(&m, path, NULL, &e));
    assert_int_equal(e.code, GF_E_MODEL);
    assert_non_null(strstr(e.text, "cls.predictions.bias"));
    assert_non_null(strstr(e.text, "[71]"));
    gf_model_free(&m);
}

/* ---- saved ---- */

static void give_moments(gf_param *p, int64_t updates) {
    int64_t count = gf_param_count(p);
    p->moment1 = gf_alloc_array(count, sizeof *p->moment1, NULL);
    p->moment2 = gf_alloc_array(count, sizeof *p->moment2, NULL);
    p->updates = updates;
    for (int64_t i = 0; i < count; i++) p->moment1[i] = p->moment2[i] = (gf_real)i / 4;
}

static void make_model(gf_model *m) {
    gf_err e = {0};
    open_ok(m, GOLDEN "model", NULL);
    check(gf_model_set_pooling(m, GF_POOL_POOLER, &e), &e);
    check(gf_model_add_head(m, "mood", classes, 2, &e), &e);
    check(gf_model_add_mlm(m, &e), &e);
    check(gf_folder_read_mlm(m, GOLDEN "model", NULL, &e), &e);
    check(gf_model_init(m, 3, &e), &e);
    give_moments(m->mlm.bias, 4);
}

static void test_a_checkpoint_keeps_it(void **state) {
    gf_model m, again = {0};
    gf_err e = {0};
    (void)state;
    make_model(&m);
    check(gf_store_write(path_of("a.h5"), NULL, &m, NULL, NULL, &e), &e);
    check(gf_store_read(&again, path_of("a.h5"), NULL, NULL, &e), &e);
    check_values(&again);
    assert_int_equal(again.params.count, m.params.count);
    for (int64_t i = 0; i < m.params.count; i++)
        assert_string_equal(again.params.items[i]->name, m.params.items[i]->name);
    assert_int_equal(again.mlm.bias->updates, 4);
    assert_memory_equal(again.mlm.bias->moment1, m.mlm.bias->moment1, 71 * sizeof(gf_real));
    assert_null(again.mlm.norm.bias->moment1);
    gf_model_free(&again);
    gf_model_drop_mlm(&m);
    check(gf_store_write(path_of("b.h5"), NULL, &m, NULL, NULL, &e), &e);
    check(gf_store_read(&again, path_of("b.h5"), NULL, NULL, &e), &e);
    assert_null(again.mlm.bias);
    assert_int_equal(again.params.count, m.params.count);
    gf_model_free(&again);
    gf_model_free(&m);
}

/* No tensor of a file is named cls.*; there are `count`. */
static void check_file(const char *path, int64_t count) {
    gf_safetensors s = {0};
    gf_err e = {0};
    check(gf_safetensors_open(&s, path, &e), &e);
    for (int64_t i = 0; i < s.count; i++) assert_null(strstr(s.items[i].name, "cls."));
    assert_int_equal(s.count, count);
    gf_safetensors_close(&s);
}

static void test_model_folders_leave_it_out(void **state) {
    gf_model m, again;
    gf_err e = {0};
    (void)state;
    make_model(&m);
    check(gf_folder_save_as(&m, path_of("saved"), &(gf_folder_style){.plain = true}, &e), &e);
    check_file(path_of("saved/model.safetensors"), m.params.count - 5 - 2);
    check_file(path_of("saved/heads.safetensors"), 2);
    open_ok(&again, path_of("saved"), NULL);
    assert_int_equal(again.params.count, m.params.count - 5);
    gf_model_free(&again);
    gf_model_free(&m);
}

static void test_exports_leave_it_out(void **state) {
    (void)state;
    for (int i = 0; i < GF_EXPORTS; i++) {
        gf_export_options o = {.format = gf_export_names[i], .dtype = GF_DTYPE_F32};
        gf_export_result r = {0};
        gf_err e = {0};
        gf_model m;
        make_model(&m);
        o.without_heads = strcmp(o.format, "gguf") == 0;
        if (o.without_heads) check(gf_model_set_pooling(&m, GF_POOL_MEAN, &e), &e);
        check(gf_export(&m, path_of(o.format), &o, &r, &e), &e);
        assert_int_equal(r.tensors, m.params.count);
        assert_true(r.largest == 0);
        gf_model_free(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_a_base),
        cmocka_unit_test(test_what_a_base_lacks_is_left_to_the_seed),
        cmocka_unit_test(test_a_decoder_of_its_own_is_warned_of),
        cmocka_unit_test(test_a_wrong_shape_is_refused),
        cmocka_unit_test(test_a_checkpoint_keeps_it),
        cmocka_unit_test(test_model_folders_leave_it_out),
        cmocka_unit_test(test_exports_leave_it_out),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
