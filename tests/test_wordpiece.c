/* The tokenizer against Hugging Face's: published cases, and tests/data/tokenizer, which
 * tests/golden/make_tokenizer.py wrote with the libraries tokenizers and transformers. */
#include "core/io.h"
#include "core/io_fault.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/tokenizer.h"
#include "data/wordpiece.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATA "tests/data/tokenizer/"
enum { NO_LIMIT = 1 << 30 };

static const char toy_json[] =
    "{\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, "
    "\"handle_chinese_chars\": true, \"strip_accents\": null, \"lowercase\": true}, "
    "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"post_processor\": null, "
    "\"decoder\": null, \"added_tokens\": [], \"model\": {\"type\": \"WordPiece\", \"unk_token\": "
    "\"[UNK]\", \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 100, "
    "\"vocab\": {\"[UNK]\": 0, \"[CLS]\": 1, \"[SEP]\": 2, \"want\": 3, \"##want\": 4, \"##ed\": "
    "5, \"wa\": 6, \"un\": 7, \"runn\": 8, \"##ing\": 9, \",\": 10, \"low\": 11, \"lowest\": 12}}}";

static gf_tokenizer *toy(void) {
    gf_tokenizer *t = gf_tokenizer_from_json(toy_json, sizeof toy_json - 1, "toy", NULL);
    assert_non_null(t);
    return t;
}

static void assert_ids(const gf_tokenizer *t, const char *text, size_t size, int64_t max_length,
                       const int32_t *wanted, int64_t count) {
    gf_ids ids = {0};
    gf_encoding enc;
    gf_err e = {0};
    if (!gf_tokenizer_encode(t, text, size, max_length, &ids, &enc, &e)) fail_msg("%s", e.text);
    if (enc.count != count || memcmp(ids.id, wanted, (size_t)count * sizeof *wanted) != 0)
        fail_msg("\"%.*s\" gives other ids, %lld and not %lld of them", (int)size, text,
                 (long long)enc.count, (long long)count);
    gf_free(ids.id);
}

static void test_published_pieces(void **state) {
    static const struct {
        const char *text;
        int32_t ids[9];
        int64_t count;
    } cases[] = {{"", {1, 2}, 2},
                 {"UNwant\u00E9d,running", {1, 7, 4, 5, 10, 8, 9, 2}, 8},
                 {"unwanted running", {1, 7, 4, 5, 8, 9, 2}, 7},
                 {"unwantedX running", {1, 0, 8, 9, 2}, 5},
                 {"lowest lower", {1, 12, 0, 2}, 4}};
    gf_tokenizer *t = toy();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_ids(t, cases[i].text, strlen(cases[i].text), NO_LIMIT, cases[i].ids, cases[i].count);
    assert_int_equal(gf_tokenizer_special(t, GF_UNK), 0);
    assert_int_equal(gf_tokenizer_special(t, GF_SEP), 2);
    assert_int_equal(gf_tokenizer_special(t, GF_MASK), -1);
    assert_int_equal(gf_tokenizer_size(t), 13);
    assert_string_equal(gf_tokenizer_token(t, 9), "##ing");
    assert_null(gf_tokenizer_token(t, 13));
    assert_null(gf_tokenizer_token(t, -1));
    gf_tokenizer_free(t);
}

/* Calls check for each line of a .jsonl file. */
static void each_line(const char *path, void (*check)(const cJSON *row, void *context),
                      void *context) {
    size_t size;
    char *text = gf_io_read_all(path, 1 << 20, &size, NULL), *at = text;
    int64_t lines = 0;
    assert_non_null(text);
    for (char *end; (end = strchr(at, '\n')); at = end + 1, lines++) {
        cJSON *row = gf_json_parse(at, (size_t)(end - at), path, 1, GF_E_INVALID, NULL);
        assert_non_null(row);
        check(row, context);
        cJSON_Delete(row);
    }
    assert_true(lines > 10);
    gf_free(text);
}

static const char *string_of(const cJSON *row, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(row, key));
    assert_non_null(text);
    return text;
}

static int64_t ids_of(const cJSON *list, int32_t *ids, int64_t room) {
    const cJSON *item;
    int64_t n = 0;
    assert_true(cJSON_IsArray(list) && cJSON_GetArraySize(list) <= room);
    cJSON_ArrayForEach(item, list) ids[n++] = item->valueint;
    return n;
}

