/* recipes/spread, strategies: means and spreads, what is the best, the table's lines, strategies
 * fitted to another recipe's tasks. Numbers are Python's, of statistics.mean and stdev. */
#include "core/json.h"
#include "core/mem.h"
#include "recipes/spread.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void near(double got, double wanted) {
    if (!(fabs(got - wanted) <= 1e-12 * fmax(1, fabs(wanted))))
        fail_msg("%.17g %.17g", got, wanted);
}

static void spreads(void **state) {
    const double some[] = {0.81, NAN, 0.84, 0.79}, far[] = {1e9 + 1, 1e9 + 2, 1e9 + 4};
    gf_spread s = gf_spread_of(some, 4);
    (void)state;
    assert_int_equal(s.n, 3);
    near(s.mean, 0.8133333333333334);
    near(s.sd, 0.025166114784235815);
    s = gf_spread_of(far, 3); /* sums of squares would lose it */
    near(s.sd, 1.5275252316519468);
    s = gf_spread_of(some, 1);
    assert_true(s.n == 1 && s.mean == 0.81 && isnan(s.sd));
    s = gf_spread_of(some + 1, 1);
    assert_true(s.n == 0 && isnan(s.mean) && isnan(s.sd));
}

/* ---- a comparison as it is after its runs, made by hand ---- */

enum { RECIPES = 2, SEEDS = 3 };

typedef struct made {
    gf_compare c;
    gf_compare_entry entries[RECIPES];
    gf_compare_run runs[RECIPES][SEEDS];
} made;

static void make(made *m, const char *const metrics[RECIPES][SEEDS]) {
    static const char *const names[] = {"one", "another"};
    *m = (made){.c = {.n = RECIPES, .n_seeds = SEEDS, .entries = m->entries}};
    for (int i = 0; i < RECIPES; i++) {
        m->entries[i] = (gf_compare_entry){
            .name = (char *)(uintptr_t)names[i], .path = "r.json", .runs = m->runs[i]};
        for (int k = 0; k < SEEDS; k++) {
            const char *text = metrics[i][k];
            m->runs[i][k] = (gf_compare_run){.seed = (uint64_t)(7 + k),
                                             .folder = "runs/x",
                                             .state = text ? GF_COMPARE_DONE : GF_COMPARE_NEW,
                                             .seconds = 60.0 * (k + 1),
                                             .peak_mib = 100 + k,
                                             .trainable = 1234567,
                                             .parameters = 4938268};
            if (text) assert_non_null(m->runs[i][k].metrics = cJSON_Parse(text));
        }
    }
}

static void drop(made *m) {
    for (int i = 0; i < RECIPES; i++)
        for (int k = 0; k < SEEDS; k++) cJSON_Delete(m->runs[i][k].metrics);
}

#define RUN(metric, name, a_f1, b_loss, kept)                                                      \
    "{\"best\": {\"step\": 1, \"metric\": " #metric ", \"name\": \"" name "\"}, \"dev\": {"        \
    "\"a\": {\"loss\": 1, \"macro_f1\": " #a_f1 "}, \"ab\": {\"loss\": " #b_loss                   \
    ", \"macro_f1\": 0.5}}, \"test\": {\"a\": {\"macro_f1\": 0.25, \"loss\": 3}},"                 \
    " \"phases\": [{\"cosine_base\": 0.1}, {\"cosine_base\": " #kept                               \
    "}, {\"cosine_base\": null}]}"

#define SELECT "mean(ab.loss, a.macro_f1)"

static const cJSON *get(const cJSON *j, const char *a, const char *b, const char *c) {
    j = cJSON_GetObjectItemCaseSensitive(j, a);
    if (b) j = cJSON_GetObjectItemCaseSensitive(j, b);
    return c ? cJSON_GetObjectItemCaseSensitive(j, c) : j;
}

