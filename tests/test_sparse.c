/* Embedding tables by rows (optim/sparse.h) against the dense form, which test_optim holds against
 * PyTorch: equal to the last bit, update for update and in whole runs. Run from the project's
 * root. */
#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/mem.h"
#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/sparse.h"
#include "recipes/trainer.h"

/* ---- update for update ---- */

/* Rows that blocks cut through, and a width that is no multiple of a vector's. */
enum { V = 1800, H = 20, TOUCHED = 40 };

/* A table and one dense parameter. */
typedef struct side {
    gf_params params;
    gf_param *words;
    gf_groups groups;
    gf_blocks blocks;
    gf_pool *pool;
} side;

static void add(side *s, const char *name, gf_shape shape) {
    gf_param *p = gf_params_add(&s->params, name, &shape, NULL);
    assert_non_null(p);
    assert_true(gf_param_own(p, NULL));
    for (int64_t i = 0; i < gf_param_count(p); i++)
        p->owned[i] = (gf_real)((i * 7919) % 1000 - 500) / 700;
    p->owned[3] = -0.0F;
    p->owned[5] = 1e-40F; /* subnormal */
}

static void freeze(side *s) {
    gf_sparse_stop(s->words, gf_vec_best(), s->pool);
    gf_groups_free(&s->groups);
    gf_blocks_free(&s->blocks);
}

/* As a phase begins in which words train, or do not. */
static void unfreeze(side *s, bool words, double decay, bool sparse) {
    gf_rule rules[] = {{"heads.*", 1e-2, NAN, 1, 0}, {"embeddings.*", 0.3, decay, 1, 0}};
    freeze(s);
    assert_true(gf_groups_assign(&s->groups, &s->params, rules, words ? 2 : 1, 0, -1, 0.1, NULL));
    assert_true(gf_groups_reserve(&s->params, GF_OPTIMIZER_ADAMW, NULL));
    assert_true(gf_blocks_cut(&s->blocks, &s->params, NULL));
    if (words && sparse) assert_true(gf_sparse_start(s->words, NULL));
}

static side make_side(int64_t rows, int64_t width, int threads) {
    side s = {.pool = gf_pool_new(threads, NULL)};
    assert_non_null(s.pool);
    add(&s, "embeddings.words", gf_shape2(rows, width));
    add(&s, "heads.a", gf_shape1(70));
    s.words = s.params.items[0];
    return s;
}

static void free_side(side *s) {
    freeze(s);
    gf_pool_free(s->pool);
    gf_params_free(&s->params);
}

/* What an op does to a table's gradient: ids may repeat, and a touched row may stay zero. */
static void put_gradient(side *s, const int32_t *ids, int64_t n, int64_t update) {
    int64_t h = s->words->shape.dim[1];
    gf_param *dense = s->params.items[1];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < h && ids[i] % 7 != 0; k++)
            s->words->grad[ids[i] * h + k] +=
                (gf_real)((update * 31 + ids[i] * 17 + k * 13 + i) % 101 - 50) / 300;
        if (s->words->rows) s->words->rows->touched[ids[i]] = 1;
    }
    for (int64_t k = 0; k < gf_param_count(dense); k++)
        dense->grad[k] = (gf_real)((k + update) % 9 - 4) / 10;
}

static double apply(side *s, double factor, double clip_norm) {
    gf_adamw_settings settings = {0.9, 0.99, 1e-8};
    double norm = gf_grad_norm(&s->blocks, gf_vec_best(), s->pool);
    gf_adamw_update(&s->blocks, &s->groups, &settings, factor, gf_grad_scale(norm, clip_norm),
                    gf_vec_best(), s->pool);
    return norm;
}