enum { MOST_IDS = 1000 };

typedef struct named {
    const char *name;
    gf_tokenizer *t;
} named;

static void check_text(const cJSON *row, void *context) {
    named *n = context;
    const char *text = string_of(row, "text");
    int32_t wanted[MOST_IDS];
    int64_t count = ids_of(cJSON_GetObjectItem(row, n->name), wanted, MOST_IDS);
    assert_ids(n->t, text, strlen(text), NO_LIMIT, wanted, count);
}

static named open_named(const char *name, const char *folder) {
    named n = {name, NULL};
    gf_err e = {0};
    char *path = gf_io_join(folder, name, NULL);
    if (!(n.t = gf_tokenizer_open(path, &e))) fail_msg("%s", e.text);
    gf_free(path);
    return n;
}

static void test_texts(void **state) {
    static const char *const names[] = {"uncased", "cased"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        named n = open_named(names[i], DATA);
        each_line(DATA "texts.jsonl", check_text, &n);
        assert_int_equal(gf_tokenizer_max_length(n.t), i == 0 ? 0 : 512);
        gf_tokenizer_free(n.t);
    }
}

static void test_truncation(void **state) {
    gf_tokenizer *t = toy();
    const char text[] = "want X low want";
    gf_ids ids = {0};
    gf_encoding enc;
    gf_err e = {0};
    (void)state;
    assert_true(gf_tokenizer_encode(t, text, strlen(text), 6, &ids, &enc, &e));
    assert_true(enc.first == 0 && enc.count == 6 && enc.pieces == 4 && enc.unknown == 1);
    assert_false(enc.truncated);
    assert_true(gf_tokenizer_encode(t, text, strlen(text), 3, &ids, &enc, &e));
    assert_true(enc.first == 6 && enc.count == 3 && enc.pieces == 4 && enc.unknown == 0);
    assert_true(enc.truncated);
    assert_true(ids.id[6] == 1 && ids.id[7] == 3 && ids.id[8] == 2);
    assert_true(gf_tokenizer_encode(t, text, strlen(text), 2, &ids, &enc, &e));
    assert_int_equal(enc.count, 2);
    assert_false(gf_tokenizer_encode(t, text, strlen(text), 1, &ids, &enc, &e));
    assert_int_equal(e.code, GF_E_USAGE);
    assert_int_equal(ids.count, 11);
    gf_free(ids.id);
    gf_tokenizer_free(t);
}

static char *make_folder(void) {
    char *path = gf_strdup(SCRATCH "/graft-test-XXXXXX", NULL);
    assert_non_null(mkdtemp(path));
    return path;
}

static void drop_folder(char *path) {
    assert_true(gf_io_remove_tree(path, NULL));
    gf_free(path);
}

static void write_file(const char *folder, const char *name, const char *text) {
    char *path = gf_io_join(folder, name, NULL);
    gf_file *f = gf_io_create(path, NULL);
    assert_non_null(f);
    assert_true(gf_io_write(f, text, strlen(text), NULL));
    assert_true(gf_io_close(f, NULL));
    gf_free(path);
}

static void check_folder(const cJSON *row, void *context) {
    const cJSON *file, *text;
    char *path = make_folder();
    gf_err e = {0};
    gf_tokenizer *t;
    int i = 0;
    (void)context;
    cJSON_ArrayForEach(file, cJSON_GetObjectItem(row, "files"))
        write_file(path, file->string, file->valuestring);
    if (!(t = gf_tokenizer_open(path, &e))) fail_msg("%s: %s", string_of(row, "name"), e.text);
    cJSON_ArrayForEach(text, cJSON_GetObjectItem(row, "texts")) {
        int32_t wanted[MOST_IDS];
        const cJSON *list = cJSON_GetArrayItem(cJSON_GetObjectItem(row, "ids"), i++);
        int64_t count = ids_of(list, wanted, MOST_IDS);
        assert_ids(t, text->valuestring, strlen(text->valuestring), NO_LIMIT, wanted, count);
    }
    assert_int_equal(i, 3);
    gf_tokenizer_free(t);
    drop_folder(path);
}

static void test_folders(void **state) {
    (void)state;
    each_line(DATA "folders.jsonl", check_folder, NULL);
}

