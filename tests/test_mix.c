/* How sources are mixed, and the epochs that come of it; expected epochs are those of
 * tests/golden/make_epochs.py. */
#include "core/json.h"
#include "core/mem.h"
#include "data/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 400, SOURCES = 4 };

/* ---- counts ---- */

static void gives(gf_mix m, int64_t epoch, int64_t epochs, int64_t n, const int64_t *rows,
                  const int64_t *wanted) {
    int64_t count[8], sum = 0;
    gf_mix_counts(&m, n, rows, epoch, epochs, count);
    for (int64_t s = 0; s < n; s++) {
        assert_int_equal(count[s], wanted[s]);
        sum += rows[s] - count[s];
    }
    assert_int_equal(sum, 0);
}

/* Shares by hand: 400 + 100 rows go as 20 : 10 by their roots, and so on. */
static void shares_are_what_their_names_say(void **state) {
    const int64_t rows[] = {400, 100}, odd[] = {5, 3, 2};
    (void)state;
    gives((gf_mix){0}, 0, 1, 2, rows, rows);
    gives((gf_mix){.kind = GF_MIX_UNIFORM}, 0, 1, 2, rows, (const int64_t[]){250, 250});
    gives((gf_mix){.kind = GF_MIX_ROUND_ROBIN}, 0, 1, 2, rows, (const int64_t[]){250, 250});
    gives((gf_mix){.kind = GF_MIX_UNIFORM}, 0, 1, 3, odd, (const int64_t[]){4, 3, 3});
    gives((gf_mix){.kind = GF_MIX_SQUARE_ROOT}, 0, 1, 2, rows, (const int64_t[]){333, 167});
    gives((gf_mix){.kind = GF_MIX_TEMPERATURE, .temperature = 2}, 0, 1, 2, rows,
          (const int64_t[]){333, 167});
    gives((gf_mix){.kind = GF_MIX_TEMPERATURE, .temperature = 1}, 0, 1, 2, rows, rows);
    gives((gf_mix){.kind = GF_MIX_TEMPERATURE, .temperature = 1, .cap = 150}, 0, 1, 2, rows,
          (const int64_t[]){300, 200});
    gives((gf_mix){.kind = GF_MIX_TEMPERATURE, .temperature = 1e9}, 0, 1, 2, rows,
          (const int64_t[]){250, 250});
    gives((gf_mix){.kind = GF_MIX_ANNEALED, .start = 1, .end = 0}, 0, 3, 2, rows, rows);
    gives((gf_mix){.kind = GF_MIX_ANNEALED, .start = 1, .end = 0}, 1, 3, 2, rows,
          (const int64_t[]){333, 167});
    gives((gf_mix){.kind = GF_MIX_ANNEALED, .start = 1, .end = 0}, 2, 3, 2, rows,
          (const int64_t[]){250, 250});
    gives((gf_mix){.kind = GF_MIX_ANNEALED, .start = 0.5, .end = 0}, 0, 1, 2, rows,
          (const int64_t[]){333, 167});
}

static void no_source_is_left_out(void **state) {
    const gf_mix steep = {.kind = GF_MIX_ANNEALED, .start = 3, .end = 3};
    const gf_mix capped = {.kind = GF_MIX_TEMPERATURE, .temperature = 1, .cap = 1};
    (void)state;
    gives(steep, 0, 1, 3, (const int64_t[]){1000, 1, 2}, (const int64_t[]){1001, 1, 1});
    gives(steep, 0, 1, 3, (const int64_t[]){1, 0, 3}, (const int64_t[]){1, 0, 3});
    gives(capped, 0, 1, 3, (const int64_t[]){6, 0, 1}, (const int64_t[]){4, 0, 3});
    gives(capped, 0, 1, 2, (const int64_t[]){0, 0}, (const int64_t[]){0, 0});
    gives(capped, 0, 1, 3, (const int64_t[]){1, 1, 1}, (const int64_t[]){1, 1, 1});
}

