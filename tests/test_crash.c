/* A run that is killed at any call of the system ends with the bytes of one that was not, and a
 * save that fails or dies takes nothing with it. See docs/promises.md. */
#include "tests/crash_help.h"

#include "checkpoints/store.h"
#include "recipes/saver.h"
#include "recipes/verify.h"
#include "tests/disk.h"

/* Points taken by default; the promised figures are a little lower, since calls may grow fewer. */
enum {
    SAVE_KILLS = 290,
    RUN_KILLS = 60,
    FAULTS = 60, /* of each kind */
    CRASHES = 40,
    REPLACING = 160, /* calls from the start to well behind the removal */
    REPLACE_KILLS = 40,
    LAST_FAULTS = 8,
    BEST_FAULTS = 24,
    RUN_FAULTS = 40 /* of each kind */
};

static tree reference;
static char *reference_log;
static history published;
static int64_t save_calls, run_calls;

static int make_reference(void **state) {
    disk d = {0};
    outcome o;
    int fd;
    if (make_project(state) != 0) return -1;
    fd = open(path_of("records"), O_RDWR | O_CREAT | O_APPEND, 0600);
    o = run(&(attempt){.record_fd = fd, .whose = SAVES});
    close(fd);
    if (!o.ok) print_error("%s\n", o.e.text);
    save_calls = o.calls;
    keep_tree(&reference, "");
    reference_log = read_log();
    disk_load(&d, path_of("records"));
    disk_take_history(&d, &published);
    disk_free(&d);
    start_anew();
    run_calls = run(&(attempt){.whose = RUN}).calls;
    return o.ok && save_calls > 500 && run_calls > 150 ? 0 : -1;
}

static int free_all(void **state) {
    free_tree(&reference);
    free_history(&published);
    gf_free(reference_log);
    return remove_scratch(state);
}

/* ---- killed ---- */

/* Kills a run at every `by`-th call of the saves or of the run itself, and resumes it. */
static int64_t kill_and_resume(whose target, int64_t by) {
    int64_t kills = 0;
    for (int64_t k = 1;; k += by, kills++) {
        outcome o;
        start_anew();
        o = run(&(attempt){.whose = target, .k = k, .kind = GF_FAULT_KILL});
        if (o.ok) {
            assert_false(o.fired); /* the calls have come to an end */
            return kills;
        }
        if (o.signal != SIGKILL) fail_msg("point %d, signal %d: %s", (int)k, o.signal, o.e.text);
        resume_to_the_end();
        assert_reference(&reference, reference_log);
    }
}

static void test_killed_at_any_call_of_a_save(void **state) {
    int64_t by = stride(save_calls, SAVE_KILLS);
    (void)state;
    report("kills at calls of a save", kill_and_resume(SAVES, by), save_calls, SAVE_KILLS - 30);
}

static void test_killed_at_any_call_of_the_run(void **state) {
    int64_t by = stride(run_calls, RUN_KILLS);
    (void)state;
    report("kills at calls of the run", kill_and_resume(RUN, by), run_calls, RUN_KILLS - 20);
}

/* --force removes a run; what a kill leaves of it can be replaced again. */
static void test_killed_while_it_replaces_a_run(void **state) {
    int64_t by = stride(REPLACING, REPLACE_KILLS), kills = 0;
    (void)state;
    start_anew();
    run_ok(&(attempt){0});
    for (int64_t k = 1; k <= REPLACING; k += by, kills++) {
        outcome o = run(&(attempt){.force = true, .whose = RUN, .k = k, .kind = GF_FAULT_KILL});
        if (o.signal != SIGKILL) fail_msg("point %d: %s", (int)k, o.e.text);
        run_ok(&(attempt){.force = true});
        assert_reference(&reference, reference_log);
    }
    report("kills while a run is replaced", kills, REPLACING, REPLACE_KILLS - 10);
}

/* ---- saves that fail ---- */

/* Number of publications of steps before `step`, each counted once, and at most KEEP. */
static int older_checkpoints(int64_t step) {
    int count = 0;
    int64_t last = -1;
    for (int i = 0; i < published.count; i++) {
        int64_t s = gf_checkpoint_step(published.items[i].name);
        if (s < step && s != last) count++;
        last = s;
    }
    return count < KEEP ? count : KEEP;
}