static void assert_same_file(const char *folder_a, const char *folder_b, const char *name) {
    char *a = gf_io_join(folder_a, name, NULL), *b = gf_io_join(folder_b, name, NULL);
    size_t size_a = 0, size_b = 0;
    char *text_a = gf_io_read_all(a, 1 << 20, &size_a, NULL);
    char *text_b = gf_io_read_all(b, 1 << 20, &size_b, NULL);
    assert_true(text_a && text_b);
    assert_string_equal(text_a, text_b);
    assert_int_equal(size_a, size_b);
    gf_free(a);
    gf_free(b);
    gf_free(text_a);
    gf_free(text_b);
}

/* The committed bytes were read by AutoTokenizer and tokenizers (make_tokenizer.py --check). */
static void check_saving(const char *name) {
    static const char *const files[] = {"vocab.txt", "tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json"};
    named n = open_named(name, DATA), again;
    char *folder = make_folder(), *json, *saved = gf_io_join(DATA "saved", name, NULL);
    size_t size = 0;
    assert_true(gf_tokenizer_save(n.t, folder, 128, NULL));
    for (int i = 0; i < 4; i++) assert_same_file(folder, saved, files[i]);
    again = open_named("", folder);
    again.name = name;
    each_line(DATA "texts.jsonl", check_text, &again);
    assert_int_equal(gf_tokenizer_max_length(again.t), 128);
    gf_tokenizer_free(again.t);
    assert_non_null(json = gf_tokenizer_to_json(n.t, &size, NULL));
    assert_non_null(again.t = gf_tokenizer_from_json(json, size, "memory", NULL));
    each_line(DATA "texts.jsonl", check_text, &again);
    gf_tokenizer_free(again.t);
    gf_tokenizer_free(n.t);
    gf_free(json);
    gf_free(saved);
    drop_folder(folder);
}

static void test_saving(void **state) {
    (void)state;
    check_saving("uncased");
    check_saving("cased");
}

/* A JSON text with one part replaced. */
static char *with(const char *json, const char *old, const char *new) {
    const char *at = strstr(json, old);
    assert_non_null(at);
    return gf_format(NULL, "%.*s%s%s", (int)(at - json), json, new, at + strlen(old));
}

static void assert_refused(const char *json, const char *what) {
    gf_err e = {0};
    assert_null(gf_tokenizer_from_json(json, strlen(json), "t.json", &e));
    assert_int_equal(e.code, GF_E_MODEL);
    if (!strstr(e.text, what) || strncmp(e.text, "t.json:", 7) != 0) fail_msg("%s", e.text);
}

static void test_refusals(void **state) {
    static const char *const cases[][3] = {
        {"\"BertNormalizer\"", "\"NFKC\"", "normalizer is NFKC"},
        {"\"BertPreTokenizer\"", "\"Metaspace\"", "pre_tokenizer is Metaspace"},
        {"\"WordPiece\"", "\"BPE\"", "model is BPE"},
        {"\"decoder\": null", "\"decoder\": {\"type\": \"ByteLevel\"}", "decoder is ByteLevel"},
        {"\"post_processor\": null", "\"post_processor\": {\"type\": \"RobertaProcessing\"}",
         "post_processor is RobertaProcessing"},
        {"\"[UNK]\": 0", "\"x\": 0", "no \"[UNK]\""},
        {"\"[CLS]\": 1", "\"x\": 1", "no \"[CLS]\""},
        {"\"[SEP]\": 2", "\"x\": 2", "no \"[SEP]\""},
        {"\"low\": 11", "\"low\": 4294967296", "the id of \"low\""},
        {"\"low\": 11", "\"low\": -1", "the id of \"low\""},
        {"\"low\": 11", "\"low\": 1.5", "the id of \"low\""},
        {"\"low\": 11", "\"low\": 10", "two tokens"},
        {"\"low\": 11", "\"low\": 11, \"low\": 13", "stands twice"},
        {"_word\": 100", "_word\": 1001", "max_input_chars_per_word"},
        {"\"##\"", "\"################################################################\"",
         "continuing_subword_prefix"},
        {"\"added_tokens\": []", "\"added_tokens\": [{\"id\": 20, \"content\": \"q\"}]",
         "\"q\" has id 20, but the vocabulary makes it 13"},
        {"\"added_tokens\": []", "\"added_tokens\": [{\"id\": 3}]", "content"},
    };
    char *hole, *json;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json = with(toy_json, cases[i][0], cases[i][1]);
        assert_refused(json, cases[i][2]);
        gf_free(json);
    }
    /* With a hole, the id that the library gives to an added token is taken. */
    hole = with(toy_json, "\"lowest\": 12", "\"lowest\": 13");
    json =
        with(hole, "\"added_tokens\": []", "\"added_tokens\": [{\"id\": 13, \"content\": \"q\"}]");
    assert_refused(json, "the id 13 of another one");
    gf_free(json);
    gf_free(hole);
}