static void same_bits(const gf_real *a, const gf_real *b, int64_t n, const char *what,
                      int64_t update) {
    for (int64_t i = 0; a != b && i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            fail_msg("update %d: %s[%d] is %.9g, dense %.9g", (int)update, what, (int)i,
                     (double)a[i], (double)b[i]);
}

static void same_sides(const side *a, const side *b, int64_t update) {
    for (int64_t k = 0; k < a->params.count; k++) {
        const gf_param *p = a->params.items[k], *q = b->params.items[k];
        int64_t n = gf_param_count(p);
        assert_int_equal(p->updates, q->updates);
        same_bits(p->value, q->value, n, p->name, update);
        if (p->grad) same_bits(p->grad, q->grad, n, "gradient", update);
        if (!p->moment1) continue;
        same_bits(p->moment1, q->moment1, n, "moment1", update);
        same_bits(p->moment2, q->moment2, n, "moment2", update);
    }
}

static uint32_t draw(uint32_t *seed) { return (*seed = *seed * 1664525u + 1013904223u) >> 8; }

/* An update of both with the same gradient; the words that are read are what dense ones are. */
static void update_both(side *sparse, side *dense, uint32_t *seed, int64_t update) {
    int32_t ids[TOUCHED];
    int64_t n = draw(seed) % TOUCHED, h = sparse->words->shape.dim[1];
    double factor = update % 6 == 0 ? 0 : (double)(draw(seed) % 100) / 50;
    double clip = update % 3 == 0 ? 0 : 0.5;
    int64_t rows = sparse->words->shape.dim[0], spread = update % 4 ? rows : rows / 9;
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)(draw(seed) % spread);
    if (sparse->words->trainable) {
        bool read = update % 5 != 2; /* a touched row need not have been read */
        if (read) gf_sparse_wake(sparse->words, ids, n, gf_vec_best());
        for (int64_t i = 0; read && i < n; i++)
            same_bits(sparse->words->value + ids[i] * h, dense->words->value + ids[i] * h, h,
                      "a row that is read", update);
        put_gradient(sparse, ids, n, update);
        put_gradient(dense, ids, n, update);
    }
    assert_true(apply(sparse, factor, clip) == apply(dense, factor, clip));
    for (int64_t i = 0; sparse->words->rows && i < rows; i++)
        assert_false(sparse->words->rows->touched[i]);
}

/* Phases: with decay, without, words frozen, with another decay. */
static void through_phases(int threads) {
    static const double decays[] = {0.2, 0, NAN, 0.05, 0.2};
    side sparse = make_side(V, H, threads), dense = make_side(V, H, 1);
    uint32_t seed = 7;
    int64_t update = 0, dead = 0;
    for (int phase = 0; phase < 5; phase++) {
        bool words = !isnan(decays[phase]);
        unfreeze(&sparse, words, decays[phase], true);
        unfreeze(&dense, words, decays[phase], false);
        for (int i = 0; i < 14; i++, update++) {
            update_both(&sparse, &dense, &seed, update);
            if (words) dead = sparse.words->rows->n_dead;
            if (i % 5 != 4) continue;
            gf_sparse_flush(sparse.words, gf_vec_best(), sparse.pool);
            same_sides(&sparse, &dense, update);
        }
        assert_true(dead > V / 3 && dead < V - 100);
        freeze(&sparse);
        same_sides(&sparse, &dense, update);
    }
    free_side(&sparse);
    free_side(&dense);
}

static void test_updates_are_the_dense_ones(void **state) {
    static const int threads[] = {1, 2, 3, 5};
    (void)state;
    for (int i = 0; i < 4; i++) through_phases(threads[i]);
}

/* Dead rows owe their decay while nobody asks for it; a table never flushed is at last. */
static void test_decay_is_owed_and_paid(void **state) {
    side sparse = make_side(50, 3, 1), dense = make_side(50, 3, 1);
    gf_real before = sparse.words->value[60];
    (void)state;
    unfreeze(&sparse, true, 1e-3, true);
    unfreeze(&dense, true, 1e-3, false);
    for (int64_t i = 0; i < GF_SPARSE_DECAYS + 9; i++) {
        int32_t ids[] = {7, (int32_t)(i / 200)};
        gf_sparse_wake(sparse.words, ids, 2, gf_vec_best());
        put_gradient(&sparse, ids, 2, i);
        put_gradient(&dense, ids, 2, i);
        apply(&sparse, 1, 0);
        apply(&dense, 1, 0);
        assert_true(sparse.words->rows->n_decay == (i + 1) % GF_SPARSE_DECAYS);
        assert_true((sparse.words->value[147] == dense.words->value[147]) ==
                    (i + 1 == GF_SPARSE_DECAYS));
    }
    assert_true(sparse.words->value[60] != before);
    gf_sparse_flush(sparse.words, gf_vec_best(), sparse.pool);
    same_sides(&sparse, &dense, 0);
    assert_true(sparse.words->rows->n_decay == 0);
    free_side(&sparse);
    free_side(&dense);
}

