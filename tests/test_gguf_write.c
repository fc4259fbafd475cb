/* Writing: what checkpoints/gguf_bert writes against the same model as the Python package gguf
 * wrote it, round trips, what cannot be carried, memory and disk that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/gguf_help.h"

#define ODD "tests/golden/max_eps/model"

static void check_same_model(const gf_model *a, const gf_model *b) {
    assert_memory_equal(&a->config.vocab_size, &b->config.vocab_size, 8 * sizeof(int64_t));
    assert_true(a->config.layer_norm_eps == b->config.layer_norm_eps);
    assert_int_equal(a->config.gelu_tanh, b->config.gelu_tanh);
    assert_int_equal(a->pooling, b->pooling);
    assert_int_equal(a->normalize, b->normalize);
    assert_int_equal(a->max_length, b->max_length);
    assert_int_equal(a->params.count, b->params.count);
    for (int64_t i = 0; i < a->params.count; i++) {
        const gf_param *p = a->params.items[i], *q = b->params.items[i];
        assert_string_equal(p->name, q->name);
        assert_memory_equal(p->value, q->value, (size_t)gf_param_count(p) * sizeof(gf_real));
    }
    for (int i = 0; i < GF_SPECIALS; i++)
        assert_int_equal(gf_tokenizer_special(a->tokenizer, (gf_special)i),
                         gf_tokenizer_special(b->tokenizer, (gf_special)i));
    assert_int_equal(a->tokenizer->added.count, b->tokenizer->added.count);
    for (int32_t id = 0; id < a->config.vocab_size; id++) {
        const char *x = gf_tokenizer_token(a->tokenizer, id);
        const char *y = gf_tokenizer_token(b->tokenizer, id);
        assert_true(x && y ? strcmp(x, y) == 0 : x == y);
    }
}

static void test_round_trip(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        gf_model a = {0}, b = {0};
        open_plain(&a);
        a.pooling = i & 1 ? GF_POOL_CLS : GF_POOL_MEAN;
        a.normalize = i & 1;
        a.config.gelu_tanh = i & 2;
        a.config.layer_norm_eps = i & 2 ? 1e-5 : 1e-12;
        assert_int_equal(a.max_length, 12);
        write_ok(&a, i & 1 ? GF_DTYPE_F16 : GF_DTYPE_F32, path_of("trip.gguf"));
        open_ok(&b, path_of("trip.gguf"));
        check_same_model(&a, &b); /* the values are exact in F16 as well */
        assert_int_equal(b.words->owned != NULL, i & 1);
        assert_null(b.positions->owned); /* F32 in either, as norms and biases */
        assert_null(b.layers[1].output.bias->owned);
        check_ids(&b);
        gf_model_free(&a);
        gf_model_free(&b);
    }
}

static void test_max_length_has_limits(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 2, 16, 17};
    for (int i = 0; i < 4; i++) {
        gf_model a = {0}, b = {0};
        gf_err e = {0};
        open_plain(&a);
        a.max_length = lengths[i];
        write_ok(&a, GF_DTYPE_F32, path_of("length.gguf"));
        assert_int_equal(gf_gguf_open_model(&b, path_of("length.gguf"), NULL, &e), i % 3 != 0);
        if (i % 3 == 0) assert_non_null(strstr(e.text, "it must lie between 2 and 16"));
        gf_model_free(&a);
        gf_model_free(&b);
    }
}