static void assert_refused_folder(const char *folder, const char *what) {
    gf_err e = {0};
    assert_null(gf_tokenizer_open(folder, &e));
    assert_int_equal(e.code, GF_E_MODEL);
    if (!strstr(e.text, what)) fail_msg("%s", e.text);
}

static void test_refused_folders(void **state) {
    char *folder = make_folder();
    (void)state;
    assert_refused_folder(folder, "no tokenizer.json and no vocab.txt");
    write_file(folder, "vocab.txt", "[UNK]\n[CLS]\n");
    assert_refused_folder(folder, "no \"[SEP]\"");
    write_file(folder, "vocab.txt", "[UNK]\n[CLS]\n[SEP]\n\xFF\n");
    assert_refused_folder(folder, "id 3 is not text");
    write_file(folder, "tokenizer_config.json", "{\"tokenizer_class\": \"BertJapaneseTokenizer\"}");
    assert_refused_folder(folder, "BertJapaneseTokenizer");
    write_file(folder, "tokenizer_config.json", "[]");
    assert_refused_folder(folder, "it is a list");
    drop_folder(folder);
}

/* Knuth's MMIX generator: good enough to damage files with. */
static uint32_t below(uint64_t *rng, uint32_t bound) {
    *rng = *rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*rng >> 33) % bound;
}

/* Whatever happens to the bytes of a text or a file: an answer or an error, never a crash (this
 * test is worth most under ASan and UBSan). */
static void try_text(const gf_tokenizer *t, uint64_t *rng) {
    char text[64];
    size_t size = below(rng, sizeof text);
    gf_ids ids = {0};
    gf_encoding enc;
    for (size_t i = 0; i < size; i++)
        text[i] = below(rng, 4) ? (char)below(rng, 256) : "[MASK] aé"[below(rng, 9)];
    assert_true(gf_tokenizer_encode(t, text, size, 32, &ids, &enc, NULL));
    for (int64_t i = 0; i < ids.count; i++) assert_non_null(gf_tokenizer_token(t, ids.id[i]));
    gf_free(ids.id);
}

static int64_t try_damage(const char *file, uint64_t *rng, int rounds) {
    size_t size = 0;
    char *text = gf_io_read_all(file, 1 << 20, &size, NULL), *damaged, *folder = make_folder();
    int64_t opened = 0;
    assert_non_null(text);
    assert_non_null(damaged = gf_alloc(size + 1, NULL));
    for (int i = 0; i < rounds; i++) {
        gf_tokenizer *t;
        memcpy(damaged, text, size + 1);
        for (uint32_t k = below(rng, 4) + 1; k > 0; k--)
            damaged[below(rng, (uint32_t)size)] = (char)(below(rng, 255) + 1);
        if (below(rng, 4) == 0) damaged[below(rng, (uint32_t)size)] = 0;
        write_file(folder, strrchr(file, '/') + 1, damaged);
        if (!(t = gf_tokenizer_open(folder, NULL))) continue;
        opened++;
        for (int k = 0; k < 5; k++) try_text(t, rng);
        gf_tokenizer_free(t);
    }
    gf_free(text);
    gf_free(damaged);
    drop_folder(folder);
    return opened;
}

static void test_damage(void **state) {
    uint64_t rng = 5;
    named n = open_named("uncased", DATA);
    int64_t before, opened;
    (void)state;
    before = gf_mem_get_stats().live_blocks;
    for (int i = 0; i < 20000; i++) try_text(n.t, &rng);
    opened = try_damage(DATA "uncased/tokenizer.json", &rng, 400);
    assert_true(opened > 5 && opened < 395);
    opened = try_damage(DATA "cased/vocab.txt", &rng, 400);
    assert_true(opened > 5 && opened < 399);
    assert_int_equal(gf_mem_get_stats().live_blocks, before);
    gf_tokenizer_free(n.t);
}