static void copy_param(gf_param *to, const gf_param *from) {
    size_t size = (size_t)gf_param_count(from) * sizeof(gf_real);
    memcpy(to->owned, from->value, size);
    memcpy(to->moment1, from->moment1, size);
    memcpy(to->moment2, from->moment2, size);
    to->updates = from->updates;
}

/* Live rows are found again from moments alone, even where one is live by a moment of -0. */
static void test_a_resumed_table_goes_on_the_same(void **state) {
    side one = make_side(V, H, 2), dense = make_side(V, H, 1), two = make_side(V, H, 2);
    uint32_t seed = 3;
    int64_t live;
    (void)state;
    unfreeze(&one, true, 0.2, true);
    unfreeze(&dense, true, 0.2, false);
    unfreeze(&two, true, 0.2, false);
    for (int64_t i = 0; i < 10; i++) update_both(&one, &dense, &seed, i);
    one.words->moment1[77 * H] = dense.words->moment1[77 * H] = -0.0F;
    one.words->rows->n_dead -= !one.words->rows->live[77];
    one.words->rows->live[77] = 1;
    gf_sparse_flush(one.words, gf_vec_best(), one.pool);
    for (int64_t k = 0; k < 2; k++) copy_param(two.params.items[k], one.params.items[k]);
    assert_true(gf_sparse_start(two.words, NULL));
    live = V - two.words->rows->n_dead;
    assert_true(two.words->rows->live[77] && live > 50 && live < V - one.words->rows->n_dead);
    for (int64_t i = 10; i < 20; i++) update_both(&two, &dense, &seed, i);
    freeze(&two);
    same_sides(&two, &dense, 20);
    free_side(&one);
    free_side(&two);
    free_side(&dense);
}

static void test_every_allocation_may_fail(void **state) {
    side s = make_side(50, 3, 1);
    int failures = 0;
    gf_err e = {0};
    (void)state;
    unfreeze(&s, true, 0.1, false);
    for (bool ok = false; !ok; failures++) {
        gf_mem_fail_at(failures + 1, false);
        ok = gf_sparse_start(s.words, &e);
        assert_true(ok != gf_mem_fault_fired() && ok == (s.words->rows != NULL));
        assert_true(ok || e.code == GF_E_NOMEM);
    }
    gf_mem_fail_at(0, false);
    assert_int_equal(failures, 5);
    e = (gf_err){0};
    assert_false(gf_sparse_start(s.words, &e));
    assert_int_equal(e.code, GF_E_INTERNAL);
    free_side(&s);
}

/* ---- memory ---- */

/* Pages within x[n] that are there. */
static int64_t pages_of(const gf_real *x, int64_t n, int64_t *all) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = ((uintptr_t)x + page - 1) / page;
    int64_t there = 0;
    unsigned char *is;
    *all = (int64_t)((uintptr_t)(x + n) / page - start);
    assert_non_null(is = malloc((size_t)*all));
    assert_int_equal(mincore((void *)(start * page), (size_t)*all * page, is), 0);
    for (int64_t i = 0; i < *all; i++) there += is[i] & 1;
    free(is);
    return there;
}

