/* schedule: against transformers' schedules and torch's OneCycleLR and ReduceLROnPlateau
 * (tests/golden/make_schedules.py, make_optim.py). */
#include "tests/optim_help.h"

static void check_factors(const gf_schedule *s, int64_t warmup, const cJSON *item,
                          const char *what) {
    const cJSON *factor;
    int64_t step = 0, total = (int64_t)number(item, "total");
    cJSON_ArrayForEach(factor, get(item, "factors")) assert_near(
        gf_schedule_factor(s, warmup, total, step++, NULL), factor->valuedouble, 1e-15, what);
    assert_true(step >= total);
}

static void first_schedules_are_transformers(void **state) {
    cJSON *root = read_golden("optim.json");
    const cJSON *item;
    (void)state;
    cJSON_ArrayForEach(item, get(root, "schedules")) {
        gf_schedule s = gf_schedule_make(schedule_kind(item, "name"));
        check_factors(&s, (int64_t)number(item, "warmup"), item, gf_schedule_names[s.kind]);
    }
    cJSON_ArrayForEach(item, get(root, "warmups"))
        assert_int_equal(gf_schedule_warmup(number(item, "warmup"), (int64_t)number(item, "total")),
                         (int64_t)number(item, "updates"));
    assert_int_equal(gf_schedule_warmup(1e300, 5), 1000000000000000);
    cJSON_Delete(root);
}

static void warmups_are_transformers(void **state) {
    cJSON *root = read_golden("schedules.json");
    const cJSON *item;
    (void)state;
    cJSON_ArrayForEach(item, root) {
        gf_schedule s = gf_schedule_make(schedule_kind(item, "type"));
        int64_t warmup = (int64_t)number(item, "warmup_updates");
        assert_int_equal(gf_schedule_warmup(number(item, "warmup"), (int64_t)number(item, "total")),
                         warmup);
        check_factors(&s, warmup, item, gf_schedule_names[s.kind]);
    }
    cJSON_Delete(root);
}

static gf_schedule with_settings(gf_schedule_kind kind, const cJSON *settings) {
    gf_schedule s = gf_schedule_make(kind);
    const struct {
        const char *name;
        double *at;
    } fields[] = {{"cycles", &s.cycles},
                  {"power", &s.power},
                  {"end", &s.end},
                  {"timescale", &s.timescale},
                  {"factor", &s.factor},
                  {"peak", &s.peak},
                  {"start_divisor", &s.start_divisor},
                  {"final_divisor", &s.final_divisor}};
    int known = cJSON_HasObjectItem(settings, "patience");
    if (known) s.patience = (int64_t)number(settings, "patience");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (cJSON_HasObjectItem(settings, fields[i].name)) {
            *fields[i].at = number(settings, fields[i].name);
            known++;
        }
    assert_int_equal(known, cJSON_GetArraySize(settings));
    return s;
}

static void all_kinds_are_transformers_or_torch(void **state) {
    cJSON *root = read_golden("schedule_kinds.json");
    const cJSON *item;
    int seen = 0;
    (void)state;
    cJSON_ArrayForEach(item, get(root, "factors")) {
        gf_schedule s = with_settings(schedule_kind(item, "type"), get(item, "settings"));
        check_factors(&s, (int64_t)number(item, "warmup"), item, gf_schedule_names[s.kind]);
        seen |= 1 << s.kind;
    }
    assert_int_equal(seen, 1 << GF_SCHEDULE_COSINE | 1 << GF_SCHEDULE_COSINE_WITH_RESTARTS |
                               1 << GF_SCHEDULE_POLYNOMIAL | 1 << GF_SCHEDULE_INVERSE_SQRT |
                               1 << GF_SCHEDULE_ONE_CYCLE);
    cJSON_Delete(root);
}

static double written(const cJSON *text) { return strtod(text->valuestring, NULL); }

static void check_plateau(const cJSON *item) {
    gf_schedule s = with_settings(GF_SCHEDULE_REDUCE_ON_PLATEAU, get(item, "settings"));
    gf_plateau p = gf_plateau_start();
    bool higher = cJSON_IsTrue(get(item, "higher_is_better"));
    const cJSON *states = get(item, "states"), *value;
    int i = 0;
    assert_true(gf_schedule_factor(&s, 0, 9, 0, &p) == 1);
    cJSON_ArrayForEach(value, get(item, "values")) {
        const cJSON *want = cJSON_GetArrayItem(states, i++);
        double best = written(cJSON_GetArrayItem(want, 1));
        double factor = cJSON_GetArrayItem(want, 0)->valuedouble;
        gf_plateau_see(&p, &s, written(value), higher);
        assert_near(gf_schedule_factor(&s, 0, 9, i, &p), factor, 1e-15 * factor, "plateau");
        assert_near(gf_schedule_factor(&s, 4, 9, 1, &p), factor / 4, 1e-15 * factor, "rise");
        assert_int_equal(p.stale, cJSON_GetArrayItem(want, 2)->valueint);
        if (p.has_best)
            assert_true(p.best == best);
        else
            assert_true(best == (higher ? -INFINITY : INFINITY));
    }
    assert_int_equal(i, cJSON_GetArraySize(states));
}

