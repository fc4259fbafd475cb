/* The files of what frozen layers make of the texts: damaged, shared, made by two at once, on a
 * full disk; and what they are called after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recipes/boundary_file.h"
#include "tests/boundary_help.h"

static char shared_cache[160]; /* FOLDER/shared, whose files stay */

/* The file of a folder whose name begins so. */
static char *file_of(const char *where, const char *begins) {
    int64_t n = 0;
    char **names = gf_io_list(where, &n, NULL), *path = NULL;
    for (int64_t i = 0; names && i < n; i++)
        if (strncmp(names[i], begins, strlen(begins)) == 0)
            path = gf_io_join(where, names[i], NULL);
    gf_io_free_names(names, n);
    assert_non_null(path);
    return path;
}

static void start_shared(void) {
    gf_io_remove_tree(path_of("shared"), NULL);
    snprintf(shared_cache, sizeof shared_cache,
             "cache={\"memory_mb\": 64, \"keep\": true, \"folder\": \"%s/shared\"}", folder);
}

/* ---- damage ---- */

typedef enum damage { FLIP, CUT, GROW, SWAP } damage;

static void harm(const char *path, damage how, int64_t at) {
    size_t size = 0;
    char *bytes = gf_io_read_all(path, 1 << 28, &size, NULL), *other = NULL;
    assert_non_null(bytes);
    if (how == SWAP) {
        gf_free(bytes);
        other = file_of(path_of("shared"), "train-embedding-");
        assert_non_null(bytes = gf_io_read_all(other, 1 << 28, &size, NULL));
        gf_free(other);
    }
    if (how == FLIP) bytes[at < 0 ? (int64_t)size + at : at] ^= 0x10;
    if (how == CUT) size = (size_t)(at < 0 ? (int64_t)size + at : at);
    assert_true(gf_io_replace_file(path, bytes, size + (how == GROW), NULL));
    gf_free(bytes);
}

static void test_damaged_files_are_made_again(void **state) {
    static const struct {
        damage how;
        int64_t at;
        const char *says;
    } cases[] = {
        {FLIP, 0, "it is no file of this kind"},
        {FLIP, 9, "its head is damaged"},
        {FLIP, 17, "its head is damaged"},
        {FLIP, 40, "other weights, texts, max_length or kernels"},
        {FLIP, 100, "its head is damaged"},
        {FLIP, 200, "its head is damaged"},
        {FLIP, 4095, "its head is damaged"},
        {FLIP, 4096, "its SHA-256"},
        {FLIP, -1, "its SHA-256"},
        {FLIP, -2000, "its SHA-256"},
        {CUT, 0, "it is empty"},
        {CUT, 100, "it is cut off"},
        {CUT, 4096, "has not the size"},
        {CUT, -4, "has not the size"},
        {GROW, 0, "has not the size"},
        {SWAP, 0, "other weights, texts, max_length or kernels"},
    };
    char *path;
    seen s;
    (void)state;
    start_shared();
    write_recipe("top1", top1);
    train("top1", "none", NONE, 1);
    s = train("top1", "whole", shared_cache, 1);
    assert_int_equal(s.found, 0);
    assert_int_equal(s.kept[2], 9);
    same_runs("none", "whole");
    path = file_of(path_of("shared"), "train-layer2-");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        harm(path, cases[i].how, cases[i].at);
        s = train("top1", "again", shared_cache, 1);
        assert_int_equal(s.warnings, 1);
        assert_int_equal(s.found, 3);
        if (!strstr(s.last, cases[i].says)) fail_msg("case %d: %s", (int)i, s.last);
        same_runs("none", "again");
        s = train("top1", "again", shared_cache, 1);
        assert_int_equal(s.warnings, 0);
        assert_int_equal(s.found, 4);
    }
    gf_free(path);
}

/* ---- other runs ---- */

