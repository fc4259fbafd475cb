/* recipes/recipe: defaults, every refusal with its sentence, --set, the round trip, damaged
 * recipes. */
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/recipe.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The contract's example. */
static const char full[] =
    "{\"model\": {\"base\": \"path/to/bert\", \"max_length\": 64, \"pooling\": \"cls\","
    " \"normalize\": false, \"dropout\": 0.2, \"init\": \"random\", \"heads_init\": \"h.st\"},"
    " \"data\": {\"train\": \"train.jsonl\", \"dev\": \"/abs/dev.jsonl\", \"test\": null,"
    " \"text\": \"body\"},"
    " \"tasks\": [{\"name\": \"category\", \"type\": \"classification\", \"label\": \"cat\","
    " \"classes\": null, \"weight\": 0.5}, {\"name\": \"sentiment\","
    " \"classes\": [\"negative\", \"neutral\", \"positive\"]}],"
    " \"batch\": {\"size\": 8, \"accumulate\": 2, \"bucket\": false,"
    " \"gradient_checkpointing\": true},"
    " \"optimizer\": {\"name\": \"adamw\", \"betas\": [0.8, 0.99], \"eps\": 1e-6,"
    " \"weight_decay\": 0.1, \"clip_norm\": null},"
    " \"phases\": ["
    "{\"name\": \"heads\", \"epochs\": 5, \"trainable\": {\"heads.*\": {\"lr\": 1e-3}},"
    " \"schedule\": {\"type\": \"linear\", \"warmup\": 0.1}},"
    "{\"name\": \"upper\", \"trainable\": {\"heads.*\": {\"lr\": 5e-4},"
    " \"encoder.layer[-2:].*\": {\"lr\": 2e-5, \"layer_decay\": 0.9, \"weight_decay\": 0}},"
    " \"loss_weights\": {\"sentiment\": 0}, \"_why\": [\"a comment\"]},"
    "{\"trainable\": {}}],"
    " \"select\": {\"metric\": \"mean(category.macro_f1, sentiment.accuracy)\", \"patience\": 3},"
    " \"save\": {\"every_steps\": 100, \"keep\": 4}, \"log\": {\"every_steps\": 5},"
    " \"cache\": {\"memory_mb\": 0}, \"seed\": 7, \"output\": \"runs/x\", \"_note\": 1}";

static const char least[] = "{\"model\": {\"base\": \"bert\"}, \"data\": {\"train\": \"t.jsonl\"},"
                            " \"tasks\": [{\"name\": \"category\"}],"
                            " \"phases\": [{\"trainable\": {\"*\": {\"lr\": 1e-5}}}]}";

static bool parse(gf_recipe *r, const char *text, const char *set, gf_err *e) {
    return gf_recipe_parse(r, text, strlen(text), "dir/recipe.json", &set, set ? 1 : 0, e);
}

static gf_recipe must_parse(const char *text, const char *set) {
    gf_recipe r = {0};
    gf_err e = {0};
    if (!parse(&r, text, set, &e)) fail_msg("%s", e.text);
    return r;
}

static void every_key_is_read(void **state) {
    gf_recipe r = must_parse(full, NULL);
    (void)state;
    assert_string_equal(r.path, "dir/recipe.json");
    assert_string_equal(r.base, "dir/path/to/bert");
    assert_string_equal(r.init, "random");
    assert_string_equal(r.heads_init, "dir/h.st");
    assert_int_equal(r.max_length, 64);
    assert_string_equal(r.pooling, "cls");
    assert_int_equal(r.normalize, 0);
    assert_true(r.dropout == 0.2);
    assert_string_equal(r.train, "dir/train.jsonl");
    assert_string_equal(r.dev, "/abs/dev.jsonl");
    assert_null(r.test);
    assert_string_equal(r.text, "body");
    assert_int_equal(r.n_tasks, 2);
    assert_string_equal(r.tasks[0].label, "cat");
    assert_int_equal(r.tasks[0].n_classes, 0);
    assert_true(r.tasks[0].weight == 0.5);
    assert_int_equal(r.tasks[1].type, GF_TASK_CLASSIFICATION);
    assert_string_equal(r.tasks[1].label, "sentiment");
    assert_int_equal(r.tasks[1].n_classes, 3);
    assert_string_equal(r.tasks[1].classes[2], "positive");
    assert_int_equal(r.batch_size, 8);
    assert_int_equal(r.accumulate, 2);
    assert_false(r.bucket);
    assert_true(r.checkpointing);
    assert_true(r.beta1 == 0.8 && r.beta2 == 0.99 && r.eps == 1e-6);
    assert_true(r.weight_decay == 0.1 && r.clip_norm == 0);
    assert_string_equal(r.select_metric, "mean(category.macro_f1, sentiment.accuracy)");
    assert_int_equal(r.patience, 3);
    assert_int_equal(r.save_every, 100);
    assert_int_equal(r.keep, 4);
    assert_int_equal(r.log_every, 5);
    assert_int_equal(r.cache_mb, 0);
    assert_int_equal(r.seed, 7);
    assert_string_equal(r.output, "dir/runs/x");
    gf_recipe_free(&r);
}

