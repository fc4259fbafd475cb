/* Runs that use every strategy, task type, mix, balance and objective at once (features_help.h) end
 * with the same bytes however often they are interrupted or killed, and for any number of threads;
 * and a conflict report changes nothing. See docs/promises.md. */
#include "tests/features_help.h"

#include "checkpoints/store.h"

/* Kills of each recipe by default, and in the long form; all would take an hour. */
enum { KILLS = 7, MORE_KILLS = 200 };

/* The distance of points of which all are taken, but by sanitized programs. */
static int64_t each(int64_t all) { return stride(all, all); }

static int64_t kill_distance(int64_t calls) {
    int64_t wanted = all_points() ? MORE_KILLS : KILLS;
#ifdef __SANITIZE_ADDRESS__
    wanted = wanted / 5 + 1;
#endif
    return calls / wanted + 1;
}

typedef struct whole {
    tree files;
    char *log;
    int64_t steps, evals, batches, save_calls, run_calls;
} whole;

static whole wholes[N_FEATURES];

/* Uninterrupted runs, to which all others are compared. */
static int make_references(void **state) {
    if (make_features(state) != 0) return -1;
    for (int i = 0; i < N_FEATURES; i++) {
        whole *w = &wholes[i];
        outcome o;
        start_anew();
        o = run(&(attempt){.recipe = features[i].name, .whose = SAVES});
        if (!o.ok) print_error("%s: %s\n", features[i].name, o.e.text);
        if (!o.ok || o.warnings) return -1;
        w->steps = o.steps;
        w->evals = o.evals;
        w->batches = o.batches;
        w->save_calls = o.calls;
        keep_tree(&w->files, "");
        w->log = read_log();
        start_anew();
        w->run_calls = run(&(attempt){.recipe = features[i].name, .whose = RUN}).calls;
    }
    return 0;
}

static int free_references(void **state) {
    for (int i = 0; i < N_FEATURES; i++) {
        free_tree(&wholes[i].files);
        gf_free(wholes[i].log);
    }
    return remove_scratch(state);
}

static void assert_as_whole(int i) { assert_reference(&wholes[i].files, wholes[i].log); }

/* A fresh run, stopped as the attempt says; false when it ended before. */
static bool is_stopped(const attempt *a) {
    outcome o;
    start_anew();
    o = run(a);
    if (o.ok) return false;
    if (o.e.code != GF_E_SIGTERM) fail_msg("%s: %s", a->recipe, o.e.text);
    return true;
}

static void stop_and_resume(const attempt *a, int i) {
    if (!is_stopped(a)) fail_msg("%s was not interrupted", a->recipe);
    resume_recipe(a->recipe);
    assert_as_whole(i);
}

/* ---- interrupted ---- */

static void test_interrupted_behind_every_step(void **state) {
    int64_t points = 0, all = 0;
    (void)state;
    for (int i = 0; i < N_FEATURES; i++) {
        all += wholes[i].steps;
        for (int64_t k = 1; k <= wholes[i].steps;
             k += stride(wholes[i].steps, wholes[i].steps / 2), points++)
            stop_and_resume(&(attempt){.recipe = features[i].name, .stop_behind = k}, i);
    }
    report("interruptions behind a step", points, all, 30);
}

/* One run that makes a single step at a time. */
static void test_interrupted_behind_each_step_of_one_run(void **state) {
    (void)state;
    for (int i = 0; i < N_FEATURES; i++) {
        start_anew();
        for (int64_t k = 1; k <= wholes[i].steps; k++) {
            outcome o =
                run(&(attempt){.resume = k > 1, .recipe = features[i].name, .stop_behind = k});
            if (o.e.code != GF_E_SIGTERM) fail_msg("%s: %s", features[i].name, o.e.text);
        }
        resume_recipe(features[i].name);
        assert_as_whole(i);
    }
}

