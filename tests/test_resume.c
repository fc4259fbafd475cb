/* A resumed run is the run that was not interrupted: whatever the order in which parameters freeze,
 * thaw and change groups, and only on the same recipe, data and base. See docs/promises.md. */
#include "tests/crash_help.h"

#include "checkpoints/store.h"
#include "recipes/saver.h"

static tree reference;
static char *reference_log;

static int make_reference(void **state) {
    if (make_project(state) != 0) return -1;
    run_ok(&(attempt){0});
    keep_tree(&reference, "");
    reference_log = read_log();
    return 0;
}

static int free_all(void **state) {
    free_tree(&reference);
    gf_free(reference_log);
    return remove_scratch(state);
}

/* ---- freeze, unfreeze, regroup ---- */

/* The recipe's phases, which any order may follow. Each makes three updates. */
static const char *const phases[] = {
    "{\"name\": \"heads\", \"epochs\": 1, \"trainable\": {\"heads.*\": {\"lr\": 0.2}}}",
    "{\"name\": \"upper\", \"epochs\": 1, \"trainable\": {\"encoder.layer[-1:].*\": {\"lr\": "
    "0.005},"
    " \"heads.*\": {\"lr\": 0.02}}, \"schedule\": {\"type\": \"linear\", \"warmup\": 1}}",
    "{\"name\": \"all\", \"epochs\": 1, \"trainable\": {\"heads.mood.*\": {\"lr\": 0.1},"
    " \"*\": {\"lr\": 0.01, \"layer_decay\": 0.5}}, \"loss_weights\": {\"topic\": 0.5},"
    " \"schedule\": {\"type\": \"cosine\", \"warmup\": 1}}"};
static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* Updates of a parameter over the three phases, whatever their order. */
static int64_t updates_of(const char *name) {
    if (strncmp(name, "heads.", 6) == 0) return 9;
    if (strncmp(name, "encoder.layer.1.", 16) == 0) return 6;
    return strncmp(name, "pooler.", 7) == 0 ? 0 : 3;
}

static void read_last(gf_model *m, const char *name) {
    gf_err e = {0};
    if (!gf_store_read(m, path_of(name), NULL, NULL, &e)) fail_msg("%s", e.text);
}

static void assert_same_moments(const gf_model *a, const gf_model *b) {
    assert_int_equal(a->params.count, b->params.count);
    for (int64_t i = 0; i < a->params.count; i++) {
        const gf_param *p = a->params.items[i], *q = gf_params_find(&b->params, p->name);
        size_t size = (size_t)gf_param_count(p) * sizeof(gf_real);
        assert_non_null(q);
        if (p->updates != updates_of(p->name)) fail_msg("%s: %d updates", p->name, (int)p->updates);
        assert_int_equal(p->updates, q->updates);
        assert_int_equal(p->moment1 != NULL, p->updates > 0);
        if (!p->moment1) continue;
        assert_memory_equal(p->moment1, q->moment1, size);
        assert_memory_equal(p->moment2, q->moment2, size);
    }
}

/* Interrupts the run behind each of these, then lets it end. */
static void run_in_parts(const char *set, const int64_t *stops, int count, bool are_phases) {
    start_anew();
    for (int i = 0; i < count; i++) {
        attempt a = {.resume = i > 0, .set = set};
        outcome o;
        *(are_phases ? &a.stop_phase : &a.stop_behind) = stops[i];
        o = run(&a);
        if (o.e.code != GF_E_SIGTERM || !o.stop) fail_msg("stop %d: %s", i, o.e.text);
    }
    run_ok(&(attempt){.resume = true, .set = set});
}

static void test_phases_in_every_order(void **state) {
    static const int64_t ends[] = {1, 2, 3}, steps[] = {1, 3, 4, 6, 7, 9};
    int64_t parts = 0;
    (void)state;
    for (int i = 0; i < 6; i++) {
        static tree unbroken;
        gf_model whole = {0}, broken = {0};
        const int *n = orders[i];
        char set[2048], *log;
        snprintf(set, sizeof set, "phases=[%s, %s, %s]", phases[n[0]], phases[n[1]], phases[n[2]]);
        start_anew();
        run_ok(&(attempt){.set = set});
        keep_tree(&unbroken, "");
        log = read_log();
        read_last(&whole, "run/checkpoints/step-000000009.h5");
        for (int k = 0; k < 2; k++) {
            run_in_parts(set, k ? steps : ends, k ? 6 : 3, k == 0);
            parts += k ? 6 : 3;
            assert_reference(&unbroken, log);
            read_last(&broken, "run/checkpoints/step-000000009.h5");
            assert_same_moments(&whole, &broken);
            gf_model_free(&broken);
        }
        gf_model_free(&whole);
        gf_free(log);
        free_tree(&unbroken);
    }
    report("interruptions in every order of three phases", parts, parts, 54);
}

