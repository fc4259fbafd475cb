/* checkpoints/tensor and tensors: element types against PyTorch's conversions, weights over several
 * files, names with prefixes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/folder.h"
#include "checkpoints/safetensors.h"
#include "checkpoints/tensors.h"
#include "core/text.h"

#include <math.h>

#include "tests/scratch.h"

#define DATA "tests/data/checkpoints/"

static gf_real *values_of(const gf_tensors *t, const char *name, int64_t *count) {
    const gf_tensor *x = gf_tensors_find(t, name);
    gf_err e = {0};
    gf_real *values;
    if (!x) fail_msg("no tensor %s", name);
    values = gf_alloc_array(x->count, sizeof *values, NULL);
    if (!gf_tensor_to_real(x, values, name, &e)) fail_msg("%s", e.text);
    *count = x->count;
    return values;
}

/* tests/golden/make_floats.py has every value of these types beside PyTorch's float32 of it. */
static void narrow_floats_are_what_pytorch_says(void **state) {
    static const char *const types[][2] = {
        {"e5m2", "e5m2.f32"}, {"e4m3", "e4m3.f32"}, {"f16", "f16.f32"}, {"bf16", "bf16.f32"}};
    gf_tensors t = {0};
    gf_err e = {0};
    (void)state;
    if (!gf_tensors_open(&t, DATA "floats.safetensors", &e)) fail_msg("%s", e.text);
    for (size_t k = 0; k < 4; k++) {
        int64_t n, wanted_n, compared = 0;
        gf_real *got = values_of(&t, types[k][0], &n),
                *wanted = values_of(&t, types[k][1], &wanted_n);
        assert_int_equal(n, wanted_n);
        for (int64_t i = 0; i < n; i++) {
            if (isnan(wanted[i]) ? !isnan(got[i]) : memcmp(&got[i], &wanted[i], sizeof *got) != 0)
                fail_msg("%s[%d]: %a, %a is wanted", types[k][0], (int)i, got[i], wanted[i]);
            compared++;
        }
        assert_true(compared >= 256);
        gf_free(got);
        gf_free(wanted);
    }
    gf_tensors_close(&t);
}

static void rounding_is_pytorch_s(void **state) {
    static const struct {
        const char *name;
        gf_dtype dtype;
    } to[] = {{"x.f16", GF_DTYPE_F16}, {"x.bf16", GF_DTYPE_BF16}};
    gf_tensors t = {0};
    int64_t n;
    gf_real *x;
    unsigned char *bytes;
    (void)state;
    assert_true(gf_tensors_open(&t, DATA "floats.safetensors", NULL));
    x = values_of(&t, "x", &n);
    bytes = gf_alloc_array(n, 2, NULL);
    for (size_t k = 0; k < 2; k++) {
        const gf_tensor *wanted = gf_tensors_find(&t, to[k].name);
        gf_tensor_pack(to[k].dtype, x, n, bytes);
        for (int64_t i = 0; i < n; i++)
            if (memcmp(bytes + 2 * i, wanted->data + 2 * i, 2) != 0)
                fail_msg("%s of %a", to[k].name, x[i]);
    }
    assert_true(n > 2000);
    gf_free(bytes);
    gf_free(x);
    gf_tensors_close(&t);
}

/* A copy of DATA "plain" without its weights, at path_of(name). */
static const char *make_folder(const char *name) {
    static const char *const parts[] = {"config.json", "tokenizer.json", "tokenizer_config.json"};
    const char *to = path_of(name);
    assert_true(gf_io_make_folder(to, NULL));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *from = gf_io_join(DATA "plain", parts[i], NULL),
             *copy = gf_io_join(to, parts[i], NULL);
        if (gf_io_exists(from)) assert_true(gf_io_link(from, copy, NULL));
        gf_free(copy);
        gf_free(from);
    }
    return to;
}