/* Called in the run's process when it says that a save failed: what was there before still is. */
static void check_older(const char *warning, char problem[256]) {
    long long step = 0;
    int64_t n = 0;
    int count = 0;
    char **names;
    if (sscanf(warning, "step %lld was not saved", &step) != 1) {
        snprintf(problem, 256, "another warning: %.200s", warning);
        return;
    }
    names = gf_checkpoint_list(path_of("run/checkpoints"), &n, NULL);
    for (int64_t i = 0; i < n; i++) {
        char *path = gf_io_join(path_of("run/checkpoints"), names[i], NULL), *bytes;
        size_t size = 0;
        bytes = gf_io_read_all(path, 1 << 24, &size, NULL);
        if (!bytes || !is_in_history(&published, names[i], bytes, size))
            snprintf(problem, 256, "%s has changed", names[i]);
        count += gf_checkpoint_step(names[i]) <= step;
        gf_free(bytes);
        gf_free(path);
    }
    if (count < older_checkpoints(step))
        snprintf(problem, 256, "step %lld: %d checkpoints are there, not %d", step, count,
                 older_checkpoints(step));
    gf_io_free_names(names, n);
}

/* Every file of a checkpoint's name is whole, and nothing is left of what failed. */
static void assert_whole_checkpoints(void) {
    gf_err e = {0};
    int64_t n = 0;
    char **names = gf_io_list(path_of("run/checkpoints"), &n, &e);
    assert_true(n >= 1);
    for (int64_t i = 0; i < n; i++) {
        char *path = gf_io_join(path_of("run/checkpoints"), names[i], &e);
        if (strstr(names[i], ".tmp")) fail_msg("%s was left", names[i]);
        if (!gf_store_is_whole(path, &e)) fail_msg("%s", e.text);
        gf_free(path);
    }
    gf_io_free_names(names, n);
}

/* What is best of the run in all: its model and metrics. */
static void assert_same_results(void) {
    static tree got;
    int compared = 0;
    keep_tree(&got, "");
    for (int i = 0; i < reference.count; i++)
        for (int k = 0; k < got.count; k++) {
            const kept_file *a = &reference.files[i], *b = &got.files[k];
            bool is_result = strncmp(a->name, "model/", 6) == 0 || a->name[0] == 'm';
            if (!is_result || strcmp(a->name, b->name) != 0) continue;
            assert_int_equal(a->size, b->size);
            assert_memory_equal(a->bytes, b->bytes, a->size);
            compared++;
        }
    assert_true(compared > 10);
    free_tree(&got);
}

typedef struct tally {
    int64_t points, warned, again, unharmed; /* again: the last save, which is tried once more */
} tally;

/* After a run with a fault in one of its saves. */
static void check_survivor(const outcome *o, int64_t k, tally *t) {
    gf_text lines = {0};
    gf_err e = {0};
    if (o->signal) fail_msg("point %d: the run was ended by signal %d", (int)k, o->signal);
    if (o->problem[0]) fail_msg("point %d: %s (%s)", (int)k, o->problem, o->warning);
    assert_true(o->fired);
    assert_in_range(o->warnings, 0, 1);
    t->points++;
    if (!o->ok) fail_msg("point %d: %s", (int)k, o->e.text);
    if (strstr(o->warning, "step 9 was not saved")) {
        assert_same_results();
        t->again++;
    } else if (o->warnings == 0) { /* a short write went on, a copy replaced a link */
        assert_reference(&reference, reference_log);
        t->unharmed++;
    } else {
        if (!gf_verify(path_of("run"), &lines, &e)) fail_msg("point %d: %s", (int)k, e.text);
        gf_text_free(&lines);
        t->warned++;
    }
}

