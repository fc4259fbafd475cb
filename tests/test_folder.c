/* checkpoints/folder, heads, sentence, weights and open against folders of the Python packages
 * (tests/golden/make_checkpoints.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "checkpoints/open.h"
#include "checkpoints/safetensors.h"
#include "core/io_fault.h"
#include "core/mem.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model_help.h"

#define DATA "tests/data/checkpoints/"

/* With its kind, unlike keep_line(). */
static void keep_kind(void *context, gf_log_level level, const char *text) {
    gf_text_add(context, NULL, "%s%s\n", level == GF_LOG_WARNING ? "warning: " : "", text);
}

/* The value that make_checkpoints.py gives to element i of a parameter. */
static gf_real expected(const char *name, int64_t i) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return (gf_real)((h + 37 * (uint64_t)i) % 256) / 128 - 1;
}

static void check_values(const gf_model *m) {
    for (int64_t i = 0; i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        assert_non_null(p->value);
        for (int64_t k = 0; k < gf_param_count(p); k++)
            if (p->value[k] != expected(p->name, k)) fail_msg("%s[%d]", p->name, (int)k);
    }
}

static void test_opens_a_plain_folder_in_place(void **state) {
    (void)state;
    gf_model m = {0};
    gf_text lines = {0};
    gf_log log = {keep_kind, &lines};
    open_ok(&m, DATA "plain", &log);
    assert_int_equal(m.config.num_hidden_layers, 2);
    assert_int_equal(m.pooling, GF_POOL_MEAN);
    assert_true(m.normalize);
    assert_int_equal(m.max_length, 12); /* model_max_length, below the 16 positions */
    assert_int_equal(m.n_heads, 0);
    check_values(&m);
    assert_int_equal(m.n_maps, 1);
    for (int64_t i = 0; i < m.params.count; i++) assert_null(m.params.items[i]->owned);
    assert_null(lines.data); /* nothing to tell */
    gf_model_free(&m);
}

static void test_opens_an_old_folder(void **state) {
    (void)state;
    gf_model m = {0};
    gf_text lines = {0};
    gf_log log = {keep_kind, &lines};
    open_ok(&m, DATA "old", &log);
    check_values(&m); /* bert. prefix, gamma and beta, F16 and BF16 */
    assert_int_equal(m.n_maps, 0);
    assert_string_equal(lines.data, DATA
                        "old/model.safetensors: unused: cls.predictions.bias\n"
                        "warning: " DATA
                        "old/model.safetensors: unknown tensors are ignored: surprise.weight\n");
    gf_text_free(&lines);
    gf_model_free(&m);
}

static void test_opens_todays_sentence_transformers(void **state) {
    (void)state;
    gf_model m = {0};
    open_ok(&m, DATA "sentence", NULL);
    assert_int_equal(m.pooling, GF_POOL_CLS);
    assert_false(m.normalize);
    assert_int_equal(m.max_length, 12);
    check_values(&m);
    gf_model_free(&m);
}

/* Each pooling configuration in both dialects: what is read, or why not. */
static void test_judges_pooling(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int pooling; /* -1: refused */
        const char *reason;
    } cases[] = {
        {"{}", GF_POOL_MEAN, NULL},
        {"{\"pooling_mode_mean_tokens\": true}", GF_POOL_MEAN, NULL},
        {"{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}", GF_POOL_CLS,
         NULL},
        {"{\"pooling_mode_max_tokens\": true}", GF_POOL_MAX, NULL},
        {"{\"pooling_mode\": \"max\"}", GF_POOL_MAX, NULL},
        {"{\"pooling_mode\": [\"cls\"]}", GF_POOL_CLS, NULL},
        {"{\"pooling_mode\": [\"cls\", \"mean\"]}", -1, "several pooling modes"},
        {"{\"pooling_mode_cls_token\": true, \"pooling_mode_max_tokens\": true}", -1, "several"},
        {"{\"pooling_mode\": \"lasttoken\"}", -1, "\"lasttoken\" is not supported"},
        {"{\"pooling_mode\": [\"cls\", 3]}", -1, "\"a number\" is not supported"},
        {"{\"pooling_mode_weightedmean_tokens\": true}", -1, "\"weightedmean\" is not supported"},
        {"{\"pooling_mode_mean_sqrt_len_tokens\": true}", -1, "\"mean_sqrt_len_tokens\" is not"},
    };
    copy_tree(DATA "sentence", path_of("s"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(path_of("s/1_Pooling/config.json"), cases[i].json);
        if (cases[i].pooling < 0) {
            open_fails(path_of("s"), cases[i].reason);
            continue;
        }
        gf_model m = {0};
        open_ok(&m, path_of("s"), NULL);
        assert_int_equal(m.pooling, cases[i].pooling);
        gf_model_free(&m);
    }
}