/* The second run takes the first one's file and leaves it there; other weights have other files. */
static void test_runs_share_a_folder(void **state) {
    gf_trainer_options o = {.threads = 1, .force = true, .cache_folder = path_of("shared")};
    struct stat before, after;
    gf_err e = {0};
    seen s = {0};
    char *path;
    (void)state;
    start_shared();
    write_recipe("top1", top1);
    write_recipe("top2", top2);
    check(try_train("top1", "first", MEMORY, NULL, o, &s, &e), &e);
    assert_int_equal(s.found, 0);
    path = file_of(path_of("shared"), "train-layer2-");
    assert_int_equal(stat(path, &before), 0);
    s = (seen){0};
    check(try_train("top1", "second", MEMORY, "seed=7", o, &s, &e), &e);
    assert_int_equal(s.found, 4);
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_mtime == after.st_mtime);
    s = (seen){0};
    check(try_train("top2", "third", MEMORY, NULL, o, &s, &e), &e);
    assert_int_equal(s.found, 0);
    assert_int_equal(count_files(path_of("shared"), ".cache"), 6);
    /* a file that others need no more gives way */
    write_file(path_of("mine"), "stays");
    assert_int_equal(count_files(path_of("shared"), ".lock"), 0);
    assert_true(gf_boundary_clean(path_of("shared"), &e));
    assert_false(gf_io_exists(path_of("shared")));
    gf_free(path);
}

static void test_what_is_not_ours_stays(void **state) {
    gf_err e = {0};
    (void)state;
    assert_true(gf_io_make_folder(path_of("mixed/a.cache"), &e));
    write_file(path_of("mixed/notes.txt"), "mine");
    write_file(path_of("mixed/b.cache"), "ours");
    write_file(path_of("mixed/b.cache.tmp"), "ours");
    assert_true(gf_boundary_clean(path_of("mixed"), &e));
    assert_false(gf_io_exists(path_of("mixed/b.cache")));
    assert_false(gf_io_exists(path_of("mixed/b.cache.tmp")));
    assert_file(path_of("mixed/notes.txt"), "mine");
    assert_true(gf_io_is_folder(path_of("mixed/a.cache")));
}

/* Two processes that want the same files at once: one makes each, the other waits and finds it. */
static void test_two_processes_at_once(void **state) {
    static const char *const names[] = {"left", "right"};
    pid_t child[2];
    int found = 0;
    (void)state;
    start_shared();
    write_recipe("top1", top1);
    train("top1", "none", NONE, 1);
    for (int i = 0; i < 2; i++) {
        fflush(stdout);
        assert_true((child[i] = fork()) >= 0);
        if (child[i] == 0) {
            gf_trainer_options o = {.threads = 1, .force = true};
            gf_err e = {0};
            seen s = {0};
            bool ok = try_train("top1", names[i], shared_cache, NULL, o, &s, &e);
            _exit(ok && s.warnings == 0 ? s.found : 99);
        }
    }
    for (int i = 0; i < 2; i++) {
        int status;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 99);
        found += WEXITSTATUS(status);
        same_runs("none", names[i]);
    }
    assert_int_equal(found, 4); /* of 8 looks */
    assert_int_equal(count_files(path_of("shared"), ".cache"), 4);
    assert_int_equal(count_files(path_of("shared"), ".tmp"), 0);
}

/* ---- failures ---- */

/* The disk fills up as the training rows are written: behind the sample of recipes/forgetting.h
 * they are the second that are encoded, and the fourth call from there writes the file's head. */
static void test_a_full_disk_is_a_warning(void **state) {
    gf_trainer_options o = {.threads = 1, .force = true};
    gf_err e = {0};
    seen s = {.fault_in = 2, .fault_at = 4};
    (void)state;
    write_recipe("top1", only_top1);
    train("top1", "none", NONE, 1);
    gf_io_fail_self_at(0, GF_FAULT_EIO);
    check(try_train("top1", "full", DISK, NULL, o, &s, &e), &e);
    assert_true(gf_io_fault_fired());
    gf_io_fail_self_at(0, GF_FAULT_EIO);
    assert_int_equal(s.warnings, 1);
    assert_non_null(strstr(s.last, "cannot write it: No space left"));
    assert_non_null(strstr(s.last, "goes on without this cache"));
    assert_int_equal(s.kept[2], 0);
    assert_int_equal(s.live, 12);
    same_runs("none", "full");
}

