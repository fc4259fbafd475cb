/* checkpoints/describe: what `graft info` says of each kind of file and folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/describe.h"
#include "checkpoints/folder.h"
#include "checkpoints/safetensors.h"
#include "checkpoints/store.h"
#include "core/mem.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scratch.h"

#define DATA "tests/data/checkpoints/"

static void says(const char *path, const char *wanted) {
    gf_text out = {0};
    gf_err e = {0};
    if (!gf_describe(path, &out, &e)) fail_msg("%s", e.text);
    assert_string_equal(out.data, wanted);
    gf_text_free(&out);
}

/* Every part must stand in the description, and no line may be wider than 100 columns. */
static void says_parts(const char *path, const char *const *parts, int n) {
    gf_text out = {0};
    gf_err e = {0};
    if (!gf_describe(path, &out, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < n; i++)
        if (!strstr(out.data, parts[i])) fail_msg("\"%s\" is not in:\n%s", parts[i], out.data);
    for (const char *line = out.data; *line; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 100);
    gf_text_free(&out);
}

static void refuses(const char *path, const char *reason) {
    gf_text out = {0};
    gf_err e = {0};
    assert_false(gf_describe(path, &out, &e));
    if (!strstr(e.text, reason)) fail_msg("%s", e.text);
    assert_int_equal(e.code, GF_E_MODEL);
    gf_text_free(&out);
}

/* A plain BERT with two heads, one of whose parameters has trained. */
static void make_model(gf_model *m) {
    static const char *const signs[] = {"negative", "neutral", "positive"};
    const char *many[28];
    char names[28][24];
    gf_err e = {0};
    for (int i = 0; i < 28; i++) {
        snprintf(names[i], sizeof names[i], "category %d", i);
        many[i] = names[i];
    }
    if (!gf_folder_open(m, DATA "plain", GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
    assert_true(gf_model_add_head(m, "sentiment", signs, 3, &e));
    assert_true(gf_model_add_head(m, "category", many, 28, &e));
    assert_true(gf_model_init(m, 1, &e));
    gf_param *p = m->heads[0].linear.weight;
    p->moment1 = gf_alloc_array(gf_param_count(p), sizeof *p->moment1, &e);
    p->moment2 = gf_alloc_array(gf_param_count(p), sizeof *p->moment2, &e);
    p->updates = 41;
}

static void test_safetensors(void **state) {
    (void)state;
    says(DATA "types.safetensors",
         "kind          safetensors file\n"
         "tensors       8, 25 elements, 111 bytes\n"
         "\n"
         "tensor                                                     dtype  shape                  "
         "bytes\n"
         "bf16                                                       BF16   [4]                    "
         "   "
         "  8\n"
         "bool                                                       BOOL   [3]                    "
         "   "
         "  3\n"
         "deep                                                       F32    [1, 2, 1, 2, 1]        "
         "   "
         " 16\n"
         "f16                                                        F16    [4]                    "
         "   "
         "  8\n"
         "f64                                                        F64    [5]                    "
         "   "
         " 40\n"
         "i64                                                        I64    [4]                    "
         "   "
         " 32\n"
         "none                                                       F32    [0, 4]                 "
         "   "
         "  0\n"
         "scalar                                                     F32    []                     "
         "   "
         "  4\n");
    static const char *const parts[] = {"metadata      format = pt\n"};
    says_parts(DATA "plain/model.safetensors", parts, 1);
}

static void test_names_stay_quiet(void **state) {
    (void)state;
    static const gf_real one[1] = {1};
    static const char *const parts[] = {"\nred?[31m "};
    gf_named_tensor item = {"red\033[31m", {1, {1}}, one};
    assert_true(gf_safetensors_write(path_of("x.safetensors"), &item, 1, NULL));
    says_parts(path_of("x.safetensors"), parts, 1);
}

static void test_folders(void **state) {
    (void)state;
    says(DATA "plain",
         "kind          Hugging Face folder\n"
         "encoder       BERT, 2 layers, hidden 8, 2 attention heads, feed-forward 16, "
         "GELU erf\n"
         "tokenizer     WordPiece, 19 tokens of 24\n"
         "embedding     mean pooling, L2 norm\n"
         "max length    12 tokens of 16 positions\n"
         "parameters    1552 in the encoder, 0 in heads\n");
    static const char *const parts[] = {"kind          sentence-transformers folder\n",
                                        "embedding     cls pooling, not normalised\n"};
    says_parts(DATA "sentence", parts, 2);
}

static void test_runs_and_checkpoints(void **state) {
    (void)state;
    static const char recipe[] = "{\"phases\": [{\"name\": \"heads\"}, {\"name\": \"all\"}]}";
    static const char metrics[] = "{\"best\": {\"step\": 120, \"metric\": 0.75}}";
    static const char *const run_parts[] = {
        "kind          graft run folder\nphase         heads\nphase         all\n"
        "checkpoint    best.h5\nbest          0.75 at step 120\n\nmodel/\nkind          sentence-",
        "parameters    1552 in the encoder, 279 in heads\n",
        "head          sentiment, 3 classes:\n                negative, neutral, positive\n",
        "head          category, 28 classes:\n                category 0, category 1, ",
        "category 5,\n                category 6, "};
    static const char *const store_parts[] = {
        "kind          graft checkpoint, format 2\nstep          17\n",
        "\nheads.sentiment.weight                                         [3, 8]           41\n",
        "\nheads.sentiment.bias                                           [3]              -\n"};
    gf_model m = {0};
    make_model(&m);
    assert_true(gf_io_make_folder(path_of("run/checkpoints"), NULL));
    assert_true(gf_io_replace_file(path_of("run/recipe.json"), recipe, strlen(recipe), NULL));
    assert_true(gf_io_replace_file(path_of("run/metrics.json"), metrics, strlen(metrics), NULL));
    assert_true(gf_folder_save(&m, path_of("run/model"), NULL));
    assert_true(
        gf_store_write(path_of("run/checkpoints/best.h5"), NULL, &m, "{}", "{\"step\": 17}", NULL));
    says_parts(path_of("run"), run_parts, 5);
    says_parts(path_of("run/checkpoints/best.h5"), store_parts, 3);
    gf_model_free(&m);
}

static void add_dataset(hid_t f, const char *name, hid_t type, int rank) {
    hid_t s = rank ? H5Screate_simple(rank, (hsize_t[]){3, 2}, NULL) : H5Screate(H5S_SCALAR);
    hid_t d = H5Dcreate2(f, name, type, s, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(d >= 0);
    H5Dclose(d);
    H5Sclose(s);
}

static void test_other_hdf5(void **state) {
    (void)state;
    hid_t f = H5Fcreate(path_of("o.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t text = H5Tcopy(H5T_C_S1), pair = H5Tcreate(H5T_COMPOUND, 8);
    H5Tset_size(text, 5);
    H5Tinsert(pair, "a", 0, H5T_IEEE_F32LE);
    add_dataset(f, "x", H5T_IEEE_F64LE, 2);
    add_dataset(f, "u", H5T_STD_U8LE, 1);
    add_dataset(f, "n", H5T_STD_I64BE, 0);
    add_dataset(f, "fixed", text, 1);
    H5Tset_size(text, H5T_VARIABLE);
    add_dataset(f, "s", text, 1);
    add_dataset(f, "pair", pair, 1);
    H5Gclose(H5Gcreate2(f, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Tclose(text);
    H5Tclose(pair);
    H5Fclose(f);
    says(path_of("o.h5"), "kind          HDF5 file, 7 objects\n"
                          "  fixed                                    string of 5 [3]\n"
                          "  g                                        group of 0\n"
                          "  n                                        int64\n"
                          "  pair                                     compound [3]\n"
                          "  s                                        string [3]\n"
                          "  u                                        uint8 [3]\n"
                          "  x                                        float64 [3, 2]\n");
}

static void test_refusals(void **state) {
    (void)state;
    refuses(DATA "nowhere", "there is no such file or folder");
    refuses(DATA, "nothing known; wanted is");
    refuses(DATA "plain/config.json", "nothing known; wanted is");
    assert_true(gf_io_replace_file(path_of("cut.safetensors"), "\5", 1, NULL));
    refuses(path_of("cut.safetensors"), "cut.safetensors: it begins as no safetensors");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors), cmocka_unit_test(test_names_stay_quiet),
        cmocka_unit_test(test_folders),     cmocka_unit_test(test_runs_and_checkpoints),
        cmocka_unit_test(test_other_hdf5),  cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