/* Opens, encodes and prints; the ids in all, -1 on failure. */
static int64_t do_all(gf_err *e) {
    static const char text[] = "caf\u00E9 New York [MASK] unwanted \u7684 want want want want want";
    gf_tokenizer *t = gf_tokenizer_open(DATA "uncased", e);
    gf_ids ids = {0};
    gf_encoding enc = {0};
    size_t size = 0;
    char *json = t ? gf_tokenizer_to_json(t, &size, e) : NULL;
    int64_t count = -1;
    if (json && gf_tokenizer_encode(t, text, sizeof text - 1, NO_LIMIT, &ids, &enc, e))
        count = ids.count;
    else
        assert_int_equal(ids.count, 0);
    gf_free(json);
    gf_free(ids.id);
    gf_tokenizer_free(t);
    return count;
}

static void test_failing_allocations(void **state) {
    int64_t whole = do_all(NULL), before = gf_mem_get_stats().live_blocks, k;
    bool fired = true;
    (void)state;
    assert_true(whole > 10);
    for (k = 1; fired; k++) {
        gf_err e = {0};
        int64_t count;
        gf_mem_fail_at(k, false);
        count = do_all(&e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        if (fired && (count != -1 || e.code != GF_E_NOMEM))
            fail_msg("allocation %lld: %lld ids, \"%s\"", (long long)k, (long long)count, e.text);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    assert_true(k > 100);
}

static void test_failing_allocations_of_save(void **state) {
    gf_tokenizer *t = toy();
    char *folder = make_folder();
    int64_t before = gf_mem_get_stats().live_blocks, k;
    bool fired = true;
    (void)state;
    for (k = 1; fired; k++) {
        gf_err e = {0};
        bool ok;
        gf_mem_fail_at(k, false);
        ok = gf_tokenizer_save(t, folder, 64, &e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        assert_true(ok == !fired);
        if (fired) assert_int_equal(e.code, GF_E_NOMEM);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    assert_true(k > 100);
    gf_tokenizer_free(t);
    drop_folder(folder);
}

static void test_failing_disk(void **state) {
    gf_tokenizer *t = toy();
    char *folder = make_folder();
    bool fired = true;
    int64_t k;
    (void)state;
    for (k = 1; fired; k++) {
        gf_err e = {0};
        bool ok;
        gf_io_fail_at(k, GF_FAULT_ENOSPC);
        ok = gf_tokenizer_save(t, folder, 0, &e);
        fired = gf_io_fault_fired();
        gf_io_fail_at(0, GF_FAULT_ENOSPC);
        assert_true(ok == !fired);
        if (fired) assert_int_equal(e.code, GF_E_IO);
    }
    assert_true(k > 8);
    gf_tokenizer_free(t);
    drop_folder(folder);
}

/* Of equal tokens the later one wins; the earlier id is left without a token. */
static void test_repeated_tokens(void **state) {
    gf_vocab v = {0};
    (void)state;
    assert_true(gf_vocab_add(&v, "a", 1, 0, "v", NULL));
    assert_true(gf_vocab_add(&v, "b", 1, 1, "v", NULL));
    assert_true(gf_vocab_add(&v, "a", 1, 2, "v", NULL));
    assert_int_equal(gf_vocab_find(&v, "a", 1), 2);
    assert_null(gf_vocab_token_of(&v, 0));
    assert_true(v.size == 3 && v.count == 2);
    gf_vocab_free(&v);
}

/* Tokens whose hashes collide by construction must not make a vocabulary slow. */
static void test_colliding_tokens(void **state) {
    gf_vocab v = {0};
    gf_err e = {0};
    char token[16];
    int64_t added = 0;
    (void)state;
    for (uint32_t i = 0; added < 2000; i++) {
        int size = snprintf(token, sizeof token, "%u", i);
        uint64_t mixed = gf_vocab_hash((uint32_t)GF_VOCAB_HASH, token, (size_t)size) *
                         UINT64_C(0x9E3779B97F4A7C15);
        if (((mixed >> 32) & 0xFFF) != 7) continue;
        if (!gf_vocab_add(&v, token, (size_t)size, added++, "v", &e)) break;
    }
    assert_int_equal(e.code, GF_E_MODEL);
    assert_non_null(strstr(e.text, "collide"));
    gf_vocab_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_pieces),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_saving),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refused_folders),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_failing_allocations_of_save),
        cmocka_unit_test(test_failing_disk),
        cmocka_unit_test(test_repeated_tokens),
        cmocka_unit_test(test_colliding_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