static void kinds_have_names(void **state) {
    (void)state;
    assert_string_equal(gf_mix_names[GF_MIX_PROPORTIONAL], "proportional");
    assert_string_equal(gf_mix_names[GF_MIX_UNIFORM], "uniform");
    assert_string_equal(gf_mix_names[GF_MIX_SQUARE_ROOT], "square_root");
    assert_string_equal(gf_mix_names[GF_MIX_TEMPERATURE], "temperature");
    assert_string_equal(gf_mix_names[GF_MIX_ANNEALED], "annealed");
    assert_string_equal(gf_mix_names[GF_MIX_ROUND_ROBIN], "round_robin");
    assert_null(gf_mix_names[GF_MIX_ROUND_ROBIN + 1]);
}

/* ---- a source's endless row ---- */

/* Taken in pieces of any size, each cycle holds every row once, in an order of its own. */
static void a_source_goes_on_where_it_stopped(void **state) {
    enum { ROWS = 50, CYCLES = 6 };
    int64_t whole[ROWS * CYCLES], part[ROWS * CYCLES], equal = 0;
    const int64_t pieces[] = {7, 50, 1, 0, 120, 22, 100};
    gf_err e = {0};
    (void)state;
    assert_true(gf_mix_take(1, 2, 3, ROWS, 0, ROWS * CYCLES, whole, &e));
    for (int64_t i = 0, at = 0; i < 7; at += pieces[i++]) {
        assert_true(gf_mix_take(1, 2, 3, ROWS, at, pieces[i], part, &e));
        assert_memory_equal(part, whole + at, (size_t)pieces[i] * sizeof *part);
    }
    for (int c = 0; c < CYCLES; c++) {
        bool seen[ROWS] = {0};
        for (int i = 0; i < ROWS; i++) {
            int64_t row = whole[c * ROWS + i];
            assert_in_range(row, 0, ROWS - 1);
            assert_false(seen[row]);
            seen[row] = true;
            equal += c > 0 && row == whole[(c - 1) * ROWS + i];
        }
    }
    assert_true(equal < 25); /* 5 expected of independent permutations */
    for (int k = 0; k < 3; k++) {
        assert_true(gf_mix_take(1 + (k == 0), 2 + (k == 1), 3 + (k == 2), ROWS, 0, 50, part, &e));
        equal = 0;
        for (int i = 0; i < ROWS; i++) equal += part[i] == whole[i];
        assert_true(equal < 10);
    }
}

/* ---- epochs ---- */

typedef struct sources {
    gf_dataset data;
    gf_source source[SOURCES];
    int64_t start[MOST + 1];
} sources;

/* Row lengths are 1 to 40, as make_epochs.py makes them. */
static void make_sources(sources *s, const int64_t *rows, int64_t n) {
    uint32_t x = 1;
    *s = (sources){.data = {.source = s->source, .n_sources = n, .start = s->start}};
    for (int64_t i = 0; i < n; i++) {
        s->source[i] = (gf_source){NULL, s->data.rows, rows[i]};
        s->data.rows += rows[i];
    }
    assert_true(s->data.rows <= MOST);
    for (int64_t i = 0; i < s->data.rows; i++) {
        x = x * 1664525 + 1013904223;
        s->start[i + 1] = s->start[i] + 1 + (x >> 16) % 40;
    }
}

static double number(const cJSON *j, const char *name) {
    const cJSON *value = cJSON_GetObjectItem(j, name);
    return cJSON_IsBool(value) ? cJSON_IsTrue(value) : value ? value->valuedouble : 0;
}

static gf_epoch_rule rule_of(const cJSON *j) {
    const char *kind = cJSON_GetObjectItem(j, "kind")->valuestring;
    gf_epoch_rule r = {.batch_size = (int64_t)number(j, "size"),
                       .batch_tokens = (int64_t)number(j, "tokens"),
                       .bucket = number(j, "bucket") != 0,
                       .mix = {.temperature = number(j, "temperature"),
                               .cap = (int64_t)number(j, "cap"),
                               .start = number(j, "start"),
                               .end = number(j, "end")},
                       .seed = (uint64_t)number(j, "seed"),
                       .phase = (int64_t)number(j, "phase"),
                       .epoch = (int64_t)number(j, "epoch"),
                       .epochs = (int64_t)number(j, "epochs")};
    while (strcmp(kind, gf_mix_names[r.mix.kind]) != 0) r.mix.kind++;
    return r;
}