/* ---- what an interruption saves ---- */

/* Saves at the ends of epochs only: the steps 3, 6, 9. */
static const char seldom[] = "save.every_steps=null";

/* What an interruption saved between two saves does not stay in the place of one of those, even
 * when a kill comes between the next save and the removal. */
static void test_an_interruptions_checkpoint_goes_again(void **state) {
    static const int64_t stops[] = {5, 7, 8};
    static tree whole;
    char *log;
    int64_t calls, kills = 0;
    (void)state;
    start_anew();
    run_ok(&(attempt){.set = seldom});
    keep_tree(&whole, "");
    log = read_log();
    run_in_parts(seldom, stops, 3, false);
    assert_reference(&whole, log);
    start_anew();
    run(&(attempt){.set = seldom, .stop_behind = 8});
    calls = run(&(attempt){.resume = true, .set = seldom, .whose = SAVES}).calls;
    for (int64_t k = calls - 12; k <= calls; k++, kills++) {
        outcome o;
        start_anew();
        run(&(attempt){.set = seldom, .stop_behind = 8});
        o = run(&(attempt){
            .resume = true, .set = seldom, .whose = SAVES, .k = k, .kind = GF_FAULT_KILL});
        assert_int_equal(o.signal, SIGKILL);
        run_ok(&(attempt){.resume = true, .set = seldom});
        assert_reference(&whole, log);
    }
    report("kills around the removal of an interruption's checkpoint", kills, kills, 13);
    gf_free(log);
    free_tree(&whole);
}

/* ---- what a run reads ---- */

/* A run that stands behind this step. */
static void interrupt(int64_t step) {
    outcome o;
    start_anew();
    o = run(&(attempt){.stop_behind = step});
    if (o.e.code != GF_E_SIGTERM) fail_msg("%s", o.e.text);
}

/* Going on is refused, and says why; with force the run ends. */
static void refused(const char *set, gf_code code, const char *why) {
    outcome o = run(&(attempt){.resume = true, .set = set});
    assert_false(o.ok);
    if (o.e.code != code || !strstr(o.e.text, why)) fail_msg("\"%s\" is not in: %s", why, o.e.text);
    o = run(&(attempt){.resume = true, .force = true, .set = set});
    if (!o.ok) fail_msg("%s", o.e.text);
    if (!strstr(o.warning, why)) fail_msg("\"%s\" is not in: %s", why, o.warning);
}

static void test_a_changed_recipe_is_refused(void **state) {
    (void)state;
    interrupt(4);
    refused("phases.2.epochs=2", GF_E_INVALID, "phases.2.epochs: 1 is now 2");
    interrupt(4);
    refused("optimizer.weight_decay=0.2", GF_E_INVALID, "optimizer.weight_decay: 0.1 is now 0.2");
}

static void test_changed_data_are_refused(void **state) {
    (void)state;
    interrupt(4);
    write_rows(path_of("train.jsonl"), 1, 12);
    refused(NULL, GF_E_INVALID, "train file train.jsonl has other bytes");
    write_rows(path_of("train.jsonl"), 0, 12);
    interrupt(4);
    write_rows(path_of("dev.jsonl"), 0, 5);
    refused(NULL, GF_E_INVALID, "dev file dev.jsonl has other bytes");
    write_rows(path_of("dev.jsonl"), 1, 5);
}

static void flip_byte(const char *path, int64_t from_end) {
    gf_err e = {0};
    size_t size = 0;
    char *bytes = gf_io_read_all(path, 1 << 24, &size, &e);
    if (!bytes) fail_msg("%s", e.text);
    bytes[(int64_t)size - from_end] ^= 1;
    if (!gf_io_replace_file(path, bytes, size, &e)) fail_msg("%s", e.text);
    gf_free(bytes);
}

static void test_a_changed_base_is_refused(void **state) {
    (void)state;
    interrupt(4);
    flip_byte(path_of("base/model.safetensors"), 4);
    refused(NULL, GF_E_INVALID, "base file model.safetensors has other bytes");
    flip_byte(path_of("base/model.safetensors"), 4);
}

static void test_a_missing_base_is_refused(void **state) {
    (void)state;
    interrupt(4);
    assert_int_equal(rename(path_of("base"), path_of("elsewhere")), 0);
    refused(NULL, GF_E_MODEL, "base: cannot read it");
    assert_int_equal(rename(path_of("elsewhere"), path_of("base")), 0);
}

static void test_what_has_not_changed_is_no_obstacle(void **state) {
    (void)state;
    interrupt(4);
    run_ok(&(attempt){.resume = true});
    assert_reference(&reference, reference_log);
    run_ok(&(attempt){.resume = true}); /* a run that has ended stays as it is */
    assert_reference(&reference, reference_log);
}

/* ---- locks ---- */