/* What gf_boundary_prepare() needs. */
typedef struct fixture {
    gf_recipe recipe;
    gf_run run;
    gf_engine engine;
    gf_phase phase;
    gf_boundary boundary;
    gf_log log;
    seen seen;
} fixture;

static void open_fixture(fixture *f, const char *cache) {
    const char *sets[] = {cache};
    gf_err e = {0};
    *f = (fixture){0};
    f->log = (gf_log){take_line, &f->seen};
    write_recipe("top1", only_top1);
    check(gf_recipe_read(&f->recipe, path_of("top1.json"), sets, 1, &e), &e);
    check(gf_engine_start(&f->engine, 1, &e), &e);
    check(gf_run_open(&f->run, &f->recipe, NULL, &f->log, &e), &e);
    check(gf_phase_assign(&f->phase, &f->run, 0, &e), &e);
    assert_int_equal(gf_boundary_point_of(&f->run.model), 2);
}

static void close_fixture(fixture *f) {
    gf_phase_end(&f->phase);
    gf_run_close(&f->run);
    gf_engine_stop(&f->engine);
    gf_recipe_free(&f->recipe);
}

static bool prepare(fixture *f, gf_err *e) {
    return gf_boundary_start(&f->boundary, &f->recipe, folder, NULL, &f->log, e) &&
           gf_boundary_prepare(&f->boundary, &f->run, &f->engine, 2, true, NULL, e);
}

/* Every call of the system fails in turn: the run goes on, and nothing is left behind. */
static void test_every_failure_of_the_disk(void **state) {
    fixture f;
    int64_t k = 1;
    (void)state;
    open_fixture(&f, DISK);
    for (;; k++) {
        gf_err e = {0};
        f.seen = (seen){0};
        gf_io_fail_self_at(k, GF_FAULT_ENOSPC);
        check(prepare(&f, &e), &e);
        if (!gf_io_fault_fired()) break;
        gf_io_fail_self_at(0, GF_FAULT_EIO);
        assert_int_equal(count_files(path_of("cache"), ".tmp"), 0);
        if (!f.boundary.train.x || !f.boundary.dev.x) assert_true(k == 1 || f.seen.warnings > 0);
        gf_boundary_end(&f.boundary, true);
        gf_io_remove_tree(path_of("cache"), NULL);
    }
    assert_true(k > 20);
    assert_non_null(f.boundary.train.x);
    assert_int_equal(f.boundary.train.layers, 2);
    gf_boundary_end(&f.boundary, true);
    close_fixture(&f);
}

static void test_every_lack_of_memory(void **state) {
    static const char *const caches[] = {MEMORY, DISK};
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture f;
        int64_t k = 1, live;
        open_fixture(&f, caches[i]);
        live = gf_mem_get_stats().live_blocks;
        for (;; k++) {
            gf_err e = {0};
            bool ok;
            gf_mem_fail_at(k, false);
            ok = prepare(&f, &e);
            if (!gf_mem_fault_fired()) break;
            gf_mem_fail_at(0, false);
            assert_true(ok || e.code == GF_E_NOMEM);
            gf_boundary_end(&f.boundary, true);
            gf_graph_reset(f.engine.graph);
            gf_io_remove_tree(path_of("cache"), NULL);
        }
        gf_mem_fail_at(0, false);
        assert_true(k > 20);
        gf_boundary_end(&f.boundary, true);
        (void)live;
        close_fixture(&f);
    }
}

