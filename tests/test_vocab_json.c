/* The vocabulary of a tokenizer.json read in one pass: plain members by hand (RFC 8259 says what an
 * escape means), and damaged files against their twin, in which the key "vocab" is spelled with an
 * escape, so that the parser of the whole text reads it. */
#include "core/io.h"
#include "core/mem.h"
#include "data/tokenizer.h"
#include "data/vocab_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILE_NAME "tests/data/tokenizer/uncased/tokenizer.json"
/* One key, spelled in two ways of one length: errors then name the same columns. */
#define PLAIN   "\"vocab\"     "
#define ESCAPED "\"\\u0076ocab\""

static void test_plain_members(void **state) {
    static const char text[] =
        "{\"vocab\": {\"no\": 1}, \"a\": [\"model\", {\"vocab\": 3}], \"model\": {\"type\": "
        "\"vo\\\"cab\", \"inner\": {\"vocab\": {\"no\": 2}}, \"vocab\" :\n{ \"a\":0 ,\"##\\\"\": 1,"
        "\"\\\\\": 2,\"\\/\":3, \"\\u00e9\\u00E9\" : 4, \"\\u20ac\":5,\"\u00e9\": 4194303,\t\"\": "
        "7, \"\\b\\f\\n\\r\\t\":8\r} , \"z\": 1}, \"end\": {}}";
    static const char wanted[] =
        "{\"vocab\": {\"no\": 1}, \"a\": [\"model\", {\"vocab\": 3}], \"model\": {\"type\": "
        "\"vo\\\"cab\", \"inner\": {\"vocab\": {\"no\": 2}}, \"vocab\" :\n{} , \"z\": 1}, "
        "\"end\": {}}";
    gf_vocab v = {0};
    gf_text rest = {0};
    (void)state;
    assert_true(gf_vocab_take_json(&v, text, sizeof text - 1, "t", &rest, NULL));
    assert_string_equal(rest.data, wanted);
    assert_int_equal(rest.length, sizeof wanted - 1);
    assert_true(v.count == 9 && v.size == 4194304);
    assert_int_equal(gf_vocab_find(&v, "a", 1), 0);
    assert_int_equal(gf_vocab_find(&v, "##\"", 3), 1);
    assert_int_equal(gf_vocab_find(&v, "\\", 1), 2);
    assert_int_equal(gf_vocab_find(&v, "/", 1), 3);
    assert_int_equal(gf_vocab_find(&v, "\xC3\xA9\xC3\xA9", 4), 4);
    assert_int_equal(gf_vocab_find(&v, "\xE2\x82\xAC", 3), 5);
    assert_int_equal(gf_vocab_find(&v, "\xC3\xA9", 2), 4194303);
    assert_int_equal(gf_vocab_find(&v, "", 0), 7);
    assert_int_equal(gf_vocab_find(&v, "\b\f\n\r\t", 5), 8);
    gf_vocab_free(&v);
    gf_text_free(&rest);
}

/* Reads a copy of exactly the text's bytes, so that ASan sees a step beyond. */
static void assert_left(const char *text) {
    char *copy = malloc(strlen(text) + !*text);
    gf_vocab v = {0};
    gf_text rest = {0};
    assert_non_null(copy);
    memcpy(copy, text, strlen(text));
    assert_true(gf_vocab_take_json(&v, copy, strlen(text), "t", &rest, NULL));
    if (rest.length || v.count || v.slots) fail_msg("taken: %s", text);
    free(copy);
}