static void test_untouched_rows_take_no_memory(void **state) {
    enum { ROWS = 40000, WIDTH = 384 };
    int32_t ids[] = {39999, 5, 17000};
    side s;
    (void)state;
    mallopt(M_PERTURB, 0); /* which the suite sets, and which writes to all that is given out */
    s = make_side(ROWS, WIDTH, 2);
    for (int phase = 0; phase < 2; phase++) {
        const gf_real *arrays[3];
        unfreeze(&s, true, 0.1, true);
        for (int64_t i = 0; i < 3; i++) {
            put_gradient(&s, ids, 3, i);
            apply(&s, 1, 1);
        }
        arrays[0] = s.words->grad, arrays[1] = s.words->moment1, arrays[2] = s.words->moment2;
        for (int i = 0; i < 3; i++) {
            int64_t all, there = pages_of(arrays[i], (int64_t)ROWS * WIDTH, &all);
            /* looking for live rows may map the one page of zeros everywhere, which is free */
            if (phase == 0 || i == 0)
                if (there > all / 8) fail_msg("%d of %d pages", (int)there, (int)all);
        }
    }
    free_side(&s);
}

/* ---- whole runs ---- */

static char scratch[] = SCRATCH "/graft-test-XXXXXX";

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

/* What a run's updates were. */
typedef struct watched {
    int by_rows, dense, calls_left;
    int64_t n_dead;
} watched;

static void see_step(void *context, const gf_step_view *v) {
    watched *w = context;
    for (int64_t i = 0; i < v->phase->blocks.count; i++) {
        const gf_param *p = v->phase->blocks.items[i].param;
        if (!strstr(p->name, "word_embeddings") || v->phase->blocks.items[i].first > 0) continue;
        w->by_rows += p->rows != NULL;
        w->dense += p->rows == NULL;
        if (p->rows) w->n_dead = p->rows->n_dead;
    }
}

static gf_code stop_soon(void *context) {
    watched *w = context;
    return --w->calls_left < 0 ? GF_E_SIGINT : GF_OK;
}

static char data[192];
/* The words train, stand still, and train again. */
static const char phases[] =
    "phases=["
    "{\"name\": \"a\", \"epochs\": 2, \"trainable\": {\"*\": {\"lr\": 1e-3, \"weight_decay\": 9}},"
    " \"schedule\": {\"type\": \"linear\", \"warmup\": 2}},"
    "{\"name\": \"b\", \"epochs\": 1, \"trainable\": {\"heads.*\": {\"lr\": 1e-3}}},"
    "{\"name\": \"c\", \"epochs\": 2, \"trainable\": {\"*\": {\"lr\": 1e-3, "
    "\"weight_decay\": 7}}}]";

static bool train(const char *name, const char *set, const gf_trainer_options *o, gf_err *e) {
    char output[128];
    const char *sets[] = {output, data, phases, "select.metric=\"loss\"", "save.every_steps=3",
                          set};
    gf_recipe r = {0};
    bool ok;
    snprintf(output, sizeof output, "output=\"%s/%s\"", scratch, name);
    ok = gf_recipe_read(&r, "demo/two-phase.json", sets, set ? 6 : 5, e) && gf_train(&r, o, e);
    gf_recipe_free(&r);
    return ok;
}

static char *read_file(const char *run, const char *name, size_t *size) {
    char path[256];
    gf_err e = {0};
    char *bytes;
    snprintf(path, sizeof path, "%s/%s/%s", scratch, run, name);
    check((bytes = gf_io_read_all(path, 1 << 28, size, &e)) != NULL, &e);
    return bytes;
}

static void same_file(const char *a, const char *b, const char *name) {
    size_t size[2];
    char *bytes[] = {read_file(a, name, &size[0]), read_file(b, name, &size[1])};
    if (size[0] != size[1] || memcmp(bytes[0], bytes[1], size[0]) != 0)
        fail_msg("%s of %s and %s differ", name, a, b);
    gf_free(bytes[0]);
    gf_free(bytes[1]);
}

static void same_runs(const char *a, const char *b) {
    char path[256];
    int64_t count = 0, files = 0;
    gf_err e = {0};
    char **names;
    snprintf(path, sizeof path, "%s/%s/checkpoints", scratch, a);
    check((names = gf_io_list(path, &count, &e)) != NULL, &e);
    for (int64_t i = 0; i < count; i++, files++) {
        snprintf(path, sizeof path, "checkpoints/%s", names[i]);
        same_file(a, b, path);
    }
    gf_io_free_names(names, count);
    assert_true(files >= 3);
    same_file(a, b, "metrics.json");
    same_file(a, b, "model/model.safetensors");
}

