/* Whole runs with every loss, way of balancing, surgery, optimizer, way of unfreezing, objective
 * and mix against PyTorch (tests/golden/strategies): what each update says of itself, which
 * parameters moved, and where they end. Run from the project's root. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/safetensors.h"
#include "checkpoints/store.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/trainer.h"

#define FOLDER "tests/golden/strategies/"

static char scratch[] = SCRATCH "/graft-test-XXXXXX";
static cJSON *cases;
static gf_safetensors expected;

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

static const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("no %s in the golden file", key);
    return item;
}

static double number(const cJSON *j, const char *key) { return get(j, key)->valuedouble; }

/* ---- a run, watched ---- */

/* How a case is run: the result is the same whatever it says. */
typedef struct variant {
    const char *name, *sets[4];
    int64_t n_sets;
    int threads;
} variant;

static const variant as_written = {"as written", {NULL}, 0, 2};
/* The same rows in pieces of one update; the conflicts of tasks observed. */
static const variant in_pieces = {"in pieces", {"batch.size=5", "batch.accumulate=4"}, 2, 1};
static const variant observed = {"observed", {"conflicts.every_steps=2"}, 1, 3};

typedef struct watched {
    const cJSON *updates; /* what is wanted of each */
    int64_t at;
    char why[256]; /* what is wrong with the first that differs, "" so far */
} watched;

static void compare(watched *w, const char *what, double got, double want) {
    if (w->why[0] || fabs(got - want) <= 2e-5 * fmax(1, fabs(want))) return;
    snprintf(w->why, sizeof w->why, "update %lld: %s is %.9g, torch has %.9g", (long long)w->at,
             what, got, want);
}

static void compare_lists(watched *w, const char *what, const double *got, const cJSON *want) {
    char name[64];
    for (int i = 0; i < cJSON_GetArraySize(want); i++) {
        const cJSON *x = cJSON_GetArrayItem(want, i);
        snprintf(name, sizeof name, "%s %d", what, i);
        if (cJSON_IsNumber(x))
            compare(w, name, got[i], x->valuedouble);
        else if (strcmp(what, "loss") == 0 && !isnan(got[i]))
            snprintf(w->why, sizeof w->why, "%s is %g where there is no label", name, got[i]);
    }
}

static void see_step(void *context, const gf_step_view *v) {
    watched *w = context;
    const cJSON *want = cJSON_GetArrayItem(w->updates, (int)w->at);
    double elements = 0;
    if (!want) {
        snprintf(w->why, sizeof w->why, "there are more than %lld updates", (long long)w->at);
        return;
    }
    for (int64_t i = 0; i < v->phase->blocks.count; i++)
        elements += (double)v->phase->blocks.items[i].count;
    compare(w, "the number of elements that train", elements, number(want, "elements"));
    compare_lists(w, "loss", v->update->loss, get(want, "losses"));
    compare_lists(w, "weight", v->update->weight, get(want, "weights"));
    compare(w, "the total", v->update->total, number(want, "total"));
    compare(w, "the schedule's factor", v->update->factor, number(want, "factor"));
    compare(w, "the gradient's norm", v->update->grad_norm, number(want, "norm"));
    w->at++;
}

static void read_recipe(gf_recipe *r, const cJSON *c, const variant *v) {
    const char *name = get(c, "name")->valuestring;
    const char *sets[5];
    char path[128], output[256];
    gf_err e = {0};
    char *text = gf_json_print(get(c, "recipe"), &e);
    check(text != NULL, &e);
    snprintf(path, sizeof path, FOLDER "%s.json", name);
    snprintf(output, sizeof output, "output=\"%s/run\"", scratch);
    sets[0] = output;
    for (int64_t i = 0; i < v->n_sets; i++) sets[i + 1] = v->sets[i];
    check(gf_recipe_parse(r, text, strlen(text), path, sets, v->n_sets + 1, &e), &e);
    gf_free(text);
}

/* ---- where the parameters end ---- */

static bool trained(const cJSON *c, const char *name, int *place) {
    const cJSON *list = get(c, "trained"), *item;
    *place = 0;
    cJSON_ArrayForEach(item, list) {
        if (strcmp(item->valuestring, name) == 0) return true;
        ++*place;
    }
    return false;
}

static void compare_values(const gf_param *p, const gf_real *want) {
    /* the gradient of a key's bias is 0 but for rounding, which AdamW makes large */
    double allowed = strstr(p->name, "key.bias") ? 1e-4 : 2e-5;
    for (int64_t i = 0; i < gf_param_count(p); i++)
        if (!(fabs((double)p->value[i] - (double)want[i]) <= allowed))
            fail_msg("%s[%d] is %.9g, torch has %.9g", p->name, (int)i, (double)p->value[i],
                     (double)want[i]);
}

static void same_bits(const gf_param *p, const gf_param *before) {
    if (memcmp(p->value, before->value, (size_t)gf_param_count(p) * sizeof *p->value) != 0)
        fail_msg("%s moved, and is frozen", p->name);
    assert_int_equal(p->updates, 0);
    assert_null(p->moment1);
}

