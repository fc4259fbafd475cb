/* checkpoints/gguf and gguf_bert against files that the Python package gguf wrote
 * (tests/golden/make_gguf.py), round trips, mutations, and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/folder.h"
#include "checkpoints/gguf.h"
#include "checkpoints/gguf_bert.h"
#include "core/json.h"
#include "data/tokenizer.h"

#include <math.h>

#include "tests/scratch.h"

#define DATA  "tests/data/gguf/"
#define PLAIN "tests/data/checkpoints/plain"

/* The value that make_checkpoints.py gives to element i of a parameter. */
static gf_real expected(const char *name, int64_t i) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return (gf_real)((h + 37 * (uint64_t)i) % 256) / 128 - 1;
}

static void open_ok(gf_model *m, const char *path) {
    gf_err e = {0};
    if (!gf_gguf_open_model(m, path, NULL, &e)) fail_msg("%s", e.text);
}

static void open_plain(gf_model *m) {
    gf_err e = {0};
    if (!gf_folder_open(m, PLAIN, GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
}

static void write_ok(const gf_model *m, gf_dtype dtype, const char *path) {
    gf_err e = {0};
    if (!gf_gguf_write_model(m, dtype, path, &e)) fail_msg("%s", e.text);
}

/* Opening must fail with GF_E_MODEL and a sentence that holds `part`. */
static void refused(const char *path, const char *part) {
    gf_model m = {0};
    gf_err e = {0};
    assert_false(gf_gguf_open_model(&m, path, NULL, &e));
    if (e.code != GF_E_MODEL || !strstr(e.text, part)) fail_msg("%s", e.text);
    gf_model_free(&m);
}

static void check_values(const gf_model *m) {
    for (int64_t i = 0; i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        for (int64_t k = 0; k < gf_param_count(p); k++)
            if (p->value[k] != expected(p->name, k)) fail_msg("%s[%d]", p->name, (int)k);
    }
}

/* The ids that transformers' tokenizer gives. */
static void check_ids(const gf_model *m) {
    cJSON *list = gf_json_read(DATA "ids.json", 1 << 16, NULL), *item, *id;
    assert_true(cJSON_GetArraySize(list) > 4);
    cJSON_ArrayForEach(item, list) {
        const char *text = cJSON_GetObjectItem(item, "text")->valuestring;
        gf_ids ids = {0};
        gf_encoding enc;
        int64_t i = 0;
        assert_true(gf_tokenizer_encode(m->tokenizer, text, strlen(text), 12, &ids, &enc, NULL));
        cJSON_ArrayForEach(id, cJSON_GetObjectItem(item, "ids")) {
            assert_true(i < ids.count);
            if (ids.id[i++] != id->valueint) fail_msg("\"%s\": id %d", text, (int)i - 1);
        }
        assert_int_equal(i, ids.count);
        gf_free(ids.id);
    }
    cJSON_Delete(list);
}

static void test_reads_f32(void **state) {
    (void)state;
    gf_model m = {0};
    open_ok(&m, DATA "mean_f32.gguf");
    assert_int_equal(m.config.vocab_size, 24);
    assert_int_equal(m.config.hidden_size, 8);
    assert_int_equal(m.config.num_hidden_layers, 2);
    assert_int_equal(m.config.num_attention_heads, 2);
    assert_int_equal(m.config.intermediate_size, 16);
    assert_int_equal(m.config.max_position_embeddings, 16);
    assert_int_equal(m.config.type_vocab_size, 2);
    assert_true(m.config.layer_norm_eps == 1e-12);
    assert_false(m.config.gelu_tanh);
    assert_int_equal(m.pooling, GF_POOL_MEAN);
    assert_true(m.normalize);
    assert_int_equal(m.max_length, 16);
    assert_int_equal(m.params.count, 37);
    for (int64_t i = 0; i < m.params.count; i++) assert_null(m.params.items[i]->owned);
    assert_int_equal(m.n_maps, 1);
    check_values(&m);
    check_ids(&m);
    gf_model_free(&m);
}

/* F16, BF16 and F64, aligned to 64, CLS pooling, special tokens told by their brackets. */
static void test_reads_other_types(void **state) {
    (void)state;
    gf_model m = {0};
    open_ok(&m, DATA "cls_old.gguf");
    assert_int_equal(m.pooling, GF_POOL_CLS);
    assert_non_null(m.words->owned);
    check_values(&m);
    check_ids(&m);
    assert_string_equal(gf_tokenizer_token(m.tokenizer, 17), "##s");
    assert_null(gf_tokenizer_token(m.tokenizer, 20)); /* no token is "[PAD20]" */
    gf_model_free(&m);
}

static void test_refuses_by_name(void **state) {
    (void)state;
    refused(DATA "big_endian.gguf", "big-endian");
    refused(DATA "rank.gguf", "bert.pooling_type is 4 (rank); graft reads mean (1) and CLS (2)");
    refused(DATA "types.gguf", "general.architecture is \"llama\"; graft reads \"bert\" only");
    refused(DATA "quantised.gguf", "\"token_embd.weight\" is of type Q8_0; graft reads F32");
    refused(PLAIN "/model.safetensors", "no GGUF file");
}

static const char *text_of(const cJSON *j, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, name));
}

