/* lrfind: the losses of a test against torch, suggestions against numpy
 * (tests/golden/make_lrfind.py), where a test ends, what it leaves out of a recipe, what it says.
 */
#include "tests/optim_help.h"

#include "core/mem.h"
#include "recipes/lrfind.h"
#include "tests/scratch.h"

#define RECIPE "tests/golden/training/recipe.json"

static const gf_lrfind_options plain = {.start = 1e-4, .end = 10, .steps = 20, .threads = 1};

static bool find(gf_lrfind *f, const char *recipe, const char *const *sets, int64_t n_sets,
                 const gf_lrfind_options *o, gf_err *e) {
    gf_recipe r = {0};
    bool ok = gf_recipe_read(&r, recipe, sets, n_sets, e) && gf_lrfind_run(f, &r, o, e);
    gf_recipe_free(&r);
    return ok;
}

static gf_lrfind must_find(const char *recipe, const char *const *sets, int64_t n_sets,
                           const gf_lrfind_options *o) {
    gf_lrfind f = {0};
    gf_err e = {0};
    if (!find(&f, recipe, sets, n_sets, o, &e)) fail_msg("%s", e.text);
    return f;
}

static void must_fail(const char *const *sets, int64_t n_sets, const gf_lrfind_options *o,
                      gf_code code, const char *says) {
    int64_t live = gf_mem_get_stats().live_blocks;
    gf_lrfind f = {0};
    gf_err e = {0};
    assert_false(find(&f, RECIPE, sets, n_sets, o, &e));
    gf_lrfind_free(&f);
    assert_int_equal(e.code, code);
    if (!strstr(e.text, says)) fail_msg("\"%s\" does not say \"%s\"", e.text, says);
    assert_int_equal(gf_mem_get_stats().live_blocks, live);
}

static double at(const cJSON *list, int64_t i) {
    return cJSON_GetArrayItem(list, (int)i)->valuedouble;
}

/* ---- against torch ---- */

static gf_lrfind_options options_of(const cJSON *run) {
    return (gf_lrfind_options){.phase = get(run, "phase")->valuestring,
                               .start = number(run, "start"),
                               .end = number(run, "end"),
                               .steps = (int64_t)number(run, "steps"),
                               .threads = 2};
}

static void check_run(const cJSON *run, const char *recipe) {
    gf_lrfind_options o = options_of(run);
    gf_lrfind f = must_find(recipe, NULL, 0, &o);
    int updates = cJSON_GetArraySize(get(run, "losses"));
    assert_int_equal(updates, 10);
    assert_int_equal(f.count, o.steps);
    assert_int_equal(f.how, GF_LR_FINISHED);
    for (int i = 0; i < updates; i++) {
        const gf_lr_point *p = &f.points[i];
        double rate = at(get(run, "rates"), i), loss = at(get(run, "losses"), i);
        double smoothed = at(get(run, "smoothed"), i);
        assert_near(p->rate, rate, 1e-12 * rate, o.phase);
        assert_near(p->loss, loss, 2e-5 * loss, o.phase);
        assert_near(p->smoothed, smoothed, 2e-5 * smoothed, o.phase);
    }
    assert_true(f.points[f.count - 1].rate == o.end && f.last_rate == o.end);
    gf_lrfind_free(&f);
}

static void losses_are_torchs(void **state) {
    cJSON *root = read_golden("lrfind.json");
    const cJSON *run;
    (void)state;
    assert_int_equal(cJSON_GetArraySize(get(root, "runs")), 3);
    cJSON_ArrayForEach(run, get(root, "runs")) {
        check_run(run, RECIPE);
        check_run(run, "tests/golden/training/recipe_accumulate.json");
    }
    cJSON_Delete(root);
}

/* ---- against numpy ---- */

