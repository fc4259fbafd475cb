/* recipes/resolve, unused: every combination of keys that makes no sense, with the sentence, and
 * some near to these that do. What is seen only when a run is opened is in
 * tests/cli/test_senseless.py. */
#include "recipes/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char two[] =
    "{\"model\": {\"base\": \"b\"}, \"data\": {\"train\": \"t\", \"dev\": \"d\", \"test\": \"e\"},"
    " \"tasks\": [{\"name\": \"a\", \"classes\": [\"lefty\", \"right\"]}, {\"name\": \"b\"}], "
    "\"phases\":"
    " [{\"trainable\": {\"heads.*\": {\"lr\": 1}}}, {\"trainable\": {\"*\": {\"lr\": 1}}}]}";

typedef struct senseless {
    const char *sets[4]; /* over `two` */
    const char *want;    /* behind "r.json: " */
} senseless;

#define OWN "{\"train\": \"u\"}"
#define MLM "{\"objective\": \"mlm\", \"trainable\": {\"*\": {\"lr\": 1}}}"
#define ALL "{\"trainable\": {\"*\": {\"lr\": 1}}}"

static const senseless cases[] = {
    /* tasks */
    {{"tasks.0.type=regression"}, "tasks[0].classes is given, but a regression has none; leave"},
    {{"tasks.1.type=regression", "tasks.1.class_weights=balanced"},
     "tasks[1].class_weights is for tasks of the types classification and multi_label"},
    {{"tasks.0.type=ordinal", "tasks.0.class_weights={\"x\":2}"},
     "tasks[0].class_weights is for tasks of the types classification and multi_label"},
    {{"tasks.0.type=ordinal", "tasks.0.label_smoothing=0.1"},
     "tasks[0].label_smoothing is for tasks of the types classification and multi_label"},
    {{"tasks.1.type=regression", "tasks.1.focal_gamma=2"},
     "tasks[1].focal_gamma is for tasks of the types classification and multi_label"},
    {{"tasks.0.label_smoothing=0.1", "tasks.0.focal_gamma=2"},
     "tasks[0].focal_gamma cannot be combined with label_smoothing"},
    {{"tasks.0.separator=;"}, "tasks[0].separator is for tasks of the type multi_label"},
    {{"tasks.0.threshold=0.5"}, "tasks[0].threshold is for tasks of the type multi_label"},
    {{"tasks.0.class_weights={\"left\":2}"},
     "tasks[0].class_weights names no class with \"left\"; did you mean \"lefty\"?"},
    {{"tasks.0.class_weights={\"zzzz\":2}"}, "names no class with \"zzzz\"; known: lefty, right"},
    {{"tasks.0.class_weights=balancd"},
     "tasks[0].class_weights is \"balancd\", which is not supported yet by this version; did you "
     "mean \"balanced\"?"},
    {{"tasks.0.data={\"dev\":\"u\"}"},
     "tasks[0].data.train is missing; a task with data of its own trains on it"},
    {{"tasks.0.data={\"text\":\"u\"}"}, "tasks[0].data.train is missing"},
    {{"tasks.0.label=text"}, "tasks[0].label is the field that holds the text"},
    {{"tasks.1.data={\"train\":\"u\",\"text\":\"b\"}"},
     "tasks[1].label is the field that holds the text"},
    {{"tasks=[{\"name\":\"a\"}]", "balance.method=dwa"},
     "balance.method needs two tasks at least; leave it out"},
    {{"tasks=[{\"name\":\"a\"}]", "surgery.method=pcgrad"}, "surgery.method needs two tasks"},
    {{"tasks=[{\"name\":\"a\"}]", "conflicts.every_steps=1"}, "conflicts.every_steps needs two"},
    /* data, mix */
    {{"data.split.dev=0.1"}, "data.split.dev cannot be combined with data.dev"},
    {{"data.split.test=0.1"}, "data.split.test cannot be combined with data.test"},
    {{"data={\"train\":\"t\",\"split\":{\"dev\":0.5,\"test\":0.5}}"},
     "data.split leaves nothing to train on; the shares must sum to less than 1"},
    {{"data={\"train\":\"t\",\"split\":{\"dev\":0.5}}", "tasks.1.data=" OWN},
     "data.split cannot be combined with tasks that have data of their own"},
    {{"data={\"split\":{\"dev\":0.5}}", "tasks=[]", "mlm.data=m", "phases=[" MLM "]"},
     "data.split divides data.train"},
    {{"data.train=null", "tasks.1.data=" OWN}, "data.train is missing; it is the file to train on"},
    {{"data.train=null", "tasks=[]", "phases=[" MLM "]"}, "data.train is missing"},
    {{"tasks.0.data=" OWN, "tasks.1.data=" OWN}, "data.train is read by no task, since each has"},
    {{"data.train=null", "tasks.0.data=" OWN, "tasks.1.data=" OWN}, "data.dev is read by no task"},
    {{"data={\"test\":\"e\"}", "tasks.0.data=" OWN, "tasks.1.data=" OWN},
     "data.test is read by no task"},
    {{"mix.type=uniform"}, "mix.type mixes tasks with data of their own, and no task has \"data\""},
    {{"data={}", "tasks=[{\"name\":\"a\",\"data\":" OWN "},{\"name\":\"b\",\"data\":" OWN "}]",
      "mix.type=uniform"},
     "mix.type mixes data of several files, and all tasks read the same"},
    {{"mix.cap=5"}, "mix.cap goes with the type \"temperature\"; set that or leave it out"},
    {{"mix.temperature=2"}, "mix.temperature goes with the type \"temperature\""},
    {{"mix.start=0.5"}, "mix.start goes with the type \"annealed\""},
    {{"mix.end=0.5"}, "mix.end goes with the type \"annealed\""},
    /* optimizer, balance, surgery */
    {{"optimizer.momentum=0.5"}, "optimizer.momentum goes with \"sgd\"; set that or leave it out"},
    {{"optimizer.nesterov=true"}, "optimizer.nesterov goes with \"sgd\""},
    {{"optimizer={\"name\":\"sgd\",\"nesterov\":true,\"momentum\":0}"},
     "optimizer.nesterov needs a momentum above 0"},
    {{"optimizer={\"name\":\"sgd\",\"betas\":[0.9,0.99]}"}, "optimizer.betas goes with \"adamw\""},
    {{"optimizer={\"name\":\"sgd\",\"betas\":[0.8,0.999]}"}, "optimizer.betas goes with \"adamw\""},
    {{"optimizer={\"name\":\"sgd\",\"eps\":1e-6}"}, "optimizer.eps goes with \"adamw\""},
    {{"optimizer.ema=0.9", "phases=[{\"trainable\":{}}]"},
     "optimizer.ema has nothing to average, since no phase trains; leave it out"},
    {{"balance.lr=0.1"}, "balance.lr goes with the methods \"uncertainty\", \"gradnorm\" and"},
    {{"balance={\"method\":\"dwa\",\"lr\":0.1}"}, "balance.lr goes with the methods"},
    {{"balance={\"method\":\"famo\",\"temperature\":3}"},
     "balance.temperature goes with the method"},
    {{"balance={\"method\":\"famo\",\"alpha\":1}"},
     "balance.alpha goes with the method \"gradnorm\""},
    {{"balance={\"method\":\"gradnorm\",\"decay\":1}"},
     "balance.decay goes with the method \"famo\""},
    {{"surgery={\"method\":\"pcgrad\",\"c\":0.4}"}, "surgery.c goes with the method \"cagrad\""},
    /* phases */
    {{"phases.1.unfreeze={\"every_epochs\":1}"},
     "phases[1].unfreeze.layers is missing; it says how many encoder layers open at a time"},
    {{"phases.1.unfreeze={\"layers\":1,\"every_epochs\":1,\"every_steps\":1}"},
     "phases[1].unfreeze.every_steps cannot be combined with every_epochs"},
    {{"phases.0.unfreeze={\"layers\":1}"},
     "phases[0].unfreeze has nothing to unfreeze when \"trainable\" names no part of the encoder"},
    {{"phases.1={\"trainable\":{},\"unfreeze\":{\"layers\":1}}"}, "phases[1].unfreeze has nothing"},
    {{"phases.1.trainable={\"cls.predictions.*\":{\"lr\":1}}"},
     "phases[1].trainable names the decoder of masked words, which gets a gradient in mlm phases"},
    {{"phases.0.objective=mlm"},
     "phases[0].trainable names heads, which get no gradient in an mlm"},
    {{"phases.0=" MLM, "phases.0.loss_weights={\"a\":1}"},
     "phases[0].loss_weights means nothing in an mlm phase; leave it out"},
    {{"phases.1.trainable.*={\"lr\":0,\"l2_sp\":0.1}"},
     "phases[1].trainable.*.l2_sp pulls at nothing when lr is 0"},
    {{"phases=[" MLM "]"}, "tasks is given, but the objective of every phase is \"mlm\"; add a"},
    {{"phases=[" ALL "," MLM "]"},
     "phases[1].objective is \"mlm\" behind the last phase for the tasks"},
    {{"tasks=[]"},
     "phases[0].objective is \"tasks\", but \"tasks\" lists none; name a task or make"},
    {{"tasks=[]", "phases=[" MLM "]", "model.heads_init=h"},
     "model.heads_init is for heads, and \"tasks\" lists none"},
    /* schedules */
    {{"phases.1.schedule={\"type\":\"linear\",\"cycles\":2}"},
     "phases[1].schedule.cycles goes with the types \"cosine\" and \"cosine_with_restarts\""},
    {{"phases.1.schedule={\"type\":\"linear\",\"power\":2}"}, "schedule.power goes with the type"},
    {{"phases.1.schedule.end=0.1"},
     "phases[1].schedule.end goes with a type other than \"constant\""},
    {{"phases.1.schedule={\"type\":\"linear\",\"timescale\":9}"},
     "timescale goes with the type \"inv"},
    {{"phases.1.schedule={\"type\":\"linear\",\"factor\":0.5}"},
     "factor goes with the type \"reduce_"},
    {{"phases.1.schedule={\"type\":\"linear\",\"patience\":1}"},
     "patience goes with the type \"redu"},
    {{"phases.1.schedule={\"type\":\"linear\",\"peak\":0.5}"},
     "peak goes with the type \"one_cycle\""},
    {{"phases.1.schedule={\"type\":\"linear\",\"start_divisor\":9}"},
     "start_divisor goes with the t"},
    {{"phases.1.schedule={\"type\":\"linear\",\"final_divisor\":9}"},
     "final_divisor goes with the t"},
    {{"phases.1.schedule={\"type\":\"one_cycle\",\"warmup\":0.1}"},
     "phases[1].schedule.warmup cannot be combined with \"one_cycle\", which rises itself"},
    {{"data={\"train\":\"t\"}", "phases.1.schedule.type=reduce_on_plateau"},
     "phases[1].schedule.type is \"reduce_on_plateau\", which watches data.dev, and that is "
     "missing"},
    {{"select.metric=last", "phases.1.schedule.type=reduce_on_plateau"},
     "phases[1].schedule.type is \"reduce_on_plateau\", which has nothing to watch when"},
    /* mlm */
    {{"mlm.data=m"}, "mlm.data goes with a phase whose objective is \"mlm\"; set that or leave it"},
    {{"mlm.text=m"}, "mlm.text goes with mlm.data"},
    {{"mlm.text=m", "phases.0=" MLM}, "mlm.text goes with mlm.data"},
    {{"mlm.probability=0.2"}, "mlm.probability goes with a phase whose objective"},
    {{"mlm.whole_word=true"}, "mlm.whole_word goes with a phase whose objective"},
    /* select */
    {{"tasks=[]", "phases=[" MLM "]", "select.metric=a.macro_f1"},
     "select.metric is \"a.macro_f1\", and there is no task to measure it on; use \"loss\", that "
     "of"},
    {{"data={\"train\":\"t\"}", "select.metric=loss"},
     "select.metric is \"loss\", which is measured on data.dev, and that is missing"},
    {{"data={\"train\":\"t\"}", "select.patience=1"}, "select.patience needs data.dev, which is"},
    {{"select={\"metric\":\"last\",\"patience\":1}"}, "select.patience has nothing to watch when"},
    {{"tasks.1.data=" OWN, "select.metric=b.macro_f1"},
     "select.metric names the task \"b\", whose data have no dev file"},
    {{"select.metric=a.spearman"}, "select.metric: "},
};