static void phases_are_read(void **state) {
    gf_recipe r = must_parse(full, NULL);
    const gf_recipe_phase *p = r.phases;
    (void)state;
    assert_int_equal(r.n_phases, 3);
    assert_int_equal(p[0].epochs, 5);
    assert_int_equal(p[0].schedule.kind, GF_SCHEDULE_LINEAR);
    assert_true(p[0].schedule.warmup == 0.1);
    assert_true(p[0].loss_weights[0] == 0.5 && p[0].loss_weights[1] == 1);
    assert_int_equal(p[1].n_rules, 2);
    assert_string_equal(p[1].rules[0].pattern, "heads.*");
    assert_true(isnan(p[1].rules[0].weight_decay) && p[1].rules[0].layer_decay == 1);
    assert_string_equal(p[1].rules[1].pattern, "encoder.layer[-2:].*");
    assert_true(p[1].rules[1].lr == 2e-5 && p[1].rules[1].layer_decay == 0.9);
    assert_true(p[1].rules[1].weight_decay == 0);
    assert_true(p[1].loss_weights[0] == 0.5 && p[1].loss_weights[1] == 0);
    assert_string_equal(p[2].name, "phase3");
    assert_int_equal(p[2].epochs, 1);
    assert_int_equal(p[2].n_rules, 0);
    assert_int_equal(p[2].schedule.kind, GF_SCHEDULE_CONSTANT);
    gf_recipe_free(&r);
}

static void defaults_are_the_contracts(void **state) {
    gf_recipe r = must_parse(least, NULL);
    (void)state;
    assert_null(r.init);
    assert_null(r.heads_init);
    assert_int_equal(r.max_length, 128);
    assert_null(r.pooling);
    assert_int_equal(r.normalize, -1);
    assert_true(isnan(r.dropout));
    assert_null(r.dev);
    assert_string_equal(r.text, "text");
    assert_string_equal(r.tasks[0].label, "category");
    assert_true(r.tasks[0].weight == 1);
    assert_int_equal(r.batch_size, 32);
    assert_int_equal(r.accumulate, 1);
    assert_true(r.bucket);
    assert_false(r.checkpointing);
    assert_int_equal(r.optimizer, GF_OPTIMIZER_ADAMW);
    assert_true(r.beta1 == 0.9 && r.beta2 == 0.999 && r.eps == 1e-8);
    assert_true(r.weight_decay == 0.01 && r.clip_norm == 1);
    assert_string_equal(r.phases[0].name, "phase1");
    assert_string_equal(r.select_metric, "last");
    assert_int_equal(r.patience, -1);
    assert_int_equal(r.save_every, 0);
    assert_int_equal(r.keep, 2);
    assert_int_equal(r.log_every, 10);
    assert_int_equal(r.cache_mb, 1024);
    assert_int_equal(r.seed, 42);
    assert_string_equal(r.output, "dir/runs/recipe");
    gf_recipe_free(&r);
}

static void paths_beside_the_recipe_stay_short(void **state) {
    gf_recipe r = {0};
    (void)state;
    assert_true(gf_recipe_parse(&r, least, sizeof least - 1, "mine.json", NULL, 0, NULL));
    assert_string_equal(r.train, "t.jsonl");
    assert_string_equal(r.output, "runs/mine");
    assert_string_equal(r.folder, ".");
    gf_recipe_free(&r);
}