static gf_lr_point *read_curve(const cJSON *curve, int64_t *count) {
    gf_lr_point *p;
    *count = cJSON_GetArraySize(get(curve, "losses"));
    p = gf_alloc_array(*count, sizeof *p, NULL);
    assert_non_null(p);
    for (int64_t i = 0; i < *count; i++) /* the raw losses say otherwise and must not matter */
        p[i] = (gf_lr_point){at(get(curve, "rates"), i), -(double)i, at(get(curve, "losses"), i)};
    return p;
}

static void check_hint(const cJSON *want, const gf_lr_hint *h, const char *rule) {
    if (cJSON_IsNull(want)) {
        assert_true(isnan(h->rate) && h->point == -1);
        return;
    }
    assert_near((double)h->point, at(want, 1), 0, rule);
    assert_near(h->rate, at(want, 0), 1e-12 * at(want, 0), rule);
}

static void suggestions_are_numpys(void **state) {
    cJSON *root = read_golden("lrfind.json");
    const cJSON *curve;
    int curves = 0, empty = 0;
    (void)state;
    cJSON_ArrayForEach(curve, get(root, "curves")) {
        int64_t count;
        gf_lr_point *p = read_curve(curve, &count);
        gf_lr_hint h[GF_LR_RULES];
        assert_true(gf_lrfind_suggest(p, count, (int64_t)number(curve, "steps"), h, NULL));
        for (int i = 0; i < GF_LR_RULES; i++)
            check_hint(get(get(curve, "suggestions"), gf_lr_rule_names[i]), &h[i],
                       gf_lr_rule_names[i]);
        empty += h[0].point < 0;
        curves++;
        gf_free(p);
    }
    assert_int_equal(curves, 13);
    assert_int_equal(empty, 2);
    cJSON_Delete(root);
}

/* ---- where it ends ---- */

/* The loss rises above 4 times its lowest at the last point, and not before. */
static void ends_when_the_loss_is_high(void **state) {
    static const char *const sets[] = {"optimizer.clip_norm=0", "phases.0.loss_weights={}"};
    gf_lrfind_options o = {.start = 1e-3, .end = 1e4, .steps = 5000, .threads = 1};
    gf_lrfind f = must_find(RECIPE, sets, 2, &o);
    double lowest = INFINITY;
    (void)state;
    assert_int_equal(f.how, GF_LR_DIVERGED);
    assert_true(f.count > 1000 && f.count < 5000);
    for (int64_t i = 0; i < f.count; i++) {
        lowest = fmin(lowest, f.points[i].smoothed);
        assert_true((f.points[i].smoothed > 4 * lowest) == (i == f.count - 1));
    }
    assert_true(f.points[f.count - 2].smoothed > 3.92 * lowest); /* so it is 4 that counts */
    assert_true(f.last_rate == f.points[f.count - 1].rate);
    gf_lrfind_free(&f);
}

static void ends_when_the_loss_is_not_finite(void **state) {
    static const char *const sets[] = {"optimizer={\"name\": \"sgd\", \"clip_norm\": 0}"};
    gf_lrfind_options o = {.phase = "all", .start = 1e-3, .end = 1e38, .steps = 10, .threads = 1};
    gf_lrfind f = must_find(RECIPE, sets, 1, &o);
    gf_text text = {0};
    (void)state;
    assert_int_equal(f.how, GF_LR_NOT_FINITE);
    assert_true(f.count >= 1 && f.count < 10);
    assert_true(f.last_rate > f.points[f.count - 1].rate);
    assert_true(f.hints[GF_LR_VALLEY].point == -1);
    assert_true(gf_lrfind_table(&f, &text, NULL));
    assert_non_null(strstr(text.data, "not finite"));
    assert_non_null(strstr(text.data, "no suggestion"));
    assert_null(strstr(text.data, "--set"));
    gf_text_free(&text);
    gf_lrfind_free(&f);
}