/* All of this is left to the parser of the whole text. */
static void test_what_is_left(void **state) {
    static const char *const cases[] = {
        "",
        "\"model\"",
        "{\"model\": {\"vocab\": [[\"a\", 0.5]]}}",
        "{\"mode\": {\"vocab\": {\"a\": 0}}}",
        "{\"model\": {\"voca\": {\"a\": 0}}}",
        "{\"model\": {\"x\": {\"vocab\": {\"a\": 0}}}}",
        "{\"model\": {\"x\": {}}, \"y\": {\"vocab\": {\"a\": 0}}}",
        "[{\"model\": {\"vocab\": {\"a\": 0}}}]",
        "{\"model\": {\"vocab\": {\"a\": 0, \"a\": 1}}}",
        "{\"model\": {\"vocab\": {\"a\": 0, \"\\u0061\": 1}}}",
        "{\"model\": {\"vocab\": {\"a\": 0, \"b\": 0}}}",
        "{\"model\": {\"vocab\": {\"a\": 0,}}}",
        "{\"model\": {\"vocab\": {\"a\": 0 \"b\": 1}}}",
        "{\"model\": {\"vocab\": {\"a\" 0}}}",
        "{\"model\": {\"vocab\": {\"a\": 0]}}",
        "{\"model\": {\"vocab\": {a: 0}}}",
        "{\"model\": {\"vocab\": {\"a\": -1}}}",
        "{\"model\": {\"vocab\": {\"a\": 1.5}}}",
        "{\"model\": {\"vocab\": {\"a\": 1e2}}}",
        "{\"model\": {\"vocab\": {\"a\": 01}}}",
        "{\"model\": {\"vocab\": {\"a\": 4194304}}}",
        "{\"model\": {\"vocab\": {\"a\": 12345678}}}",
        "{\"model\": {\"vocab\": {\"a\": \"0\"}}}",
        "{\"model\": {\"vocab\": {\"a\": }}}",
        "{\"model\": {\"vocab\": {\"\\u0000\": 1}}}",
        "{\"model\": {\"vocab\": {\"\\uD83D\\uDE00\": 1}}}",
        "{\"model\": {\"vocab\": {\"\\u00g0\": 1}}}",
        "{\"model\": {\"vocab\": {\"\\u00\": 1}}}",
        "{\"model\": {\"vocab\": {\"\\q\": 1}}}",
        "{\"model\": {\"vocab\": {\"\xFF\": 1}}}",
        "{\"model\": {\"vocab\": {\"\x80\": 1}}}",
        "{\"model\": {\"vocab\": {\"a\xC3\": 1}}}",
        "{\"model\": {\"vocab\": {\"a\": 1",
        "{\"model\": {\"vocab\": {\"a\\",
        "{\"model\": {\"vocab\": {\"a",
        "{\"model\": {\"vocab\": {",
        "{\"model\": {\"vocab\":",
        "{\"model\": {\"vocab",
    };
    char *escaped = gf_format(NULL, "{\"model\": {\"vocab\": {\"\\n%0300d\": 1}}}", 0);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_left(cases[i]);
    assert_non_null(escaped);
    assert_left(escaped);
    gf_free(escaped);
}

static uint32_t below(uint64_t *rng, uint32_t bound) {
    *rng = *rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*rng >> 33) % bound;
}

typedef struct twins {
    char *text[2]; /* the file, with PLAIN and with ESCAPED */
    size_t size, vocab;
    int64_t opened, refused, taken;
} twins;

static twins read_twins(void) {
    twins w = {{0}, 0, 0, 0, 0, 0};
    size_t size = 0;
    char *file = gf_io_read_all(FILE_NAME, 1 << 20, &size, NULL);
    char *at = file ? strstr(file, "\"vocab\":") : NULL;
    assert_non_null(at);
    *at = 0;
    w.text[0] = gf_format(NULL, "%s" PLAIN "%s", file, at + strlen("\"vocab\""));
    w.text[1] = gf_format(NULL, "%s" ESCAPED "%s", file, at + strlen("\"vocab\""));
    assert_true(w.text[0] && w.text[1]);
    w.vocab = (size_t)(at - file);
    w.size = strlen(w.text[0]);
    assert_int_equal(w.size, strlen(w.text[1]));
    gf_free(file);
    return w;
}

static void assert_same(const gf_tokenizer *a, const gf_tokenizer *b) {
    assert_int_equal(a->vocab.count, b->vocab.count);
    assert_int_equal(a->vocab.longest, b->vocab.longest);
    assert_int_equal(gf_tokenizer_size(a), gf_tokenizer_size(b));
    for (int64_t id = 0; id < gf_tokenizer_size(a); id++) {
        const char *x = gf_tokenizer_token(a, (int32_t)id), *y = gf_tokenizer_token(b, (int32_t)id);
        assert_int_equal(x == NULL, y == NULL);
        if (!x) continue;
        assert_string_equal(x, y);
        assert_int_equal(gf_vocab_find(&a->vocab, x, strlen(x)),
                         gf_vocab_find(&b->vocab, y, strlen(y)));
    }
}