/* The parameters that trained, in torch's order, are one behind the other in one tensor. */
static void compare_model(const cJSON *c, const gf_model *m, const gf_model *before) {
    const char *name = get(c, "name")->valuestring;
    const gf_tensor *t = gf_safetensors_find(&expected, name);
    const cJSON *item;
    int64_t at = 0;
    gf_real *want;
    gf_err e = {0};
    int place;
    if (!t) fail_msg("no expected %s", name);
    want = gf_alloc_array(t->count, sizeof *want, &e);
    check(gf_tensor_to_real(t, want, name, &e), &e);
    cJSON_ArrayForEach(item, get(c, "trained")) {
        const gf_param *p = gf_params_find(&m->params, item->valuestring);
        if (!p) fail_msg("no parameter %s", item->valuestring);
        assert_true(at + gf_param_count(p) <= t->count);
        compare_values(p, want + at);
        at += gf_param_count(p);
    }
    assert_int_equal(at, t->count);
    assert_int_equal(m->params.count, before->params.count);
    for (int64_t i = 0; i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        if (trained(c, p->name, &place))
            assert_int_equal(p->updates, cJSON_GetArrayItem(get(c, "counts"), place)->valueint);
        else
            same_bits(p, gf_params_find(&before->params, p->name));
    }
    gf_free(want);
}

/* ---- the rows of the batches ---- */

static void compare_epoch(const gf_epoch *epoch, const cJSON *want) {
    const cJSON *batch, *row;
    int64_t b = 0;
    assert_int_equal(epoch->batches, cJSON_GetArraySize(want));
    cJSON_ArrayForEach(batch, want) {
        int64_t at = epoch->start[b++];
        cJSON_ArrayForEach(row, batch) assert_int_equal(epoch->row[at++], row->valueint);
        assert_int_equal(at, epoch->start[b]);
    }
}

static void compare_batches(const cJSON *c, gf_run *run) {
    const cJSON *phase, *want;
    int64_t i = 0;
    cJSON_ArrayForEach(phase, get(c, "batches")) {
        gf_phase p = {0};
        gf_progress at = {0};
        gf_epoch epoch = {0};
        int64_t k = 0;
        gf_err e = {0};
        check(gf_phase_begin(&p, run, i++, &at, &e), &e);
        cJSON_ArrayForEach(want, phase) {
            check(gf_phase_make_epoch(&p, run, k++, &epoch, &e), &e);
            compare_epoch(&epoch, want);
        }
        assert_int_equal(k, p.recipe->epochs);
        gf_epoch_free(&epoch);
        gf_phase_end(&p);
    }
}

/* ---- a case ---- */

static void run_case(const cJSON *c, const variant *v) {
    watched w = {.updates = get(c, "updates")};
    gf_trainer_options o = {
        .threads = v->threads, .force = true, .watch = {.context = &w, .step = see_step}};
    gf_recipe r = {0};
    gf_run start = {0};
    gf_model m = {0};
    gf_err e = {0};
    char best[256];
    print_message("  %s, %s\n", get(c, "name")->valuestring, v->name);
    read_recipe(&r, c, v);
    check(gf_train(&r, &o, &e), &e);
    if (w.why[0]) fail_msg("%s", w.why);
    assert_int_equal(w.at, cJSON_GetArraySize(w.updates));
    assert_true(w.at >= 5);
    snprintf(best, sizeof best, "%s/run/checkpoints/best.h5", scratch);
    check(gf_store_read(&m, best, NULL, NULL, &e), &e);
    check(gf_run_open(&start, &r, NULL, NULL, &e), &e);
    compare_model(c, &m, &start.model);
    if (cJSON_IsArray(get(c, "batches"))) compare_batches(c, &start);
    gf_model_free(&m);
    gf_run_close(&start);
    gf_recipe_free(&r);
}

static void run_group(const char *group, int count) {
    const cJSON *c;
    cJSON_ArrayForEach(c, cases) {
        if (strcmp(get(c, "group")->valuestring, group) != 0) continue;
        run_case(c, &as_written);
        if (!cJSON_IsArray(get(c, "batches"))) run_case(c, &in_pieces);
        if (cJSON_GetArraySize(get(get(c, "recipe"), "tasks")) > 1) run_case(c, &observed);
        count--;
    }
    assert_int_equal(count, 0);
}

static void test_every_loss(void **state) {
    (void)state;
    run_group("losses", 2);
}

static void test_every_way_of_balancing(void **state) {
    (void)state;
    run_group("balance", 5);
}

static void test_surgery_of_the_shared_gradients(void **state) {
    (void)state;
    run_group("surgery", 3);
}

static void test_optimizers_schedules_and_averages(void **state) {
    (void)state;
    run_group("optimizers", 3);
}

static void test_unfreezing_anchors_and_parts(void **state) {
    (void)state;
    run_group("transfer", 6);
}

static void test_masked_language_modelling_before_tasks(void **state) {
    (void)state;
    run_group("adaptation", 2);
}

static void test_mixes_and_batches_of_tokens(void **state) {
    (void)state;
    run_group("mixes", 4);
}

static int start(void **state) {
    gf_err e = {0};
    (void)state;
    mallopt(M_PERTURB, 0xa5); /* libhdf5 1.10 reads freed memory where it may: see h5_driver.h */
    if (!mkdtemp(scratch)) return -1;
    if ((cases = gf_json_read(FOLDER "cases.json", 1 << 20, &e)) &&
        gf_safetensors_open(&expected, FOLDER "expected.safetensors", &e))
        return 0;
    print_error("%s\n", e.text);
    return -1;
}

static int stop(void **state) {
    (void)state;
    cJSON_Delete(cases);
    gf_safetensors_close(&expected);
    return gf_io_remove_tree(scratch, NULL) ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_loss),
        cmocka_unit_test(test_every_way_of_balancing),
        cmocka_unit_test(test_surgery_of_the_shared_gradients),
        cmocka_unit_test(test_optimizers_schedules_and_averages),
        cmocka_unit_test(test_unfreezing_anchors_and_parts),
        cmocka_unit_test(test_masked_language_modelling_before_tasks),
        cmocka_unit_test(test_mixes_and_batches_of_tokens),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