/* Tensors whose sizes are no multiples of the alignment. */
static void test_round_trip_of_odd_sizes(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        gf_model a = {0}, b = {0};
        gf_tensors t = {0};
        gf_err e = {0};
        if (!gf_folder_open(&a, ODD, GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
        a.pooling = GF_POOL_CLS;
        for (int64_t k = 0; k < a.params.count; k++) { /* what F16 has exactly */
            gf_param *p = a.params.items[k];
            assert_true(gf_param_own(p, NULL));
            for (int64_t n = 0; n < gf_param_count(p); n++) p->owned[n] = expected(p->name, n);
            p->value = p->owned;
        }
        write_ok(&a, i ? GF_DTYPE_F16 : GF_DTYPE_F32, path_of("odd.gguf"));
        open_ok(&b, path_of("odd.gguf"));
        check_same_model(&a, &b);
        assert_true(gf_tensors_open(&t, path_of("odd.gguf"), NULL));
        assert_string_equal(text_of(t.metadata, "general.file_type"), i ? "1" : "0");
        gf_tensors_close(&t);
        gf_model_free(&a);
        gf_model_free(&b);
    }
}

static void test_f16_rounds_matrices_alone(void **state) {
    (void)state;
    gf_model a = {0}, b = {0};
    gf_err e = {0};
    open_plain(&a);
    assert_true(gf_param_own(a.layers[0].key.weight, NULL));
    assert_true(gf_param_own(a.layers[0].key.bias, NULL));
    a.layers[0].key.weight->owned[3] = a.layers[0].key.bias->owned[3] = (gf_real)0.1;
    a.layers[0].key.weight->value = a.layers[0].key.weight->owned;
    a.layers[0].key.bias->value = a.layers[0].key.bias->owned;
    write_ok(&a, GF_DTYPE_F16, path_of("half.gguf"));
    open_ok(&b, path_of("half.gguf"));
    assert_true(b.layers[0].key.weight->value[3] == 0.0999755859375f); /* IEEE 754 binary16 */
    assert_true(b.layers[0].key.bias->value[3] == 0.1f);
    a.layers[0].key.weight->owned[3] = -65519; /* still nearer to the largest than to infinity */
    a.layers[0].key.bias->owned[3] = 70000;    /* F32 in any case */
    write_ok(&a, GF_DTYPE_F16, path_of("half.gguf"));
    a.layers[0].key.weight->owned[3] = -65520;
    assert_false(gf_gguf_write_model(&a, GF_DTYPE_F16, path_of("half.gguf"), &e));
    assert_non_null(strstr(e.text, "self.key.weight\" holds -65520, which F16 cannot; write F32"));
    write_ok(&a, GF_DTYPE_F32, path_of("half.gguf"));
    gf_model_free(&a);
    gf_model_free(&b);
}

static void check_same_array(const gf_gguf *a, const gf_gguf *b, const char *name, bool texts) {
    const gf_gguf_key *x = NULL, *y = NULL;
    assert_true(gf_gguf_get_array(a, name, texts, &x, NULL));
    assert_true(gf_gguf_get_array(b, name, texts, &y, NULL));
    assert_int_equal(x->count, 24);
    assert_int_equal(y->count, 24);
    const unsigned char *p = x->data, *q = y->data;
    for (int64_t i = 0; i < x->count; i++) {
        if (!texts) {
            assert_int_equal(gf_gguf_integer_at(x, i), gf_gguf_integer_at(y, i));
            continue;
        }
        gf_gguf_text s = gf_gguf_next_text(&p), t = gf_gguf_next_text(&q);
        const char *mark = gf_gguf_integer_at(gf_gguf_find(a, "tokenizer.ggml.token_type"), i) == 5
                               ? "\xe2\x96\x81" /* theirs before "[PAD20]", where no token is */
                               : "";
        assert_int_equal(s.size, t.size + strlen(mark));
        assert_memory_equal(s.data + strlen(mark), t.data, t.size);
    }
}

/* What graft writes holds what the Python package wrote: every key and every tensor. */
static void test_writes_as_python(void **state) {
    (void)state;
    gf_model m = {0};
    gf_tensors a = {0}, b = {0};
    gf_gguf g = {0}, h = {0};
    const cJSON *item;
    open_plain(&m);
    write_ok(&m, GF_DTYPE_F32, path_of("ours.gguf"));
    assert_true(gf_tensors_open(&a, DATA "mean_f32.gguf", NULL));
    assert_true(gf_tensors_open(&b, path_of("ours.gguf"), NULL));
    cJSON_ArrayForEach(item, a.metadata) {
        const char *ours = text_of(b.metadata, item->string);
        if (!ours || strcmp(ours, item->valuestring) != 0) fail_msg("%s: %s", item->string, ours);
    }
    assert_int_equal(a.count, b.count);
    for (int64_t i = 0; i < a.count; i++) {
        const gf_tensor *x = &a.items[i], *y = &b.items[i];
        assert_string_equal(x->name, y->name);
        assert_string_equal(x->dtype_name, y->dtype_name);
        assert_memory_equal(x->dim, y->dim, sizeof x->dim);
        assert_memory_equal(x->data, y->data, x->bytes);
        assert_int_equal((y->data - b.maps->data) % 32, 0);
    }
    assert_true(gf_gguf_parse(&g, NULL, a.maps->data, a.maps->size, "a", NULL));
    assert_true(gf_gguf_parse(&h, NULL, b.maps->data, b.maps->size, "b", NULL));
    check_same_array(&g, &h, "tokenizer.ggml.tokens", true);
    check_same_array(&g, &h, "tokenizer.ggml.token_type", false);
    gf_gguf_free(&g);
    gf_gguf_free(&h);
    gf_tensors_close(&a);
    gf_tensors_close(&b);
    gf_model_free(&m);
}

static void test_equal_models_give_equal_bytes(void **state) {
    (void)state;
    gf_model a = {0}, b = {0};
    size_t n = 0, k = 0;
    open_plain(&a);
    write_ok(&a, GF_DTYPE_F32, path_of("one.gguf"));
    open_ok(&b, path_of("one.gguf"));
    write_ok(&b, GF_DTYPE_F32, path_of("two.gguf"));
    char *x = gf_io_read_all(path_of("one.gguf"), 1 << 20, &n, NULL);
    char *y = gf_io_read_all(path_of("two.gguf"), 1 << 20, &k, NULL);
    assert_int_equal(n, k);
    assert_memory_equal(x, y, n);
    gf_free(x);
    gf_free(y);
    gf_model_free(&a);
    gf_model_free(&b);
}

/* A model with a change that cannot be carried, and what the sentence says of it. */
static void not_carried(gf_model *m, const char *part) {
    gf_err e = {0};
    assert_false(gf_gguf_can_carry(m, &e));
    assert_int_equal(e.code, GF_E_MODEL);
    if (!strstr(e.text, part)) fail_msg("%s", e.text);
    e = (gf_err){0};
    assert_false(gf_gguf_write_model(m, GF_DTYPE_F32, path_of("never.gguf"), &e));
    assert_false(gf_io_exists(path_of("never.gguf")));
}

static void set_rules(gf_model *m, bool lowercase, int strip_accents, bool chinese) {
    m->tokenizer->rules.lowercase = lowercase;
    m->tokenizer->rules.chinese = chinese;
    m->tokenizer->strip_accents = strip_accents;
    assert_true(gf_tokenizer_finish(m->tokenizer, "t", NULL));
}

static void test_says_what_it_cannot_carry(void **state) {
    (void)state;
    static const char *const classes[] = {"a", "b"};
    gf_model m = {0};
    open_plain(&m);
    assert_true(gf_gguf_can_carry(&m, NULL));
    set_rules(&m, true, 1, true);
    assert_true(gf_gguf_can_carry(&m, NULL));
    set_rules(&m, false, 1, true);
    not_carried(&m, "keeps upper case");
    set_rules(&m, true, 0, true);
    not_carried(&m, "keeps accents");
    set_rules(&m, true, -1, false);
    not_carried(&m, "keeps Chinese characters");
    set_rules(&m, true, -1, true);
    m.pooling = GF_POOL_MAX;
    not_carried(&m, "max pooling");
    m.pooling = GF_POOL_CLS;
    m.tokenizer->added.items[4].lstrip = true;
    not_carried(&m, "added token \"[MASK]\"");
    m.tokenizer->added.items[4].lstrip = false;
    m.tokenizer->max_chars = 99;
    not_carried(&m, "max_input_chars_per_word");
    m.tokenizer->max_chars = 100;
    assert_true(gf_gguf_can_carry(&m, NULL));
    assert_true(gf_model_add_head(&m, "topic", classes, 2, NULL));
    not_carried(&m, "heads; \"graft export --without-heads\" leaves them out");
    gf_model_free(&m);
}

static void test_says_which_token_it_cannot_carry(void **state) {
    (void)state;
    static const char *const tokens[][2] = {
        {"##[x]", "the token \"##[x]\", which would be read as \"[x]\""},
        {"##\xe2\x96\x81x", "which would be read as \"x\""},
        {"##[MASK]", "which would be read as \"[MASK]\""},
        {"[PAD21]", NULL},
        {"##\xe2\x96\x81", "which would be read as \"\""},
        {"##[PAD21]", "which would be read as"},
        {"##", NULL},
        {"[x]", NULL},
    };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        gf_model m = {0}, back = {0};
        open_plain(&m);
        assert_true(
            gf_vocab_add(&m.tokenizer->vocab, tokens[i][0], strlen(tokens[i][0]), 19, "t", NULL));
        assert_true(gf_tokenizer_finish(m.tokenizer, "t", NULL));
        if (tokens[i][1]) {
            not_carried(&m, tokens[i][1]);
        } else {
            write_ok(&m, GF_DTYPE_F32, path_of("token.gguf"));
            open_ok(&back, path_of("token.gguf"));
            check_same_model(&m, &back);
        }
        gf_model_free(&back);
        gf_model_free(&m);
    }
}