static void is_epoch(const gf_epoch *p, const cJSON *batches) {
    const cJSON *batch, *row;
    int64_t b = 0, i = 0;
    assert_int_equal(p->batches, cJSON_GetArraySize(batches));
    cJSON_ArrayForEach(batch, batches) {
        assert_int_equal(p->start[b++], i);
        cJSON_ArrayForEach(row, batch) assert_int_equal(p->row[i++], row->valueint);
    }
    assert_int_equal(p->start[b], i);
    assert_int_equal(p->rows, i);
}

/* Into one epoch's memory, which is that of the case before. */
static void epochs_are_those_of_another_implementation(void **state) {
    gf_err e = {0};
    cJSON *cases = gf_json_read("tests/golden/epochs.json", 1 << 20, &e);
    const cJSON *c, *size;
    gf_epoch p = {0};
    int seen = 0;
    (void)state;
    assert_non_null(cases);
    cJSON_ArrayForEach(c, cases) {
        gf_epoch_rule rule = rule_of(c);
        int64_t rows[SOURCES], n = 0;
        sources s;
        cJSON_ArrayForEach(size, cJSON_GetObjectItem(c, "sizes")) rows[n++] = size->valueint;
        make_sources(&s, rows, n);
        assert_true(gf_epoch_make(&p, &s.data, &rule, &e));
        is_epoch(&p, cJSON_GetObjectItem(c, "batches"));
        seen++;
    }
    assert_int_equal(seen, 18);
    gf_epoch_free(&p);
    cJSON_Delete(cases);
}

static const int64_t four[] = {200, 70, 9, 41};

static int64_t source_of(int64_t row) { return (row >= 200) + (row >= 270) + (row >= 279); }

static void round_robin_batches_hold_one_source(void **state) {
    gf_epoch_rule rule = {.batch_size = 7, .mix = {.kind = GF_MIX_ROUND_ROBIN}, .epochs = 1};
    int64_t given[SOURCES] = {0};
    gf_epoch p = {0};
    gf_err e = {0};
    sources s;
    (void)state;
    make_sources(&s, four, SOURCES);
    for (int bucket = 0; bucket < 2; bucket++) {
        memset(given, 0, sizeof given);
        rule.bucket = bucket;
        assert_true(gf_epoch_make(&p, &s.data, &rule, &e));
        assert_int_equal(p.batches, 4 * 12);
        for (int64_t b = 0; b < p.batches; b++)
            for (int64_t i = p.start[b]; i < p.start[b + 1]; i++) {
                assert_int_equal(source_of(p.row[i]), b % 4);
                given[b % 4]++;
            }
        for (int k = 0; k < SOURCES; k++) assert_int_equal(given[k], 80);
    }
    gf_epoch_free(&p);
}

/* Over the epochs of a phase each source's rows are given evenly: no row twice as often, but for
 * one. */