/* Behind the save at an epoch's end, where a phase may be over. */
static void test_interrupted_behind_every_evaluation(void **state) {
    int64_t points = 0;
    (void)state;
    for (int i = 0; i < N_FEATURES; i++)
        for (int64_t k = 1; k <= wholes[i].evals; k += each(wholes[i].evals), points++)
            stop_and_resume(&(attempt){.recipe = features[i].name, .stop_eval = k}, i);
    report("interruptions behind an evaluation", points, points, 15);
}

/* In the midst of an evaluation, where averages stand in for the weights, of what forgetting
 * measures, or of what a frozen encoder makes once. What follows the last save is not heeded. */
static void test_interrupted_while_texts_are_encoded(void **state) {
    int64_t points = 0, all = 0;
    (void)state;
    for (int i = 0; i < N_FEATURES; i++) {
        all += wholes[i].batches;
        for (int64_t k = 1; k <= wholes[i].batches; k += each(wholes[i].batches)) {
            attempt a = {.recipe = features[i].name, .stop_batch = k};
            if (!is_stopped(&a)) continue;
            resume_recipe(a.recipe);
            assert_as_whole(i);
            points++;
        }
    }
    report("interruptions while texts are encoded", points, all, 40);
}

/* ---- killed ---- */

static int64_t kill_and_resume(whose target, int i, int64_t by) {
    int64_t kills = 0;
    for (int64_t k = 1 + i;; k += by, kills++) {
        outcome o;
        start_anew();
        o = run(
            &(attempt){.recipe = features[i].name, .whose = target, .k = k, .kind = GF_FAULT_KILL});
        if (o.ok) return kills;
        if (o.signal != SIGKILL) fail_msg("point %d, signal %d: %s", (int)k, o.signal, o.e.text);
        resume_recipe(features[i].name);
        assert_as_whole(i);
    }
}

static void test_killed_at_any_call_of_a_save(void **state) {
    int64_t points = 0, all = 0;
    (void)state;
    for (int i = 0; i < N_FEATURES; i++) {
        all += wholes[i].save_calls;
        points += kill_and_resume(SAVES, i, kill_distance(wholes[i].save_calls));
    }
    report("kills at calls of a save", points, all, N_FEATURES * (KILLS - 2));
}

static void test_killed_at_any_call_of_the_run(void **state) {
    int64_t points = 0, all = 0;
    (void)state;
    for (int i = 0; i < N_FEATURES; i++) {
        all += wholes[i].run_calls;
        points += kill_and_resume(RUN, i, kill_distance(wholes[i].run_calls));
    }
    report("kills at calls of the run", points, all, N_FEATURES * (KILLS - 2));
}

/* ---- back to an earlier checkpoint ---- */

/* The step of the oldest checkpoint there is. */
static int64_t oldest_step(void) {
    int64_t n = 0, step = 0;
    char **names = gf_io_list(path_of("run/checkpoints"), &n, NULL);
    for (int64_t i = n - 1; i >= 0; i--) /* in order */
        if (strncmp(names[i], "step-", 5) == 0) step = strtoll(names[i] + 5, NULL, 10);
    gf_io_free_names(names, n);
    return step;
}

static void test_going_back(void **state) {
    int64_t points = 0, all = 0;
    (void)state;
    for (int i = 0; i < N_FEATURES; i++) {
        all += wholes[i].steps - 2;
        for (int64_t k = 3; k <= wholes[i].steps; k += all_points() ? 1 : 3, points++) {
            attempt a = {.recipe = features[i].name, .stop_behind = k};
            is_stopped(&a);
            run_ok(&(attempt){.resume = true, .recipe = a.recipe, .at_step = oldest_step()});
            assert_as_whole(i);
        }
    }
    report("returns to an earlier checkpoint", points, all, 18);
}

/* ---- what must change nothing ---- */

static void test_any_number_of_threads_gives_the_same_bytes(void **state) {
    static const int threads[] = {2, 3, 5};
    (void)state;
    for (int i = 0; i < N_FEATURES; i++)
        for (int t = 0; t < 3; t++) {
            start_anew();
            run_ok(&(attempt){.recipe = features[i].name, .threads = threads[t]});
            assert_as_whole(i);
        }
}

