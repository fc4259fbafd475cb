/* surgery against the papers' formulas in torch and scipy (tests/golden/make_balance.py), and the
 * conflict report against numbers worked out by hand. */
#include "core/json.h"
#include "core/mem.h"
#include "core/pool.h"
#include "core/rng.h"
#include "core/vec.h"
#include "optim/conflict.h"
#include "optim/surgery.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TASKS = 8, MOST = 100003 };

static const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("the golden file lacks \"%s\"", key);
    return item;
}

static gf_pool *pool_of(int threads) {
    gf_pool *pool = gf_pool_new(threads, NULL);
    assert_non_null(pool);
    return pool;
}

static gf_surgery start(const char *method, double c, uint64_t seed, int64_t tasks) {
    gf_surgery s = {0};
    gf_err e = {0};
    if (!gf_surgery_start(&s, method, c, seed, tasks, &e)) fail_msg("%s", e.text);
    return s;
}

/* ---- surgery ---- */

static int64_t read_gradients(const cJSON *from, gf_real data[TASKS][MOST], const gf_real *g[TASKS],
                              int64_t *n) {
    int64_t tasks = cJSON_GetArraySize(from);
    assert_true(tasks <= TASKS);
    for (int k = 0; k < tasks; k++) {
        const cJSON *task = cJSON_GetArrayItem(from, k), *item;
        int64_t i = 0;
        g[k] = cJSON_IsNull(task) ? NULL : data[k];
        cJSON_ArrayForEach(item, task) data[k][i++] = (gf_real)item->valuedouble;
        if (g[k]) *n = i;
    }
    return tasks;
}

static void check_case(const cJSON *c, const char *method, gf_pool *pool) {
    static gf_real data[TASKS][MOST], out[MOST];
    const gf_real *g[TASKS];
    const cJSON *item;
    double largest = 0;
    int64_t n = 0, i = 0, tasks = read_gradients(get(c, "g"), data, g, &n);
    gf_surgery s =
        start(method, get(c, "c")->valuedouble, (uint64_t)get(c, "seed")->valueint, tasks);
    for (int64_t k = 0; k <= n; k++) out[k] = NAN;
    gf_surgery_apply(&s, g, n, get(c, "step")->valueint, out, gf_vec_best(), pool);
    cJSON_ArrayForEach(item, get(c, method)) largest = fmax(largest, fabs(item->valuedouble));
    cJSON_ArrayForEach(item, get(c, method)) {
        double have = (double)out[i++];
        if (!(fabs(have - item->valuedouble) <= 1e-6 * largest))
            fail_msg("%s, %s, K %d, element %d: %.9g, wanted %.9g", method,
                     get(c, "kind")->valuestring, (int)tasks, (int)i - 1, have, item->valuedouble);
    }
    assert_int_equal(i, n);
    assert_true(isnan(out[n]));
    gf_surgery_free(&s);
}

static void methods_follow_their_papers(void **state) {
    gf_err e = {0};
    cJSON *j = gf_json_read("tests/golden/surgery.json", 1 << 20, &e);
    gf_pool *pool = pool_of(2);
    const cJSON *c;
    int met = 0;
    (void)state;
    if (!j) fail_msg("%s", e.text);
    cJSON_ArrayForEach(c, get(j, "cases")) {
        for (int m = 0; gf_surgery_names[m]; m++) check_case(c, gf_surgery_names[m], pool);
        met++;
    }
    assert_int_equal(met, 9);
    gf_pool_free(pool);
    cJSON_Delete(j);
}