static cJSON *must_report(const made *m) {
    gf_err e = {0};
    cJSON *j = gf_spread_report(&m->c, &e);
    if (!j) fail_msg("%s", e.text);
    return j;
}

static void figures_are_those_of_the_metrics(void **state) {
    static const char *const metrics[RECIPES][SEEDS] = {
        {RUN(0.5, SELECT, 0.81, 1.5, 0.9), RUN(0.7, SELECT, 0.84, 2.5, 0.8),
         RUN(0.9, SELECT, 0.79, 3.5, 0.4)},
        {RUN(0.4, SELECT, 0.1, 12.5, 1), NULL, RUN(0.8, SELECT, 0.3, 13.5, 1)}};
    made m;
    cJSON *j;
    const cJSON *one, *another;
    (void)state;
    make(&m, metrics);
    m.runs[1][1].error = "it broke";
    m.runs[1][1].status = 5;
    j = must_report(&m);
    one = cJSON_GetArrayItem(get(j, "recipes", NULL, NULL), 0);
    another = cJSON_GetArrayItem(get(j, "recipes", NULL, NULL), 1);
    assert_string_equal(get(j, "metrics", "a", NULL)->valuestring, "macro_f1");
    assert_string_equal(get(j, "metrics", "ab", NULL)->valuestring, "loss");
    assert_string_equal(get(j, "criterion", NULL, NULL)->valuestring, SELECT);
    near(get(one, "dev", "a", "mean")->valuedouble, 0.8133333333333334);
    near(get(one, "dev", "a", "sd")->valuedouble, 0.025166114784235815);
    near(get(one, "dev", "ab", "mean")->valuedouble, 2.5);
    near(get(one, "test", "a", "mean")->valuedouble, 0.25);
    assert_null(get(one, "test", "ab", NULL));
    near(get(one, "select", "mean", NULL)->valuedouble, 0.7);
    near(get(one, "seconds", "mean", NULL)->valuedouble, 120);
    near(get(one, "peak_mib", NULL, NULL)->valuedouble, 102);
    near(get(one, "kept", "mean", NULL)->valuedouble, 0.7);
    near(get(one, "trainable", NULL, NULL)->valuedouble, 1234567);
    /* the run that failed counts for nothing */
    near(get(another, "dev", "a", "mean")->valuedouble, 0.2);
    near(get(another, "dev", "a", "n")->valuedouble, 2);
    near(get(another, "select", "mean", NULL)->valuedouble, 0.6);
    near(get(another, "seconds", "sd", NULL)->valuedouble, 84.8528137423857);
    one = cJSON_GetArrayItem(get(another, "runs", NULL, NULL), 1);
    assert_string_equal(get(one, "state", NULL, NULL)->valuestring, "failed");
    assert_string_equal(get(one, "error", NULL, NULL)->valuestring, "it broke");
    cJSON_Delete(j);
    drop(&m);
}

static void check_best(const char *const metrics[RECIPES][SEEDS], const char *best,
                       const char *criterion, bool lower) {
    made m;
    cJSON *j;
    const char *got;
    make(&m, metrics);
    j = must_report(&m);
    got = cJSON_GetStringValue(get(j, "best", NULL, NULL));
    if (best)
        assert_string_equal(got, best);
    else
        assert_null(got);
    assert_string_equal(get(j, "criterion", NULL, NULL)->valuestring, criterion);
    assert_int_equal(cJSON_IsTrue(get(j, "lower_is_better", NULL, NULL)), lower);
    cJSON_Delete(j);
    drop(&m);
}