static void senseless_combinations_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *sets = cases[i].sets;
        int n = 0;
        gf_recipe r;
        gf_err e = {0};
        while (n < 4 && sets[n]) n++;
        if (gf_recipe_parse(&r, two, sizeof two - 1, "r.json", sets, n, &e))
            fail_msg("%s was taken", sets[0]);
        if (e.code != GF_E_INVALID || strncmp(e.text, "r.json: ", 8) != 0 ||
            !strstr(e.text, cases[i].want))
            fail_msg("%s gave \"%s\" instead of \"%s\"", sets[0], e.text, cases[i].want);
        assert_null(r.path);
    }
}

/* Near to those that are refused, and sensible. */
static void sensible_combinations_are_taken(void **state) {
    static const char *const taken[][3] = {
        {"phases=[" MLM "," ALL "]", "mlm.data=m", "mlm.text=line"},
        {"tasks=[]", "phases=[" MLM "]", "select={\"metric\":\"loss\",\"patience\":1}"},
        {"tasks=[]", "phases=[" MLM "]", "data={\"train\":\"t\",\"split\":{\"dev\":0.1}}"},
        {"tasks.0.data=" OWN, "mix.type=uniform", NULL},
        {"tasks.0.data=" OWN, "select.metric=b.macro_f1", NULL},
        {"phases.1.schedule={\"type\":\"constant\",\"warmup\":5}", NULL, NULL},
        {"phases.1.schedule={\"type\":\"cosine\",\"cycles\":2,\"end\":0.1}", NULL, NULL},
        {"phases.1.unfreeze={\"layers\":99}", NULL, NULL},
        {"optimizer.ema=0.9", "phases.0.trainable={}", NULL},
        {"phases.1.trainable.*={\"lr\":1,\"l2_sp\":0.1}", NULL, NULL},
        {"tasks.0.type=multi_label", "tasks.0.class_weights=balanced", "tasks.0.focal_gamma=2"},
        {"balance={\"method\":\"fixed\",\"lr\":0.025,\"alpha\":1.5}", NULL, NULL},
        {"mix.temperature=1", "surgery.c=0.5", "mlm.probability=0.15"}};
    (void)state;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        const char *const *sets = taken[i];
        int n = !sets[1] ? 1 : !sets[2] ? 2 : 3;
        gf_recipe r;
        gf_err e = {0};
        if (!gf_recipe_parse(&r, two, sizeof two - 1, "r.json", sets, n, &e))
            fail_msg("%s: %s", sets[0], e.text);
        gf_recipe_free(&r);
    }
}

/* The default of select.metric takes the tasks that dev has rows of. */
static void the_default_metric_is_measured(void **state) {
    static const char *const want[][2] = {
        {"seed=1", "mean(a.macro_f1, b.macro_f1)"},
        {"tasks.1.type=regression", "mean(a.macro_f1, b.spearman)"},
        {"tasks.0.data=" OWN, "b.macro_f1"},
        {"tasks.0.data={\"train\":\"u\",\"dev\":\"v\"}", "mean(a.macro_f1, b.macro_f1)"},
        {"data={\"train\":\"t\",\"split\":{\"dev\":0.1}}", "mean(a.macro_f1, b.macro_f1)"},
        {"data={\"train\":\"t\"}", "last"}};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        gf_recipe r;
        gf_err e = {0};
        if (!gf_recipe_parse(&r, two, sizeof two - 1, "r.json", &want[i][0], 1, &e))
            fail_msg("%s", e.text);
        assert_string_equal(r.select_metric, want[i][1]);
        gf_recipe_free(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(senseless_combinations_are_refused),
        cmocka_unit_test(sensible_combinations_are_taken),
        cmocka_unit_test(the_default_metric_is_measured),
    };
    return cmocka_run_group_tests_name("recipe senseless", tests, NULL, NULL);
}