static void check_tensor(const gf_tensors *t, const char *name, const char *type, const char *shape,
                         size_t bytes) {
    const gf_tensor *x = gf_tensors_find(t, name);
    char text[64];
    assert_non_null(x);
    assert_string_equal(x->dtype_name, type);
    assert_string_equal(gf_tensor_shape_text(x, text, sizeof text), shape);
    assert_int_equal(x->bytes, bytes);
}

static void test_lists_any_file(void **state) {
    (void)state;
    static const char *const wanted[][2] = {
        {"a.u8", "200"},
        {"a.i8", "-100"},
        {"a.u16", "60000"},
        {"a.i16", "-30000"},
        {"a.u32", "4000000000"},
        {"a.i32", "-2000000000"},
        {"a.f32", "0.5"},
        {"a.f64", "0.1"},
        {"a.u64", "9007199254740992"},
        {"a.bool", "true"},
        {"a.integers", "3 of type i32"},
        {"a.texts", "3 of type text"},
        {"a.i64", "-9007199254740992"},
        {"general.architecture", "llama"},
    };
    gf_tensors t = {0};
    gf_err e = {0};
    double f64[2];
    if (!gf_tensors_open(&t, DATA "types.gguf", &e)) fail_msg("%s", e.text);
    assert_string_equal(t.format, "GGUF");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_string_equal(text_of(t.metadata, wanted[i][0]), wanted[i][1]);
    assert_memory_equal(text_of(t.metadata, "a.text"), "snowman \xe2\x98\x83?\xe2\x98\x83", 15);
    assert_int_equal(strlen(text_of(t.metadata, "a.text")), 198 + 3); /* no half snowman */
    assert_int_equal(t.count, 7);
    check_tensor(&t, "x.Q8_0", "Q8_0", "[2, 256]", 2 * 8 * 34);
    check_tensor(&t, "x.Q4_0", "Q4_0", "[2, 256]", 2 * 8 * 18);
    check_tensor(&t, "x.TQ1_0", "TQ1_0", "[2, 256]", 2 * 54);
    check_tensor(&t, "x.Q4_K", "Q4_K", "[2, 256]", 2 * 144);
    check_tensor(&t, "x.I32", "I32", "[1, 2, 3]", 24);
    check_tensor(&t, "x.F32", "F32", "[2, 3, 4]", 96);
    check_tensor(&t, "x.F64", "F64", "[2]", 16);
    memcpy(f64, gf_tensors_find(&t, "x.F64")->data, sizeof f64);
    assert_true(f64[0] == 0.1 && f64[1] == -1e300);
    assert_int_equal(gf_tensors_find(&t, "x.Q8_0")->dtype, GF_DTYPE_OTHER);
    gf_tensors_close(&t);
}

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