static void fill(gf_real *x, int64_t n, uint64_t stream) {
    gf_rng r = gf_rng_new(9, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (gf_real)(gf_rng_uniform(&r) - 0.4f);
}

static void threads_change_no_bit(void **state) {
    static gf_real data[TASKS][MOST], first[MOST], out[MOST];
    const gf_real *g[TASKS];
    (void)state;
    for (int k = 0; k < TASKS; k++) {
        fill(data[k], MOST, (uint64_t)k);
        g[k] = data[k];
        for (int64_t i = 0; k % 2 && i < MOST; i++) data[k][i] = -data[k][i];
    }
    for (int m = 1; gf_surgery_names[m]; m++)
        for (int threads = 1; threads <= 5; threads += 2) {
            gf_surgery s = start(gf_surgery_names[m], 0.5, 3, TASKS);
            gf_pool *pool = pool_of(threads);
            gf_surgery_apply(&s, g, MOST, 17, out, gf_vec_best(), pool);
            if (threads == 1) memcpy(first, out, sizeof first);
            assert_memory_equal(first, out, sizeof first);
            gf_pool_free(pool);
            gf_surgery_free(&s);
        }
}

/* Parameter by parameter or in one go, the matrix is that of plain sums. */
static void gram_adds_up(void **state) {
    static gf_real data[3][MOST];
    const gf_real *g[] = {data[0], NULL, data[2]};
    static const int64_t cuts[] = {0, 1, 2047, 2049, 50000, MOST};
    double gram[9] = {0}, want = 0;
    gf_surgery s = start("pcgrad", 0.5, 3, 3);
    gf_pool *pool = pool_of(3);
    (void)state;
    fill(data[0], MOST, 1);
    fill(data[2], MOST, 2);
    gram[4] = 5;
    for (int i = 0; i < 5; i++) gf_surgery_gram(&s, g, cuts[i], cuts[i + 1] - cuts[i], gram, pool);
    for (int64_t i = 0; i < MOST; i++) want += (double)data[0][i] * (double)data[2][i];
    assert_true(fabs(gram[2] - want) < 1e-9 * fabs(want));
    assert_true(gram[2] == gram[6]);
    want = gf_vec_best()->sum_squares(MOST, data[2]);
    assert_true(fabs(gram[8] - want) < 1e-9 * want);
    assert_true(gram[4] == 5 && gram[1] == 0 && gram[3] == 0 && gram[5] == 0 && gram[7] == 0);
    gf_pool_free(pool);
    gf_surgery_free(&s);
}

static void coefficients_of(const char *method, double c, int64_t tasks, const double *gram,
                            int64_t step, double *coefficients) {
    gf_surgery s = start(method, c, 11, tasks);
    gf_surgery_coefficients(&s, gram, step, coefficients);
    gf_surgery_free(&s);
}

/* Three gradients in the plane of which each opposes the two others: the order matters, and every
 * order comes up. */
static void orders_depend_on_the_step(void **state) {
    static const double gram[] = {1, -0.5, -0.4, -0.5, 1, -0.3, -0.4, -0.3, 1};
    double a[3], b[3], seen[64][3];
    int kinds = 0;
    (void)state;
    for (int64_t step = 0; step < 200; step++) {
        int i = 0;
        coefficients_of("pcgrad", 0, 3, gram, step, a);
        coefficients_of("pcgrad", 0, 3, gram, step, b);
        assert_memory_equal(a, b, sizeof a);
        while (i < kinds && memcmp(seen[i], a, sizeof a) != 0) i++;
        if (i < kinds) continue;
        assert_true(kinds < 64);
        memcpy(seen[kinds++], a, sizeof a);
    }
    assert_int_equal(kinds, 8); /* two orders for each of three tasks */
}

/* A task that is 0 or missing takes no part; gradients that cancel out give the sum. */
static void nothing_is_divided_by_nothing(void **state) {
    static const double zeros[9] = {0}, one[] = {0, 0, 0, 4}, opposed[] = {1, -1, -1, 1},
                        half_opposed[] = {1, -2, -2, 4}, kink[] = {1, -1, 0, -1, 1, 0, 0, 0, 1},
                        bad[] = {1, NAN, NAN, 1};
    double a[3];
    (void)state;
    for (int m = 0; gf_surgery_names[m]; m++) {
        coefficients_of(gf_surgery_names[m], 0.5, 3, zeros, 1, a);
        for (int k = 0; k < 3; k++) assert_true(a[k] == 1);
        coefficients_of(gf_surgery_names[m], 0.5, 2, bad, 1, a);
        assert_true(isnan(a[0]) && isnan(a[1]));
    }
    coefficients_of("pcgrad", 0.5, 2, one, 1, a);
    assert_true(a[1] == 1);
    coefficients_of("cagrad", 0.5, 2, one, 1, a);
    assert_true(fabs(a[1] - 1.5) < 1e-12); /* (1 + c) g, by the formula */
    coefficients_of("pcgrad", 0.5, 2, opposed, 1, a);
    assert_true(a[0] == a[1]); /* both become 0 */
    coefficients_of("cagrad", 0.5, 2, opposed, 1, a);
    assert_true(a[0] == 1 && a[1] == 1); /* the mean is 0 */
    coefficients_of("cagrad", 0.5, 2, half_opposed, 1, a);
    assert_true(fabs(a[0] - 1.5) < 1e-9 && fabs(a[1] - 1) < 1e-9);
    coefficients_of("cagrad", 0.5, 3, kink, 1, a);
    assert_true(fabs(a[0] - a[1]) < 1e-6 && fabs(a[2] - 1) < 1e-6);
}

/* F's slopes at the weights that the coefficients tell: at the minimum over the simplex no slope is
 * below the weights' mean slope, and that distance bounds how far F is from its least value. */
static double optimality_gap(int64_t K, double c, const double *gram, const double *coefficients) {
    double total = 0, square = 0, mean = 0, least = INFINITY, norm = 0;
    double *w = gf_alloc_array(4 * K, sizeof *w, NULL), *mw = w + K, *b = w + 2 * K, *f = w + 3 * K;
    assert_non_null(w);
    for (int64_t k = 0; k < K; k++) total += w[k] = coefficients[k] - 1;
    for (int64_t k = 0; k < K; k++) {
        assert_true(w[k] >= -1e-12);
        w[k] /= total;
    }
    for (int64_t i = 0; i < K; i++)
        for (int64_t j = 0; j < K; j++) {
            mw[i] += gram[i * K + j] * w[j];
            b[i] += gram[i * K + j];
        }
    for (int64_t k = 0; k < K; k++) {
        square += b[k];
        norm += w[k] * mw[k];
    }
    for (int64_t k = 0; k < K; k++) {
        f[k] = b[k] + c * sqrt(square) * mw[k] / sqrt(norm);
        mean += w[k] * f[k];
        least = fmin(least, f[k]);
    }
    gf_free(w);
    return (mean - least) / square;
}

static void cagrad_finds_the_minimum_of_many_tasks(void **state) {
    static const int64_t sizes[] = {2, 3, 7, 40, 300, 1000};
    static gf_real data[1000][64];
    const gf_real *g[1000];
    gf_pool *pool = pool_of(2);
    (void)state;
    for (int i = 0; i < 6; i++) {
        int64_t K = sizes[i];
        double *gram = gf_alloc_array(K * (K + 1), sizeof *gram, NULL);
        assert_non_null(gram);
        gf_surgery s = start("cagrad", 0.4, 1, K);
        for (int64_t k = 0; k < K; k++) {
            fill(data[k], 64, (uint64_t)k);
            g[k] = data[k];
            for (int l = 0; l < 64; l++) data[k][l] *= (gf_real)pow(10, (double)(k % 3) - 1);
        }
        gf_surgery_gram(&s, g, 0, 64, gram, pool);
        gf_surgery_coefficients(&s, gram, 0, gram + K * K);
        double gap = optimality_gap(K, 0.4, gram, gram + K * K);
        if (!(gap < 1e-9)) fail_msg("%d tasks: %g from the minimum", (int)K, gap);
        gf_surgery_free(&s);
        gf_free(gram);
    }
    gf_pool_free(pool);
}

static void nonsense_is_refused(void **state) {
    static const struct {
        const char *method;
        double c;
        int64_t tasks;
        const char *want;
    } cases[] = {
        {"pcgrda", 0, 2, "there are none, pcgrad and cagrad"},
        {"cagrad", 1, 2, "c is 1; give a number from 0 to below 1"},
        {"cagrad", NAN, 2, "c is nan"},
        {"pcgrad", 0, 0, "there are 0 tasks"},
        {"pcgrad", 0, 1001, "have 1 to 1000 of them"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_surgery s = {0};
        gf_err e = {0};
        assert_false(gf_surgery_start(&s, cases[i].method, cases[i].c, 1, cases[i].tasks, &e));
        assert_int_equal(e.code, GF_E_INVALID);
        if (!strstr(e.text, cases[i].want)) fail_msg("\"%s\"", e.text);
    }
}

/* ---- conflict ---- */

enum { PLACES = 3 };
static const char *const task_names[] = {"category", "sentiment", "a task with a long name"};
static const char *const place_names[] = {"embeddings", "layer 0", "layer 1"};

/* Tasks 0 and 1 of lengths 1 and `length` at each place, with these cosines; task 2 has none. */
static void add_update(gf_conflict *c, double length, double a, double b, double d) {
    double cosines[] = {a, b, d}, grams[PLACES * 9] = {0};
    for (int l = 0; l < PLACES; l++) {
        double *gram = grams + l * 9;
        if (isnan(cosines[l])) continue; /* a frozen place */
        gram[0] = 1;
        gram[1] = gram[3] = cosines[l] * length;
        gram[4] = length * length;
    }
    gf_conflict_add(c, grams);
}

static gf_conflict start_conflict(void) {
    gf_conflict c = {0};
    assert_true(gf_conflict_start(&c, 3, PLACES, NULL));
    return c;
}

static void assert_near(double have, double want) {
    if (!(fabs(have - want) <= 1e-12)) fail_msg("%.17g, wanted %.17g", have, want);
}

static void statistics_are_means(void **state) {
    gf_conflict c = start_conflict();
    gf_conflict_pair p;
    (void)state;
    add_update(&c, 0.5, 0.5, -0.5, -1);
    add_update(&c, 0.5, 0.25, 0.5, -0.5);
    add_update(&c, 2, 0, NAN, NAN);
    add_update(&c, 1, NAN, NAN, NAN);
    assert_int_equal(gf_conflict_updates(&c), 4);
    p = gf_conflict_get(&c, 1, 0, 0);
    assert_true(p.updates == 3 && p.conflicts == 0);
    assert_near(p.cosine, 0.25);
    p = gf_conflict_get(&c, 0, 1, 2);
    assert_true(p.updates == 2 && p.conflicts == 2);
    assert_near(p.cosine, -0.75);
    p = gf_conflict_get(&c, 0, 1, PLACES);
    assert_true(p.updates == 3 && p.conflicts == 1); /* -1/3, 1/12, 0 */
    assert_near(p.cosine, -0.25 / 3);
    p = gf_conflict_get(&c, 0, 2, PLACES);
    assert_true(p.updates == 0 && p.conflicts == 0 && p.cosine == 0);
    /* Sums: g0 . g1 = -0.5 + 0.125, |g0|^2 = 3 + 3 + 1, |g1|^2 = 0.75 + 0.75 + 4. */
    assert_near(gf_conflict_effect(&c, 0, 1), -0.375 / 5.5);
    assert_near(gf_conflict_effect(&c, 1, 0), -0.375 / 7);
    assert_true(gf_conflict_effect(&c, 2, 0) == 0);
    assert_near(gf_conflict_norm(&c, 0), (sqrt(3) + sqrt(3) + 1) / 3);
    assert_true(gf_conflict_norm(&c, 2) == 0);
    gf_conflict_free(&c);
}

static void state_is_all_there_is(void **state) {
    gf_conflict c = start_conflict(), d = start_conflict();
    double *from, *to;
    int64_t n, count;
    (void)state;
    add_update(&c, 0.3, 0.1, 0.2, -0.3);
    gf_conflict_state(&c, &from, &n);
    gf_conflict_state(&d, &to, &count);
    assert_int_equal(n, count);
    assert_int_equal(n, 1 + 2 * 3 + 3 * (3 + 3 * 4));
    memcpy(to, from, (size_t)n * sizeof *to);
    add_update(&c, 0.7, 0.3, -0.2, 0.9);
    add_update(&d, 0.7, 0.3, -0.2, 0.9);
    assert_memory_equal(to, from, (size_t)n * sizeof *to);
    gf_conflict_free(&c);
    gf_conflict_free(&d);
}

static void numbers_that_are_not_finite_do_not_count(void **state) {
    gf_conflict c = start_conflict();
    double grams[PLACES * 9], *values;
    int64_t count;
    (void)state;
    for (int i = 0; i < PLACES * 9; i++) grams[i] = i % 2 ? (double)NAN : (double)INFINITY;
    gf_conflict_add(&c, grams);
    gf_conflict_state(&c, &values, &count);
    for (int64_t i = 1; i < count; i++) assert_true(values[i] == 0);
    gf_conflict_free(&c);
}

static void advice_fits_the_numbers(void **state) {
    static const struct {
        double length, cosines[3];
        const char *want[3];
    } cases[] = {
        {0.5,
         {0.3, 0.2, 0.1},
         {"No conflict", "+0.20 (category and sentiment)", "share everything"}},
        {0.2,
         {0.3, 0.2, 0.1},
         {"No conflict", "category are 5.0 times as long as those of sent", ""}},
        {1, {-0.01, 0.02, -0.03}, {"No conflict", "-0.01", "share everything"}},
        {0.5,
         {-0.3, -0.2, -0.1},
         {"category and sentiment conflict most: mean cosine -0.20, opposed in 100% of the "
          "updates, "
          "in all layers, most in embeddings (-0.30).",
          "separate models, or give sentiment a frozen backbone",
          "undoes 40% of what one of sentiment gains; the gradients of category are 2.0 times as "
          "long: "
          "multiply "
          "the weight of sentiment by 2.0"}},
        {1,
         {0.3, -0.2, -0.7},
         {"from layer 0 up, most in layer 1 (-0.70)", "Split at layer 0: share what lies below",
          "no weight settles it"}},
        {4,
         {-0.9, -0.2, 0.3},
         {"up to layer 0, most in embeddings", "Freeze layer 0 and what lies below",
          "multiply the weight of category by 4.0"}},
        {1,
         {0.1, -0.9, 0.1},
         {"from layer 0 to layer 0", "Freeze layer 0 and what lies below", ""}},
        {1, {NAN, -0.9, -0.9}, {"in all layers", "separate models", ""}},
        {1, {NAN, NAN, NAN}, {"nothing to tell", "", ""}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_conflict c = start_conflict();
        gf_text text = {0};
        const double *x = cases[i].cosines;
        add_update(&c, cases[i].length, x[0], x[1], x[2]);
        assert_true(gf_conflict_write_advice(&c, task_names, place_names, &text, NULL));
        for (int k = 0; k < 3; k++)
            if (!strstr(text.data, cases[i].want[k]))
                fail_msg("%s, wanted %s", text.data, cases[i].want[k]);
        assert_true(text.data[text.length - 1] == '\n');
        gf_text_free(&text);
        gf_conflict_free(&c);
    }
}

static void table_fits_80_columns(void **state) {
    gf_conflict c = start_conflict();
    gf_text text = {0};
    (void)state;
    add_update(&c, 1e-3, 0.5, -0.25, -0.5);
    assert_true(gf_conflict_write_table(&c, task_names, place_names, &text, NULL));
    assert_string_equal(
        text.data,
        "tasks: 1st / 2nd            cosine  opposed  worst place        1st>2nd 2nd>1st\n"
        "category / sentiment        -0.08   100%     layer 1 -0.50      < -999% -0%\n");
    gf_text_free(&text);
    gf_conflict_free(&c);
}

/* 45 pairs: the lowest cosines first, each once, then a count. */
static void table_is_sorted_and_bounded(void **state) {
    static const char *const names[] = {"task number 0",
                                        "task number 1",
                                        "t2",
                                        "t3",
                                        "t4",
                                        "t5",
                                        "t6",
                                        "t7",
                                        "t8",
                                        "t\xc3\xa4sk n\xc3\xbcmber 9"};
    static const char *const places[] = {"encoder.layer.11"};
    double gram[100], last = -1;
    gf_conflict c = {0};
    gf_text text = {0};
    int lines = 0;
    (void)state;
    assert_true(gf_conflict_start(&c, 10, 1, NULL));
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 10; j++) gram[i * 10 + j] = i == j ? 1 : -1.0 / (1 + abs(i - j));
    gf_conflict_add(&c, gram);
    assert_true(gf_conflict_write_table(&c, names, places, &text, NULL));
    for (char *line = strtok(text.data, "\n"); line; line = strtok(NULL, "\n")) {
        int columns = 0;
        for (char *p = line; *p; p++) columns += (*p & 0xc0) != 0x80;
        if (columns > 80) fail_msg("%d columns: %s", columns, line);
        if (lines == 21)
            assert_string_equal(line, "and 25 more pairs");
        else if (lines > 0) {
            double cosine = strtod(strchr(line, '/') + strcspn(strchr(line, '/'), "-+"), NULL);
            assert_true(cosine >= last);
            last = cosine;
        }
        lines++;
    }
    assert_int_equal(lines, 22);
    gf_text_free(&text);
    gf_conflict_free(&c);
}

/* ---- memory ---- */

static bool use_all(gf_err *e) {
    gf_surgery s = {0};
    gf_conflict c = {0};
    gf_text text = {0};
    bool ok = gf_surgery_start(&s, "cagrad", 0.5, 1, 3, e) && gf_conflict_start(&c, 3, PLACES, e);
    if (ok) add_update(&c, 0.5, -0.2, -0.3, -0.4);
    ok = ok && gf_conflict_write_table(&c, task_names, place_names, &text, e) &&
         gf_conflict_write_advice(&c, task_names, place_names, &text, e);
    gf_surgery_free(&s);
    gf_conflict_free(&c);
    gf_text_free(&text);
    return ok;
}

static void every_allocation_may_fail(void **state) {
    int64_t live = gf_mem_get_stats().live_blocks;
    int k = 0;
    bool fired;
    (void)state;
    do {
        gf_err e = {0};
        gf_mem_fail_at(++k, false);
        bool ok = use_all(&e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        assert_true(ok == !fired);
        if (fired) assert_int_equal(e.code, GF_E_NOMEM);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    } while (fired);
    assert_true(k > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_follow_their_papers),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(gram_adds_up),
        cmocka_unit_test(orders_depend_on_the_step),
        cmocka_unit_test(nothing_is_divided_by_nothing),
        cmocka_unit_test(cagrad_finds_the_minimum_of_many_tasks),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(statistics_are_means),
        cmocka_unit_test(state_is_all_there_is),
        cmocka_unit_test(numbers_that_are_not_finite_do_not_count),
        cmocka_unit_test(advice_fits_the_numbers),
        cmocka_unit_test(table_fits_80_columns),
        cmocka_unit_test(table_is_sorted_and_bounded),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("surgery", tests, NULL, NULL);
}
