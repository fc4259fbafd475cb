/* The public API: what graft.h promises to a program that links against the library. Expected
 * embeddings and scores are those of PyTorch, from tests/golden/mean_gelu. */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>

#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "checkpoints/safetensors.h"
#include "core/pool.h"
#include "core/version.h"
#include "include/graft.h"
#include "tests/scratch.h"

#define GOLDEN "tests/golden/mean_gelu"

/* Texts whose token ids are rows 0, 2, 3 and 5 of the golden batch. */
enum { N = 4, H = 24, CATEGORIES = 5, SENTIMENTS = 3 };
static const char *const texts[N] = {"lovely", "smells for, FRESH bread", "",
                                     "a poor loud poor ? coat lamp dear fits"};
static const int64_t golden_row[N] = {0, 2, 3, 5};

static const char *model; /* the golden model with its two heads, as one folder */

/* The same with a value of NaN in the bias of a head, or of the encoder. */
static bool save_model(const char *path, const char *damaged, gf_err *e) {
    static const char *const category[] = {"audio", "clothing", "food", "furniture", "phones"};
    static const char *const sentiment[] = {"negative", "neutral", "positive"};
    gf_model m = {0};
    gf_param *p;
    bool ok = gf_folder_open(&m, GOLDEN "/model", GF_OPEN_WEIGHTS, NULL, e) &&
              gf_model_add_head(&m, "category", category, CATEGORIES, e) &&
              gf_model_add_head(&m, "sentiment", sentiment, SENTIMENTS, e) &&
              gf_heads_init_read(&m, GOLDEN "/heads.safetensors", e);
    if (ok && damaged && (p = gf_params_find(&m.params, damaged)) && (ok = gf_param_own(p, e)))
        p->owned[0] = NAN;
    ok = ok && gf_folder_save(&m, path, e);
    gf_model_free(&m);
    return ok;
}

static int make_model(void **state) {
    gf_err e = {0};
    if (make_scratch(state) != 0) return -1;
    model = path_of("model");
    if (save_model(model, NULL, &e)) return 0;
    print_error("%s\n", e.text);
    return -1;
}

static graft_model *open_model(const char *path, int threads) {
    graft_error e = {0};
    graft_model *m = graft_open(path, threads, &e);
    if (!m) fail_msg("%s", e.text);
    return m;
}

static void test_names_and_sizes(void **state) {
    graft_model *m = open_model(model, 1);
    (void)state;
    assert_string_equal(graft_version(), GRAFT_VERSION);
    assert_string_equal(GF_VERSION, GRAFT_VERSION);
    assert_int_equal(graft_embedding_size(m), H);
    assert_int_equal(graft_max_length(m), 32);
    assert_int_equal(graft_task_count(m), 2);
    assert_string_equal(graft_task_name(m, 1), "sentiment");
    assert_null(graft_task_name(m, 2));
    assert_null(graft_task_name(m, -1));
    assert_int_equal(graft_task_find(m, "category"), 0);
    assert_int_equal(graft_task_find(m, "sentiment"), 1);
    assert_int_equal(graft_task_find(m, "sentimen"), -1);
    assert_int_equal(graft_task_find(m, NULL), -1);
    assert_int_equal(graft_class_count(m, 0), CATEGORIES);
    assert_int_equal(graft_class_count(m, 2), 0);
    assert_string_equal(graft_class_name(m, 0, 4), "phones");
    assert_null(graft_class_name(m, 0, 5));
    assert_null(graft_class_name(m, 0, -1));
    assert_null(graft_class_name(m, 2, 0));
    graft_close(m);
}

static void test_codes_are_the_exit_statuses(void **state) {
    (void)state;
    assert_int_equal(GRAFT_OK, gf_err_status(GF_OK));
    assert_int_equal(GRAFT_ERROR_INTERNAL, gf_err_status(GF_E_INTERNAL));
    assert_int_equal(GRAFT_ERROR_USAGE, gf_err_status(GF_E_USAGE));
    assert_int_equal(GRAFT_ERROR_DATA, gf_err_status(GF_E_INVALID));
    assert_int_equal(GRAFT_ERROR_MODEL, gf_err_status(GF_E_MODEL));
    assert_int_equal(GRAFT_ERROR_NUMERIC, gf_err_status(GF_E_NUMERIC));
    assert_int_equal(GRAFT_ERROR_SYSTEM, gf_err_status(GF_E_NOMEM));
    assert_int_equal(GRAFT_ERROR_SYSTEM, gf_err_status(GF_E_IO));
    assert_int_equal(GRAFT_ERROR_VERIFY, gf_err_status(GF_E_VERIFY));
}