#define MODULE(type, path) "{\"path\": \"" path "\", \"type\": \"sentence_transformers." type "\"}"

static void test_judges_modules(void **state) {
    (void)state;
    static const char old_normalize[] = "[" MODULE("models.Transformer", "0") "," MODULE(
        "models.Pooling", "1_Pooling") "," MODULE("models.Normalize", "2_Normalize") "]";
    static const struct {
        const char *modules, *reason;
    } cases[] = {
        {"{}", "a list of modules is wanted"},
        {"[]", "no Transformer module"},
        {"[" MODULE("models.Transformer", "") "]", "no Pooling module"},
        {"[" MODULE("models.Pooling", "1_Pooling") "]", "module 0 is \"Pooling\""},
        {"[" MODULE("models.Transformer", "") "," MODULE("models.Pooling", "1_Pooling") "," MODULE(
             "models.CNN", "2_CNN") "]",
         "module 2 is \"CNN\""},
        {"[" MODULE("models.Transformer", "../plain") "]", "leads out of the folder"},
        {"[" MODULE("models.Transformer", "/etc") "]", "leads out of the folder"},
        {"[" MODULE("models.Transformer", "") "," MODULE("models.Pooling", "nowhere") "]",
         "nowhere/config.json: cannot read it"},
        {"[1]", "module 0 is \"\""},
    };
    gf_model m = {0};
    copy_tree(DATA "sentence", path_of("m"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(path_of("m/modules.json"), cases[i].modules);
        open_fails(path_of("m"), cases[i].reason);
    }
    copy_tree(DATA "plain", path_of("m/0")); /* the transformer in a folder of its own */
    assert_true(gf_io_remove(path_of("m/config.json"), NULL));
    write_file(path_of("m/0/sentence_roberta_config.json"), "{\"max_seq_length\": 9}");
    write_file(path_of("m/modules.json"), old_normalize);
    open_ok(&m, path_of("m"), NULL);
    assert_true(m.normalize);
    assert_int_equal(m.max_length, 9);
    check_values(&m);
    gf_model_free(&m);
}

static void test_takes_the_sentence_length(void **state) {
    (void)state;
    gf_text lines = {0};
    gf_log log = {keep_kind, &lines};
    gf_model m = {0};
    copy_tree(DATA "sentence", path_of("l"));
    write_file(path_of("l/sentence_bert_config.json"),
               "{\"max_seq_length\": 14, \"do_lower_case\": true}");
    write_file(path_of("l/config_sentence_transformers.json"),
               "{\"default_prompt_name\": \"query\"}");
    open_ok(&m, path_of("l"), &log);
    assert_int_equal(m.max_length, 14); /* above the tokenizer's 12 */
    assert_non_null(strstr(lines.data, "do_lower_case is left to the tokenizer"));
    assert_non_null(strstr(lines.data, "warning: "));
    assert_non_null(strstr(lines.data, "default prompt \"query\""));
    gf_model_free(&m);
    write_file(path_of("l/sentence_bert_config.json"), "{\"max_seq_length\": 17}");
    open_ok(&m, path_of("l"), &log);
    assert_int_equal(m.max_length, 16);
    assert_non_null(strstr(lines.data, "max_seq_length 17 is more than the model's 16 positions"));
    gf_model_free(&m);
    write_file(path_of("l/sentence_bert_config.json"), "{\"max_seq_length\": \"9\"}");
    open_fails(path_of("l"), "\"max_seq_length\" must be a number");
    gf_text_free(&lines);
}

static void test_refuses_what_does_not_fit(void **state) {
    (void)state;
    copy_tree(DATA "plain", path_of("p"));
    edit(path_of("p/config.json"), "\"hidden_size\": 8", "\"hidden_size\": 10");
    open_fails(path_of("p"), "tensor \"embeddings.word_embeddings.weight\" has the shape [24, 8], "
                             "[24, 10] is wanted");
    edit(path_of("p/config.json"), "\"hidden_size\": 10", "\"hidden_size\": 8");
    edit(path_of("p/config.json"), "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    open_fails(path_of("p"),
               "tensor \"encoder.layer.2.attention.self.query.weight\" of shape [8, 8] "
               "is missing");
    edit(path_of("p/config.json"), "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2");
    edit(path_of("p/config.json"), "\"vocab_size\": 24", "\"vocab_size\": 18");
    open_fails(path_of("p"), "the tokenizer has 19 tokens, config.json's vocab_size is 18");
    edit(path_of("p/config.json"), "\"vocab_size\": 18", "\"vocab_size\": 24");
    edit(path_of("p/config.json"), "\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
    open_fails(path_of("p"), "model_type is \"roberta\"");
    open_fails(path_of("nothing"), "nothing/config.json: cannot read it");
}

static void test_says_which_weights_it_cannot_read(void **state) {
    (void)state;
    gf_model m = {0};
    gf_err e = {0};
    copy_tree(DATA "plain", path_of("w"));
    assert_true(gf_io_remove(path_of("w/model.safetensors"), NULL));
    open_fails(path_of("w"), "it holds no weights; model.safetensors or pytorch_model.bin");
    write_file(path_of("w/pytorch_model.bin"), "x");
    open_fails(path_of("w"), "pytorch_model.bin: it begins as no safetensors");
    write_file(path_of("w/model.safetensors.index.json"), "{}");
    open_fails(path_of("w"), "index.json: it has no \"weight_map\"");
    assert_true(gf_folder_open(&m, path_of("w"), GF_OPEN_NO_WEIGHTS, NULL, &e));
    assert_non_null(m.tokenizer);
    assert_null(m.words->value);
    gf_model_free(&m);
}

static void add_heads(gf_model *m) {
    static const char *const colours[] = {"red", "green \"bottle\"", "\xe2\x98\x83"};
    static const char *const signs[] = {"-", "+"};
    assert_true(gf_model_add_head(m, "b", colours, 3, NULL));
    assert_true(gf_model_add_head(m, "a", signs, 2, NULL));
    for (int i = 0; i < 2; i++) {
        gf_param *p[2] = {m->heads[i].linear.weight, m->heads[i].linear.bias};
        for (int k = 0; k < 2; k++) {
            assert_true(gf_param_own(p[k], NULL));
            for (int64_t j = 0; j < gf_param_count(p[k]); j++)
                p[k]->owned[j] = expected(p[k]->name, j);
        }
    }
}

static void same_file(const char *a, const char *b, const char *name) {
    size_t n = 0, k = 0;
    char *x = gf_io_join(a, name, NULL), *y = gf_io_join(b, name, NULL);
    char *u = gf_io_read_all(x, 1 << 24, &n, NULL), *v = gf_io_read_all(y, 1 << 24, &k, NULL);
    assert_non_null(u);
    assert_int_equal(n, k);
    assert_memory_equal(u, v, n);
    gf_free(x);
    gf_free(y);
    gf_free(u);
    gf_free(v);
}

static void test_saves_what_it_opens(void **state) {
    (void)state;
    static const char *const files[] = {
        "modules.json",         "config.json",    "config_sentence_transformers.json",
        "model.safetensors",    "heads.json",     "sentence_bert_config.json",
        "heads.safetensors",    "tokenizer.json", "1_Pooling/config.json",
        "tokenizer_config.json"};
    gf_model m = {0}, again = {0};
    gf_err e = {0};
    open_ok(&m, DATA "sentence", NULL);
    add_heads(&m);
    m.max_length = 11;
    m.pooling = GF_POOL_MAX;
    m.normalize = true;
    if (!gf_folder_save(&m, path_of("saved/"), &e)) fail_msg("%s", e.text); /* a slash is fine */
    assert_false(gf_io_exists(path_of("saved.tmp")));
    open_ok(&again, path_of("saved"), NULL);
    assert_int_equal(again.max_length, 11);
    assert_int_equal(again.pooling, GF_POOL_MAX);
    assert_true(again.normalize);
    assert_int_equal(again.n_heads, 2);
    assert_string_equal(again.heads[0].name, "b");
    assert_string_equal(again.heads[0].classes[1], "green \"bottle\"");
    assert_string_equal(again.heads[0].classes[2], "\xe2\x98\x83");
    check_values(&again);
    assert_true(gf_folder_save(&again, path_of("twice"), &e));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        same_file(path_of("saved"), path_of("twice"), files[i]);
    same_file(DATA "plain", path_of("saved"), "model.safetensors"); /* as transformers wrote it */
    m.normalize = false; /* over the folder that `again` is mapped from */
    if (!gf_folder_save(&m, path_of("saved"), &e)) fail_msg("%s", e.text);
    assert_false(gf_io_exists(path_of("saved/2_Normalize")));
    assert_false(gf_io_exists(path_of("saved.old")));
    check_values(&again);
    gf_model_free(&again);
    gf_model_free(&m);
}

static void test_spares_other_folders(void **state) {
    (void)state;
    gf_model m = {0};
    gf_err e = {0};
    open_ok(&m, DATA "plain", NULL);
    assert_true(gf_io_make_folder(path_of("home/empty"), NULL));
    write_file(path_of("home/diary.txt"), "dear");
    assert_false(gf_folder_save(&m, path_of("home"), &e));
    assert_non_null(strstr(e.text, "it holds something else than a model"));
    e.code = GF_OK;
    assert_false(gf_folder_save(&m, path_of("home/diary.txt"), &e));
    assert_non_null(strstr(e.text, "is not a folder"));
    e.code = GF_OK;
    assert_true(gf_folder_save(&m, path_of("home/empty"), &e));
    assert_true(gf_io_exists(path_of("home/diary.txt")));
    gf_model_free(&m);
}

/* Whatever call fails, the folder or the one waiting beside it is a whole model. */
static void test_save_survives_the_disk(void **state) {
    (void)state;
    gf_model m = {0};
    int64_t k = 0;
    bool ok = false;
    open_ok(&m, DATA "plain", NULL);
    add_heads(&m);
    assert_true(gf_folder_save(&m, path_of("d"), NULL));
    while (!ok) {
        gf_model again = {0};
        gf_err e = {0};
        gf_io_fail_at(++k, GF_FAULT_ENOSPC);
        ok = gf_folder_save(&m, path_of("d"), &e);
        assert_true(ok == !gf_io_fault_fired());
        gf_io_fail_at(0, GF_FAULT_EIO);
        open_ok(&again, path_of("d"), NULL);
        check_values(&again);
        assert_int_equal(again.n_heads, 2);
        gf_model_free(&again);
    }
    assert_true(k > 80);
    gf_model_free(&m);
}

static void test_open_survives_lack_of_memory(void **state) {
    (void)state;
    gf_model m = {0};
    int64_t before, k = 0;
    bool ok = false;
    open_ok(&m, DATA "sentence", NULL);
    add_heads(&m);
    assert_true(gf_folder_save(&m, path_of("o"), NULL));
    before = gf_mem_get_stats().live_blocks;
    while (!ok) {
        gf_model again = {0};
        gf_err e = {0};
        gf_mem_fail_at(++k, false);
        ok = gf_folder_open(&again, path_of("o"), GF_OPEN_WEIGHTS, NULL, &e) &&
             gf_folder_save(&again, path_of("o2"), &e);
        assert_true(!ok || !gf_mem_fault_fired());
        if (!ok && e.code != GF_E_NOMEM) fail_msg("call %d: %s", (int)k, e.text);
        gf_model_free(&again);
        gf_mem_fail_at(0, false);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    assert_true(k > 500);
    gf_model_free(&m);
}

static void test_judges_heads(void **state) {
    (void)state;
#define TASKS(tasks) "{\"version\": 1, \"tasks\": " tasks "}"
#define TASK(name, classes)                                                                        \
    "{\"name\": " name ", \"type\": \"classification\", \"classes\": " classes "}"
    static const struct {
        const char *json, *reason;
    } cases[] = {
        {"[]", "its \"version\" is not 1"},
        {"{\"version\": 2, \"tasks\": []}", "its \"version\" is not 1"},
        {"{\"version\": 1}", "\"tasks\" is missing"},
        {TASKS("[3]"), "a task's \"name\" is missing"},
        {TASKS("[" TASK("\"\"", "[\"x\"]") "]"), "a task's \"name\" is empty"},
        {TASKS("[{\"name\": \"b\", \"type\": \"regression\", \"classes\": [\"x\"]}]"),
         "a regression has no classes"},
        {TASKS("[{\"name\": \"b\", \"type\": \"ordinal\", \"classes\": [\"x\"]}]"),
         "a list of at least two"},
        {TASKS("[{\"name\": \"b\", \"type\": \"multi_label\", \"classes\": [\"x\"], "
               "\"thresholds\": [2]}]"),
         "numbers from 0 to 1"},
        {TASKS("[{\"name\": \"b\", \"type\": \"multi_label\", \"classes\": [\"x\"], "
               "\"thresholds\": [0.5, 0.5]}]"),
         "\"thresholds\" does not fit"},
        {TASKS("[" TASK("\"b\"", "[]") "]"), "\"classes\" is empty"},
        {TASKS("[" TASK("\"b\"", "[1]") "]"), "a class is a number"},
        {TASKS("[" TASK("\"b\"", "[\"x\", \"y\", \"x\"]") "]"), "the class \"x\" stands twice"},
        {TASKS("[" TASK("\"b\"", "[\"x\"]") "," TASK("\"b\"", "[\"x\"]") "]"),
         "task \"b\" stands twice"},
        {TASKS("[{\"name\": \"b\", \"type\": \"ranking\"}]"), "\"type\" is ranking"},
        {TASKS("[" TASK("\"b\"", "[\"x\", \"y\"]") "]"),
         "tensor \"heads.b.weight\" has the shape [3, 8], [2, 8] is wanted"},
        {TASKS("[" TASK("\"c\"", "[\"x\", \"y\"]") "]"), "\"heads.c.weight\" of shape [2, 8] is"},
    };
    gf_model m = {0};
    open_ok(&m, DATA "plain", NULL);
    add_heads(&m);
    assert_true(gf_folder_save(&m, path_of("h"), NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(path_of("h/heads.json"), cases[i].json);
        open_fails(path_of("h"), cases[i].reason);
    }
    assert_true(gf_io_remove(path_of("h/heads.json"), NULL));
    open_fails(path_of("h"), "h/heads.json: it is missing beside its twin");
    gf_model_free(&m);
}

static void test_reads_initial_heads(void **state) {
    (void)state;
    static const char *const two[] = {"x", "y"};
    gf_model m = {0}, fresh = {0};
    gf_err e = {0};
    open_ok(&m, DATA "plain", NULL);
    add_heads(&m);
    assert_true(gf_folder_save(&m, path_of("i"), NULL));
    open_ok(&fresh, DATA "plain", NULL);
    assert_true(gf_model_add_head(&fresh, "a", two, 2, NULL)); /* b in the file is left over */
    if (!gf_heads_init_read(&fresh, path_of("i/heads.safetensors"), &e)) fail_msg("%s", e.text);
    check_values(&fresh);
    assert_true(gf_model_add_head(&fresh, "new", two, 2, NULL));
    assert_false(gf_heads_init_read(&fresh, path_of("i/heads.safetensors"), &e));
    assert_non_null(strstr(e.text, "tensor \"heads.new.weight\" of shape [2, 8] is missing"));
    gf_model_free(&fresh);
    gf_model_free(&m);
}

static void test_opens_by_kind(void **state) {
    (void)state;
    static const struct {
        const char *path, *reason;
    } cases[] = {
        {DATA "nowhere", "there is no such file or folder"},
        {DATA "plain/model.safetensors", "tensors alone are no model"},
        {DATA "plain/config.json", "it is no model; wanted is a folder"},
        {"tests", "it is no model; wanted is a folder"},
    };
    gf_model m = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gf_err e = {0};
        assert_false(gf_model_open(&m, cases[i].path, NULL, &e));
        if (!strstr(e.text, cases[i].reason)) fail_msg("%s", e.text);
        assert_int_equal(e.code, GF_E_MODEL);
    }
    gf_err e = {0};
    assert_true(gf_model_open(&m, DATA "sentence", NULL, &e));
    gf_model_free(&m);
    assert_true(gf_io_make_folder(path_of("run"), &e));
    write_file(path_of("run/recipe.json"), "{}");
    assert_false(gf_model_open(&m, path_of("run"), NULL, &e));
    assert_non_null(strstr(e.text, "neither model/ nor checkpoints/best.h5"));
    copy_tree(DATA "sentence", path_of("run/model"));
    e.code = GF_OK;
    assert_true(gf_model_open(&m, path_of("run"), NULL, &e));
    assert_int_equal(m.pooling, GF_POOL_CLS);
    gf_model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_a_plain_folder_in_place),
        cmocka_unit_test(test_opens_an_old_folder),
        cmocka_unit_test(test_opens_todays_sentence_transformers),
        cmocka_unit_test(test_judges_pooling),
        cmocka_unit_test(test_judges_modules),
        cmocka_unit_test(test_takes_the_sentence_length),
        cmocka_unit_test(test_refuses_what_does_not_fit),
        cmocka_unit_test(test_says_which_weights_it_cannot_read),
        cmocka_unit_test(test_saves_what_it_opens),
        cmocka_unit_test(test_spares_other_folders),
        cmocka_unit_test(test_save_survives_the_disk),
        cmocka_unit_test(test_open_survives_lack_of_memory),
        cmocka_unit_test(test_judges_heads),
        cmocka_unit_test(test_reads_initial_heads),
        cmocka_unit_test(test_opens_by_kind),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