/* The last number of the heads, a bias, is not one. */
static void fails_when_the_first_loss_is_not_finite(void **state) {
    static const float nan = NAN;
    const char *path = path_of("heads.safetensors");
    char set[320];
    const char *sets[] = {set};
    size_t size = 0;
    char *bytes = gf_io_read_all("tests/golden/training/heads.safetensors", 1 << 20, &size, NULL);
    (void)state;
    assert_non_null(bytes);
    memcpy(bytes + size - sizeof nan, &nan, sizeof nan);
    assert_true(gf_io_replace_file(path, bytes, size, NULL));
    snprintf(set, sizeof set, "model.heads_init=%.256s", path);
    must_fail(sets, 1, &plain, GF_E_NUMERIC,
              RECIPE ": phase \"heads\", step 1: the loss of task \"sentiment\" is not finite");
    must_fail(sets, 1, &plain, GF_E_NUMERIC, "; that is before any lr was tried");
    gf_free(bytes);
}

static gf_code stop_at_7(void *context) { return ++*(int *)context > 7 ? GF_E_SIGINT : GF_OK; }

static void stops_when_told(void **state) {
    int calls = 0;
    gf_lrfind_options o = plain;
    (void)state;
    o.phase = "all";
    o.watch = (gf_lrfind_watch){.context = &calls, .stop = stop_at_7};
    must_fail(NULL, 0, &o, GF_E_SIGINT, "interrupted behind update 7 of 20; nothing was written");
}

/* ---- what the recipe has and lrfind does not heed ---- */

static void assert_same_points(const gf_lrfind *a, const gf_lrfind *b) {
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->points, b->points, (size_t)a->count * sizeof *a->points);
}

static void threads_change_no_bit(void **state) {
    gf_lrfind_options o = plain;
    gf_lrfind one, more;
    (void)state;
    o.phase = "all";
    one = must_find(RECIPE, NULL, 0, &o);
    for (o.threads = 2; o.threads < 5; o.threads++) {
        more = must_find(RECIPE, NULL, 0, &o);
        assert_same_points(&one, &more);
        gf_lrfind_free(&more);
    }
    gf_lrfind_free(&one);
}

/* The absolute rates, schedules, averages, stages and the number of epochs do not count; the ratio
 * of the rates does. */
static void only_ratios_count(void **state) {
    static const char *const same[] = {"phases.1.trainable.heads.*.lr=5e-2",
                                       "phases.1.trainable.encoder.layer[-2:].*.lr=2e-2",
                                       "phases.1.schedule={\"type\": \"cosine\", \"warmup\": 5}",
                                       "optimizer.ema=0.9",
                                       "phases.1.epochs=1",
                                       "phases.1.unfreeze={\"layers\": 1, \"every_epochs\": 1}"};
    static const char *const other[] = {"phases.1.trainable.heads.*.lr=1e-2"};
    gf_lrfind_options o = {.phase = "1", .start = 1e-4, .end = 0.1, .steps = 12, .threads = 1};
    gf_lrfind plainly = must_find(RECIPE, NULL, 0, &o), f;
    (void)state;
    f = must_find(RECIPE, same, sizeof same / sizeof *same, &o);
    assert_int_equal(f.count, plainly.count);
    for (int64_t i = 0; i < f.count; i++)
        assert_near(f.points[i].loss, plainly.points[i].loss, 1e-6, "same ratios");
    gf_lrfind_free(&f);
    f = must_find(RECIPE, other, 1, &o);
    assert_true(f.points[0].loss == plainly.points[0].loss);
    assert_true(fabs(f.points[9].loss - plainly.points[9].loss) > 1e-4);
    gf_lrfind_free(&f);
    gf_lrfind_free(&plainly);
}

/* ---- which phase ---- */