static void test_no_model_is_an_empty_one(void **state) {
    (void)state;
    assert_int_equal(graft_embedding_size(NULL), 0);
    assert_int_equal(graft_max_length(NULL), 0);
    assert_int_equal(graft_task_count(NULL), 0);
    assert_int_equal(graft_class_count(NULL, 0), 0);
    assert_int_equal(graft_task_find(NULL, "category"), -1);
    assert_null(graft_task_name(NULL, 0));
    assert_null(graft_class_name(NULL, 0, 0));
    graft_close(NULL);
}

typedef struct result {
    float embeddings[N * H], category[N * CATEGORIES], sentiment[N * SENTIMENTS];
} result;

static bool run(graft_model *m, result *r, graft_error *e) {
    float *scores[] = {r->category, r->sentiment};
    return graft_predict(m, texts, N, r->embeddings, scores, e);
}

static void check_numbers(const gf_safetensors *s, const char *name, const float *x, int64_t width,
                          bool softmax) {
    const gf_tensor *t = gf_safetensors_find(s, name);
    assert_non_null(t);
    for (int64_t i = 0; i < N; i++) {
        double want[H], sum = 0;
        memcpy(want, (const double *)(const void *)t->data + golden_row[i] * width,
               (size_t)width * sizeof *want);
        for (int64_t k = 0; softmax && k < width; k++) sum += want[k] = exp(want[k]);
        for (int64_t k = 0; k < width; k++) {
            double wanted = softmax ? want[k] / sum : want[k], got = (double)x[i * width + k];
            if (!(fabs(got - wanted) < 1e-5))
                fail_msg("%s of text %d, element %d: %.8f, but %.8f is expected", name, (int)i,
                         (int)k, got, wanted);
        }
    }
}

static void test_numbers_are_pytorchs(void **state) {
    graft_model *m = open_model(model, 2);
    gf_safetensors expected = {0};
    gf_err e = {0};
    result r;
    (void)state;
    if (!gf_safetensors_open(&expected, GOLDEN "/expected.safetensors", &e)) fail_msg("%s", e.text);
    assert_true(run(m, &r, NULL));
    check_numbers(&expected, "embedding", r.embeddings, H, false);
    check_numbers(&expected, "logits/category", r.category, CATEGORIES, true);
    check_numbers(&expected, "logits/sentiment", r.sentiment, SENTIMENTS, true);
    gf_safetensors_close(&expected);
    graft_close(m);
}

static void test_what_is_not_wanted_may_be_left_out(void **state) {
    graft_model *m = open_model(model, 1);
    result all, some = {0};
    float *one[] = {NULL, some.sentiment}, *none[] = {NULL, NULL};
    (void)state;
    assert_true(run(m, &all, NULL));
    assert_true(graft_embed(m, texts, N, some.embeddings, NULL));
    assert_memory_equal(all.embeddings, some.embeddings, sizeof all.embeddings);
    assert_true(graft_predict(m, texts, N, NULL, one, NULL));
    assert_memory_equal(all.sentiment, some.sentiment, sizeof all.sentiment);
    assert_true(graft_predict(m, texts, N, NULL, none, NULL));
    assert_true(graft_predict(m, texts, N, NULL, NULL, NULL));
    assert_true(graft_predict(m, NULL, 0, NULL, NULL, NULL));
    assert_true(graft_embed(m, NULL, 0, NULL, NULL));
    graft_close(m);
}

/* More than one batch, all lengths, some far beyond the model's. */
static void test_many_texts_keep_their_places(void **state) {
    enum { MANY = 700, LONG = 5000 };
    static char long_text[LONG];
    static const char *many[MANY];
    static float x[MANY * H], sentiment[MANY * SENTIMENTS];
    float *scores[] = {NULL, sentiment};
    graft_model *m = open_model(model, 2);
    result r;
    (void)state;
    for (int i = 0; i + 1 < LONG; i++) long_text[i] = i % 2 ? ' ' : '!';
    for (int i = 0; i < MANY; i++) many[i] = i % 7 == 6 ? long_text : texts[i % 7 % N];
    assert_true(run(m, &r, NULL));
    assert_true(graft_predict(m, many, MANY, x, scores, NULL));
    for (int i = 0; i < MANY; i++) {
        if (i % 7 == 6) continue;
        for (int k = 0; k < H; k++)
            assert_true(fabsf(x[i * H + k] - r.embeddings[i % 7 % N * H + k]) < 1e-5f);
        for (int k = 0; k < SENTIMENTS; k++)
            assert_true(fabsf(sentiment[i * SENTIMENTS + k] -
                              r.sentiment[i % 7 % N * SENTIMENTS + k]) < 1e-5f);
    }
    graft_close(m);
}

