/* What frozen layers make of the texts, kept in memory or in files: whole runs must write the bytes
 * that they write without it. That the numbers as such are right is for tests/test_training.c to
 * say, whose run against PyTorch keeps them, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/boundary_help.h"

/* ---- the same bytes ---- */

/* In memory, in files by one thread and by three, and without; `kept` updates begin behind `layers`
 * layers in all but the last. */
static void is_the_same_everywhere(const char *recipe, const char *phases, int64_t layers,
                                   int64_t kept) {
    seen s;
    write_recipe(recipe, phases);
    s = train(recipe, "none", NONE, 2);
    assert_int_equal(s.kept[layers], 0);
    s = train(recipe, "memory", MEMORY, 1);
    assert_int_equal(s.kept[layers], kept);
    assert_int_equal(s.warnings, 0);
    assert_false(gf_io_exists(cache_of("memory")));
    same_runs("none", "memory");
    s = train(recipe, "disk", DISK, 1);
    assert_int_equal(s.kept[layers], kept);
    assert_int_equal(s.warnings, 0);
    assert_false(gf_io_exists(cache_of("disk")));
    same_runs("none", "disk");
    s = train(recipe, "kept", KEPT, 3);
    assert_int_equal(s.kept[layers], kept);
    assert_int_equal(count_files(cache_of("kept"), ".tmp") + count_files(cache_of("kept"), ".lock"),
                     0);
    assert_true(count_files(cache_of("kept"), ".cache") >= 2);
    same_runs("none", "kept");
}

static void test_heads_alone(void **state) {
    (void)state;
    is_the_same_everywhere("heads", heads_phases, 0, 12);
}

static void test_one_layer(void **state) {
    (void)state;
    is_the_same_everywhere("top1", top1, 2, 9);
}

/* A single epoch is not worth it. */
static void test_two_layers_over_three_phases(void **state) {
    (void)state;
    is_the_same_everywhere("top2", top2, 1, 15);
}

/* Weights below that moved meanwhile: what was kept of the old ones is dropped without a word. */
static void test_moved_weights(void **state) {
    (void)state;
    is_the_same_everywhere("moved", moved, 2, 15);
}

static void test_gradual_unfreezing(void **state) {
    (void)state;
    is_the_same_everywhere("gradual", gradual, 2, 6);
    is_the_same_everywhere("gradual", gradual, 1, 6);
    is_the_same_everywhere("gradual", gradual, 0, 6);
    is_the_same_everywhere("by-steps", by_steps, 2, 7);
}

/* The plan says what is kept, where, and how much of it. */
static void test_the_plan_tells(void **state) {
    static const struct {
        const char *cache, *text;
    } wanted[] = {
        {MEMORY, "  embeddings of all texts, 0.0 MiB, kept in memory\n"},
        {MEMORY, "  what the lowest 2 of 3 layers make of all texts, 0.0 MiB, kept in memory\n"},
        {DISK, "  what the lowest 2 of 3 layers make of all texts, 0.0 MiB, kept in a file\n"},
        {NONE, "  what the lowest 2 of 3 layers make of all texts, 0.0 MiB, would fit neither "},
    };
    (void)state;
    write_recipe("top1", top1);
    for (int i = 0; i < 4; i++) {
        size_t size = 0;
        char *plan;
        train("top1", "planned", wanted[i].cache, 1);
        plan = read_all("planned", "plan.txt", &size);
        if (!strstr(plan, wanted[i].text)) fail_msg("no \"%s\" in %s", wanted[i].text, plan);
        gf_free(plan);
    }
    write_recipe("gradual", gradual);
    for (int i = 1; i < 2; i++) {
        size_t size = 0;
        char *plan;
        train("gradual", "planned", MEMORY, 1);
        plan = read_all("planned", "plan.txt", &size);
        assert_non_null(strstr(plan, "  stage 1:  embeddings of all texts"));
        assert_non_null(strstr(plan, "  stage 2:  what the lowest 2 of 3 layers"));
        assert_non_null(strstr(plan, "  stage 3:  what the lowest 1 of 3 layers"));
        assert_null(strstr(plan, "  stage 4:"));
        gf_free(plan);
    }
}

/* ---- interruptions ---- */

/* While texts are computed for the file, in the phase that uses it, at its end: the files stay, the
 * resumed run finds those that were made, and they are gone in the end. */
static void test_a_resumed_run_writes_the_same_bytes(void **state) {
    (void)state;
    write_recipe("top1", top1);
    train("top1", "none", NONE, 1);
    for (int stop = 4; stop < 24; stop += 3) {
        gf_trainer_options o = {.threads = 2, .force = true};
        gf_err e = {0};
        seen s = {.stop_in = stop};
        int files;
        assert_false(try_train("top1", "cut", DISK, NULL, o, &s, &e));
        assert_int_equal(e.code, GF_E_SIGINT);
        assert_int_equal(count_files(cache_of("cut"), ".tmp"), 0);
        files = count_files(cache_of("cut"), ".cache");
        e = (gf_err){0};
        s = (seen){0};
        o = (gf_trainer_options){.threads = 1, .resume = true, .at_step = -1};
        check(try_train("top1", "cut", DISK, NULL, o, &s, &e), &e);
        assert_true(s.found <= files);
        if (stop == 22) assert_int_equal(s.found, 2);
        assert_int_equal(s.warnings, 0);
        assert_false(gf_io_exists(cache_of("cut")));
        same_runs("none", "cut");
    }
}

/* What an earlier course of the run has left there may be of other texts, here those of another
 * max_length: each of the two files is one warning, besides that of --force. */
static void test_stale_files_are_noticed(void **state) {
    gf_trainer_options o = {.threads = 2, .force = true};
    gf_err e = {0};
    seen s = {.stop_in = 22};
    (void)state;
    write_recipe("top1", top1);
    assert_false(try_train("top1", "stale", DISK, NULL, o, &s, &e));
    assert_int_equal(e.code, GF_E_SIGINT);
    assert_int_equal(count_files(cache_of("stale"), ".cache"), 4);
    e = (gf_err){0};
    s = (seen){0};
    o = (gf_trainer_options){.threads = 1, .force = true, .resume = true, .at_step = -1};
    check(try_train("top1", "stale", KEPT, "model.max_length=9", o, &s, &e), &e);
    assert_int_equal(s.found, 0);
    assert_int_equal(s.warnings, 3);
    assert_non_null(strstr(s.last, "other weights, texts, max_length or kernels"));
    assert_int_equal(count_files(cache_of("stale"), "-layer2-.cache"), 0);
    assert_int_equal(count_files(cache_of("stale"), ".cache"), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_alone),
        cmocka_unit_test(test_one_layer),
        cmocka_unit_test(test_two_layers_over_three_phases),
        cmocka_unit_test(test_moved_weights),
        cmocka_unit_test(test_gradual_unfreezing),
        cmocka_unit_test(test_the_plan_tells),
        cmocka_unit_test(test_a_resumed_run_writes_the_same_bytes),
        cmocka_unit_test(test_stale_files_are_noticed),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
