/* core: errors, memory, text, JSON, shapes, parameters and the thread pool. */
#include "core/err.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/param.h"
#include "core/pool.h"
#include "core/rng.h"
#include "core/shape.h"
#include "core/text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scratch.h"

/* --- err ------------------------------------------------------------------------------------- */

static void the_first_failure_stays_on_one_line(void **state) {
    gf_err e = {0};
    char longest[2000];
    (void)state;
    gf_err_prefix(&e, "file");
    assert_string_equal(e.text, "");
    assert_false(gf_fail(&e, GF_E_INVALID, "%s", "a\nb\x1b[31m\x7f\xc3\xa4"));
    assert_string_equal(e.text, "a?b?[31m?\xc3\xa4");
    assert_false(gf_fail(&e, GF_E_IO, "later"));
    assert_int_equal(e.code, GF_E_INVALID);
    gf_err_prefix(&e, "x.json:%d", 3);
    assert_string_equal(e.text, "x.json:3: a?b?[31m?\xc3\xa4");
    memset(longest, 'z', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    gf_err_prefix(&e, "%s", longest);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_false(gf_fail(NULL, GF_E_IO, "nobody listens"));
    gf_err_prefix(NULL, "nobody");
}

static void codes_have_the_contracts_exit_status(void **state) {
    (void)state;
    assert_int_equal(gf_err_status(GF_OK), 0);
    assert_int_equal(gf_err_status(GF_E_INTERNAL), 1);
    assert_int_equal(gf_err_status(GF_E_USAGE), 2);
    assert_int_equal(gf_err_status(GF_E_INVALID), 3);
    assert_int_equal(gf_err_status(GF_E_MODEL), 4);
    assert_int_equal(gf_err_status(GF_E_NUMERIC), 5);
    assert_int_equal(gf_err_status(GF_E_NOMEM), 6);
    assert_int_equal(gf_err_status(GF_E_IO), 6);
    assert_int_equal(gf_err_status(GF_E_VERIFY), 7);
    assert_int_equal(gf_err_status(GF_E_SIGINT), 130);
    assert_int_equal(gf_err_status(GF_E_SIGTERM), 143);
}

/* --- mem ------------------------------------------------------------------------------------- */

static void products_and_sums_are_checked(void **state) {
    int64_t i;
    size_t s;
    (void)state;
    assert_true(gf_mul_i64(1ll << 31, 1ll << 31, &i) && i == 1ll << 62);
    assert_false(gf_mul_i64(1ll << 32, 1ll << 31, &i));
    assert_true(gf_mul_size(SIZE_MAX, 1, &s));
    assert_false(gf_mul_size(SIZE_MAX / 2 + 1, 2, &s));
    assert_false(gf_add_size(SIZE_MAX, 1, &s));
}

static void blocks_are_aligned_counted_and_zeroed(void **state) {
    gf_mem_stats before = gf_mem_get_stats(), now;
    gf_err e = {0};
    char *empty = gf_alloc(0, &e), *a = gf_alloc_array(100, 3, &e), *b;
    (void)state;
    assert_non_null(empty);
    assert_non_null(a);
    assert_int_equal((uintptr_t)a % 64, 0);
    for (int i = 0; i < 300; i++) assert_int_equal(a[i], 0);
    memset(a, 1, 300);
    b = gf_realloc_array(a, 200, 3, &e);
    for (int i = 0; i < 600; i++) assert_int_equal(b[i], i < 300);
    now = gf_mem_get_stats();
    assert_int_equal(now.live_blocks - before.live_blocks, 2);
    assert_int_equal(now.live_bytes - before.live_bytes, 600);
    assert_true(now.peak_bytes >= now.live_bytes);
    gf_free(b);
    gf_free(empty);
    gf_free(NULL);
    assert_int_equal(gf_mem_get_stats().live_bytes, before.live_bytes);
    assert_null(gf_alloc_array(-1, 4, &e));
    assert_int_equal(e.code, GF_E_NOMEM);
    e = (gf_err){0};
    assert_null(gf_alloc_array(INT64_MAX, 16, &e));
    assert_null(gf_alloc(SIZE_MAX - 10, &e));
    assert_int_equal(e.code, GF_E_NOMEM);
}

static void growing_keeps_what_was_there(void **state) {
    gf_err e = {0};
    int64_t *items = NULL, capacity = 0;
    (void)state;
    for (int64_t i = 0; i < 1000; i++) {
        assert_true(gf_grow(&items, i, &capacity, sizeof *items, &e));
        items[i] = i;
    }
    for (int64_t i = 0; i < 1000; i++) assert_int_equal(items[i], i);
    gf_mem_fail_at(1, false);
    assert_false(gf_grow(&items, capacity, &capacity, sizeof *items, &e));
    assert_true(gf_mem_fault_fired());
    assert_int_equal(items[999], 999);
    gf_free(items);
}

/* Each returns whether it did its work, and leaves nothing behind either way. */
static bool use_format(gf_err *e) {
    char *text = gf_format(e, "%s-%d", "layer", 3), *copy = text ? gf_strndup(text, 5, e) : NULL;
    bool ok = copy && strcmp(text, "layer-3") == 0 && strcmp(copy, "layer") == 0;
    gf_free(text);
    gf_free(copy);
    return ok;
}

static bool use_text(gf_err *e) {
    gf_text t = {0};
    bool ok = true;
    for (int i = 0; ok && i < 30; i++) ok = gf_text_add(&t, e, "%d,", i);
    ok = ok && gf_text_add_bytes(&t, "end", 3, e) && t.length == 83 && strlen(t.data) == 83;
    gf_text_free(&t);
    return ok;
}

static bool use_parser(gf_err *e) {
    const char *text = "{\"a\": [1, \"x\", {\"b\": null, \"c\": true}], \"d\": -1.5e3}";
    cJSON *j = gf_json_parse(text, strlen(text), "text", 1, GF_E_INVALID, e);
    bool ok = j && cJSON_GetObjectItem(j, "d")->valuedouble == -1500;
    cJSON_Delete(j);
    return ok;
}

static bool use_builder(gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e), *list = j ? gf_json_array(j, "l", e) : NULL;
    bool ok = list && gf_json_number(list, NULL, 0.1, e) && gf_json_string(list, NULL, "s\n", e) &&
              gf_json_bool(j, "b", true, e) && gf_json_null(j, "n", e);
    char *text = ok ? gf_json_print(j, e) : NULL;
    ok = text &&
         strcmp(text, "{\n\t\"l\":\t[0.1, \"s\\n\"],\n\t\"b\":\ttrue,\n\t\"n\":\tnull\n}\n") == 0;
    gf_free(text);
    cJSON_Delete(j);
    return ok;
}

