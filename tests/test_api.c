/* The public API: what graft.h promises to a program that links against the library. The numbers
 * behind it are checked against PyTorch by test_encoder. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "core/io.h"
#include "core/version.h"
#include "include/graft.h"

enum { N = 5, H = 24 };
static const char *const texts[N] = {"a", "the food was good", "", "audio", "the food was good"};
static char scratch[] = SCRATCH "/graft-api-XXXXXX";
static char folder[sizeof scratch + 8];

/* The golden model with its two heads, as one folder. */
static int make_model(void **state) {
    static const char *const category[] = {"audio", "clothing", "food", "furniture", "phones"};
    static const char *const sentiment[] = {"negative", "neutral", "positive"};
    gf_model m = {0};
    gf_err e = {0};
    bool ok = mkdtemp(scratch) != NULL;
    (void)state;
    snprintf(folder, sizeof folder, "%s/model", scratch);
    ok = ok && gf_folder_open(&m, "tests/golden/mean_gelu/model", GF_OPEN_WEIGHTS, NULL, &e) &&
         gf_model_add_head(&m, "category", category, 5, &e) &&
         gf_model_add_head(&m, "sentiment", sentiment, 3, &e) &&
         gf_heads_init_read(&m, "tests/golden/mean_gelu/heads.safetensors", &e) &&
         gf_folder_save(&m, folder, &e);
    gf_model_free(&m);
    return ok ? 0 : -1;
}

static int remove_model(void **state) {
    (void)state;
    return gf_io_remove_tree(scratch, NULL) ? 0 : -1;
}

static void test_names_and_sizes(void **state) {
    graft_error e = {0};
    graft_model *m = graft_open(folder, 1, &e);
    (void)state;
    assert_string_equal(graft_version(), GRAFT_VERSION);
    assert_string_equal(GF_VERSION, GRAFT_VERSION);
    assert_non_null(m);
    assert_int_equal(graft_embedding_size(m), H);
    assert_int_equal(graft_task_count(m), 2);
    assert_string_equal(graft_task_name(m, 1), "sentiment");
    assert_null(graft_task_name(m, 2));
    assert_int_equal(graft_class_count(m, 0), 5);
    assert_string_equal(graft_class_name(m, 0, 4), "phones");
    assert_null(graft_class_name(m, 0, 5));
    graft_close(m);
    graft_close(NULL);
}

typedef struct caller {
    graft_model *m;
    float embeddings[N * H], category[N * 5], sentiment[N * 3];
    int ok;
} caller;

static void *call(void *argument) {
    caller *c = argument;
    float *scores[] = {c->category, c->sentiment};
    c->ok = graft_predict(c->m, texts, N, c->embeddings, scores, NULL);
    return NULL;
}

static void test_one_pass_gives_embeddings_and_scores(void **state) {
    caller c = {.m = graft_open(folder, 2, NULL)};
    double norm = 0, sum = 0;
    (void)state;
    call(&c);
    assert_true(c.ok);
    for (int i = 0; i < H; i++) norm += (double)c.embeddings[i] * (double)c.embeddings[i];
    for (int i = 0; i < 5; i++) sum += (double)c.category[i];
    assert_true(fabs(norm - 1) < 1e-5 && fabs(sum - 1) < 1e-5);
    for (int i = 0; i < H; i++)
        assert_true(fabsf(c.embeddings[H + i] - c.embeddings[4 * H + i]) < 1e-5f);
    assert_true(memcmp(c.embeddings, c.embeddings + H, H * sizeof(float)) != 0);
    assert_int_equal(graft_predict(c.m, texts, 0, NULL, NULL, NULL), 1);
    graft_close(c.m);
}

static void test_threads_may_share_a_model(void **state) {
    static caller c[4];
    pthread_t t[4];
    (void)state;
    c[0].m = graft_open(folder, 2, NULL);
    for (int i = 0; i < 4; i++) {
        c[i].m = c[0].m;
        assert_int_equal(pthread_create(&t[i], NULL, call, &c[i]), 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++) {
        assert_true(c[i].ok);
        assert_memory_equal(c[i].embeddings, c[0].embeddings, sizeof c->embeddings);
        assert_memory_equal(c[i].sentiment, c[0].sentiment, sizeof c->sentiment);
    }
    graft_close(c[0].m);
}

static void test_failures_are_values(void **state) {
    graft_error e = {0};
    (void)state;
    assert_null(graft_open("/nowhere/at/all", 1, &e));
    assert_int_equal(e.code, 4);
    assert_non_null(strstr(e.text, "/nowhere/at/all"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_sizes),
        cmocka_unit_test(test_one_pass_gives_embeddings_and_scores),
        cmocka_unit_test(test_threads_may_share_a_model),
        cmocka_unit_test(test_failures_are_values),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