static void finds_the_phase(void **state) {
    static const char *const idle[] = {"phases.0.trainable={}"};
    static const char *const all_idle[] = {"phases.0.trainable={}", "phases.1.trainable={}",
                                           "phases.2.trainable={}"};
    static const char *const zero[] = {"phases.0.trainable.heads.*.lr=0"};
    gf_lrfind_options o = plain;
    gf_lrfind f = must_find(RECIPE, idle, 1, &o);
    (void)state;
    assert_int_equal(f.phase, 1);
    assert_string_equal(f.phase_name, "upper");
    gf_lrfind_free(&f);
    o.phase = "2";
    f = must_find(RECIPE, NULL, 0, &o);
    assert_string_equal(f.phase_name, "all");
    gf_lrfind_free(&f);
    o.phase = "heads";
    must_fail(idle, 1, &o, GF_E_USAGE,
              "phase \"heads\" (0) trains nothing; those that do: \"upper\" (1), \"all\" (2)");
    must_fail(zero, 1, &o, GF_E_INVALID, "every lr of phase \"heads\" is 0");
    o.phase = NULL;
    must_fail(all_idle, 3, &o, GF_E_USAGE, "and no other does");
    o.phase = "head";
    must_fail(NULL, 0, &o, GF_E_USAGE, "did you mean \"heads\"?");
    o.phase = "3";
    must_fail(NULL, 0, &o, GF_E_USAGE, "no phase of this name or number");
    o.phase = "-1";
    must_fail(NULL, 0, &o, GF_E_USAGE, "no phase of this name or number");
}

static void refuses_senseless_options(void **state) {
    gf_lrfind_options o = plain;
    (void)state;
    o.end = o.start;
    must_fail(NULL, 0, &o, GF_E_USAGE, "0 < start < end");
    o = plain;
    o.start = 0;
    must_fail(NULL, 0, &o, GF_E_USAGE, "0 < start < end");
    o.start = NAN;
    must_fail(NULL, 0, &o, GF_E_USAGE, "0 < start < end");
    o = plain;
    o.end = INFINITY;
    must_fail(NULL, 0, &o, GF_E_USAGE, "0 < start < end");
    o = plain;
    o.steps = 9;
    must_fail(NULL, 0, &o, GF_E_USAGE, "--steps 9: between 10 and 10000");
    o.steps = 10001;
    must_fail(NULL, 0, &o, GF_E_USAGE, "--steps 10001");
}

/* ---- what it says ---- */

static gf_lrfind made_up(gf_lr_point *points, int64_t count) {
    static gf_lr_pattern patterns[] = {{(char *)(uintptr_t) "heads.*", 4e-3},
                                       {(char *)(uintptr_t) "it's.*", 0},
                                       {(char *)(uintptr_t) "'*", 1e-3}};
    gf_lrfind f = {.phase = 2,
                   .phase_name = (char *)(uintptr_t) "all",
                   .start = 1e-6,
                   .end = 1,
                   .steps = count,
                   .largest = 4e-3,
                   .patterns = patterns,
                   .n_patterns = 3,
                   .points = points,
                   .count = count,
                   .last_rate = 1};
    for (int64_t i = 0; i < count; i++) {
        double x = (double)i / (double)(count - 1);
        points[i] = (gf_lr_point){pow(10, 6 * x - 6), 0, 2 - x + 40 * fmax(0, x - 0.7)};
    }
    points[count - 1].smoothed = 1e300;
    assert_true(gf_lrfind_suggest(points, count, count, f.hints, NULL));
    return f;
}

static void check_columns(const char *text) {
    const char *line = text, *end;
    for (; (end = strchr(line, '\n')); line = end + 1)
        if (strncmp(line, "to take", 7) != 0) assert_true(end - line <= 80);
    assert_true(*line == 0);
}

static void tables_fit_the_screen(void **state) {
    gf_lr_point points[200];
    gf_text text = {0};
    (void)state;
    for (int64_t count = 10; count <= 200; count += 19) {
        gf_lrfind f = made_up(points, count);
        int64_t bars = 0;
        text.length = 0;
        assert_true(gf_lrfind_table(&f, &text, NULL));
        check_columns(text.data);
        for (const char *p = text.data; (p = strstr(p, "\n ")); p++)
            bars += p[2] != ' ' && strchr(p + 2, 'e') && p[2] >= '0' && p[2] <= '9';
        assert_int_equal(bars, count < 20 ? count : 20);
        assert_non_null(strstr(text.data, "1e+300  ###################################>"));
        for (int i = 0; i < GF_LR_RULES; i++)
            assert_non_null(strstr(text.data, gf_lr_rule_names[i]));
    }
    gf_text_free(&text);
}