/* ---- select ---- */

static void metrics_are_parsed(void **state) {
    gf_recipe r = must_parse(full, NULL);
    (void)state;
    assert_int_equal(r.select.kind, GF_SELECT_MEAN);
    assert_int_equal(r.select.n_terms, 2);
    assert_int_equal(r.select.terms[1].task, 1);
    assert_int_equal(r.select.terms[1].metric, GF_METRIC_ACCURACY);
    assert_true(r.select.higher_is_better);
    gf_recipe_free(&r);
    r = must_parse(full, "select.metric=sentiment.loss");
    assert_int_equal(r.select.kind, GF_SELECT_MEAN);
    assert_int_equal(r.select.n_terms, 1);
    assert_false(r.select.higher_is_better);
    gf_recipe_free(&r);
    r = must_parse(full, "select.metric=loss");
    assert_int_equal(r.select.kind, GF_SELECT_LOSS);
    assert_false(r.select.higher_is_better);
    gf_recipe_free(&r);
    r = must_parse(full, "select={}");
    assert_string_equal(r.select_metric, "mean(category.macro_f1, sentiment.macro_f1)");
    gf_recipe_free(&r);
    r = must_parse(least, "data.dev=d.jsonl");
    assert_string_equal(r.select_metric, "category.macro_f1");
    gf_recipe_free(&r);
}

/* ---- refusals ---- */

typedef struct refusal {
    const char *set, *want; /* applied to `full`; part of the sentence behind "dir/recipe.json" */
} refusal;