static void open_plain(gf_model *m) {
    gf_err e = {0};
    if (!gf_folder_open(m, DATA "plain", GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
}

static void check_equal(const gf_model *a, const char *folder_name) {
    gf_model b = {0};
    gf_err e = {0};
    if (!gf_folder_open(&b, folder_name, GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(a->params.count, b.params.count);
    for (int64_t i = 0; i < a->params.count; i++)
        assert_memory_equal(a->params.items[i]->value, b.params.items[i]->value,
                            (size_t)gf_param_count(a->params.items[i]) * sizeof(gf_real));
    gf_model_free(&b);
}

/* Writes parameters [first, end) under PREFIX. */
static void write_part(const gf_model *m, int64_t first, int64_t end, const char *prefix,
                       const char *path) {
    gf_named_tensor items[128];
    char names[128][160];
    gf_err e = {0};
    for (int64_t i = first; i < end; i++) {
        const gf_param *p = m->params.items[i];
        snprintf(names[i - first], sizeof names[0], "%s%s", prefix, p->name);
        items[i - first] = (gf_named_tensor){names[i - first], p->shape, p->value};
    }
    if (!gf_safetensors_write(path, items, end - first, &e)) fail_msg("%s", e.text);
}

static void names_may_have_any_prefix(void **state) {
    static const char *const prefixes[] = {"", "bert.", "model.", "0.auto_model.", "module.bert."};
    gf_model m = {0};
    (void)state;
    open_plain(&m);
    const char *to = make_folder("prefixed");
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        write_part(&m, 0, m.params.count, prefixes[i], path_of("prefixed/model.safetensors"));
        check_equal(&m, to);
    }
    gf_model_free(&m);
}

static void two_encoders_are_refused(void **state) {
    gf_model m = {0}, again = {0};
    gf_err e = {0};
    gf_named_tensor items[2];
    (void)state;
    open_plain(&m);
    const char *to = make_folder("two");
    items[0] =
        (gf_named_tensor){"a.embeddings.word_embeddings.weight", m.words->shape, m.words->value};
    items[1] = items[0];
    items[1].name = "b.embeddings.word_embeddings.weight";
    assert_true(gf_safetensors_write(path_of("two/model.safetensors"), items, 2, NULL));
    assert_false(gf_folder_open(&again, to, GF_OPEN_WEIGHTS, NULL, &e));
    assert_non_null(
        strstr(e.text, "it holds two encoders, \"a.embeddings.word_embeddings.weight\""));
    gf_model_free(&again);
    gf_model_free(&m);
}

/* Writes the index that puts parameter i into file i >= cut. */
static void write_index(const gf_model *m, int64_t cut, const char *extra) {
    gf_text t = {0};
    assert_true(gf_text_add(&t, NULL, "{\"metadata\": {}, \"weight_map\": {%s", extra));
    for (int64_t i = 0; i < m->params.count; i++)
        assert_true(gf_text_add(&t, NULL, "%s\"%s\": \"part-%d.safetensors\"", i ? ", " : "",
                                m->params.items[i]->name, i >= cut));
    assert_true(gf_text_add(&t, NULL, "}}"));
    write_file(path_of("shards/model.safetensors.index.json"), t.data);
    gf_text_free(&t);
}

static void shards_fail(const char *part) {
    gf_model again = {0};
    gf_err e = {0};
    assert_false(gf_folder_open(&again, path_of("shards"), GF_OPEN_WEIGHTS, NULL, &e));
    assert_int_equal(e.code, GF_E_MODEL);
    if (!strstr(e.text, part)) fail_msg("\"%s\" is not in: %s", part, e.text);
    gf_model_free(&again);
}

static void weights_may_lie_in_several_files(void **state) {
    gf_model m = {0};
    int64_t n;
    (void)state;
    open_plain(&m);
    n = m.params.count;
    const char *to = make_folder("shards");
    write_part(&m, 0, 5, "", path_of("shards/part-0.safetensors"));
    write_part(&m, 5, n, "", path_of("shards/part-1.safetensors"));
    write_index(&m, 5, "");
    check_equal(&m, to);
    write_index(&m, 5, "\"elsewhere\": \"part-0.safetensors\", ");
    shards_fail("index.json: tensor \"elsewhere\" is not in the file \"part-0.safetensors\"");
    write_index(&m, 5, "\"elsewhere\": \"../part-0.safetensors\", ");
    shards_fail("\"elsewhere\" must name a file of the same folder");
    write_index(&m, 5, "\"elsewhere\": 7, ");
    shards_fail("\"elsewhere\" must name a file of the same folder");
    write_index(&m, 5, "");
    write_part(&m, 4, n, "", path_of("shards/part-1.safetensors"));
    shards_fail("stands twice");
    assert_true(gf_io_remove(path_of("shards/part-1.safetensors"), NULL));
    shards_fail("part-1.safetensors: cannot read it");
    write_file(path_of("shards/model.safetensors.index.json"), "{\"weight_map\": {}}");
    shards_fail("it has no \"weight_map\" of tensors");
    gf_model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrow_floats_are_what_pytorch_says),
        cmocka_unit_test(rounding_is_pytorch_s),
        cmocka_unit_test(names_may_have_any_prefix),
        cmocka_unit_test(two_encoders_are_refused),
        cmocka_unit_test(weights_may_lie_in_several_files),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