/* 0.1 to be the largest: four times the other, and none for what does not train. */
static void sets_keep_the_ratios(void **state) {
    gf_lr_point points[50];
    gf_lrfind f = made_up(points, 50);
    gf_text text = {0};
    cJSON *j;
    const cJSON *set;
    (void)state;
    f.hints[GF_LR_VALLEY].rate = 0.1;
    assert_true(gf_lrfind_table(&f, &text, NULL));
    assert_non_null(strstr(text.data,
                           "\nto take \"valley\": --set 'phases.2.trainable.heads.*.lr=0.1'"
                           " --set 'phases.2.trainable.'\\''*.lr=0.025'\n"));
    assert_non_null(j = gf_lrfind_to_json(&f, NULL));
    set = get(get(get(j, "suggestions"), "valley"), "set");
    assert_int_equal(cJSON_GetArraySize(set), 2);
    assert_string_equal(cJSON_GetArrayItem(set, 0)->valuestring,
                        "phases.2.trainable.heads.*.lr=0.1");
    assert_string_equal(cJSON_GetArrayItem(set, 1)->valuestring, "phases.2.trainable.'*.lr=0.025");
    assert_int_equal(cJSON_GetArraySize(get(j, "points")), 50);
    cJSON_Delete(j);
    gf_text_free(&text);
}

/* ---- memory ---- */

static bool find_and_show(gf_err *e) {
    gf_lrfind_options o = {.start = 1e-4, .end = 1, .steps = 10, .threads = 1};
    gf_lrfind f = {0};
    gf_text text = {0};
    cJSON *j = NULL;
    bool ok = find(&f, RECIPE, NULL, 0, &o, e) && gf_lrfind_table(&f, &text, e) &&
              (j = gf_lrfind_to_json(&f, e));
    cJSON_Delete(j);
    gf_text_free(&text);
    gf_lrfind_free(&f);
    return ok;
}

/* The first allocations, every one; of the others, which are those of opening a run, some. */
static void allocations_may_fail(void **state) {
    int64_t live, calls = gf_mem_get_stats().calls, fired = 0;
    (void)state;
    assert_true(find_and_show(NULL));
    calls = gf_mem_get_stats().calls - calls;
    live = gf_mem_get_stats().live_blocks;
    for (int64_t k = 1; k <= calls; k += k < calls - 400 ? 13 : 1) {
        gf_err e = {0};
        bool ok;
        gf_mem_fail_at(k, false);
        ok = find_and_show(&e);
        assert_true(gf_mem_fault_fired());
        gf_mem_fail_at(0, false);
        if (ok) fail_msg("allocation %d of %d may fail unseen", (int)k, (int)calls);
        assert_int_equal(e.code, GF_E_NOMEM);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
        fired++;
    }
    assert_true(fired > 400);
}

static int set_up(void **state) {
    gf_json_use_core_memory();
    return make_scratch(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_torchs),
        cmocka_unit_test(suggestions_are_numpys),
        cmocka_unit_test(ends_when_the_loss_is_high),
        cmocka_unit_test(ends_when_the_loss_is_not_finite),
        cmocka_unit_test(fails_when_the_first_loss_is_not_finite),
        cmocka_unit_test(stops_when_told),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(only_ratios_count),
        cmocka_unit_test(finds_the_phase),
        cmocka_unit_test(refuses_senseless_options),
        cmocka_unit_test(tables_fit_the_screen),
        cmocka_unit_test(sets_keep_the_ratios),
        cmocka_unit_test(allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, remove_scratch);
}