static void test_a_run_is_locked(void **state) {
    gf_lock lock = {0};
    gf_err e = {0};
    (void)state;
    interrupt(4);
    assert_true(gf_io_lock(&lock, path_of("run/lock"), 0, &e));
    for (int i = 0; i < 2; i++) {
        outcome o = run(&(attempt){.resume = i == 0, .force = i == 1});
        assert_false(o.ok);
        assert_int_equal(o.e.code, GF_E_IO);
        assert_non_null(strstr(o.e.text, "another process works on this run"));
    }
    gf_io_unlock(&lock);
    run_ok(&(attempt){.resume = true});
    assert_reference(&reference, reference_log);
}

static void test_a_dead_process_holds_no_lock(void **state) {
    outcome o;
    (void)state;
    start_anew();
    o = run(&(attempt){.whose = SAVES, .k = 300, .kind = GF_FAULT_KILL});
    assert_int_equal(o.signal, SIGKILL);
    assert_true(gf_io_exists(path_of("run/lock")));
    run_ok(&(attempt){.resume = true});
    assert_reference(&reference, reference_log);
}

/* ---- checkpoints that are damaged or gone ---- */

static void test_a_damaged_checkpoint_is_skipped(void **state) {
    outcome o;
    (void)state;
    interrupt(5);
    flip_byte(path_of("run/checkpoints/step-000000005.h5"), 4000);
    o = run(&(attempt){.resume = true});
    if (!o.ok) fail_msg("%s", o.e.text);
    assert_int_equal(o.warnings, 1);
    assert_non_null(strstr(o.warning, "skipped a checkpoint"));
    assert_non_null(strstr(o.warning, "step-000000005.h5"));
    assert_reference(&reference, reference_log);
}

static void test_without_a_whole_checkpoint_it_ends(void **state) {
    outcome o;
    (void)state;
    interrupt(5);
    flip_byte(path_of("run/checkpoints/step-000000005.h5"), 4000);
    flip_byte(path_of("run/checkpoints/step-000000004.h5"), 1);
    o = run(&(attempt){.resume = true});
    assert_int_equal(o.e.code, GF_E_MODEL);
    assert_int_equal(o.warnings, 2);
    assert_non_null(strstr(o.e.text, "no whole checkpoint"));
}

/* best.h5 of step 3, which is there as a step too. */
static void test_a_lost_best_model_is_restored(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        interrupt(4);
        assert_true(gf_io_exists(path_of("run/checkpoints/step-000000003.h5")));
        if (i == 0)
            assert_int_equal(unlink(path_of("run/checkpoints/best.h5")), 0);
        else
            flip_byte(path_of("run/checkpoints/best.h5"), 4000);
        run_ok(&(attempt){.resume = true, .stop_behind = 0, .stop_phase = 0});
        assert_reference(&reference, reference_log);
    }
}

static void test_a_best_model_lost_for_good_is_told(void **state) {
    outcome o;
    (void)state;
    interrupt(7);
    assert_false(gf_io_exists(path_of("run/checkpoints/step-000000003.h5")));
    assert_int_equal(unlink(path_of("run/checkpoints/best.h5")), 0);
    o = run(&(attempt){.resume = true});
    if (!o.ok) fail_msg("%s", o.e.text);
    assert_non_null(strstr(o.warning, "the best model so far, of step 3, is lost"));
}

static void test_going_back_to_an_older_checkpoint(void **state) {
    outcome o;
    (void)state;
    interrupt(7);
    run_ok(&(attempt){.resume = true, .at_step = 6});
    assert_reference(&reference, reference_log);
    o = run(&(attempt){.resume = true, .at_step = 5});
    assert_int_equal(o.e.code, GF_E_MODEL);
    assert_non_null(strstr(o.e.text, "no whole checkpoint of step 5"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases_in_every_order),
        cmocka_unit_test(test_an_interruptions_checkpoint_goes_again),
        cmocka_unit_test(test_a_changed_recipe_is_refused),
        cmocka_unit_test(test_changed_data_are_refused),
        cmocka_unit_test(test_a_changed_base_is_refused),
        cmocka_unit_test(test_a_missing_base_is_refused),
        cmocka_unit_test(test_what_has_not_changed_is_no_obstacle),
        cmocka_unit_test(test_a_run_is_locked),
        cmocka_unit_test(test_a_dead_process_holds_no_lock),
        cmocka_unit_test(test_a_damaged_checkpoint_is_skipped),
        cmocka_unit_test(test_without_a_whole_checkpoint_it_ends),
        cmocka_unit_test(test_a_lost_best_model_is_restored),
        cmocka_unit_test(test_a_best_model_lost_for_good_is_told),
        cmocka_unit_test(test_going_back_to_an_older_checkpoint),
    };
    return cmocka_run_group_tests(tests, make_reference, free_all);
}