/* A special token in its own text equals the inside of a word. */
static void test_refuses_tokens_that_look_alike(void **state) {
    (void)state;
    gf_model m = {0};
    gf_added special = {.content = (char[]){"s"}, .id = 19, .special = true};
    open_plain(&m);
    assert_true(gf_added_add(&m.tokenizer->added, &special, NULL)); /* beside "##s" */
    assert_true(gf_tokenizer_finish(m.tokenizer, "t", NULL));
    not_carried(&m, "the token \"s\" beside another one, both would be \"s\"");
    gf_model_free(&m);
}

static void test_survives_lack_of_memory(void **state) {
    (void)state;
    int64_t before = gf_mem_get_stats().live_blocks, k = 0;
    bool ok = false;
    while (!ok) {
        gf_model m = {0}, other = {0};
        gf_err e = {0};
        gf_mem_fail_at(++k, false);
        ok = gf_gguf_open_model(&m, DATA "mean_f32.gguf", NULL, &e) &&
             gf_gguf_open_model(&other, DATA "cls_old.gguf", NULL, &e) &&
             gf_gguf_write_model(&m, GF_DTYPE_F16, path_of("memory.gguf"), &e);
        assert_true(ok == !gf_mem_fault_fired());
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        gf_model_free(&m);
        gf_model_free(&other);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    gf_mem_fail_at(0, false);
    assert_true(k > 300);
}

static void test_write_keeps_the_old_file(void **state) {
    (void)state;
    gf_model m = {0}, back = {0};
    open_plain(&m);
    write_ok(&m, GF_DTYPE_F32, path_of("kept.gguf"));
    m.pooling = GF_POOL_CLS;
    for (int64_t k = 1; k < 4; k++) { /* create, write, sync: before the rename */
        gf_err e = {0};
        gf_io_fail_at(k, GF_FAULT_ENOSPC);
        assert_false(gf_gguf_write_model(&m, GF_DTYPE_F32, path_of("kept.gguf"), &e));
        assert_true(gf_io_fault_fired());
        assert_int_equal(e.code, GF_E_IO);
        gf_io_fail_at(0, GF_FAULT_EIO);
        assert_false(gf_io_exists(path_of("kept.gguf.tmp")));
    }
    open_ok(&back, path_of("kept.gguf"));
    assert_int_equal(back.pooling, GF_POOL_MEAN);
    gf_model_free(&m);
    gf_model_free(&back);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_max_length_has_limits),
        cmocka_unit_test(test_round_trip_of_odd_sizes),
        cmocka_unit_test(test_f16_rounds_matrices_alone),
        cmocka_unit_test(test_writes_as_python),
        cmocka_unit_test(test_equal_models_give_equal_bytes),
        cmocka_unit_test(test_says_what_it_cannot_carry),
        cmocka_unit_test(test_says_which_token_it_cannot_carry),
        cmocka_unit_test(test_refuses_tokens_that_look_alike),
        cmocka_unit_test(test_survives_lack_of_memory),
        cmocka_unit_test(test_write_keeps_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