static void the_best_by_its_criterion(void **state) {
    static const char *const high[RECIPES][SEEDS] = {{RUN(0.5, "a.macro_f1", 0.5, 1, 1)},
                                                     {RUN(0.6, "a.macro_f1", 0.6, 1, 1)}};
    static const char *const low[RECIPES][SEEDS] = {{RUN(0.5, "loss", 0.5, 1, 1)},
                                                    {RUN(0.6, "loss", 0.6, 1, 1)}};
    static const char *const differ[RECIPES][SEEDS] = {{RUN(0.9, "a.macro_f1", 0.5, 1, 1)},
                                                       {RUN(0.1, "ab.macro_f1", 0.6, 1, 1)}};
    static const char *const last[RECIPES][SEEDS] = {{RUN(null, "last", 0.8, 1, 1)},
                                                     {RUN(null, "last", 0.6, 1, 1)}};
    static const char *const names[RECIPES][SEEDS] = {{RUN(0.9, "losses.macro_f1", 0.5, 1, 1)},
                                                      {RUN(0.1, "losses.macro_f1", 0.6, 1, 1)}};
    static const char *const none[RECIPES][SEEDS] = {{NULL}};
    (void)state;
    check_best(high, "another", "a.macro_f1", false);
    check_best(low, "one", "loss", true);
    check_best(differ, "another", "mean of the tasks' dev metrics", false);
    check_best(last, "one", "mean of the tasks' dev metrics", false);
    check_best(names, "one", "losses.macro_f1", false);
    check_best(none, NULL, "mean of the tasks' dev metrics", false);
}

/* ---- the table ---- */

static void the_table(void **state) {
    static const char *const metrics[RECIPES][SEEDS] = {{RUN(0.5, SELECT, 0.81, 1.5, 0.9),
                                                         RUN(0.7, SELECT, 0.84, 2.5, 0.8),
                                                         RUN(0.9, SELECT, 0.79, 3.5, 0.4)},
                                                        {RUN(0.4, SELECT, 0.1, 12.5, 1)}};
    static const char wanted[] =
        "          a macro_f1                    ab loss\n"
        "          dev            test           dev\n"
        "  one     0.8133 ±0.0252 0.2500 ±0.0000 2.5000 ±1.0000\n"
        "* another 0.1000         0.2500         12.50\n"
        "\n"
        "          dev score      trainable  share    time    memory   kept runs\n"
        "  one     0.7000 ±0.2000      1.2M   25 %   2m00s   102 MiB 0.7000  3/3\n"
        "* another 0.4000              1.2M   25 %   1m00s   100 MiB 1.0000  1/3\n"
        "\n"
        "mean ± sample standard deviation over the seeds; * the best dev score:\n" SELECT "\n"
        "trainable: in the phase that trains most; time and memory: of one run\n"
        "kept: mean cosine of dev texts' embeddings in the base and in the end; - unmoved\n"
        "failed: another, seed 8: it broke\n";
    made m;
    cJSON *j;
    gf_err e = {0};
    gf_text out = {0};
    (void)state;
    make(&m, metrics);
    m.runs[1][1].error = "it broke";
    j = must_report(&m);
    assert_true(gf_spread_table(j, false, &out, &e));
    assert_string_equal(out.data, wanted); /* SELECT has a loss in it: low is good */
    out.length = 0;
    assert_true(gf_spread_table(j, true, &out, &e));
    assert_non_null(
        strstr(out.data, "\n\033[1m* another 0.1000         0.2500         12.50\033[0m\n"));
    gf_text_free(&out);
    cJSON_Delete(j);
    drop(&m);
}

