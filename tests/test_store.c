/* checkpoints/store: round trip, equal bytes, damaged files, the disk.
 * tests/golden/check_store.py reads one with h5py by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/folder.h"
#include "checkpoints/open.h"
#include "checkpoints/store.h"
#include "core/io_fault.h"
#include "core/mem.h"

#include <hdf5.h>
#include <math.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/scratch.h"

#define DATA "tests/data/checkpoints/"

/* Gives a parameter moments that follow from its index, and `updates`. */
static void give_moments(gf_param *p, int64_t updates) {
    int64_t count = gf_param_count(p);
    p->moment1 = gf_alloc_array(count, sizeof *p->moment1, NULL);
    p->moment2 = gf_alloc_array(count, sizeof *p->moment2, NULL);
    p->updates = updates;
    for (int64_t i = 0; i < count; i++) {
        p->moment1[i] = (gf_real)(-0.5 * (double)i);
        p->moment2[i] = (gf_real)(0.25 * (double)i);
    }
}

/* What else training may keep: these follow from the index too. */
static gf_real *make_reals(const gf_param *p, double factor) {
    gf_real *x = gf_alloc_array(gf_param_count(p), sizeof *x, NULL);
    for (int64_t i = 0; i < gf_param_count(p); i++) x[i] = (gf_real)(factor * (double)(i + 1));
    return x;
}

/* A tiny BERT with a head, some parameters of which have trained: by AdamW, by AdamW with an
 * average and an anchor, and by SGD, which has one moment; one has an anchor alone. */