static bool use_files(gf_err *e) {
    size_t size = 0;
    int64_t count = 0;
    char **names = NULL, *path = gf_io_join(folder, "walk", e), *bytes = NULL, *line = NULL;
    bool ok = path && gf_io_make_folder(path, e) && (line = gf_io_join(path, "f", e)) &&
              gf_io_replace_file(line, "hello", 5, e) &&
              (bytes = gf_io_read_all(line, 100, &size, e)) &&
              (names = gf_io_list(path, &count, e));
    ok = ok && count == 1 && size == 5 && strcmp(names[0], "f") == 0;
    gf_io_free_names(names, count);
    gf_free(path);
    gf_free(line);
    gf_free(bytes);
    return ok;
}

static bool use_params(gf_err *e) {
    gf_params p = {0};
    gf_shape shape = gf_shape2(2, 3);
    gf_param *a = gf_params_add(&p, "encoder.weight", &shape, e);
    bool ok = a && gf_param_own(a, e) && gf_params_find(&p, "encoder.weight") == a &&
              !gf_params_find(&p, "none") && gf_param_count(a) == 6 && a->owned[5] == 0;
    gf_params_free(&p);
    return ok;
}

static bool use_pool(gf_err *e) {
    gf_pool *pool = gf_pool_new(3, e);
    bool ok = pool && gf_pool_threads(pool) == 3;
    gf_pool_free(pool);
    return ok;
}