/* A caller of its own share of the texts, again and again; what differs from `want` is counted. */
typedef struct caller {
    pthread_t thread;
    graft_model *m;
    const result *want;
    int first, calls, wrong;
} caller;

static bool call_once(caller *c) {
    int i = c->first++ % N;
    float x[H], category[CATEGORIES], sentiment[SENTIMENTS], *scores[] = {category, sentiment};
    const result *r = c->want;
    return graft_predict(c->m, texts + i, 1, x, scores, NULL) &&
           memcmp(x, r->embeddings + i * H, sizeof x) == 0 &&
           memcmp(category, r->category + i * CATEGORIES, sizeof category) == 0 &&
           memcmp(sentiment, r->sentiment + i * SENTIMENTS, sizeof sentiment) == 0 &&
           graft_task_find(c->m, "sentiment") == 1;
}

static void *call_often(void *argument) {
    caller *c = argument;
    for (int i = 0; i < c->calls; i++) c->wrong += !call_once(c);
    return NULL;
}

/* Threads of graft block signals; these are those of the process that block one, from /proc. */
static int count_threads_that_block(int signal_number) {
    struct dirent *d;
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    assert_non_null(tasks);
    while ((d = readdir(tasks))) {
        char path[300], line[200];
        unsigned long long mask = 0;
        FILE *f;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", d->d_name);
        if (d->d_name[0] == '.' || !(f = fopen(path, "r"))) continue;
        while (fgets(line, sizeof line, f))
            if (sscanf(line, "SigBlk: %llx", &mask) == 1) break;
        fclose(f);
        count += (int)(mask >> (signal_number - 1) & 1);
    }
    closedir(tasks);
    return count;
}

