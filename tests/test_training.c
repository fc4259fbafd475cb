/* Whole runs: three phases against PyTorch (tests/golden/training), and runs that must end with the
 * same bytes whatever the number of threads or after an interruption. Run from the project's root.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/safetensors.h"
#include "checkpoints/store.h"
#include "core/mem.h"
#include "recipes/trainer.h"

static char scratch[] = SCRATCH "/graft-test-XXXXXX";

static const char *in_scratch(const char *name) {
    static char path[4][128];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, 128, "%s/%s", scratch, name);
    return p;
}

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

/* Trains a recipe into scratch/NAME; true when it ran to its end. */
static bool train(const char *recipe, const char *name, const char *const *sets, int64_t n_sets,
                  const gf_trainer_options *o, gf_err *e) {
    char output[256];
    const char *all[12] = {output};
    gf_recipe r = {0};
    bool ok;
    snprintf(output, sizeof output, "output=\"%s\"", in_scratch(name));
    for (int64_t i = 0; i < n_sets; i++) all[i + 1] = sets[i];
    ok = gf_recipe_read(&r, recipe, all, n_sets + 1, e) && gf_train(&r, o, e);
    gf_recipe_free(&r);
    return ok;
}

static void compare_param(const gf_safetensors *expected, const gf_param *p) {
    char name[224];
    const gf_tensor *t;
    gf_real *wanted;
    gf_err e = {0};
    double allowed = strstr(p->name, "key.bias") ? 1e-4 : 2e-5;
    snprintf(name, sizeof name, "all/%s", p->name);
    if (!(t = gf_safetensors_find(expected, name))) fail_msg("no expected %s", name);
    wanted = gf_alloc_array(t->count, sizeof *wanted, &e);
    check(gf_tensor_to_real(t, wanted, name, &e), &e);
    for (int64_t i = 0; i < t->count; i++)
        if (!(fabs((double)p->value[i] - (double)wanted[i]) <= allowed))
            fail_msg("%s[%d] is %.9g, torch has %.9g", p->name, (int)i, (double)p->value[i],
                     (double)wanted[i]);
    gf_free(wanted);
}

static void ends_as_torch_does(const char *recipe, const char *name) {
    gf_safetensors expected = {0};
    gf_model m = {0};
    gf_err e = {0};
    char best[256];
    check(train(recipe, name, NULL, 0, &(gf_trainer_options){.threads = 2}, &e), &e);
    snprintf(best, sizeof best, "%s/checkpoints/best.h5", in_scratch(name));
    check(gf_store_read(&m, best, NULL, NULL, &e), &e);
    check(gf_safetensors_open(&expected, "tests/golden/training/expected.safetensors", &e), &e);
    assert_true(m.params.count > 50);
    for (int64_t i = 0; i < m.params.count; i++) compare_param(&expected, m.params.items[i]);
    gf_safetensors_close(&expected);
    gf_model_free(&m);
}

static void test_three_phases_end_as_in_torch(void **state) {
    (void)state;
    ends_as_torch_does("tests/golden/training/recipe.json", "whole");
}

static void test_accumulated_batches_end_as_one_batch_does(void **state) {
    (void)state;
    ends_as_torch_does("tests/golden/training/recipe_accumulate.json", "accumulated");
    ends_as_torch_does("tests/golden/training/recipe_single.json", "single");
}

/* Two phases on a few rows of the demo's data, with dropout. */
static char short_data[192];
static const char *const short_run[] = {short_data,           "phases.0.epochs=1",
                                        "phases.1.epochs=2",  "batch.accumulate=2",
                                        "save.every_steps=2", "log.every_steps=3"};
enum { N_SHORT = 6 };

static void cut_rows(const char *from, const char *to, int rows) {
    size_t size = 0, kept = 0;
    gf_err e = {0};
    char *text = gf_io_read_all(from, 1 << 24, &size, &e);
    check(text != NULL, &e);
    while (rows > 0 && kept < size) rows -= text[kept++] == '\n';
    check(gf_io_replace_file(to, text, kept, &e), &e);
    gf_free(text);
}