/* Fails the 1st, 2nd, ... allocation in turn, alone and with all later ones, until none is left. */
static void every_allocation_may_fail(void **state) {
    bool (*const uses[])(gf_err *) = {use_format, use_text,   use_parser, use_builder,
                                      use_files,  use_params, use_pool};
    (void)state;
    for (size_t u = 0; u < sizeof uses / sizeof *uses; u++)
        for (int onwards = 0; onwards < 2; onwards++) {
            int64_t live = gf_mem_get_stats().live_blocks, k = 1;
            for (;; k++) {
                gf_err e = {0};
                gf_mem_fail_at(k, onwards);
                bool ok = uses[u](&e), fired = gf_mem_fault_fired();
                gf_mem_fail_at(0, false);
                assert_int_equal(gf_mem_get_stats().live_blocks, live);
                assert_int_equal(ok, !fired);
                if (!fired) break;
                if (e.code != GF_E_NOMEM) fail_msg("use %zu, k %d: %s", u, (int)k, e.text);
            }
            assert_true(k > 2);
        }
}

/* --- text ------------------------------------------------------------------------------------ */

static void the_nearest_name_is_found_or_none(void **state) {
    const char *const names[] = {"learning_rate", "weight_decay", "epochs", "lr", "seed"};
    (void)state;
    assert_string_equal(gf_text_nearest("learning_rat", names, 5), "learning_rate");
    assert_string_equal(gf_text_nearest("learnin_grate", names, 5), "learning_rate");
    assert_string_equal(gf_text_nearest("epoch", names, 5), "epochs");
    assert_string_equal(gf_text_nearest("sede", names, 5), "seed");
    assert_null(gf_text_nearest("momentum", names, 5));
    assert_null(gf_text_nearest("", names, 5));
    assert_null(gf_text_nearest("lr", names, 0));
    char longest[300];
    memset(longest, 'q', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_null(gf_text_nearest(longest, names, 5));
}

/* --- json ------------------------------------------------------------------------------------ */

static cJSON *parse(const char *text, size_t size, gf_err *e) {
    *e = (gf_err){0};
    return gf_json_parse(text, size, "f", 1, GF_E_INVALID, e);
}

static void refuse(const char *text, size_t size, const char *sentence) {
    gf_err e;
    cJSON *j = parse(text, size, &e);
    if (j || !strstr(e.text, sentence)) fail_msg("\"%s\": %s", text, j ? "accepted" : e.text);
    assert_int_equal(e.code, GF_E_INVALID);
}

static void json_says_where_it_is_wrong(void **state) {
    (void)state;
    refuse("", 0, "f:1:1: this is not valid JSON");
    refuse("{\"a\": 1,\n  oops}", 16, "f:2:");
    refuse("[1, 2", 5, "not valid JSON");
    refuse("\"open", 5, "not valid JSON");
    refuse("\"\\u12", 5, "not valid JSON");
    refuse("\"\\", 2, "not valid JSON");
    refuse("{} x", 4, "f:1:4: something follows the JSON value");
    refuse("{}{}", 4, "something follows");
    refuse("1 \0", 3, "f:1:3: a byte 0");
    refuse("\"a\0b\"", 5, "f:1:3: a byte 0");
    refuse("{\"a\":1, \"b\":[{\"x\":1,\"y\":2,\"x\":3}]}", 34, "the key \"x\" stands twice");
    refuse("{\"a\":1,\"\\u0061\":2}", 18, "the key \"a\" stands twice");
}

/* Powers of ten and random doubles, which 15 digits do not hold. */
static void json_exact_reads_back(void **state) {
    gf_rng rng = gf_rng_new(5, 1);
    int lost = 0;
    (void)state;
    for (int i = 0; i < 2000; i++) {
        double x =
            ldexp((double)gf_rng_next(&rng) + (double)gf_rng_next(&rng) / 0x1p32, i % 80 - 70);
        cJSON *list = gf_json_array(NULL, NULL, NULL), *again;
        char *text;
        if (i % 2) x = -x;
        if (i % 10 == 0) x = pow(10, i % 30 - 15);
        gf_json_exact(list, NULL, x, NULL);
        gf_json_number(list, NULL, x, NULL);
        text = gf_json_print(list, NULL);
        again = cJSON_Parse(text);
        if (cJSON_GetArrayItem(again, 0)->valuedouble != x) fail_msg("%.17g: %s", x, text);
        lost += cJSON_GetArrayItem(again, 1)->valuedouble != x;
        cJSON_Delete(again);
        cJSON_Delete(list);
        gf_free(text);
    }
    assert_true(lost > 0); /* else there would be no need of it */
}

static void json_bounds_hold(void **state) {
    char deep[1000];
    gf_err e;
    cJSON *j;
    (void)state;
    memset(deep, '[', 500);
    memset(deep + 200, ']', 200);
    j = parse(deep, 400, &e);
    assert_non_null(j);
    cJSON_Delete(j);
    memset(deep, '[', 500);
    memset(deep + 201, ']', 201);
    refuse(deep, 402, "f:1:201: nested too deeply");
    memset(deep, '[', 1000);
    refuse(deep, 1000, "nested too deeply");
    j = parse("[\"[[[\\\"[[\", 1] trailing", 14, &e); /* the text ends where size says */
    assert_string_equal(cJSON_GetArrayItem(j, 0)->valuestring, "[[[\"[[");
    cJSON_Delete(j);
}

static void json_turns_escaped_nul_into_a_replacement(void **state) {
    gf_err e;
    cJSON *j = parse("[\"a\\u0000b\", \"\\\\u0000\"]", 23, &e);
    (void)state;
    assert_string_equal(cJSON_GetArrayItem(j, 0)->valuestring, "a\xef\xbf\xbd"
                                                               "b");
    assert_string_equal(cJSON_GetArrayItem(j, 1)->valuestring, "\\u0000");
    assert_string_equal(gf_json_kind(j), "a list");
    assert_string_equal(gf_json_kind(NULL), "missing");
    cJSON_Delete(j);
}

static void json_files_have_a_limit(void **state) {
    gf_err e = {0};
    cJSON *j;
    (void)state;
    write_file(path_of("j.json"), "{\"k\": [1]}\n");
    j = gf_json_read(path_of("j.json"), 100, &e);
    assert_non_null(j);
    cJSON_Delete(j);
    assert_null(gf_json_read(path_of("j.json"), 5, &e));
    assert_int_equal(e.code, GF_E_MODEL);
}

/* --- shape ----------------------------------------------------------------------------------- */

static void shapes_count_without_overflow(void **state) {
    gf_shape s = gf_shape2(8, 384), t = {4, {1 << 20, 1 << 20, 1 << 20, 1 << 20}}, scalar = {0};
    gf_shape limit = gf_shape2(1ll << 40, 1 << 7), above = gf_shape2(1ll << 40, 129);
    char text[64], tiny[4];
    (void)state;
    assert_int_equal(gf_shape_count(&s), 3072);
    assert_int_equal(gf_shape_count(&scalar), 1);
    assert_int_equal(gf_shape_count(&t), -1);
    assert_true(gf_shape_count(&limit) == 1ll << 47);
    assert_int_equal(gf_shape_count(&above), -1);
    gf_shape bad = gf_shape1(-3);
    assert_int_equal(gf_shape_count(&bad), -1);
    assert_string_equal(gf_shape_text(&s, text, sizeof text), "[8, 384]");
    assert_string_equal(gf_shape_text(&scalar, text, sizeof text), "[]");
    assert_string_equal(gf_shape_text(&s, tiny, sizeof tiny), "[8,");
    gf_shape same = s, other = gf_shape2(8, 383), flat = gf_shape1(8);
    assert_true(gf_shape_equal(&s, &same));
    assert_false(gf_shape_equal(&s, &other));
    assert_false(gf_shape_equal(&s, &flat));
}

/* --- pool ------------------------------------------------------------------------------------ */

enum { PARTS = 100 };

typedef struct job {
    atomic_int runs[PARTS]; /* atomic, so that two at once count as two */
    int threads;
    atomic_bool strange_thread;
} job;

static void count_run(void *argument, int64_t part, int thread) {
    job *j = argument;
    for (volatile int i = 0; i < 100; i++) {} /* long enough for the others to join in */
    j->runs[part]++;                          /* a part runs once, so nobody else writes here */
    if (thread < 0 || thread >= j->threads) j->strange_thread = true;
}

static void parts_run_exactly_once(void **state) {
    static const int threads[] = {1, 2, 3, 5, 8};
    (void)state;
    for (int t = 0; t < 5; t++) {
        gf_err e = {0};
        gf_pool *pool = gf_pool_new(threads[t], &e);
        if (!pool) fail_msg("%s", e.text);
        assert_int_equal(gf_pool_threads(pool), threads[t]);
        for (int round = 0; round < 500; round++) {
            job j = {.threads = threads[t]};
            int64_t parts = round % (PARTS + 1);
            gf_pool_run(pool, parts, count_run, &j);
            for (int i = 0; i < PARTS; i++) assert_int_equal(j.runs[i], i < parts);
            assert_false(j.strange_thread);
            if (round % 100 == 0) usleep(2000); /* long enough for the workers to sleep */
        }
        gf_pool_free(pool);
    }
    gf_pool_free(NULL);
}

static void pools_have_sensible_sizes(void **state) {
    gf_pool *usual = gf_pool_new(0, NULL), *large = gf_pool_new(100000, NULL);
    (void)state;
    assert_in_range(gf_pool_threads(usual), 1, GF_MAX_THREADS);
    if (large) assert_int_equal(gf_pool_threads(large), GF_MAX_THREADS);
    gf_pool_free(usual);
    gf_pool_free(large);
}

static void columns_count_characters_not_bytes(void **state) {
    gf_text t = {0};
    gf_err e = {0};
    (void)state;
    assert_true(gf_text_add_column(&t, "caf\xc3\xa9s", 4, &e) && gf_text_add(&t, &e, "|"));
    assert_true(gf_text_add_column(&t, "\xc3\xa9", 3, &e) && gf_text_add(&t, &e, "|"));
    assert_true(gf_text_add_column(&t, "", 2, &e));
    assert_string_equal(t.data, "caf\xc3\xa9|\xc3\xa9  |  ");
    gf_text_trim(&t);
    assert_string_equal(t.data, "caf\xc3\xa9|\xc3\xa9  |");
    gf_text_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_stays_on_one_line),
        cmocka_unit_test(codes_have_the_contracts_exit_status),
        cmocka_unit_test(products_and_sums_are_checked),
        cmocka_unit_test(blocks_are_aligned_counted_and_zeroed),
        cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_nearest_name_is_found_or_none),
        cmocka_unit_test(json_says_where_it_is_wrong),
        cmocka_unit_test(json_exact_reads_back),
        cmocka_unit_test(json_bounds_hold),
        cmocka_unit_test(json_turns_escaped_nul_into_a_replacement),
        cmocka_unit_test(json_files_have_a_limit),
        cmocka_unit_test(shapes_count_without_overflow),
        cmocka_unit_test(columns_count_characters_not_bytes),
        cmocka_unit_test(parts_run_exactly_once),
        cmocka_unit_test(pools_have_sensible_sizes),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