static void make_model(gf_model *m) {
    static const char *const classes[] = {"no", "yes", "\xe2\x98\x83"};
    gf_err e = {0};
    if (!gf_folder_open(m, DATA "plain", GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
    assert_true(gf_model_add_head(m, "mood", classes, 3, &e));
    gf_head *h = &m->heads[0];
    assert_true(gf_param_own(h->linear.weight, &e) && gf_param_own(h->linear.bias, &e));
    h->linear.bias->owned[0] = (gf_real)NAN;
    h->linear.bias->owned[1] = -0.0f;
    h->linear.bias->owned[2] = 0x1p-149f;
    give_moments(h->linear.weight, 7);
    give_moments(m->layers[1].output.bias, 3);
    give_moments(h->linear.bias, 4);
    h->linear.bias->average = make_reals(h->linear.bias, 3);
    h->linear.bias->anchor = make_reals(h->linear.bias, -0.125);
    m->layers[0].output.bias->moment1 = make_reals(m->layers[0].output.bias, 0x1p-140);
    m->layers[0].output.bias->updates = 5;
    m->layers[0].output.weight->anchor = make_reals(m->layers[0].output.weight, 7);
    m->pooling = GF_POOL_MAX;
    m->normalize = false;
    m->max_length = 10;
}

static void write_ok(const char *path, const gf_model *m) {
    gf_err e = {0};
    if (!gf_store_write(path, NULL, m, "{\"seed\": 1}", "{\"step\": 12}", &e))
        fail_msg("%s", e.text);
}

static void same_reals(const gf_real *a, const gf_real *b, int64_t count) {
    assert_int_equal(a != NULL, b != NULL);
    if (a) assert_memory_equal(a, b, (size_t)count * sizeof *a);
}

static void same_model(const gf_model *a, const gf_model *b) {
    assert_memory_equal(&a->config, &b->config, sizeof a->config);
    assert_int_equal(a->pooling, b->pooling);
    assert_int_equal(a->normalize, b->normalize);
    assert_int_equal(a->max_length, b->max_length);
    assert_int_equal(gf_tokenizer_size(a->tokenizer), gf_tokenizer_size(b->tokenizer));
    assert_int_equal(a->n_heads, b->n_heads);
    for (int64_t i = 0; i < a->n_heads; i++) {
        assert_string_equal(a->heads[i].name, b->heads[i].name);
        assert_int_equal(a->heads[i].n_classes, b->heads[i].n_classes);
        for (int64_t c = 0; c < a->heads[i].n_classes; c++)
            assert_string_equal(a->heads[i].classes[c], b->heads[i].classes[c]);
    }
    assert_int_equal(a->params.count, b->params.count);
    for (int64_t i = 0; i < a->params.count; i++) {
        const gf_param *p = a->params.items[i], *q = b->params.items[i];
        assert_string_equal(p->name, q->name);
        same_reals(p->value, q->value, gf_param_count(p));
        same_reals(p->moment1, q->moment1, gf_param_count(p));
        same_reals(p->moment2, q->moment2, gf_param_count(p));
        same_reals(p->average, q->average, gf_param_count(p));
        same_reals(p->anchor, q->anchor, gf_param_count(p));
        assert_int_equal(p->updates, q->updates);
    }
}

static void test_reads_what_it_wrote(void **state) {
    (void)state;
    gf_model m = {0}, again = {0};
    char *recipe = NULL, *where = NULL;
    gf_err e = {0};
    make_model(&m);
    write_ok(path_of("a.h5"), &m);
    assert_false(gf_io_exists(path_of("a.h5.tmp")));
    if (!gf_store_read(&again, path_of("a.h5"), &recipe, &where, &e)) fail_msg("%s", e.text);
    same_model(&m, &again);
    assert_string_equal(recipe, "{\"seed\": 1}");
    assert_string_equal(where, "{\"step\": 12}");
    gf_free(recipe);
    gf_free(where);
    recipe = where = NULL;
    gf_model_free(&again);
    assert_true(gf_store_write(path_of("b.h5"), NULL, &m, NULL, NULL, &e));
    assert_true(gf_model_open(&again, path_of("b.h5"), NULL, &e));
    gf_params_take_averages(&m.params); /* they are what a model is used by */
    same_model(&m, &again);
    gf_model_free(&again);
    assert_true(gf_store_read(&again, path_of("b.h5"), NULL, &where, &e));
    assert_null(where); /* the writer gave none */
    assert_false(gf_store_read_texts(path_of("b.h5"), &recipe, &where, &e));
    assert_non_null(strstr(e.text, "b.h5: /recipe: the dataset is missing"));
    gf_model_free(&again);
    gf_model_free(&m);
}

static void same_bytes(const char *a, const char *b) {
    size_t n = 0, k = 0;
    char *x = gf_io_read_all(a, 1 << 24, &n, NULL), *y = gf_io_read_all(b, 1 << 24, &k, NULL);
    assert_int_equal(n, k);
    assert_memory_equal(x, y, n);
    gf_free(x);
    gf_free(y);
}

static void test_equal_models_give_equal_bytes(void **state) {
    (void)state;
    gf_model m = {0}, again = {0};
    gf_err e = {0};
    make_model(&m);
    write_ok(path_of("one.h5"), &m);
    sleep(2); /* HDF5's times count seconds */
    assert_true(gf_store_read(&again, path_of("one.h5"), NULL, NULL, &e));
    write_ok(path_of("another.h5"), &again);
    same_bytes(path_of("one.h5"), path_of("another.h5"));
    gf_model_free(&again);
    gf_model_free(&m);
}

/* Stamps path_of("x.h5") anew, as docs/formats.md says, so that what was changed is looked at. */
static void stamp_again(void) {
    char block[512] = "", hex[65];
    struct sha256_ctx c;
    uint8_t digest[32];
    size_t size = 0;
    char *bytes = gf_io_read_all(path_of("x.h5"), 1 << 24, &size, NULL);
    assert_non_null(bytes);
    sha256_init(&c);
    sha256_update(&c, size - 512, (const uint8_t *)bytes + 512);
    sha256_digest(&c, sizeof digest, digest);
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    snprintf(block, sizeof block, "graft checkpoint 2\nsha256 %s\nbytes %zu\n", hex, size);
    memcpy(bytes, block, 512);
    assert_true(gf_io_replace_file(path_of("x.h5"), bytes, size, NULL));
    gf_free(bytes);
}

/* Reading path_of("x.h5") must fail with GF_E_MODEL and a sentence that holds `part`. */
static void read_fails(const char *part) {
    gf_model m = {0};
    gf_err e = {0};
    char *state = NULL;
    int64_t before = gf_mem_get_stats().live_blocks;
    if (gf_store_read(&m, path_of("x.h5"), NULL, &state, &e)) fail_msg("read; wanted: %s", part);
    if (!strstr(e.text, part)) fail_msg("\"%s\" is not in: %s", part, e.text);
    assert_int_equal(e.code, GF_E_MODEL);
    assert_null(state);
    gf_model_free(&m);
    assert_int_equal(gf_mem_get_stats().live_blocks, before);
}

static void test_names_what_is_missing(void **state) {
    (void)state;
    static const char *const datasets[] = {
        "/params/embeddings.LayerNorm.bias",
        "/params/heads.mood.weight",
        "/moments/heads.mood.weight/m",
        "/moments/encoder.layer.1.output.dense.bias/v",
        "/moments/heads.mood.bias/average",
        "/moments/heads.mood.bias/anchor",
        "/moments/encoder.layer.0.output.dense.bias/m",
        "/model/config",
        "/model/tokenizer",
        "/model/heads",
        "/model/outline",
    };
    static const char *const attributes[][2] = {{"/", "format"},
                                                {"/moments/heads.mood.weight", "updates"}};
    gf_model m = {0};
    char wanted[128];
    make_model(&m);
    for (size_t i = 0; i < sizeof datasets / sizeof *datasets; i++) {
        write_ok(path_of("x.h5"), &m);
        hid_t f = H5Fopen(path_of("x.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(H5Ldelete(f, datasets[i], H5P_DEFAULT) >= 0);
        H5Fclose(f);
        stamp_again();
        snprintf(wanted, sizeof wanted, "x.h5: %s: the dataset is missing", datasets[i]);
        read_fails(wanted);
    }
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        write_ok(path_of("x.h5"), &m);
        hid_t f = H5Fopen(path_of("x.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(H5Adelete_by_name(f, attributes[i][0], attributes[i][1], H5P_DEFAULT) >= 0);
        H5Fclose(f);
        stamp_again();
        snprintf(wanted, sizeof wanted, "%s: the attribute is missing", attributes[i][1]);
        read_fails(wanted);
    }
    gf_model_free(&m);
}

/* Puts another dataset in the place of one. */
static void replace_dataset(const char *path, hid_t type, int rank, hsize_t a, hsize_t b) {
    hid_t f = H5Fopen(path_of("x.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t s = H5Screate_simple(rank, (hsize_t[]){a, b}, NULL);
    H5Ldelete(f, path, H5P_DEFAULT);
    hid_t d = H5Dcreate2(f, path, type, s, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(d >= 0);
    H5Dclose(d);
    H5Sclose(s);
    H5Fclose(f);
    stamp_again();
}

static void test_refuses_what_does_not_fit(void **state) {
    (void)state;
    gf_model m = {0};
    make_model(&m);
    write_ok(path_of("x.h5"), &m);
    replace_dataset("/params/heads.mood.weight", H5T_IEEE_F32LE, 2, 8, 3);
    read_fails("/params/heads.mood.weight: floats of shape [3, 8] are wanted");
    replace_dataset("/params/heads.mood.weight", H5T_IEEE_F32LE, 1, 24, 0);
    read_fails("floats of shape [3, 8] are wanted");
    replace_dataset("/params/heads.mood.weight", H5T_STD_I32LE, 2, 3, 8);
    read_fails("floats of shape [3, 8] are wanted");
    write_ok(path_of("x.h5"), &m);
    replace_dataset("/params/heads.other.weight", H5T_IEEE_F32LE, 2, 3, 8);
    read_fails("/params/heads.other.weight: the model has no parameter of this name");
    write_ok(path_of("x.h5"), &m);
    replace_dataset("/model/config", H5T_STD_I8LE, 1, 3, 0);
    read_fails("/model/config: a text of fixed length is wanted");
    write_ok(path_of("x.h5"), &m);
    hid_t f = H5Fopen(path_of("x.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t a = H5Aopen(f, "format", H5P_DEFAULT);
    H5Awrite(a, H5T_NATIVE_INT, &(int){3});
    H5Aclose(a);
    H5Fclose(f);
    stamp_again();
    read_fails("format 3 is not this graft's 2");
    for (int64_t bits = 0; bits <= 16; bits += 16) {
        write_ok(path_of("x.h5"), &m);
        f = H5Fopen(path_of("x.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
        hid_t g = H5Gopen2(f, "/moments/heads.mood.bias", H5P_DEFAULT);
        a = H5Aopen(g, "holds", H5P_DEFAULT);
        assert_true(H5Awrite(a, H5T_NATIVE_INT64, &bits) >= 0);
        H5Aclose(a);
        H5Gclose(g);
        H5Fclose(f);
        stamp_again();
        read_fails("/moments/heads.mood.bias/holds: it is out of range");
    }
    m.heads[0].linear.weight->updates = -1;
    write_ok(path_of("x.h5"), &m);
    read_fails("/moments/heads.mood.weight/updates: it is negative");
    m.heads[0].linear.weight->updates = 0;
    m.max_length = 2;
    write_ok(path_of("x.h5"), &m);
    read_fails("\"max_length\" must be a number from 3 to the model's positions");
    m.max_length = 17;
    write_ok(path_of("x.h5"), &m);
    read_fails("\"max_length\" must be a number from 3 to the model's positions");
    gf_model_free(&m);
}

static void test_refuses_other_files(void **state) {
    (void)state;
    size_t size = 0;
    gf_model m = {0};
    gf_io_remove(path_of("x.h5"), NULL);
    read_fails("x.h5: cannot read it: No such file");
    make_model(&m);
    write_ok(path_of("whole.h5"), &m);
    char *bytes = gf_io_read_all(path_of("whole.h5"), 1 << 24, &size, NULL);
    static const size_t parts[] = {1, 4, 100, 512, 2000, 9000};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        gf_model none = {0};
        gf_err e = {0};
        assert_true(gf_io_replace_file(path_of("x.h5"), bytes, parts[i], NULL));
        assert_false(gf_store_read(&none, path_of("x.h5"), NULL, NULL, &e));
        assert_int_equal(e.code, parts[i] < 17 ? GF_E_MODEL : GF_E_VERIFY);
        gf_model_free(&none);
    }
    memset(bytes + 512, 0, 8); /* libhdf5's own signature, under a digest that holds */
    assert_true(gf_io_replace_file(path_of("x.h5"), bytes, size, NULL));
    stamp_again();
    read_fails("x.h5: /: it cannot be opened as HDF5");
    gf_free(bytes);
    gf_model_free(&m);
}

static void test_refuses_to_write_nonsense(void **state) {
    (void)state;
    static const char *const classes[] = {"x"};
    gf_model m = {0};
    gf_err e = {0};
    make_model(&m);
    assert_false(gf_store_write(path_of("no/where.h5"), NULL, &m, NULL, NULL, &e));
    assert_int_equal(e.code, GF_E_IO);
    assert_true(gf_model_add_head(&m, "a/b", classes, 1, NULL));
    e.code = GF_OK;
    assert_false(gf_store_write(path_of("n.h5"), NULL, &m, NULL, NULL, &e));
    assert_non_null(strstr(e.text, "heads.a/b.weight: the parameter has no value"));
    assert_true(gf_model_init(&m, 1, NULL));
    e.code = GF_OK;
    assert_false(gf_store_write(path_of("n.h5"), NULL, &m, NULL, NULL, &e));
    assert_non_null(strstr(e.text, "a name with '/' cannot be stored"));
    assert_false(gf_io_exists(path_of("n.h5")));
    assert_false(gf_io_exists(path_of("n.h5.tmp")));
    gf_model_free(&m);
}

/* Every call of publishing fails in turn: the old file or the new one is there, whole. */
static void test_publish_survives_the_disk(void **state) {
    (void)state;
    gf_model m = {0};
    make_model(&m);
    for (int kind = GF_FAULT_EIO; kind <= GF_FAULT_ENOSPC; kind++) {
        int64_t k = 0, kept = 0;
        bool ok = false;
        m.max_length = 10;
        write_ok(path_of("p.h5"), &m);
        m.max_length = 9;
        while (!ok) {
            gf_model again = {0};
            gf_err e = {0};
            gf_io_fail_at(++k, (gf_io_fault)kind);
            ok = gf_store_write(path_of("p.h5"), NULL, &m, NULL, NULL, &e);
            assert_true(ok == !gf_io_fault_fired());
            if (!ok && e.code != GF_E_IO && e.code != GF_E_MODEL) fail_msg("%s", e.text);
            gf_io_fail_at(0, GF_FAULT_EIO);
            assert_false(gf_io_exists(path_of("p.h5.tmp")));
            assert_true(gf_store_read(&again, path_of("p.h5"), NULL, NULL, NULL));
            assert_true(again.max_length == 10 || again.max_length == 9);
            kept += again.max_length == 10;
            gf_model_free(&again);
        }
        /* all but the sync of the folder, behind the rename, and the last, which none hit */
        assert_int_equal(kept, k - 3);
    }
    gf_model_free(&m);
}

static void test_read_survives_lack_of_memory(void **state) {
    (void)state;
    gf_model m = {0};
    int64_t before, k = 0;
    bool ok = false;
    make_model(&m);
    write_ok(path_of("o.h5"), &m);
    before = gf_mem_get_stats().live_blocks;
    while (!ok) {
        gf_model again = {0};
        gf_err e = {0};
        char *recipe = NULL, *where = NULL;
        gf_mem_fail_at(++k, false);
        ok = gf_store_read(&again, path_of("o.h5"), &recipe, &where, &e) &&
             gf_store_write(path_of("o2.h5"), NULL, &again, recipe, where, &e);
        assert_true(ok == !gf_mem_fault_fired());
        if (!ok && e.code != GF_E_NOMEM) fail_msg("call %d: %s", (int)k, e.text);
        gf_free(recipe);
        gf_free(where);
        gf_model_free(&again);
        gf_mem_fail_at(0, false);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    assert_true(k > 200);
    gf_model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_it_wrote),
        cmocka_unit_test(test_equal_models_give_equal_bytes),
        cmocka_unit_test(test_refuses_other_files),
        cmocka_unit_test(test_names_what_is_missing),
        cmocka_unit_test(test_refuses_what_does_not_fit),
        cmocka_unit_test(test_refuses_to_write_nonsense),
        cmocka_unit_test(test_publish_survives_the_disk),
        cmocka_unit_test(test_read_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