static void epochs_visit_a_source_evenly(void **state) {
    const gf_mix mixes[] = {{.kind = GF_MIX_UNIFORM},
                            {.kind = GF_MIX_SQUARE_ROOT},
                            {.kind = GF_MIX_TEMPERATURE, .temperature = 3, .cap = 60},
                            {.kind = GF_MIX_ANNEALED, .start = 1, .end = 0.2},
                            {.kind = GF_MIX_ROUND_ROBIN}};
    gf_epoch p = {0};
    gf_err e = {0};
    sources s;
    (void)state;
    make_sources(&s, four, SOURCES);
    for (int m = 0; m < 5; m++) {
        gf_epoch_rule rule = {
            .batch_tokens = 90, .bucket = true, .mix = mixes[m], .seed = 9, .epochs = 7};
        int64_t visits[MOST] = {0};
        for (rule.epoch = 0; rule.epoch < rule.epochs; rule.epoch++) {
            assert_true(gf_epoch_make(&p, &s.data, &rule, &e));
            assert_int_equal(p.start[p.batches], s.data.rows);
            for (int64_t i = 0; i < p.rows; i++) visits[p.row[i]]++;
        }
        for (int64_t k = 0, first = 0; k < SOURCES; first += four[k++]) {
            int64_t low = visits[first], high = low;
            for (int64_t i = first; i < first + four[k]; i++) {
                low = visits[i] < low ? visits[i] : low;
                high = visits[i] > high ? visits[i] : high;
            }
            assert_true(high - low <= 1 && high > 0);
        }
    }
    gf_epoch_free(&p);
}

static void token_budgets_are_kept(void **state) {
    gf_epoch_rule rule = {.epochs = 1};
    gf_epoch p = {0};
    gf_err e = {0};
    sources s;
    (void)state;
    make_sources(&s, four, SOURCES);
    for (int k = 0; k < 12; k++) {
        rule.batch_tokens = k % 3 == 0 ? 10 : k % 3 == 1 ? 100 : INT64_MAX;
        rule.batch_size = k % 2 ? 6 : 0;
        rule.bucket = k >= 6;
        assert_true(gf_epoch_make(&p, &s.data, &rule, &e));
        for (int64_t b = 0; b < p.batches; b++) {
            int64_t tokens = 0, rows = p.start[b + 1] - p.start[b];
            for (int64_t i = p.start[b]; i < p.start[b + 1]; i++)
                tokens += s.start[p.row[i] + 1] - s.start[p.row[i]];
            assert_true(rows > 0 && (tokens <= rule.batch_tokens || rows == 1));
            assert_true(rule.batch_size == 0 || rows <= rule.batch_size);
        }
        if (rule.batch_tokens == INT64_MAX)
            assert_int_equal(p.batches, rule.batch_size ? (320 + 5) / 6 : 1);
    }
    rule = (gf_epoch_rule){.epochs = 1};
    assert_false(gf_epoch_make(&p, &s.data, &rule, &e));
    assert_int_equal(e.code, GF_E_INTERNAL);
    gf_epoch_free(&p);
}

static void every_failing_allocation_is_reported(void **state) {
    const gf_mix_kind kinds[] = {GF_MIX_PROPORTIONAL, GF_MIX_ANNEALED, GF_MIX_ROUND_ROBIN};
    const int64_t calls[] = {5, 13, 24};
    sources s;
    (void)state;
    make_sources(&s, four, SOURCES);
    for (int m = 0; m < 3; m++) {
        gf_epoch_rule rule = {
            .batch_size = 5, .bucket = true, .mix = {kinds[m], .start = 1}, .epochs = 2};
        int64_t live = gf_mem_get_stats().live_blocks, k = 0;
        gf_err e = {.code = GF_E_NOMEM};
        while (e.code != GF_OK) {
            gf_epoch p = {0};
            e = (gf_err){0};
            gf_mem_fail_at(++k, false);
            gf_epoch_make(&p, &s.data, &rule, &e);
            assert_int_equal(e.code, gf_mem_fault_fired() ? GF_E_NOMEM : GF_OK);
            gf_mem_fail_at(0, false);
            gf_epoch_free(&p);
            assert_int_equal(gf_mem_get_stats().live_blocks, live);
        }
        assert_int_equal(k, calls[m] + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_what_their_names_say),
        cmocka_unit_test(no_source_is_left_out),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(a_source_goes_on_where_it_stopped),
        cmocka_unit_test(epochs_are_those_of_another_implementation),
        cmocka_unit_test(round_robin_batches_hold_one_source),
        cmocka_unit_test(epochs_visit_a_source_evenly),
        cmocka_unit_test(token_budgets_are_kept),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
