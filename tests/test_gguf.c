/* Reading: checkpoints/gguf and gguf_bert against files that the Python package gguf wrote
 * (tests/golden/make_gguf.py), and against mutations of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/gguf_help.h"

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
    assert_string_equal(gf_tokenizer_token(m.tokenizer, 19), "[unused0]");
    assert_null(gf_added_find(&m.tokenizer->added, "[unused0]"));
    assert_int_equal(gf_added_find(&m.tokenizer->added, "cheesecake")->id, 21);
    assert_false(gf_added_find(&m.tokenizer->added, "cheesecake")->special);
    gf_model_free(&m);
}

static void test_refuses_by_name(void **state) {
    (void)state;
    refused(DATA "big_endian.gguf", "big-endian");
    refused(DATA "rank.gguf", "bert.pooling_type is 4 (rank); graft reads mean (1) and CLS (2)");
    refused(DATA "types.gguf", "general.architecture is \"llama\"; graft reads \"bert\" only");
    refused(DATA "quantised.gguf", "\"token_embd.weight\" is of type Q8_0; graft reads F32");
    refused(DATA "dense.gguf", "dense projection behind the encoder (dense_2.weight)");
    refused(PLAIN "/model.safetensors", "no GGUF file");
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
static void edited_file(const char *name, const char *from, const char *to, size_t length,
                        const char *part) {
    size_t size;
    char *bytes = read_golden(name, &size), *at = bytes;
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

static void edited(const char *from, const char *to, size_t length, const char *part) {
    edited_file(DATA "mean_f32.gguf", from, to, length, part);
}

static void test_judges_edited_files(void **state) {
    (void)state;
    edited("GGUF\3", "GGUF\2", 5, NULL);
    edited("GGUF\3", "GGUF\1", 5, "of GGUF version 1; versions 2 and 3 can be read");
    edited("GGUF\3", "GGUF\4", 5, "of GGUF version 4");
    edited("GGUF", "GGML", 4, "begins as no safetensors");
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
    edited("unknown_token_id", "padding_token_id", 16, "padding_token_id\" stands twice");
    edited("embd_norm.bias\1\0\0\0\10\0\0\0\0\0\0\0\0",
           "embd_norm.bias\1\0\0\0\10\0\0\0\0\0\0\0\10", 27,
           "rows of 8 elements cannot be of type Q8_0");
    edited("embd_norm.bias\1\0\0\0\10\0\0\0\0\0\0\0\0",
           "embd_norm.bias\1\0\0\0\10\0\0\0\0\0\0\0\143", 27, "is of type number 99; graft reads");
    edited_file(DATA "cls_old.gguf", "alignment\4\0\0\0\100", "alignment\4\0\0\0\101", 14,
                "general.alignment is 65; a power of two");
    edited_file(DATA "cls_old.gguf", "alignment\4\0\0\0\100\0", "alignment\4\0\0\0\0\1", 15,
                "must be aligned to 256");
    edited("token_embd.weight\2\0\0\0\10\0\0\0\0\0\0\0\30",
           "token_embd.weight\2\0\0\0\10\0\0\0\0\0\0\0\27", 30,
           "24 tokens, 24 types of them and 23 rows of token_embd.weight");
    edited("unknown_token_id", "unknown_token_ix", 16, "unknown_token_id is 100, which no token");
    edited("cheese", "che\0se", 6, "token 9 has a 0 byte");
    edited("cheese",
           "che\xff"
           "se",
           6, "not text in UTF-8");
}

/* Offsets of a tensor that are not aligned, or behind the data, or such that nothing fits. */
static void test_judges_offsets(void **state) {
    (void)state;
    static const char info[] = "token_embd_norm.bias\1\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0";
    size_t size, place = 0, data;
    char *bytes = read_golden(DATA "mean_f32.gguf", &size);
    gf_tensors t = {0};
    assert_true(gf_gguf_read(&t, (unsigned char *)bytes, size, "f", NULL));
    const gf_tensor *x = t.items; /* in the order of the file */
    while (strcmp(x->name, "token_embd_norm.bias") != 0) x++;
    while (memcmp(bytes + place, info, sizeof info - 1) != 0) place++;
    place += sizeof info - 1;
    uint64_t offset;
    memcpy(&offset, bytes + place, sizeof offset);
    data = size - (size_t)(x->data - (unsigned char *)bytes) + (size_t)offset; /* bytes of data */
    gf_tensors_close(&t);
    const struct {
        uint64_t offset;
        bool ok;
    } cases[] = {{offset, true},     {offset + 4, false},      {data - 32, true}, {data, false},
                 {data + 32, false}, {UINT64_MAX - 31, false}, {0, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char *copy = malloc(size);
        gf_err e = {0};
        memcpy(copy, bytes, size);
        memcpy(copy + place, &cases[i].offset, sizeof cases[i].offset);
        assert_int_equal(gf_gguf_read(&t, copy, size, "f", &e), cases[i].ok);
        if (!cases[i].ok) assert_non_null(strstr(e.text, "must be aligned to 32 and lie within"));
        gf_tensors_close(&t);
        free(copy);
    }
    gf_free(bytes);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_f32),
        cmocka_unit_test(test_reads_other_types),
        cmocka_unit_test(test_refuses_by_name),
        cmocka_unit_test(test_lists_any_file),
        cmocka_unit_test(test_judges_edited_files),
        cmocka_unit_test(test_judges_offsets),
        cmocka_unit_test(test_survives_mutations),
        cmocka_unit_test(test_opening_survives_mutations),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