static void test_runs_write_the_dense_bytes(void **state) {
    watched dense = {0}, sparse = {0}, w;
    gf_trainer_options o = {.threads = 2, .dense = true, .watch = {&dense, .step = see_step}};
    gf_err e = {0};
    (void)state;
    check(train("dense", NULL, &o, &e), &e);
    o = (gf_trainer_options){.threads = 3, .watch = {&sparse, .step = see_step}};
    check(train("sparse", NULL, &o, &e), &e);
    same_runs("dense", "sparse");
    assert_true(dense.by_rows == 0 && dense.dense == 16);
    assert_true(sparse.by_rows == 16 && sparse.dense == 0);
    assert_true(sparse.n_dead > 100);
    for (int stop = 1; stop < 9; stop += 6) { /* behind steps, and while texts are encoded */
        w = (watched){.calls_left = stop};
        o = (gf_trainer_options){
            .threads = 1, .force = true, .watch = {&w, .step = see_step, .stop = stop_soon}};
        assert_false(train("cut", NULL, &o, &e));
        assert_int_equal(e.code, GF_E_SIGINT);
        e = (gf_err){0};
        o = (gf_trainer_options){.threads = 2, .resume = true, .at_step = -1};
        check(train("cut", NULL, &o, &e), &e);
        same_runs("dense", "cut");
    }
}

/* Where others look at the gradient or the values in each update, or make a dense gradient. */
static void test_others_fall_back_to_dense(void **state) {
    static const char *const sets[] = {
        "optimizer.name=\"sgd\"",        "optimizer.ema=0.9",       "surgery.method=\"pcgrad\"",
        "balance.method=\"gradnorm\"",   "conflicts.every_steps=3", "phases.0.objective=\"mlm\"",
        "phases.0.trainable.*.l2_sp=0.1"};
    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        watched w = {0};
        gf_trainer_options o = {
            .threads = 2, .force = true, .watch = {&w, .step = see_step, .stop = stop_soon}};
        gf_err e = {0};
        w.calls_left = 3;
        assert_false(train("other", sets[i], &o, &e));
        if (e.code != GF_E_SIGINT) fail_msg("%s: %s", sets[i], e.text);
        if (w.by_rows > 0 || w.dense == 0) fail_msg("%s: %d by rows", sets[i], w.by_rows);
    }
}

static void cut_rows(const char *from, const char *to, int rows) {
    size_t size = 0, kept = 0;
    char path[128];
    gf_err e = {0};
    char *text = gf_io_read_all(from, 1 << 24, &size, &e);
    check(text != NULL, &e);
    while (rows > 0 && kept < size) rows -= text[kept++] == '\n';
    snprintf(path, sizeof path, "%s/%s", scratch, to);
    check(gf_io_replace_file(path, text, kept, &e), &e);
    gf_free(text);
}

static int make_scratch(void **state) {
    (void)state;
    if (!mkdtemp(scratch)) return -1;
    cut_rows("demo/train.jsonl", "train.jsonl", 100);
    cut_rows("demo/dev.jsonl", "dev.jsonl", 20);
    snprintf(data, sizeof data, "data={\"train\": \"%s/train.jsonl\", \"dev\": \"%s/dev.jsonl\"}",
             scratch, scratch);
    return 0;
}

static int remove_scratch(void **state) {
    (void)state;
    return gf_io_remove_tree(scratch, NULL) ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_updates_are_the_dense_ones),
        cmocka_unit_test(test_decay_is_owed_and_paid),
        cmocka_unit_test(test_a_resumed_table_goes_on_the_same),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_untouched_rows_take_no_memory),
        cmocka_unit_test(test_runs_write_the_dense_bytes),
        cmocka_unit_test(test_others_fall_back_to_dense),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