static const refusal refusals[] = {
    {"phases.1.epoch=3", ": unknown key \"phases[1].epoch\"; did you mean \"epochs\"?"},
    {"modle={}", ": unknown key \"modle\"; did you mean \"model\"?"},
    {"model.zzzzzzzz=1", ": unknown key \"model.zzzzzzzz\"; known: base, init, heads_init,"},
    {"tasks.0.wieght=1", ": unknown key \"tasks[0].wieght\"; did you mean \"weight\"?"},
    {"phases.0.schedule.warm_up=1", ": unknown key \"phases[0].schedule.warm_up\"; did you mean"},
    {"phases.0.trainable.heads.*.lrr=1", ": unknown key \"phases[0].trainable.heads.*.lrr\"; did"},
    {"model=1", ": model is a number; it must be an object"},
    {"model.base=null", ": model.base is null; it must be a string"},
    {"model.base=3", ": model.base is a number; it must be a string"},
    {"model.base=", ": model.base is empty; give it a value or leave it out"},
    {"model={}", ": model.base is missing; it is the folder of a BERT model"},
    {"model.init=zeros", ": model.init is \"zeros\", which is not supported yet"},
    {"model.max_length=2", ": model.max_length is 2; it must be at least 3"},
    {"model.max_length=2.5e1000", ": model.max_length is inf; it must be at least 3"},
    {"model.max_length=12.5", ": model.max_length is 12.5; it must be a whole number"},
    {"model.pooling=meen",
     ": model.pooling is \"meen\", which is not supported yet by this version; "
     "did you mean \"mean\"?"},
    {"model.pooling=7", ": model.pooling is a number; it must be a string"},
    {"model.normalize=1", ": model.normalize is a number; it must be true or false"},
    {"model.dropout=1", ": model.dropout is 1; it must be at least 0 and below 1"},
    {"model.dropout=-0.1", ": model.dropout is -0.1; it must be at least 0 and below 1"},
    {"data={}", ": data.train is missing; it is the file to train on"},
    {"data.train=null", ": data.train is missing; it is the file to train on"},
    {"tasks={}", ": tasks is an object; it must be a list"},
    {"tasks=[]", ": phases[0].objective is \"tasks\", but \"tasks\" lists none"},
    {"tasks=[1]", ": tasks[0] is a number; it must be an object"},
    {"tasks=[{}]", ": tasks[0].name is missing; it is the name of the task's head"},
    {"tasks.1.name=category", ": tasks holds \"category\" twice; give each a name of its own"},
    {"tasks.1.name=a.b", ": tasks[1].name is \"a.b\"; use letters, digits, '-' and '_', beginning"},
    {"tasks.1.name=_a", ": tasks[1].name is \"_a\"; use letters"},
    {"tasks.1.name=text",
     ": tasks[1].name is \"text\", which predictions call the text itself; choose"},
    {"tasks.1.type=regression", ": tasks[1].classes is given, but a regression has none"},
    {"tasks.1.weight=-1", ": tasks[1].weight is -1; it must be 0 or more"},
    {"tasks.1.weight=x", ": tasks[1].weight is a string; it must be a number"},
    {"tasks.1.classes=[\"a\"]", ": tasks[1].classes has 1 entries; it must have 2 or more"},
    {"tasks.1.classes=[\"a\",\"b\",\"a\"]", ": tasks[1].classes holds \"a\" twice"},
    {"tasks.1.classes=[\"a\",2]", ": tasks[1].classes[1] is a number; it must be a string"},
    {"tasks.1.classes=a", ": tasks[1].classes is a string; it must be a list"},
    {"batch.size=0", ": batch.size is 0; it must be at least 1"},
    {"batch.accumulate=0", ": batch.accumulate is 0; it must be at least 1"},
    {"batch.bucket=yes", ": batch.bucket is a string; it must be true or false"},
    {"optimizer.name=lamb",
     ": optimizer.name is \"lamb\", which is not supported yet by this version"},
    {"optimizer.betas=[0.9,1]", ": optimizer.betas[1] is 1; it must be at least 0 and below 1"},
    {"optimizer.betas=[0.9]", ": optimizer.betas is 1; it must be a list of two numbers"},
    {"optimizer.betas=0.9", ": optimizer.betas is a number; it must be a list of two numbers"},
    {"optimizer.eps=0", ": optimizer.eps is 0; it must be above 0 and at most 1"},
    {"optimizer.weight_decay=-1", ": optimizer.weight_decay is -1; it must be 0 or more"},
    {"optimizer.clip_norm=-1", ": optimizer.clip_norm is -1; it must be 0 or more"},
    {"phases=[]", ": phases has 0 entries; it must have 1 to 1000"},
    {"phases=null", ": phases is null; it must be a list"},
    {"phases=[{}]", ": phases[0].trainable is missing; it is an object of patterns"},
    {"phases.0.epochs=0", ": phases[0].epochs is 0; it must be at least 1"},
    {"phases.0.trainable=[]", ": phases[0].trainable is a list; it must be an object"},
    {"phases.0.trainable={\"*\":1}", ": phases[0].trainable.* is a number; it must be an object"},
    {"phases.0.trainable={\"*\":{}}", ": phases[0].trainable.*.lr is missing; it is the learning"},
    {"phases.0.trainable.heads.*.lr=-1", ": phases[0].trainable.heads.*.lr is -1; it must be 0 or"},
    {"phases.0.trainable.heads.*.lr=NaN",
     ": phases[0].trainable.heads.*.lr is a string; it must be"},
    {"phases.0.trainable.heads.*.layer_decay=0",
     "layer_decay is 0; it must be above 0 and at most"},
    {"phases.0.trainable.heads.*.weight_decay=-1", "weight_decay is -1; it must be 0 or more"},
    {"phases.0.trainable={\"layer[x]\":{\"lr\":1}}",
     ": phases[0].trainable: the pattern \"layer[x]\" "
     "cannot be read: what stands in its brackets"},
    {"phases.0.schedule.type=cosin",
     ": phases[0].schedule.type is \"cosin\", which is not supported "
     "yet by this version; did you mean \"cosine\"?"},
    {"phases.0.schedule.warmup=-1", ": phases[0].schedule.warmup is -1; it must be 0 or more"},
    {"phases.1.name=heads", ": phases holds \"heads\" twice; give each a name of its own"},
    {"phases.1.loss_weights={\"sentimen\":1}", ": phases[1].loss_weights names no task with "
                                               "\"sentimen\"; did you mean \"sentiment\"?"},
    {"phases.1.loss_weights.category=0",
     ": phases[1].loss_weights leaves every task with weight 0"},
    {"phases.1.loss_weights.category=-1", ": phases[1].loss_weights.category is -1; it must be 0"},
    {"select.metric=categry.loss", ": select.metric: there is no task \"categry\"; did you mean"},
    {"select.metric=category.f2",
     ": select.metric: there is no metric \"f2\"; known: loss, accuracy, "
     "macro_f1"},
    {"select.metric=best", ": select.metric: \"best\" is not \"last\", \"loss\", TASK.METRIC or"},
    {"select.metric=mean()", ": select.metric: \"mean()\" is not"},
    {"select.metric=mean(category.loss,)", ": select.metric: \"\" is not"},
    {"select.metric=mean(category.loss, sentiment.accuracy)", "the mean mixes losses"},
    {"select.patience=0", ": select.patience is 0; it must be at least 1, or null"},
    {"select.metric=last", ": select.patience has nothing to watch"},
    {"data.dev=null",
     ": select.metric is \"mean(category.macro_f1, sentiment.accuracy)\", which is "
     "measured on data.dev"},
    {"save.every_steps=0", ": save.every_steps is 0; it must be at least 1, or null"},
    {"save.keep=0", ": save.keep is 0; it must be at least 1"},
    {"log.every_steps=0", ": log.every_steps is 0; it must be at least 1"},
    {"cache.memory_mb=-1", ": cache.memory_mb is -1; it must be 0 or more"},
    {"seed=-1", ": seed is -1; it must be from 0 to 2^53"},
    {"seed=1e16", ": seed is 1e+16; it must be from 0 to 2^53"},
    {"output=false", ": output is true or false; it must be a string"},
};