static void test_f16_rounds_matrices_alone(void **state) {
    (void)state;
    gf_model a = {0}, b = {0};
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
    assert_int_equal(e.code, GF_E_INVALID);
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

static char *read_golden(const char *name, size_t *size) {
    char *bytes = gf_io_read_all(name, 1 << 20, size, NULL);
    assert_non_null(bytes);
    return bytes;
}

static void put_file(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

/* Replaces the first `from` of a golden file, of the same length, and opens it. */
static void edited(const char *from, const char *to, size_t length, const char *part) {
    size_t size;
    char *bytes = read_golden(DATA "mean_f32.gguf", &size), *at = bytes;
    while (at + length <= bytes + size && memcmp(at, from, length) != 0) at++;
    assert_true(at + length <= bytes + size);
    memcpy(at, to, length);
    put_file(path_of("edited.gguf"), bytes, size);
    gf_free(bytes);
    if (part) {
        refused(path_of("edited.gguf"), part);
    } else {
        gf_model m = {0};
        open_ok(&m, path_of("edited.gguf"));
        check_values(&m);
        gf_model_free(&m);
    }
}

static void test_judges_edited_files(void **state) {
    (void)state;
    edited("GGUF\3", "GGUF\2", 5, NULL);
    edited("GGUF\3", "GGUF\1", 5, "of GGUF version 1; versions 2 and 3 can be read");
    edited("GGUF\3", "GGUF\4", 5, "of GGUF version 4");
    edited("GGUF", "GGML", 4, "does not begin as a file of weights");
    edited("GGUF\3\0\0\0\45\0\0\0", "GGUF\3\0\0\0\45\0\0\7", 12, "promises");
    edited("bert.block_count", "bert.block_kount", 16, "\"bert.block_count\" is missing");
    edited("bert.block_count\4", "bert.block_count\5", 17, NULL);
    edited("bert.block_count\4", "bert.block_count\6", 17, "is of type f32; an integer is wanted");
    edited("bert.block_count\4", "bert.block_count\15", 17, "has values of type 13");
    edited("bert.block_count\4\0\0\0\2", "bert.block_count\4\0\0\0\3", 21,
           "\"blk.2.attn_q.weight\" of shape [8, 8] is missing");
    edited("head_count\4\0\0\0\2", "head_count\4\0\0\0\3", 15, "not a multiple");
    edited("attention.causal\7\0\0\0\0", "attention.causal\7\0\0\0\1", 21, "causal is true");
    edited("bert.pooling_type\4\0\0\0\1", "bert.pooling_type\4\0\0\0\3", 22, "3 (last token)");
    edited("bert.pooling_type\4\0\0\0\1", "bert.pooling_type\4\0\0\0\0", 22, NULL);
    edited("model\10\0\0\0\4\0\0\0\0\0\0\0bert", "model\10\0\0\0\4\0\0\0\0\0\0\0gpt2", 21,
           "tokenizer.ggml.model is \"gpt2\"; graft reads \"bert\", a WordPiece vocabulary");
    edited("unknown_token_id\4\0\0\0\1", "unknown_token_id\4\0\0\0\56", 21, "which no token has");
    edited("blk.1.attn_q.weight", "blk.1.attn_x.weight", 19, "\"blk.1.attn_q.weight\"");
    edited("blk.1.attn_q.weight", "blk.1.attn_k.weight", 19, "stands twice");
    edited("bert.context_length\4\0\0\0\20", "bert.context_length\4\0\0\0\17", 24,
           "\"position_embd.weight\" has the shape [16, 8], [15, 8] is wanted");
    edited("token_embd_norm.bias\1", "token_embd_norm.bias\5", 21, "at most 4 dimensions");
    edited("cheese", "che\0se", 6, "token 9 has a 0 byte");
    edited("cheese",
           "che\xff"
           "se",
           6, "not text in UTF-8");
}

/* Every byte changed and every truncation, in memory of its exact size: no crash. */
static void test_survives_mutations(void **state) {
    (void)state;
    static const char *const names[] = {DATA "types.gguf", DATA "cls_old.gguf"};
    static const unsigned char values[] = {0, 1, 0x7f, 0xff};
    int64_t parsed = 0, failed = 0, sum = 0;
    for (int n = 0; n < 2; n++) {
        size_t size;
        char *whole = read_golden(names[n], &size);
        for (size_t i = 0; i < 6 * size; i++) {
            size_t cut = i < size ? i : size;
            unsigned char *bytes = malloc(cut + !cut);
            gf_tensors t = {0};
            gf_err e = {0};
            memcpy(bytes, whole, cut);
            if (i >= size)
                bytes[i % size] =
                    i < 5 * size ? values[i / size - 1] : (unsigned char)(bytes[i % size] ^ 16);
            bool ok = gf_gguf_read(&t, bytes, cut, "f", &e);
            ok ? parsed++ : failed++;
            if (!ok) assert_int_equal(e.code, GF_E_MODEL);
            for (int64_t k = 0; ok && k < t.count; k++) /* the last byte of each is there */
                if (t.items[k].bytes) sum += t.items[k].data[t.items[k].bytes - 1];
            gf_tensors_close(&t);
            free(bytes);
        }
        gf_free(whole);
    }
    assert_true(parsed > 1000 && failed > 1000 && sum > 0);
}

/* The same through gf_gguf_open_model(), for the bytes before the data. */
static void test_opening_survives_mutations(void **state) {
    (void)state;
    size_t size;
    char *bytes = read_golden(DATA "mean_f32.gguf", &size);
    int opened = 0, refusals = 0;
    for (size_t i = 0; i < 4200; i++) {
        gf_model m = {0};
        gf_err e = {0};
        char was = bytes[i];
        bytes[i] = (char)(was ^ (1 << i % 8));
        put_file(path_of("mutant.gguf"), bytes, size);
        bytes[i] = was;
        if (gf_gguf_open_model(&m, path_of("mutant.gguf"), NULL, &e))
            opened++;
        else
            refusals++, assert_int_equal(e.code, GF_E_MODEL);
        gf_model_free(&m);
    }
    gf_free(bytes);
    assert_true(opened > 100 && refusals > 100);
}

static void test_survives_lack_of_memory(void **state) {
    (void)state;
    int64_t before = gf_mem_get_stats().live_blocks, k = 0;
    bool ok = false;
    while (!ok) {
        gf_model m = {0};
        gf_err e = {0};
        gf_mem_fail_at(++k, false);
        ok = gf_gguf_open_model(&m, DATA "cls_old.gguf", NULL, &e) &&
             gf_gguf_write_model(&m, GF_DTYPE_F16, path_of("memory.gguf"), &e);
        assert_true(ok == !gf_mem_fault_fired());
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        gf_model_free(&m);
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
        cmocka_unit_test(test_reads_f32),
        cmocka_unit_test(test_reads_other_types),
        cmocka_unit_test(test_refuses_by_name),
        cmocka_unit_test(test_lists_any_file),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_f16_rounds_matrices_alone),
        cmocka_unit_test(test_writes_as_python),
        cmocka_unit_test(test_equal_models_give_equal_bytes),
        cmocka_unit_test(test_says_what_it_cannot_carry),
        cmocka_unit_test(test_says_which_token_it_cannot_carry),
        cmocka_unit_test(test_refuses_tokens_that_look_alike),
        cmocka_unit_test(test_judges_edited_files),
        cmocka_unit_test(test_survives_mutations),
        cmocka_unit_test(test_opening_survives_mutations),
        cmocka_unit_test(test_survives_lack_of_memory),
        cmocka_unit_test(test_write_keeps_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