static void compare(twins *w, char *const text[2], size_t size) {
    gf_err e[2] = {{0}, {0}};
    gf_tokenizer *t[2];
    gf_vocab v = {0};
    gf_text rest = {0};
    for (int i = 0; i < 2; i++) t[i] = gf_tokenizer_from_json(text[i], size, "t", &e[i]);
    if (!t[0] != !t[1] || strcmp(e[0].text, e[1].text) != 0 || e[0].code != e[1].code)
        fail_msg("in one pass \"%s\", as a tree \"%s\" for %s", e[0].text, e[1].text, text[0]);
    if (t[0]) assert_same(t[0], t[1]);
    *(t[0] ? &w->opened : &w->refused) += 1;
    assert_true(gf_vocab_take_json(&v, text[0], size, "t", &rest, NULL));
    w->taken += rest.length > 0;
    gf_vocab_free(&v);
    gf_text_free(&rest);
    for (int i = 0; i < 2; i++) gf_tokenizer_free(t[i]);
}

/* One byte replaced, left out or put in, at one place of both; three of four behind the key. */
static size_t damage(char *const text[2], size_t size, const twins *w, uint64_t *rng) {
    static const char bytes[] = "{}[]:,\"\\0019eu-. \n\xC3\xA9";
    size_t key = w->vocab, behind = key + strlen(PLAIN);
    uint32_t what = below(rng, 3);
    size_t at =
        below(rng, 4) ? behind + below(rng, (uint32_t)(size - behind)) : below(rng, (uint32_t)key);
    char new = bytes[below(rng, sizeof bytes)]; /* now and then its 0 */
    if (what > 0 && at < behind) what = 0;      /* the key stays where it is */
    for (int i = 0; i < 2; i++) {
        if (what == 1) memmove(text[i] + at, text[i] + at + 1, size - at);
        if (what == 2) memmove(text[i] + at + 1, text[i] + at, size - at + 1);
        if (what != 1) text[i][at] = new;
    }
    return what == 0 ? size : what == 1 ? size - 1 : size + 1;
}

static void test_twins(void **state) {
    enum { ROUNDS = 2000, MOST = 3 };
    twins w = read_twins();
    uint64_t rng = 7;
    char *text[2];
    (void)state;
    for (int i = 0; i < 2; i++) assert_non_null(text[i] = gf_alloc(w.size + MOST + 1, NULL));
    for (int round = 0; round < ROUNDS; round++) {
        size_t size = w.size;
        for (int i = 0; i < 2; i++) memcpy(text[i], w.text[i], size + 1);
        for (uint32_t k = round ? below(&rng, MOST) + 1 : 0; k > 0; k--)
            size = damage(text, size, &w, &rng);
        compare(&w, text, size);
    }
    assert_true(w.opened > ROUNDS / 20 && w.refused > ROUNDS / 4);
    assert_true(w.taken > w.opened / 2 && w.taken < ROUNDS);
    for (int i = 0; i < 2; i++) {
        gf_free(text[i]);
        gf_free(w.text[i]);
    }
}

static void test_failing_allocations(void **state) {
    twins w = read_twins();
    int64_t before = gf_mem_get_stats().live_blocks, k;
    bool fired = true;
    (void)state;
    for (k = 1; fired; k++) {
        gf_vocab v = {0};
        gf_text rest = {0};
        gf_err e = {0};
        bool ok;
        gf_mem_fail_at(k, false);
        ok = gf_vocab_take_json(&v, w.text[0], w.size, "t", &rest, &e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        assert_true(ok == !fired);
        if (fired) assert_int_equal(e.code, GF_E_NOMEM);
        gf_vocab_free(&v);
        gf_text_free(&rest);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    assert_true(k > 8);
    for (int i = 0; i < 2; i++) gf_free(w.text[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_members),
        cmocka_unit_test(test_what_is_left),
        cmocka_unit_test(test_twins),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