static void assert_refused(const char *text, const char *set, gf_code code, const char *start,
                           const char *want) {
    gf_recipe r;
    gf_err e = {0};
    if (parse(&r, text, set, &e)) fail_msg("\"%s\" was taken", set ? set : text);
    if (e.code != code || strncmp(e.text, start, strlen(start)) != 0 || !strstr(e.text, want))
        fail_msg("\"%s\" gave \"%s\" instead of \"%s...%s\"", set, e.text, start, want);
    assert_null(r.tasks);
    assert_null(r.path);
}

static void bad_recipes_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        assert_refused(full, refusals[i].set, GF_E_INVALID, "dir/recipe.json", refusals[i].want);
    assert_refused("[]", NULL, GF_E_INVALID, "dir/recipe.json", ": the file is a list; it must be");
    assert_refused("{", NULL, GF_E_INVALID, "dir/recipe.json:1:", "not valid JSON");
    assert_refused("", NULL, GF_E_INVALID, "dir/recipe.json:1:", "not valid JSON");
    assert_refused("{\"seed\": 1, \"seed\": 2}", NULL, GF_E_INVALID, "dir/recipe.json", "twice");
    assert_refused(least, "select.patience=2", GF_E_INVALID, "dir/recipe.json",
                   ": select.patience needs data.dev");
}

static void a_missing_file_is_named(void **state) {
    gf_recipe r;
    gf_err e = {0};
    (void)state;
    assert_false(gf_recipe_read(&r, "no/such.json", NULL, 0, &e));
    assert_int_equal(e.code, GF_E_MODEL);
    assert_non_null(strstr(e.text, "no/such.json"));
    assert_null(r.path);
}

/* ---- --set ---- */

static void overrides_apply(void **state) {
    gf_recipe r = must_parse(full, "phases.1.epochs=3");
    (void)state;
    assert_int_equal(r.phases[1].epochs, 3);
    gf_recipe_free(&r);
    r = must_parse(full, "phases[1].epochs=4");
    assert_int_equal(r.phases[1].epochs, 4);
    gf_recipe_free(&r);
    r = must_parse(full, "phases.1.trainable.encoder.layer[-2:].*.lr=0.25");
    assert_true(r.phases[1].rules[1].lr == 0.25);
    assert_string_equal(r.phases[1].rules[0].pattern, "heads.*");
    gf_recipe_free(&r);
    r = must_parse(full, "tasks.0.classes=[\"a\", \"b\"]");
    assert_int_equal(r.tasks[0].n_classes, 2);
    gf_recipe_free(&r);
    r = must_parse(full, "phases.2.loss_weights={\"category\": 0, \"sentiment\": 0}");
    assert_true(r.phases[2].loss_weights[0] == 0 && r.phases[2].loss_weights[1] == 0);
    gf_recipe_free(&r);
    r = must_parse(least, "optimizer.clip_norm=null");
    assert_true(r.clip_norm == 0);
    gf_recipe_free(&r);
    r = must_parse(least, "output=../runs/a=b");
    assert_string_equal(r.output, "dir/../runs/a=b");
    gf_recipe_free(&r);
}