/* Every `by`-th call of the saves fails this way, in a run each. */
static tally fail_saves(gf_io_fault kind, int64_t by) {
    tally t = {0};
    for (int64_t k = 1;; k += by) {
        outcome o;
        start_anew();
        o = run(&(attempt){.whose = SAVES, .k = k, .kind = kind, .warned = check_older});
        if (o.ok && !o.fired) return t; /* the calls have come to an end */
        check_survivor(&o, k, &t);
        if (kind == GF_FAULT_CRASH) run_ok(&(attempt){.resume = true}); /* removes what it left */
        assert_whole_checkpoints();
    }
}

static void test_a_failed_save_takes_nothing_with_it(void **state) {
    static const gf_io_fault kinds[] = {GF_FAULT_EIO, GF_FAULT_ENOSPC, GF_FAULT_SHORT};
    static const char *const names[] = {"EIO in a save", "ENOSPC in a save", "SHORT in a save"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        tally t = fail_saves(kinds[i], stride(save_calls, FAULTS));
        report(names[i], t.points, save_calls, FAULTS - 20);
        printf("      %d warned, %d saved again, %d did no harm\n", (int)t.warned, (int)t.again,
               (int)t.unharmed);
        if (kinds[i] == GF_FAULT_SHORT)
            assert_true(t.unharmed > t.points / 2); /* a write goes on */
        else
            assert_true(t.warned > t.points / 2 && t.again > 0 && t.unharmed < t.points / 10);
    }
}

static void test_a_save_that_dies_takes_nothing_with_it(void **state) {
    tally t = fail_saves(GF_FAULT_CRASH, stride(save_calls, CRASHES));
    (void)state;
    report("crashes of a save", t.points, save_calls, CRASHES - 10);
    assert_true(t.warned > t.points / 2 && t.again > 0);
    assert_int_equal(t.unharmed, 0);
}

/* The number that follows a key in a JSON text. */
static int64_t number_of(const char *json, const char *key) {
    const char *at = json ? strstr(json, key) : NULL;
    if (!at || !(at = strpbrk(at, "0123456789"))) fail_msg("no %s", key);
    return strtoll(at, NULL, 10);
}

/* metrics.json and best.h5 speak of one step, which is returned. */
static int64_t assert_one_best(int64_t k) {
    char *recipe = NULL, *progress = NULL, *metrics;
    size_t size = 0;
    gf_err e = {0};
    int64_t told, kept;
    if (!gf_store_read_texts(path_of("run/checkpoints/best.h5"), &recipe, &progress, &e))
        fail_msg("%s", e.text);
    metrics = gf_io_read_all(path_of("run/metrics.json"), 1 << 20, &size, &e);
    told = number_of(metrics, "\"step\"");
    kept = number_of(progress, "\"step\"");
    if (told != kept)
        fail_msg("point %d: best.h5 is of step %d, metrics.json says %d", (int)k, (int)kept,
                 (int)told);
    gf_free(metrics);
    gf_free(recipe);
    gf_free(progress);
    return told;
}

/* The step that was not saved when the k-th call failed. */
static int64_t fail_seed_11(int64_t k) {
    long long step = 0;
    outcome o;
    start_anew();
    o = run(&(attempt){.set = "seed=11", .whose = SAVES, .k = k});
    if (!o.ok || !o.fired) fail_msg("point %d: %s", (int)k, o.e.text);
    sscanf(o.warning, "step %lld was not saved", &step);
    return step;
}

/* With this seed step 6 is the best, then 3, then 9. A save of step 6 that fails behind the
 * publication of best.h5 must leave the run knowing what best.h5 is. */
static void test_best_is_what_is_on_the_disk(void **state) {
    int64_t low = 1, high = save_calls, points = 0, kept[10] = {0};
    (void)state;
    while (low < high) { /* the first call of the saves behind step 6 */
        int64_t middle = (low + high) / 2;
        if (fail_seed_11(middle) > 6)
            high = middle;
        else
            low = middle + 1;
    }
    for (int64_t k = low - BEST_FAULTS; k < low; k++, points++) {
        fail_seed_11(k);
        kept[assert_one_best(k)]++;
    }
    report("failures around the publication of best.h5", points, points, BEST_FAULTS);
    assert_true(kept[3] > 2 && kept[6] > 2);
}