static void same_file(const char *a, const char *b, const char *name) {
    char path[2][256];
    char *bytes[2];
    size_t size[2];
    gf_err e = {0};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s/%s", scratch, i ? b : a, name);
        bytes[i] = gf_io_read_all(path[i], 1 << 28, &size[i], &e);
        check(bytes[i] != NULL, &e);
    }
    if (size[0] != size[1] || memcmp(bytes[0], bytes[1], size[0]) != 0)
        fail_msg("%s and %s differ", path[0], path[1]);
    gf_free(bytes[0]);
    gf_free(bytes[1]);
}

/* checkpoints/, model/ and metrics.json of two runs, byte for byte. */
static void same_runs(const char *a, const char *b) {
    static const char *const folders[] = {"checkpoints", "model", "model/1_Pooling"};
    int files = 0;
    same_file(a, b, "metrics.json");
    for (int f = 0; f < 3; f++) {
        char path[256], name[512];
        int64_t count = 0, others = 0;
        gf_err e = {0};
        char **names, **more;
        snprintf(path, sizeof path, "%s/%s/%s", scratch, a, folders[f]);
        check((names = gf_io_list(path, &count, &e)) != NULL, &e);
        snprintf(path, sizeof path, "%s/%s/%s", scratch, b, folders[f]);
        check((more = gf_io_list(path, &others, &e)) != NULL, &e);
        assert_int_equal(count, others);
        for (int64_t i = 0; i < count; i++) {
            snprintf(path, sizeof path, "%s/%s/%s/%s", scratch, a, folders[f], names[i]);
            if (gf_io_is_folder(path)) continue;
            snprintf(name, sizeof name, "%s/%s", folders[f], names[i]);
            same_file(a, b, name);
            files++;
        }
        gf_io_free_names(names, count);
        gf_io_free_names(more, others);
    }
    assert_true(files >= 12);
}

static void test_any_number_of_threads_writes_the_same_bytes(void **state) {
    static const int threads[] = {1, 2, 3, 5};
    static const char *const names[] = {"t1", "t2", "t3", "t5"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        gf_err e = {0};
        check(train("demo/two-phase.json", names[i], short_run, N_SHORT,
                    &(gf_trainer_options){.threads = threads[i]}, &e),
              &e);
        if (i > 0) same_runs(names[0], names[i]);
    }
}

/* What layers compute again is what they computed, also where each task is pulled back alone. */
static void test_gradient_checkpointing_does_not_change_a_byte(void **state) {
    static const char *const ways[] = {"surgery.method=none", "surgery.method=pcgrad"};
    static const char *const files[] = {"metrics.json", "model/model.safetensors",
                                        "model/heads.safetensors"};
    const char *sets[N_SHORT + 2];
    (void)state;
    memcpy(sets, short_run, sizeof short_run);
    for (int i = 0; i < 2; i++) {
        for (int on = 0; on < 2; on++) {
            gf_err e = {0};
            sets[N_SHORT] = ways[i];
            sets[N_SHORT + 1] = on ? "batch.gradient_checkpointing=true" : "seed=42";
            check(train("demo/two-phase.json", on ? "k_on" : "k_off", sets, N_SHORT + 2,
                        &(gf_trainer_options){.threads = on ? 3 : 1, .force = true}, &e),
                  &e);
        }
        for (int f = 0; f < 3; f++) same_file("k_off", "k_on", files[f]);
    }
}

/* Stops after a number of calls. */
static gf_code stop_soon(void *context) {
    int *left = context;
    return --*left < 0 ? GF_E_SIGINT : GF_OK;
}