/* Of the keys that a path may begin with, the longest is meant, wherever it stands. */
static void overrides_find_dotted_keys(void **state) {
    static const char *const sets[] = {
        "phases.0.trainable={\"heads.a\":{\"lr\":1},\"heads.a.b\":{\"lr\":1},\"heads\":{\"lr\":1}}",
        "phases.0.trainable.heads.a.b.lr=2", "phases.0.trainable.heads.a.lr=3"};
    gf_recipe r = {0};
    gf_err e = {0};
    (void)state;
    if (!gf_recipe_parse(&r, least, sizeof least - 1, "r.json", sets, 3, &e))
        fail_msg("%s", e.text);
    assert_true(r.phases[0].rules[0].lr == 3 && r.phases[0].rules[1].lr == 2);
    assert_true(r.phases[0].rules[2].lr == 1);
    gf_recipe_free(&r);
}

static void bad_overrides_are_usage(void **state) {
    static const char *const cases[][2] = {
        {"seed", "it has no KEY=VALUE"},
        {"=1", "it has no KEY=VALUE"},
        {"phases.3.epochs=1", "\"3.epochs\" is not in a list of 3; count from 0"},
        {"phases.-1.epochs=1", "\"-1.epochs\" is not in a list of 3"},
        {"phases.99999999999999999999.epochs=1", "is not in a list of 3"},
        {"phases.x=1", "\"x\" is not in a list of 3"},
        {"phases[0.epochs=1", "\"[0.epochs\" is not in a list of 3"},
        {"seed.x=1", "\"x\" cannot be looked up in a number"},
        {"model..base=1", "\".base\" cannot be looked up in an object"},
        {".seed=1", "\".seed\" cannot be looked up in an object"},
        {"model.=1", "\"\" cannot be looked up in an object"},
        {"model[0]=1", "\"[0]\" cannot be looked up in an object"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(full, cases[i][0], GF_E_USAGE, "--set ", cases[i][1]);
}

/* ---- round trip, damage, lack of memory ---- */

static char *resolved(const gf_recipe *r) {
    gf_err e = {0};
    cJSON *j = gf_recipe_to_json(r, &e);
    char *text = j ? gf_json_print(j, &e) : NULL;
    if (!text) fail_msg("%s", e.text);
    cJSON_Delete(j);
    return text;
}

static void check_round_trip(const char *source) {
    gf_recipe r = must_parse(source, NULL), again = {0};
    char *first = resolved(&r), *second;
    gf_err e = {0};
    if (!gf_recipe_parse(&again, first, strlen(first), "/else/where.json", NULL, 0, &e))
        fail_msg("%s", e.text);
    second = resolved(&again);
    assert_string_equal(first, second);
    assert_int_equal(r.n_phases, again.n_phases);
    assert_memory_equal(r.phases[0].loss_weights, again.phases[0].loss_weights,
                        (size_t)r.n_tasks * sizeof(double));
    assert_true(isnan(r.dropout) == isnan(again.dropout));
    assert_int_equal(r.normalize, again.normalize);
    assert_int_equal(again.train[0], '/');
    gf_free(first);
    gf_free(second);
    gf_recipe_free(&r);
    gf_recipe_free(&again);
}

static void resolved_recipes_read_again(void **state) {
    (void)state;
    check_round_trip(full);
    check_round_trip(least);
}

static void resolved_recipes_hold_every_key(void **state) {
    static const char *const keys[] = {"base",        "init",         "heads_init",
                                       "max_length",  "pooling",      "normalize",
                                       "train",       "dev",          "test",
                                       "text",        "name",         "type",
                                       "label",       "classes",      "weight",
                                       "size",        "accumulate",   "bucket",
                                       "betas",       "eps",          "clip_norm",
                                       "epochs",      "trainable",    "schedule",
                                       "warmup",      "metric",       "patience",
                                       "every_steps", "keep",         "memory_mb",
                                       "seed",        "output",       "dropout",
                                       "lr",          "weight_decay", "layer_decay",
                                       "log",         "loss_weights", "gradient_checkpointing"};
    gf_recipe r = must_parse(least, NULL);
    char *text = resolved(&r);
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char quoted[64];
        snprintf(quoted, sizeof quoted, "\"%s\":", keys[i]);
        if (!strstr(text, quoted)) fail_msg("%s is not written", quoted);
    }
    gf_free(text);
    gf_recipe_free(&r);
}

/* Bytes changed, taken out or doubled at places a fixed generator picks: each result is read or
 * refused with a sentence, and nothing leaks or is read out of bounds (AddressSanitizer). */
static void damaged_recipes_do_no_harm(void **state) {
    static const char letters[] = "\"{}[]:,0-9.e_ntfx\\ ";
    int64_t blocks = gf_mem_get_stats().live_blocks;
    uint32_t seed = 12345;
    int refused = 0;
    (void)state;
    for (int i = 0; i < 500; i++) {
        char text[sizeof full];
        size_t size = sizeof full - 1;
        gf_recipe r;
        gf_err e = {0};
        memcpy(text, full, sizeof full);
        for (int k = 0; k <= i % 3; k++) {
            size_t at = (seed = seed * 1664525 + 1013904223) % size;
            uint32_t kind = (seed = seed * 1664525 + 1013904223) >> 24;
            if (kind < 100)
                text[at] = letters[kind % (sizeof letters - 1)];
            else if (kind < 180)
                memmove(text + at, text + at + 1, --size - at);
            else
                memmove(text + at, text + at / 2, size - at);
        }
        if (gf_recipe_parse(&r, text, size, "damaged.json", NULL, 0, &e)) {
            gf_free(resolved(&r));
        } else {
            refused++;
            assert_int_equal(e.code, GF_E_INVALID);
            assert_memory_equal(e.text, "damaged.json", 12);
        }
        gf_recipe_free(&r);
        assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
    }
    assert_true(refused > 250 && refused < 500);
}

static bool read_and_write(const char *set, gf_err *e) {
    gf_recipe r = {0};
    cJSON *j = NULL;
    char *text = NULL;
    bool ok =
        parse(&r, full, set, e) && (j = gf_recipe_to_json(&r, e)) && (text = gf_json_print(j, e));
    gf_free(text);
    cJSON_Delete(j);
    gf_recipe_free(&r);
    return ok;
}

static void every_allocation_may_fail(void **state) {
    static const char *const sets[] = {"select={}", "new.key.here=[1]", "tasks.0.name=sentiment",
                                       "phases.1.loss_weights={\"x\":1}", "select.metric=a.loss"};
    int64_t blocks = gf_mem_get_stats().live_blocks;
    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        int64_t k = 1;
        for (bool fired = true; fired; k++) {
            gf_err e = {0};
            bool ok;
            gf_mem_fail_at(k, false);
            ok = read_and_write(sets[i], &e);
            fired = gf_mem_fault_fired();
            gf_mem_fail_at(0, false);
            if (fired && (ok || e.code != GF_E_NOMEM))
                fail_msg("%s, allocation %lld: %s", sets[i], (long long)k, e.text);
            if (!fired) assert_true(ok == (i == 0));
            assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
        }
        assert_true(k > 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(phases_are_read),
        cmocka_unit_test(defaults_are_the_contracts),
        cmocka_unit_test(paths_beside_the_recipe_stay_short),
        cmocka_unit_test(metrics_are_parsed),
        cmocka_unit_test(bad_recipes_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(overrides_apply),
        cmocka_unit_test(overrides_find_dotted_keys),
        cmocka_unit_test(bad_overrides_are_usage),
        cmocka_unit_test(resolved_recipes_read_again),
        cmocka_unit_test(resolved_recipes_hold_every_key),
        cmocka_unit_test(damaged_recipes_do_no_harm),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