/* As check_older(), and the last save fails once more when it is tried again. */
static void fail_the_last_again(const char *warning, char problem[256]) {
    check_older(warning, problem);
    if (strstr(warning, "step 9 was not saved")) gf_io_fail_child_at(40, GF_FAULT_EIO);
}

static void test_a_last_save_that_fails_is_the_runs_failure(void **state) {
    int64_t by = stride(save_calls / published.count, LAST_FAULTS), points = 0;
    (void)state;
    for (int64_t k = save_calls - 5; k > save_calls * 9 / 10; k -= by) {
        outcome o;
        start_anew();
        o = run(&(attempt){.whose = SAVES, .k = k, .warned = fail_the_last_again});
        assert_true(o.fired);
        if (o.ok && !o.warnings) continue; /* a copy replaced a link */
        if (o.signal || o.problem[0] || o.ok) fail_msg("point %d: %s", (int)k, o.problem);
        assert_int_equal(o.e.code, GF_E_IO);
        assert_non_null(strstr(o.e.text, "step-000000009.h5.tmp"));
        assert_int_equal(o.warnings, 1);
        assert_whole_checkpoints();
        resume_to_the_end();
        assert_reference(&reference, reference_log);
        points++;
    }
    report("last saves that fail", points, save_calls / published.count, 4);
}

/* ---- the run's own calls fail ---- */

typedef struct own {
    int64_t points, ended, no_space_at_start, no_space_to_save;
} own;

/* Fails one call of the run itself; it ends, and goes on when there is no fault any more. */
static void fail_and_resume(gf_io_fault kind, int64_t k, own *t) {
    bool has;
    outcome o;
    start_anew();
    o = run(&(attempt){.whose = RUN, .k = k, .kind = kind});
    if (o.signal) fail_msg("point %d: signal %d", (int)k, o.signal);
    assert_true(o.fired);
    t->points++;
    t->no_space_at_start += strstr(o.e.text, "the run writes up to") != NULL;
    t->no_space_to_save += strstr(o.warning, "a checkpoint takes") != NULL;
    if (o.ok && o.warnings) return; /* a save was left out, which test_a_failed_save looks into */
    t->ended += !o.ok;
    has = has_checkpoint();
    if (!o.ok) run_ok(&(attempt){.resume = has, .force = !has && gf_io_exists(path_of("run"))});
    assert_reference(&reference, reference_log);
}

static void test_any_call_of_the_run_may_fail(void **state) {
    static const gf_io_fault kinds[] = {GF_FAULT_EIO, GF_FAULT_ENOSPC};
    int64_t by = stride(run_calls, RUN_FAULTS);
    (void)state;
    for (int i = 0; i < 2; i++) {
        own t = {0};
        for (int64_t k = 1; k <= run_calls; k += by) fail_and_resume(kinds[i], k, &t);
        report(i ? "ENOSPC in the run" : "EIO in the run", t.points, run_calls, RUN_FAULTS - 10);
        printf("      %d ended the run\n", (int)t.ended);
        assert_true(t.ended > t.points / 2);
    }
}

static void test_too_little_space_is_told_before(void **state) {
    own t = {0};
    int64_t k = 0;
    (void)state;
    while (!t.no_space_at_start || t.no_space_to_save < 2) {
        if (k == run_calls) fail_msg("the space was not asked for");
        fail_and_resume(GF_FAULT_ENOSPC, ++k, &t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_any_call_of_a_save),
        cmocka_unit_test(test_killed_at_any_call_of_the_run),
        cmocka_unit_test(test_killed_while_it_replaces_a_run),
        cmocka_unit_test(test_a_failed_save_takes_nothing_with_it),
        cmocka_unit_test(test_best_is_what_is_on_the_disk),
        cmocka_unit_test(test_a_last_save_that_fails_is_the_runs_failure),
        cmocka_unit_test(test_a_save_that_dies_takes_nothing_with_it),
        cmocka_unit_test(test_any_call_of_the_run_may_fail),
        cmocka_unit_test(test_too_little_space_is_told_before),
    };
    return cmocka_run_group_tests(tests, make_reference, free_all);
}