/* Four tasks: as many columns as 80 have room for, then further lines. */
static void many_tasks_wrap(void **state) {
    gf_text text = {0}, out = {0};
    gf_err e = {0};
    cJSON *j;
    int64_t blocks = 0;
    (void)state;
    gf_text_add(&text, &e, "{\"best\": null, \"criterion\": \"\", \"metrics\": {");
    for (int i = 0; i < 4; i++)
        gf_text_add(&text, &e, "%s\"task%d\": \"macro_f1\"", i ? ", " : "", i);
    gf_text_add(&text, &e,
                "}, \"recipes\": [{\"name\": \"a-name-of-more-than-thirty-bytes\", \"runs\": [], ");
    for (int s = 0; s < 2; s++) {
        gf_text_add(&text, &e, "%s\"%s\": {", s ? ", " : "", s ? "test" : "dev");
        for (int i = 0; i < 4; i++)
            gf_text_add(&text, &e, "%s\"task%d\": {\"mean\": 0.5, \"sd\": 0.1}", i ? ", " : "", i);
        gf_text_add(&text, &e, "}");
    }
    gf_text_add(&text, &e, "}]}");
    assert_non_null(j = cJSON_Parse(text.data));
    assert_true(gf_spread_table(j, false, &out, &e));
    for (const char *p = out.data; (p = strstr(p, "0.5000 ±0.1000 0.5000 ±0.1000")); p++) blocks++;
    assert_true(blocks >= 4 && strstr(out.data, "task3 macro_f1"));
    *strstr(out.data, "dev score") = 0; /* a name this long makes the costs wider than that */
    for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n")) {
        size_t columns = 0;
        for (const char *p = line; *p; p++) columns += (*p & 0xc0) != 0x80;
        assert_true(columns <= 80);
    }
    gf_text_free(&text);
    gf_text_free(&out);
    cJSON_Delete(j);
}

/* ---- strategies ---- */

static const gf_strategy odd = {
    "odd", "{\"tasks\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"optimizer\": {\"eps\": 1e-4},"
           " \"mlm\": {\"probability\": 0.3}, \"seed\": 9, \"phases\": [{\"trainable\":"
           " {\"heads.a.*\": {\"lr\": 1}, \"heads.b.bias\": {\"lr\": 2}, \"heads.*\": {\"lr\": 3},"
           " \"heads.ab.*\": {\"lr\": 4}, \"b\": {\"lr\": 5}}, \"loss_weights\": {\"b\": 0}}]}"};

static cJSON *apply(const char *recipe) {
    gf_err e = {0};
    char *text = gf_strategy_apply(&odd, recipe, strlen(recipe), "r.json", &e);
    cJSON *j = text ? cJSON_Parse(text) : NULL;
    if (!j) fail_msg("%s", e.text);
    gf_free(text);
    return j;
}

static void a_strategy_is_fitted(void **state) {
    static const char *const keys[] = {"heads.b.*", "heads.x.bias", "heads.*", "heads.ab.*", "x"};
    cJSON *j = apply("{\"tasks\": [{\"name\": \"b\"}, {\"name\": \"x\"}], \"phases\": [1, 2],"
                     " \"seed\": 5, \"mlm\": {\"probability\": 0.1}}");
    const cJSON *phases = get(j, "phases", NULL, NULL), *phase = cJSON_GetArrayItem(phases, 0);
    const cJSON *rule = get(phase, "trainable", NULL, NULL)->child;
    (void)state;
    assert_int_equal(cJSON_GetArraySize(phases), 1);
    for (int i = 0; i < 5; i++, rule = rule->next) { /* in their order, which decides */
        assert_string_equal(rule->string, keys[i]);
        near(get(rule, "lr", NULL, NULL)->valuedouble, i + 1);
    }
    assert_null(rule);
    assert_string_equal(get(phase, "loss_weights", NULL, NULL)->child->string, "x");
    near(get(j, "optimizer", "eps", NULL)->valuedouble, 1e-4);
    near(get(j, "mlm", "probability", NULL)->valuedouble, 0.1); /* the recipe's own */
    near(get(j, "seed", NULL, NULL)->valuedouble, 5);
    cJSON_Delete(j);
    j = apply("{\"tasks\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"optimizer\": 1}");
    near(get(j, "optimizer", "eps", NULL)->valuedouble, 1e-4);
    near(get(j, "mlm", "probability", NULL)->valuedouble, 0.3);
    cJSON_Delete(j);
}