/* Where it goes, by size; nothing is taken for granted about a disk that cannot be asked. */
static void test_the_place_is_chosen_by_size(void **state) {
    gf_boundary b = {.memory = 1000, .disk = 2000, .folder = folder};
    (void)state;
    assert_int_equal(gf_boundary_choose(&b, 1000), GF_BOUNDARY_MEMORY);
    assert_int_equal(gf_boundary_choose(&b, 1001), GF_BOUNDARY_FILE);
    assert_int_equal(gf_boundary_choose(&b, 2001), GF_BOUNDARY_NOWHERE);
    b.shared = true;
    assert_int_equal(gf_boundary_choose(&b, 1000), GF_BOUNDARY_FILE);
    b.disk = INT64_MAX;
    assert_int_equal(gf_boundary_choose(&b, INT64_MAX), GF_BOUNDARY_NOWHERE);
    gf_io_fail_self_at(1, GF_FAULT_ENOSPC);
    assert_int_equal(gf_boundary_choose(&b, 1001), GF_BOUNDARY_NOWHERE);
    assert_true(gf_io_fault_fired());
    gf_io_fail_self_at(0, GF_FAULT_EIO);
    b.folder = NULL;
    assert_int_equal(gf_boundary_choose(&b, 1000), GF_BOUNDARY_MEMORY);
    assert_int_equal(gf_boundary_choose(&b, 1001), GF_BOUNDARY_NOWHERE);
}

/* Files together stay within cache.disk_mb: one that nobody uses makes room. */
static void test_the_folder_is_bounded(void **state) {
    fixture f;
    gf_err e = {0};
    char *big = gf_alloc(1 << 20, &e);
    (void)state;
    assert_non_null(big);
    memset(big, 0, 1 << 20);
    start_shared();
    assert_true(gf_io_make_folder(path_of("shared"), &e));
    assert_true(gf_io_replace_file(path_of("shared/old-layer1-0.cache"), big, 1 << 20, &e));
    snprintf(shared_cache, sizeof shared_cache,
             "cache={\"memory_mb\": 0, \"disk_mb\": 1, \"folder\": \"%s/shared\"}", folder);
    open_fixture(&f, shared_cache);
    check(prepare(&f, &e), &e);
    assert_non_null(f.boundary.train.x);
    assert_false(gf_io_exists(path_of("shared/old-layer1-0.cache")));
    assert_int_equal(count_files(path_of("shared"), ".cache"), 2);
    gf_boundary_end(&f.boundary, true); /* removes what it made */
    assert_int_equal(count_files(path_of("shared"), ".cache"), 0);
    close_fixture(&f);
    gf_free(big);
}

/* Each of the things that the values depend on is in the key. */
static void test_the_key_tells_them_apart(void **state) {
    fixture f;
    gf_err e = {0};
    char key[6][GF_SHA256_HEX];
    gf_real value;
    (void)state;
    open_fixture(&f, MEMORY);
    for (int i = 0; i < 6; i++) {
        gf_param *p = f.run.model.layers[i == 1 ? 1 : 2].output.bias;
        assert_true(gf_param_own(p, &e));
        value = p->owned[3];
        if (i == 1 || i == 2) p->owned[3] += 1;
        if (i == 3) f.run.model.max_length--;
        if (i == 4) f.run.train.ids.id[5]++;
        if (i == 5) f.run.model.config.layer_norm_eps *= 2;
        check(prepare(&f, &e), &e);
        memcpy(key[i], f.boundary.train_key, sizeof *key);
        gf_boundary_end(&f.boundary, true);
        p->owned[3] = value;
        if (i == 3) f.run.model.max_length++;
        if (i == 4) f.run.train.ids.id[5]--;
    }
    assert_string_equal(key[0], key[2]); /* above the point */
    for (int i = 1; i < 6; i++)
        for (int k = 0; k < i; k++) assert_int_equal(strcmp(key[i], key[k]) == 0, i == 2 && k == 0);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_files_are_made_again),
        cmocka_unit_test(test_runs_share_a_folder),
        cmocka_unit_test(test_what_is_not_ours_stays),
        cmocka_unit_test(test_two_processes_at_once),
        cmocka_unit_test(test_a_full_disk_is_a_warning),
        cmocka_unit_test(test_every_failure_of_the_disk),
        cmocka_unit_test(test_every_lack_of_memory),
        cmocka_unit_test(test_the_place_is_chosen_by_size),
        cmocka_unit_test(test_the_folder_is_bounded),
        cmocka_unit_test(test_the_key_tells_them_apart),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