static void test_a_resumed_run_writes_the_same_bytes(void **state) {
    /* behind a step, between two saves, while dev is encoded, in either phase, behind the last */
    static const int stops[] = {5, 6, 8, 9, 12, 14, 17};
    (void)state;
    for (int i = 0; i < 7; i++) {
        int left = stops[i];
        gf_err e = {0};
        gf_trainer_options o = {
            .threads = 2, .force = true, .watch = {.context = &left, .stop = stop_soon}};
        assert_false(train("demo/two-phase.json", "cut", short_run, N_SHORT, &o, &e));
        assert_int_equal(e.code, GF_E_SIGINT);
        e = (gf_err){0};
        o = (gf_trainer_options){.threads = 1, .resume = true, .at_step = -1};
        check(train("demo/two-phase.json", "cut", short_run, N_SHORT, &o, &e), &e);
        same_runs("t1", "cut");
    }
}

static void test_a_run_is_not_overwritten(void **state) {
    gf_err e = {0};
    (void)state;
    assert_false(train("tests/golden/training/recipe.json", "whole", NULL, 0,
                       &(gf_trainer_options){.threads = 1}, &e));
    assert_int_equal(e.code, GF_E_USAGE);
    assert_non_null(strstr(e.text, "--force"));
}

/* Heads of the golden run, with one NaN in the category's weights. */
static void write_poisoned_heads(const char *path) {
    static gf_real weight[2][8 * 64], bias[2][8];
    gf_safetensors s = {0};
    gf_named_tensor items[4];
    gf_err e = {0};
    check(gf_safetensors_open(&s, "tests/golden/training/heads.safetensors", &e), &e);
    assert_int_equal(s.count, 4);
    for (int i = 0; i < 4; i++) {
        gf_real *data = strstr(s.items[i].name, "weight") ? weight[i / 2] : bias[i / 2];
        items[i] = (gf_named_tensor){.name = s.items[i].name, .data = data};
        check(gf_tensor_shape(&s.items[i], &items[i].shape, path, &e), &e);
        check(gf_tensor_to_real(&s.items[i], data, path, &e), &e);
        if (data == weight[0]) data[3] = (gf_real)NAN;
    }
    check(gf_safetensors_write(path, items, 4, &e), &e);
    gf_safetensors_close(&s);
}

static void test_a_loss_that_is_not_finite_stops_the_run(void **state) {
    char set[256];
    const char *sets[] = {set};
    gf_err e = {0};
    (void)state;
    write_poisoned_heads(in_scratch("poison.safetensors"));
    snprintf(set, sizeof set, "model.heads_init=\"%s\"", in_scratch("poison.safetensors"));
    assert_false(train("tests/golden/training/recipe.json", "poisoned", sets, 1,
                       &(gf_trainer_options){.threads = 1}, &e));
    if (e.code != GF_E_NUMERIC) fail_msg("%s", e.text);
    assert_non_null(strstr(e.text, "phase \"heads\", step 1: the loss of task \"category\""));
    assert_non_null(strstr(e.text, "train.jsonl: lines "));
}

static int make_scratch(void **state) {
    (void)state;
    if (!mkdtemp(scratch)) return -1;
    cut_rows("demo/train.jsonl", in_scratch("train.jsonl"), 180);
    cut_rows("demo/dev.jsonl", in_scratch("dev.jsonl"), 80);
    snprintf(short_data, sizeof short_data, "data={\"train\": \"%s\", \"dev\": \"%s\"}",
             in_scratch("train.jsonl"), in_scratch("dev.jsonl"));
    return 0;
}

static int remove_scratch(void **state) {
    (void)state;
    return gf_io_remove_tree(scratch, NULL) ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_phases_end_as_in_torch),
        cmocka_unit_test(test_accumulated_batches_end_as_one_batch_does),
        cmocka_unit_test(test_any_number_of_threads_writes_the_same_bytes),
        cmocka_unit_test(test_gradient_checkpointing_does_not_change_a_byte),
        cmocka_unit_test(test_a_resumed_run_writes_the_same_bytes),
        cmocka_unit_test(test_a_run_is_not_overwritten),
        cmocka_unit_test(test_a_loss_that_is_not_finite_stops_the_run),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