static void share(graft_model *m, const result *want) {
    enum { CALLERS = 8, CALLS = 25 };
    caller c[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        c[i] = (caller){.m = m, .want = want, .first = i, .calls = CALLS};
        assert_int_equal(pthread_create(&c[i].thread, NULL, call_often, &c[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(c[i].thread, NULL);
    for (int i = 0; i < CALLERS; i++) assert_int_equal(c[i].wrong, 0);
}

static void test_threads_may_share_a_model(void **state) {
    graft_model *alone = open_model(model, 1);
    result want;
    (void)state;
    for (int i = 0; i < N; i++) {
        float *scores[] = {want.category + i * CATEGORIES, want.sentiment + i * SENTIMENTS};
        assert_true(graft_predict(alone, texts + i, 1, want.embeddings + i * H, scores, NULL));
    }
    share(alone, &want); /* side by side, where there are two processors */
    for (int threads = 0; threads < 4; threads++) {
        int others = count_threads_that_block(SIGUSR1); /* a sanitizer's */
        graft_model *m = open_model(model, threads);
        int processors = gf_pool_processors(), of_one = threads > 0 ? threads : processors;
        int engines = of_one < processors ? processors / of_one : 1;
        share(m, &want);
        assert_true(count_threads_that_block(SIGUSR1) - others <= engines * (of_one - 1));
        graft_close(m);
    }
    graft_close(alone);
}

static void *open_and_close(void *argument) {
    caller *c = argument;
    for (int i = 0; i < 5; i++) {
        graft_model *m = graft_open(model, 1, NULL);
        result r;
        c->wrong += !m || !run(m, &r, NULL) || memcmp(&r, c->want, sizeof r) != 0;
        graft_close(m);
    }
    return NULL;
}

static void test_threads_may_open_models(void **state) {
    graft_model *m = open_model(model, 1);
    caller c[4];
    result want;
    (void)state;
    assert_true(run(m, &want, NULL));
    for (int i = 0; i < 4; i++) {
        c[i] = (caller){.want = &want};
        assert_int_equal(pthread_create(&c[i].thread, NULL, open_and_close, &c[i]), 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(c[i].thread, NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(c[i].wrong, 0);
    graft_close(m);
}

static void assert_error(const graft_error *e, int code, const char *says) {
    assert_int_equal(e->code, code);
    if (!strstr(e->text, says)) fail_msg("\"%s\" lacks \"%s\"", e->text, says);
    if (!strchr(e->text, ';')) fail_msg("\"%s\" does not say what to do", e->text);
}

static void test_opening_says_what_is_wrong(void **state) {
    graft_error e = {0};
    (void)state;
    assert_null(graft_open("/nowhere/at/all", 1, &e));
    assert_error(&e, GRAFT_ERROR_MODEL, "/nowhere/at/all");
    assert_null(graft_open(NULL, 1, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "NULL");
    assert_null(graft_open(model, -1, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "-1");
    assert_null(graft_open("/nowhere/at/all", 1, NULL));
}

static void test_wrong_arguments_are_values(void **state) {
    const char *const holed[] = {"a", NULL, "b"};
    graft_model *m = open_model(model, 1);
    graft_error e = {0};
    float x[3 * H];
    (void)state;
    assert_false(graft_embed(m, holed, 3, x, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "graft_embed: text 1 of 0 to 2 is NULL");
    assert_false(graft_predict(m, holed, 3, x, NULL, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "graft_predict: text 1 ");
    assert_false(graft_predict(m, NULL, 2, x, NULL, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "texts are NULL");
    assert_false(graft_predict(NULL, texts, 1, x, NULL, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "model is NULL");
    assert_false(graft_embed(m, texts, 1, NULL, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "embeddings is NULL");
    assert_false(graft_embed(m, texts, (size_t)-1, x, &e));
    assert_error(&e, GRAFT_ERROR_USAGE, "negative");
    assert_false(graft_embed(m, holed, 3, x, NULL));
    e = (graft_error){.code = -7};
    assert_true(graft_embed(m, texts, 1, x, &e));
    assert_int_equal(e.code, -7);
    graft_close(m);
}

static void check_damage(const char *parameter, const char *says) {
    const char *damaged = path_of(parameter);
    graft_error e = {0};
    gf_err saved = {0};
    result r;
    graft_model *m;
    if (!save_model(damaged, parameter, &saved)) fail_msg("%s", saved.text);
    m = open_model(damaged, 1);
    assert_false(run(m, &r, &e));
    assert_error(&e, GRAFT_ERROR_NUMERIC, says);
    graft_close(m);
}

static void test_nan_is_an_error(void **state) {
    (void)state;
    check_damage("heads.sentiment.bias", "sentiment gives NaN");
    check_damage("encoder.layer.0.output.dense.bias", "the encoder gives NaN");
}

/* Every allocation fails in turn; opening and predicting fail with it, or do without. */
static void test_lack_of_memory_is_an_error(void **state) {
    int opening = 0, predicting = 0;
    gf_mem_stats before = gf_mem_get_stats();
    (void)state;
    for (int64_t k = 1;; k++) {
        graft_error e = {0};
        graft_model *m;
        result r;
        bool opened, done, fired;
        gf_mem_fail_at(k, false);
        m = graft_open(model, 1, &e);
        opened = m != NULL;
        done = opened && run(m, &r, &e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        if (!done) assert_int_equal(e.code, GRAFT_ERROR_SYSTEM);
        opening += !opened;
        predicting += opened && !done;
        if (opened && !done) assert_true(run(m, &r, &e)); /* the model is as good as before */
        graft_close(m);
        assert_int_equal(gf_mem_get_stats().live_blocks, before.live_blocks);
        assert_true(fired || done);
        if (!fired) break;
    }
    assert_true(opening > 50 && predicting > 10);
}

static void own_handler(int number) { (void)number; }

static void test_the_program_keeps_its_state(void **state) {
    struct sigaction mine = {.sa_handler = own_handler}, now;
    static const int kinds[] = {SIGINT, SIGTERM, SIGPIPE, SIGCHLD};
    sigset_t mask;
    int rounding = fegetround(), blocked = count_threads_that_block(SIGUSR1);
    graft_model *m;
    result r;
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) sigaction(kinds[i], &mine, NULL);
    feclearexcept(FE_ALL_EXCEPT);
    m = open_model(model, 3);
    assert_int_equal(count_threads_that_block(SIGUSR1), blocked + 2);
    assert_true(run(m, &r, NULL));
    graft_close(m);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        sigaction(kinds[i], NULL, &now);
        assert_true(now.sa_handler == own_handler);
        signal(kinds[i], SIG_DFL);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGUSR1), 0);
    assert_int_equal(fegetround(), rounding);
    assert_int_equal(fetestexcept(FE_INVALID | FE_DIVBYZERO), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_sizes),
        cmocka_unit_test(test_codes_are_the_exit_statuses),
        cmocka_unit_test(test_no_model_is_an_empty_one),
        cmocka_unit_test(test_numbers_are_pytorchs),
        cmocka_unit_test(test_what_is_not_wanted_may_be_left_out),
        cmocka_unit_test(test_many_texts_keep_their_places),
        cmocka_unit_test(test_threads_may_share_a_model),
        cmocka_unit_test(test_threads_may_open_models),
        cmocka_unit_test(test_opening_says_what_is_wrong),
        cmocka_unit_test(test_wrong_arguments_are_values),
        cmocka_unit_test(test_nan_is_an_error),
        cmocka_unit_test(test_lack_of_memory_is_an_error),
        cmocka_unit_test(test_the_program_keeps_its_state),
    };
    return cmocka_run_group_tests(tests, make_model, remove_scratch);
}
