/* A text's embedding depends on the text alone: not on the batch it came in, its place there, the
 * threads, or whether weights were packed before. To the bit, over random batches; the promise is
 * that of core/gemm_tiles.h. */
#include "checkpoints/folder.h"
#include "core/gemm_tiles.h"
#include "core/io.h"
#include "core/mem.h"
#include "core/rng.h"
#include "model/engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXTS = 60, LONGEST = 32, ROUNDS = 40, WIDEST = 384 };

typedef struct texts {
    gf_model model;
    int32_t ids[TEXTS][LONGEST];
    int64_t length[TEXTS];
    gf_real alone[TEXTS][WIDEST]; /* embedded by itself on one thread */
} texts;

static int64_t below(gf_rng *r, int64_t n) {
    int64_t i = (int64_t)(gf_rng_uniform(r) * (float)n);
    return i < n ? i : n - 1;
}

static void make_texts(texts *t, gf_rng *r) {
    for (int i = 0; i < TEXTS; i++) {
        t->length[i] = 1 + below(r, i % 3 ? 12 : LONGEST);
        for (int64_t k = 0; k < t->length[i]; k++)
            t->ids[i][k] = (int32_t)below(r, t->model.config.vocab_size);
    }
}

/* Embeds these texts as one batch. out [count, E] */
static void embed(texts *t, gf_engine *n, const int64_t *which, int64_t count, gf_real *out) {
    static int32_t ids[TEXTS * LONGEST], start[TEXTS + 1];
    static int64_t row[TEXTS];
    gf_batch b = {.ids = ids, .start = start, .row = row, .sequences = count};
    gf_err e = {0};
    for (int64_t i = 0; i < count; i++) {
        int64_t length = t->length[which[i]];
        memcpy(ids + b.tokens, t->ids[which[i]], (size_t)length * sizeof *ids);
        row[i] = which[i];
        start[i + 1] = (int32_t)(b.tokens += length);
    }
    if (!gf_engine_embed(n, &t->model, &b, out, &e)) fail_msg("%s", e.text);
}

static void open_texts(texts *t, const char *path, gf_rng *r) {
    gf_engine n = {0};
    gf_err e = {0};
    *t = (texts){0};
    if (!gf_folder_open(&t->model, path, GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
    assert_true(t->model.embedding_size <= WIDEST);
    make_texts(t, r);
    assert_true(gf_engine_start(&n, 1, &e));
    for (int64_t i = 0; i < TEXTS; i++) embed(t, &n, &i, 1, t->alone[i]);
    gf_engine_stop(&n);
}

static void check_batch(texts *t, gf_engine *n, gf_rng *r, int64_t count) {
    static gf_real out[TEXTS * WIDEST];
    int64_t which[TEXTS], width = t->model.embedding_size;
    for (int64_t i = 0; i < count; i++) which[i] = below(r, TEXTS); /* some twice */
    embed(t, n, which, count, out);
    for (int64_t i = 0; i < count; i++)
        if (memcmp(out + i * width, t->alone[which[i]], (size_t)width * sizeof *out) != 0)
            fail_msg("text %d differs as the %d. of %d on %d threads", (int)which[i], (int)i + 1,
                     (int)count, gf_pool_threads(n->pool));
}

static bool any_is_packed(const gf_model *m) {
    for (int64_t i = 0; i < m->params.count; i++)
        if (m->params.items[i]->packed) return true;
    return false;
}

/* On 1 to 5 threads. */
static void check_model(const char *path, int rounds) {
    static texts t;
    gf_rng r = gf_rng_new(5, 1);
    if (!gf_tiles_best()) skip(); /* OpenBLAS promises less */
    open_texts(&t, path, &r);
    for (int threads = 1; threads <= 5; threads++) {
        gf_engine n = {0};
        assert_true(gf_engine_start(&n, threads, NULL));
        for (int i = 0; i < rounds; i++) check_batch(&t, &n, &r, 1 + below(&r, i % 2 ? TEXTS : 5));
        gf_engine_stop(&n);
    }
    assert_true(any_is_packed(&t.model)); /* first computed without, then with */
    gf_model_free(&t.model);
}

/* A weight that was packed and then changes is no longer packed: texts alone and in a batch, which
 * is large enough to be computed without, agree on the new value. */
static void test_changed_weight(void **state) {
    static texts t;
    static gf_real before[WIDEST], out[TEXTS * WIDEST];
    int64_t which[TEXTS], width;
    gf_rng r = gf_rng_new(6, 1);
    gf_engine n = {0};
    gf_param *w;
    (void)state;
    if (!gf_tiles_best()) skip();
    open_texts(&t, "tests/golden/mean_gelu/model", &r);
    width = t.model.embedding_size;
    w = t.model.layers[0].intermediate.weight;
    assert_non_null(w->packed);
    memcpy(before, t.alone[0], sizeof before);
    assert_true(gf_param_own(w, NULL));
    assert_null(w->packed);
    for (int64_t i = 0; i < gf_param_count(w); i++) w->owned[i] *= 2;
    assert_true(gf_engine_start(&n, 1, NULL));
    for (int64_t i = 0; i < TEXTS; i++) embed(&t, &n, &i, 1, t.alone[i]);
    assert_memory_not_equal(before, t.alone[0], (size_t)width * sizeof *before);
    for (int64_t i = 0; i < TEXTS; i++) which[i] = i;
    embed(&t, &n, which, TEXTS, out);
    for (int64_t i = 0; i < TEXTS; i++)
        assert_memory_equal(out + i * width, t.alone[i], (size_t)width * sizeof *out);
    gf_engine_stop(&n);
    gf_model_free(&t.model);
}

static void test_small_models(void **state) {
    (void)state;
    check_model("tests/golden/mean_gelu/model", ROUNDS);
    check_model("tests/golden/max_eps/model", ROUNDS);
    check_model("tests/golden/cls_gelu_new/model", ROUNDS);
}

/* Where scripts/get-model put it. */
static void test_minilm(void **state) {
    const char *folder = getenv("GRAFT_MODELS");
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/all-MiniLM-L6-v2", folder ? folder : "models");
    if (!gf_io_exists(path)) skip();
    check_model(path, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small_models),
                                       cmocka_unit_test(test_changed_weight),
                                       cmocka_unit_test(test_minilm)};
    return cmocka_run_group_tests_name("invariance", tests, NULL, NULL);
}
