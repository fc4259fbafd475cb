/* Real weights against transformers: all-MiniLM-L6-v2 and bert-base-uncased, where they are. Looks
 * into $GRAFT_MODELS, else models/, where scripts/get-model puts them; skips what is not there.
 * Expected values: tests/golden/minilm.json, and for bert-base-uncased the published cosines. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/open.h"
#include "core/json.h"
#include "core/mem.h"
#include "model/engine.h"

typedef struct real {
    gf_model model;
    gf_engine engine;
    cJSON *golden;
    gf_real *x; /* [n, H] embeddings of texts */
} real;

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

/* Opens models/NAME, or skips the test. */
static void open_model(real *r, const char *name) {
    const char *folder = getenv("GRAFT_MODELS");
    char path[512];
    gf_err e = {0};
    *r = (real){0};
    snprintf(path, sizeof path, "%s/%s/model.safetensors", folder ? folder : "models", name);
    if (!gf_io_exists(path)) skip();
    *strrchr(path, '/') = 0;
    check(gf_model_open(&r->model, path, NULL, &e), &e);
    r->model.max_length = 128;
    check(gf_engine_start(&r->engine, 0, &e), &e);
}

static void close_model(real *r) {
    gf_engine_stop(&r->engine);
    gf_model_free(&r->model);
    cJSON_Delete(r->golden);
    gf_free(r->x);
}

static void encode(const real *r, const char *text, gf_ids *ids) {
    gf_encoding one;
    gf_err e = {0};
    ids->count = 0;
    check(gf_tokenizer_encode(r->model.tokenizer, text, strlen(text), 128, ids, &one, &e), &e);
}

/* Row i of x becomes the embedding of a text, alone in its batch. */
static void embed(real *r, const char *text, int64_t i) {
    gf_ids ids = {0};
    gf_err e = {0};
    int64_t row = 0;
    encode(r, text, &ids);
    int32_t start[] = {0, (int32_t)ids.count};
    gf_batch b = {.sequences = 1, .tokens = ids.count, .ids = ids.id, .start = start, .row = &row};
    check(gf_engine_embed(&r->engine, &r->model, &b, r->x + i * r->model.config.hidden_size, &e),
          &e);
    gf_free(ids.id);
}

static double cosine(const real *r, int64_t a, int64_t b) {
    int64_t h = r->model.config.hidden_size;
    double dot = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < h; i++) {
        double u = (double)r->x[a * h + i], v = (double)r->x[b * h + i];
        dot += u * v, aa += u * u, bb += v * v;
    }
    return dot / sqrt(aa * bb);
}

static const cJSON *open_golden(real *r, const char *key) {
    gf_err e = {0};
    open_model(r, "all-MiniLM-L6-v2");
    check((r->golden = gf_json_read("tests/golden/minilm.json", 1 << 22, &e)) != NULL, &e);
    return cJSON_GetObjectItemCaseSensitive(r->golden, key);
}

static void test_minilm_token_ids(void **state) {
    real r;
    const cJSON *rows = open_golden(&r, "rows"), *row, *id;
    gf_ids ids = {0};
    int done = 0;
    (void)state;
    cJSON_ArrayForEach(row, rows) {
        const char *text = cJSON_GetObjectItemCaseSensitive(row, "text")->valuestring;
        const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(row, "ids");
        int64_t i = 0;
        encode(&r, text, &ids);
        if (ids.count != cJSON_GetArraySize(wanted)) fail_msg("%s: %d ids", text, (int)ids.count);
        cJSON_ArrayForEach(id, wanted) {
            if (ids.id[i] != id->valueint) fail_msg("%s: id %d is %d", text, (int)i, ids.id[i]);
            i++;
        }
        done++;
    }
    assert_true(done > 500);
    gf_free(ids.id);
    close_model(&r);
}

static void test_minilm_embeddings_and_cosines(void **state) {
    real r;
    const cJSON *rows = open_golden(&r, "rows"), *row, *v, *pair;
    int64_t h = r.model.config.hidden_size, n = 0;
    (void)state;
    r.x = gf_alloc_array(64 * h, sizeof *r.x, NULL);
    cJSON_ArrayForEach(row, rows) {
        const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(row, "embedding");
        int64_t i = 0;
        if (!wanted) break;
        embed(&r, cJSON_GetObjectItemCaseSensitive(row, "text")->valuestring, n);
        cJSON_ArrayForEach(v, wanted) {
            double got = (double)r.x[n * h + i++];
            if (!(fabs(got - v->valuedouble) <= 1e-5))
                fail_msg("text %d, element %d: %.9g", (int)n, (int)i - 1, got);
        }
        n++;
    }
    assert_true(n >= 20);
    cJSON_ArrayForEach(pair, cJSON_GetObjectItemCaseSensitive(r.golden, "pairs")) {
        int a = cJSON_GetArrayItem(pair, 0)->valueint, b = cJSON_GetArrayItem(pair, 1)->valueint;
        double wanted = cJSON_GetArrayItem(pair, 2)->valuedouble;
        assert_true(fabs(cosine(&r, a, b) - wanted) < 0.6e-4);
    }
    close_model(&r);
}

static void test_bert_base_uncased_cosines(void **state) {
    static const char *const texts[] = {"I thought the cheese was delicious",
                                        "The cheese was tasty", "Luke, I am your father!",
                                        "We're gonna need a bigger boat!"};
    static const double wanted[] = {0.8303, 0.4419, 0.6015};
    real r;
    (void)state;
    open_model(&r, "bert-base-uncased");
    r.x = gf_alloc_array(4 * r.model.config.hidden_size, sizeof *r.x, NULL);
    for (int i = 0; i < 4; i++) embed(&r, texts[i], i);
    for (int i = 0; i < 3; i++) {
        double got = cosine(&r, i, i + 1);
        if (!(fabs(got - wanted[i]) < 0.6e-4))
            fail_msg("%s / %s: %.4f", texts[i], texts[i + 1], got);
    }
    close_model(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minilm_token_ids),
        cmocka_unit_test(test_minilm_embeddings_and_cosines),
        cmocka_unit_test(test_bert_base_uncased_cosines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