static void plateaus_are_torch(void **state) {
    cJSON *root = read_golden("schedule_kinds.json");
    const cJSON *item;
    (void)state;
    cJSON_ArrayForEach(item, get(root, "plateaus")) check_plateau(item);
    cJSON_Delete(root);
}

static void only_a_plateau_sees(void **state) {
    (void)state;
    for (int kind = 0; gf_schedule_names[kind]; kind++) {
        gf_schedule s = gf_schedule_make((gf_schedule_kind)kind);
        gf_plateau p = gf_plateau_start();
        double without = gf_schedule_factor(&s, 1, 9, 5, NULL);
        s.patience = 0;
        gf_plateau_see(&p, &s, 1, false);
        gf_plateau_see(&p, &s, 2, false);
        assert_true(p.has_best == (kind == GF_SCHEDULE_REDUCE_ON_PLATEAU));
        assert_true((gf_schedule_factor(&s, 1, 9, 5, &p) != without) == p.has_best);
    }
}

/* Behind the end, and where torch and transformers divide by zero: by the header's formulas. */
static void ends_hold(void **state) {
    static const struct {
        gf_schedule_kind kind;
        int64_t warmup, total, step;
        double want;
    } cases[] = {
        {GF_SCHEDULE_LINEAR, 0, 4, 9, 0.25},
        {GF_SCHEDULE_LINEAR, 0, 4, 2, 0.625},
        {GF_SCHEDULE_COSINE, 2, 6, 6, 0.25},
        {GF_SCHEDULE_COSINE_WITH_RESTARTS, 0, 4, 0, 1},
        {GF_SCHEDULE_COSINE_WITH_RESTARTS, 0, 4, 2, 0.625},
        {GF_SCHEDULE_COSINE_WITH_RESTARTS, 0, 4, 4, 0.25},
        {GF_SCHEDULE_COSINE_WITH_RESTARTS, 0, 4, 5, 0.25},
        {GF_SCHEDULE_POLYNOMIAL, 3, 3, 3, 0.25},
        {GF_SCHEDULE_POLYNOMIAL, 0, 4, 99, 0.25},
        {GF_SCHEDULE_INVERSE_SQRT, 1, 4, 4, 0.5},
        {GF_SCHEDULE_INVERSE_SQRT, 1, 4, 64, 0.25},
        {GF_SCHEDULE_ONE_CYCLE, 0, 1, 0, 0.25},
        {GF_SCHEDULE_ONE_CYCLE, 5, 10, 0, 0.04},
        {GF_SCHEDULE_ONE_CYCLE, 5, 10, 2, 1},
        {GF_SCHEDULE_ONE_CYCLE, 5, 10, 9, 0.25},
        {GF_SCHEDULE_ONE_CYCLE, 5, 10, 10, 0.25},
        {GF_SCHEDULE_CONSTANT, 0, 4, 9, 1},
        {GF_SCHEDULE_REDUCE_ON_PLATEAU, 0, 4, 9, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_schedule s = gf_schedule_make(cases[i].kind);
        s.end = 0.25;
        assert_near(gf_schedule_factor(&s, cases[i].warmup, cases[i].total, cases[i].step, NULL),
                    cases[i].want, 1e-15, gf_schedule_names[s.kind]);
    }
}

/* With the peak at the first update there is no way up to it. */
static void a_peak_at_once_is_reached(void **state) {
    gf_schedule s = gf_schedule_make(GF_SCHEDULE_ONE_CYCLE);
    (void)state;
    s.peak = 0.25;
    assert_true(gf_schedule_factor(&s, 0, 4, 0, NULL) == 1);
    assert_true(gf_schedule_factor(&s, 0, 4, 3, NULL) == 1 / 25.0 / 1e4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_schedules_are_transformers),
        cmocka_unit_test(warmups_are_transformers),
        cmocka_unit_test(all_kinds_are_transformers_or_torch),
        cmocka_unit_test(plateaus_are_torch),
        cmocka_unit_test(only_a_plateau_sees),
        cmocka_unit_test(ends_hold),
        cmocka_unit_test(a_peak_at_once_is_reached),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