static void a_strategy_is_refused(void **state) {
    static const struct {
        const char *recipe, *says;
        gf_code code;
    } cases[] = {{"{\"tasks\": [{\"name\": \"a\"}]}", "for 2 tasks, the recipe has 1", GF_E_USAGE},
                 {"{\"tasks\": [{\"name\": \"a\"}, {\"name\": \"b\"}, {\"name\": \"c\"}]}", "has 3",
                  GF_E_USAGE},
                 {"{\"tasks\": [{\"name\": 1}, {}]}", "the recipe has 2", GF_E_USAGE},
                 {"{}", "the recipe has 0", GF_E_USAGE},
                 {"[1]", "r.json: a recipe is an object, this is a list", GF_E_INVALID},
                 {"{", "r.json:1", GF_E_INVALID}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_err e = {0};
        const char *recipe = cases[i].recipe;
        assert_null(gf_strategy_apply(&odd, recipe, strlen(recipe), "r.json", &e));
        assert_int_equal(e.code, cases[i].code);
        if (!strstr(e.text, cases[i].says)) fail_msg("%s", e.text);
    }
}

static void the_embedded_are_whole(void **state) {
    const gf_strategy *s;
    gf_err e = {0};
    int64_t n = 0;
    (void)state;
    for (; (s = gf_strategy_at(n)); n++) {
        cJSON *j = gf_json_parse(s->json, strlen(s->json), s->name, 1, GF_E_INTERNAL, &e);
        char *summary = gf_strategy_summary(s, &e);
        assert_non_null(j);
        assert_true(cJSON_IsArray(get(j, "phases", NULL, NULL)));
        assert_true(summary && strlen(summary) > 10 && strlen(summary) < 62);
        assert_ptr_equal(gf_strategy_find(s->name, &e), s);
        gf_free(summary);
        cJSON_Delete(j);
    }
    assert_true(n > 3);
    assert_null(gf_strategy_at(-1));
    assert_null(gf_strategy_find("bitfti", &e));
    assert_non_null(strstr(e.text, "did you mean \"bitfit\"?"));
}

/* ---- memory that runs out, anywhere ---- */

static bool walk(const made *m, gf_err *e) {
    static const char recipe[] = "{\"tasks\": [{\"name\": \"x\"}, {\"name\": \"y\"}]}";
    cJSON *j = gf_spread_report(&m->c, e);
    gf_text out = {0};
    char *text = NULL;
    bool ok = j && gf_spread_table(j, true, &out, e) &&
              (text = gf_strategy_apply(&odd, recipe, strlen(recipe), "r.json", e));
    gf_text_free(&out);
    cJSON_Delete(j);
    gf_free(text);
    return ok;
}

static void every_allocation_fails_in_turn(void **state) {
    static const char *const metrics[RECIPES][SEEDS] = {
        {RUN(0.5, SELECT, 0.81, 1.5, 0.9), RUN(0.7, SELECT, 0.84, 2.5, 0.8)},
        {RUN(0.4, SELECT, 0.1, 12.5, 1)}};
    made m;
    int64_t k = 0, blocks;
    bool ok = false;
    (void)state;
    make(&m, metrics);
    blocks = gf_mem_get_stats().live_blocks;
    while (!ok) {
        gf_err e = {0};
        gf_mem_fail_at(++k, false);
        ok = walk(&m, &e);
        assert_int_equal(gf_mem_fault_fired(), !ok);
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
    }
    gf_mem_fail_at(0, false);
    assert_true(k > 200);
    drop(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spreads),
        cmocka_unit_test(figures_are_those_of_the_metrics),
        cmocka_unit_test(the_best_by_its_criterion),
        cmocka_unit_test(the_table),
        cmocka_unit_test(many_tasks_wrap),
        cmocka_unit_test(a_strategy_is_fitted),
        cmocka_unit_test(a_strategy_is_refused),
        cmocka_unit_test(the_embedded_are_whole),
        cmocka_unit_test(every_allocation_fails_in_turn),
    };
    gf_json_use_core_memory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