/* Whether every file of model/ is there, and the same; returns their number. */
static int same_model_files(const tree *a, const tree *b) {
    int count = 0;
    for (int i = 0; i < a->count; i++) {
        int k = 0;
        if (strncmp(a->files[i].name, "model/", 6) != 0) continue;
        while (k < b->count && strcmp(a->files[i].name, b->files[k].name) != 0) k++;
        if (k == b->count) fail_msg("no %s", a->files[i].name);
        if (a->files[i].size != b->files[k].size ||
            memcmp(a->files[i].bytes, b->files[k].bytes, a->files[i].size) != 0)
            fail_msg("%s differs", a->files[i].name);
        count++;
    }
    return count;
}

static void same_reals(const char *name, const gf_real *a, const gf_real *b, int64_t count) {
    assert_int_equal(a != NULL, b != NULL);
    if (a && memcmp(a, b, (size_t)count * sizeof *a) != 0) fail_msg("%s differs", name);
}

static void same_parameters(const gf_model *a, const gf_model *b) {
    assert_int_equal(a->params.count, b->params.count);
    for (int64_t i = 0; i < a->params.count; i++) {
        const gf_param *p = a->params.items[i], *q = b->params.items[i];
        int64_t count = gf_param_count(p);
        assert_string_equal(p->name, q->name);
        assert_int_equal(p->updates, q->updates);
        same_reals(p->name, p->value, q->value, count);
        same_reals(p->name, p->moment1, q->moment1, count);
        same_reals(p->name, p->moment2, q->moment2, count);
        same_reals(p->name, p->average, q->average, count);
        same_reals(p->name, p->anchor, q->anchor, count);
    }
}

static void read_last(gf_model *m, int64_t step) {
    char name[64];
    gf_err e = {0};
    snprintf(name, sizeof name, "run/checkpoints/step-%09d.h5", (int)step);
    if (!gf_store_read(m, path_of(name), NULL, NULL, &e)) fail_msg("%s", e.text);
}

/* Whether it is made at every step, as the recipe says or not at all. */
static void test_a_conflict_report_changes_no_weight(void **state) {
    static const char *const sets[] = {"conflicts.every_steps=1", "conflicts.every_steps=null"};
    (void)state;
    for (int i = 0; i < N_FEATURES; i++) {
        static tree with, without;
        gf_model a = {0}, b = {0};
        char *log;
        for (int k = 0; k < 2; k++) {
            start_anew();
            run_ok(&(attempt){.recipe = features[i].name, .set = sets[k]});
            keep_tree(k ? &without : &with, "");
            read_last(k ? &b : &a, wholes[i].steps);
            log = read_log();
            assert_int_equal(strstr(log, "\"conflict\"") != NULL, k == 0);
            gf_free(log);
        }
        assert_true(same_model_files(&with, &without) > 8);
        assert_true(same_model_files(&with, &wholes[i].files) > 8);
        same_parameters(&a, &b);
        gf_model_free(&a);
        gf_model_free(&b);
        free_tree(&with);
        free_tree(&without);
    }
}

/* ---- what forgetting was measured by ---- */

static cJSON *read_phases(void) {
    gf_err e = {0};
    size_t size = 0;
    char *text = gf_io_read_all(path_of("run/metrics.json"), 1 << 20, &size, &e);
    cJSON *j = text ? cJSON_Parse(text) : NULL, *phases;
    if (!j) fail_msg("%s", e.text);
    phases = cJSON_DetachItemFromObject(j, "phases");
    cJSON_Delete(j);
    gf_free(text);
    return phases;
}

static void change_file(const char *path, bool damaged) {
    gf_err e = {0};
    size_t size = 0;
    char *bytes = gf_io_read_all(path, 1 << 24, &size, &e);
    if (!bytes) fail_msg("%s", e.text);
    bytes[size - 4] ^= 1; /* of the last row's last number */
    if (!(damaged ? gf_io_replace_file(path, bytes, size, &e) : gf_io_remove(path, &e)))
        fail_msg("%s", e.text);
    gf_free(bytes);
}

/* A phase's own file makes its "cosine", base.safetensors every "cosine_base". */
static void test_a_lost_forgetting_file_is_a_warning(void **state) {
    static const char *const files[] = {"run/forgetting/phase-2.safetensors",
                                        "run/forgetting/base.safetensors"};
    (void)state;
    for (int k = 0; k < 4; k++) {
        attempt a = {.recipe = "adapt.json", .stop_behind = wholes[0].steps - 1};
        cJSON *phases, *first, *last;
        outcome o;
        assert_true(is_stopped(&a));
        change_file(path_of(files[k / 2]), k % 2);
        o = run(&(attempt){.resume = true, .recipe = a.recipe});
        if (!o.ok) fail_msg("%s", o.e.text);
        assert_int_equal(o.warnings, 1);
        assert_non_null(strstr(o.warning, files[k / 2] + 4));
        assert_non_null(strstr(o.warning, "will not be told"));
        phases = read_phases();
        first = cJSON_GetArrayItem(phases, 0);
        last = cJSON_GetArrayItem(phases, 1);
        assert_true(cJSON_IsNumber(cJSON_GetObjectItem(first, "cosine")));
        assert_true(cJSON_IsNumber(cJSON_GetObjectItem(first, "cosine_base")));
        assert_int_equal(cJSON_IsNull(cJSON_GetObjectItem(last, "cosine")), k < 2);
        assert_int_equal(cJSON_IsNull(cJSON_GetObjectItem(last, "cosine_base")), k >= 2);
        cJSON_Delete(phases);
    }
}

/* The "phases" of a run that goes back to step 4 with another rate, so that its second phase begins
 * with other weights than it once did; freed by the caller. */
static char *phases_of_another_course(bool forgotten) {
    attempt a = {.recipe = "adapt.json", .stop_behind = 10, .set = "save.keep=9"};
    char *text;
    cJSON *phases;
    assert_true(is_stopped(&a));
    if (forgotten) change_file(path_of("run/forgetting/phase-2.safetensors"), false);
    run_ok(&(attempt){.resume = true,
                      .force = true,
                      .recipe = a.recipe,
                      .at_step = 4,
                      .set = "phases.0.trainable.*.lr=0.01"});
    phases = read_phases();
    text = cJSON_PrintUnformatted(phases);
    cJSON_Delete(phases);
    return text;
}

static void test_another_course_is_measured_anew(void **state) {
    char *stale = phases_of_another_course(false), *anew = phases_of_another_course(true);
    (void)state;
    assert_string_equal(stale, anew);
    cJSON_free(stale);
    cJSON_free(anew);
}

/* ---- the recipes do what they are for ---- */

static void test_rates_fall_and_a_phase_ends_early(void **state) {
    (void)state;
    assert_non_null(strstr(wholes[1].log, "{\"*\":0.2}"));
    assert_non_null(strstr(wholes[1].log, "{\"*\":0.1}")); /* trained with, not only reached */
    assert_int_equal(wholes[3].evals, 2 + 1 + 1);          /* of 5, 1 and 2 epochs */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_fall_and_a_phase_ends_early),
        cmocka_unit_test(test_interrupted_behind_every_step),
        cmocka_unit_test(test_interrupted_behind_each_step_of_one_run),
        cmocka_unit_test(test_interrupted_behind_every_evaluation),
        cmocka_unit_test(test_interrupted_while_texts_are_encoded),
        cmocka_unit_test(test_killed_at_any_call_of_a_save),
        cmocka_unit_test(test_killed_at_any_call_of_the_run),
        cmocka_unit_test(test_going_back),
        cmocka_unit_test(test_any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(test_a_conflict_report_changes_no_weight),
        cmocka_unit_test(test_a_lost_forgetting_file_is_a_warning),
        cmocka_unit_test(test_another_course_is_measured_anew),
    };
    return cmocka_run_group_tests(tests, make_references, free_references);
}
