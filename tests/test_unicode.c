/* BERT's normaliser and words against Hugging Face tokenizers, over all of Unicode: published
 * cases, and tests/data/tokenizer, which tests/golden/make_tokenizer.py wrote with that library. */
#include "core/io.h"
#include "core/mem.h"
#include "data/bert_text.h"
#include "data/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATA "tests/data/tokenizer/"
enum { CODE_POINTS = 0x110000 };

static bool is_surrogate(int32_t c) { return c >= 0xD800 && c < 0xE000; }

static const gf_bert_rules uncased = {true, true, true, true};
static const gf_bert_rules cased = {true, true, false, false};
static const gf_bert_rules accents = {true, true, false, true};
static const gf_bert_rules raw = {false, true, true, false};

/* The words of a text, joined by '|'. Free with gf_free(). */
static char *words_of(gf_bert_rules rules, const char *bytes, size_t size) {
    gf_bert b = gf_bert_make(rules);
    gf_text text = {0}, joined = {0};
    gf_word w;
    assert_true(gf_bert_normalize(&b, bytes, size, &text, NULL));
    assert_true(gf_text_add_bytes(&joined, "", 0, NULL));
    for (size_t at = 0; gf_bert_next_word(&b, text.data, text.length, &at, &w);)
        assert_true(gf_text_add(&joined, NULL, "%s%.*s", joined.length ? "|" : "",
                                (int)(w.end - w.start), text.data + w.start));
    gf_text_free(&text);
    return joined.data;
}

/* huggingface/transformers tests/models/bert/test_tokenization_bert.py (Apache-2.0), with what the
 * fast tokenizer makes of it. */
static void test_published_words(void **state) {
    static const struct {
        const char *text, *words;
        gf_bert_rules rules;
    } cases[] = {
        {"ah\u535A\u63A8zz", "ah|\u535A|\u63A8|zz", {true, true, true, true}},
        {" \tHeLLo!how  \n Are yoU?  ", "hello|!|how|are|you|?", {true, true, true, true}},
        {"H\u00E9llo", "hello", {true, true, true, true}},
        {" \tH\u00E4LLo!how  \n Are yoU?  ",
         "h\u00E4llo|!|how|are|you|?",
         {true, true, false, true}},
        {" \tH\u00E4LLo!how  \n Are yoU?  ", "hallo|!|how|are|you|?", {true, true, true, true}},
        {" \tHeLLo!how  \n Are yoU?  ", "HeLLo|!|how|Are|yoU|?", {true, true, false, false}},
        {" \tH\u00E4LLo!how  \n Are yoU?  ", "HaLLo|!|how|Are|yoU|?", {true, true, true, false}},
        {"a\n'll !!to?'d of, can't.",
         "a|'|ll|!|!|to|?|'|d|of|,|can|'|t|.",
         {true, true, true, true}},
        {"\u7684\u4EBA\u6709", "\u7684\u4EBA\u6709", {true, false, true, true}},
        {"\u00AD", "", {true, true, true, true}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *words = words_of(cases[i].rules, cases[i].text, strlen(cases[i].text));
        assert_string_equal(words, cases[i].words);
        gf_free(words);
    }
}

/* One line of a sweep file: FIRST, LAST and what becomes of these code points. */
typedef void sweep_line(void *context, int32_t first, int32_t last, const char *what);

static void read_sweep(const char *path, sweep_line *line, void *context) {
    size_t size;
    char *text = gf_io_read_all(path, 1 << 20, &size, NULL), *at = text;
    assert_non_null(text);
    while (at < text + size) {
        char *end = strchr(at, '\n'), *rest;
        int32_t first = (int32_t)strtol(at, &rest, 16), last = (int32_t)strtol(rest, &rest, 16);
        assert_non_null(end);
        *end = 0;
        line(context, first, last, rest + 1);
        at = end + 1;
    }
    gf_free(text);
}

/* What a normaliser must make of each code point: an action of the file, NULL for unchanged. */
static void note_action(void *context, int32_t first, int32_t last, const char *what) {
    const char **actions = context;
    for (int32_t c = first; c <= last; c++) assert_non_null(actions[c] = gf_strdup(what, NULL));
}

static void add_code_point(gf_text *t, int32_t c) {
    char bytes[GF_UNICODE_MOST_BYTES];
    assert_true(gf_text_add_bytes(t, bytes, gf_unicode_encode(c, bytes), NULL));
}

/* The Unicode Standard, section 3.12. */
static void add_hangul(gf_text *t, int32_t c) {
    c -= 0xAC00;
    add_code_point(t, 0x1100 + c / 588);
    add_code_point(t, 0x1161 + c % 588 / 28);
    if (c % 28) add_code_point(t, 0x11A7 + c % 28);
}

static void add_expected(gf_text *t, int32_t c, const char *what) {
    if (!what)
        add_code_point(t, c);
    else if (strcmp(what, "pad") == 0) {
        add_code_point(t, ' ');
        add_code_point(t, c);
        add_code_point(t, ' ');
    } else if (strcmp(what, "hangul") == 0)
        add_hangul(t, c);
    else if (*what == '+' || (*what == '-' && what[1]))
        add_code_point(t, c + (int32_t)strtol(what, NULL, 10));
    else if (*what != '-')
        for (char *at = (char *)(uintptr_t)what; *at;)
            add_code_point(t, (int32_t)strtol(at, &at, 16));
}

static void check_sweep(const char *path, gf_bert_rules rules) {
    const char **actions = gf_alloc_array(CODE_POINTS, sizeof *actions, NULL);
    gf_bert b = gf_bert_make(rules);
    gf_text in = {0}, out = {0}, wanted = {0};
    read_sweep(path, note_action, actions);
    for (int32_t c = 0; c < CODE_POINTS; c++) {
        if (is_surrogate(c)) continue;
        in.length = out.length = wanted.length = 0;
        add_code_point(&in, 'a');
        add_code_point(&in, c);
        add_code_point(&in, 'b');
        add_code_point(&wanted, 'a');
        add_expected(&wanted, c, actions[c]);
        add_code_point(&wanted, 'b');
        assert_true(gf_bert_normalize(&b, in.data, in.length, &out, NULL));
        if (out.length != wanted.length || memcmp(out.data, wanted.data, out.length) != 0)
            fail_msg("%s: U+%04X becomes \"%s\", not \"%s\"", path, (unsigned)c, out.data,
                     wanted.data);
        gf_free((void *)(uintptr_t)actions[c]);
    }
    gf_free(actions);
    gf_text_free(&in);
    gf_text_free(&out);
    gf_text_free(&wanted);
}

static void test_sweep_of_unicode(void **state) {
    (void)state;
    check_sweep(DATA "sweep_uncased.tsv", uncased);
    check_sweep(DATA "sweep_cased.tsv", cased);
    check_sweep(DATA "sweep_accents.tsv", accents);
    check_sweep(DATA "sweep_raw.tsv", raw);
}

static void note_kind(void *context, int32_t first, int32_t last, const char *what) {
    memset((char *)context + first, *what, (size_t)(last - first + 1));
}

static void test_sweep_of_words(void **state) {
    char *kinds = gf_alloc_array(CODE_POINTS, 1, NULL),
         *letters = gf_alloc_array(CODE_POINTS, 1, NULL);
    (void)state;
    read_sweep(DATA "sweep_words.tsv", note_kind, kinds);
    read_sweep(DATA "sweep_letters.tsv", note_kind, letters);
    for (int32_t c = 0; c < CODE_POINTS; c++) {
        unsigned flags;
        if (is_surrogate(c)) continue;
        flags = gf_unicode_class(c);
        if (!!(flags & GF_UNICODE_SPACE) != (kinds[c] == 's') ||
            !!(flags & GF_UNICODE_PUNCT) != (kinds[c] == 'p') ||
            gf_unicode_is_word(c) != (letters[c] == 'w'))
            fail_msg("U+%04X is of another class", (unsigned)c);
    }
    gf_free(kinds);
    gf_free(letters);
}

/* Adds code points written in hexadecimal, up to a tab or newline; returns what follows it. */
static char *add_hexadecimal(gf_text *t, char *at) {
    t->length = 0;
    assert_true(gf_text_add_bytes(t, "", 0, NULL));
    while (*at != '\t' && *at != '\n') add_code_point(t, (int32_t)strtol(at, &at, 16));
    return at + 1;
}

/* Canonical order among marks, and what is left of them. */
static void test_rows_of_marks(void **state) {
    gf_bert b = gf_bert_make(uncased);
    gf_text in = {0}, wanted = {0}, out = {0};
    size_t size;
    char *text = gf_io_read_all(DATA "marks.tsv", 1 << 20, &size, NULL), *at = text;
    int rows = 0;
    (void)state;
    assert_non_null(text);
    for (; at < text + size; rows++) {
        at = add_hexadecimal(&in, at);
        at = add_hexadecimal(&wanted, at);
        out.length = 0;
        assert_true(gf_bert_normalize(&b, in.data, in.length, &out, NULL));
        assert_string_equal(out.data, wanted.data);
    }
    assert_true(rows > 100);
    gf_free(text);
    gf_text_free(&in);
    gf_text_free(&wanted);
    gf_text_free(&out);
}

/* Malformed UTF-8 is dropped like U+FFFD: the maximal parts of Unicode 15, table 3-8. */
static void test_malformed_utf8(void **state) {
    static const char *const bad[] = {"\xC0",         "\xC1\xBF",     "\xE0\x80",
                                      "\xED\xA0\x80", "\xF4\x90\x80", "\xF0\x9F\x98",
                                      "\xFF",         "\x80\x80",     "\xF5\x80\x80\x80"};
    static const char mixed[] =
        "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41";
    int bad_count = 0;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16], *words;
        snprintf(text, sizeof text, "lo%sw", bad[i]);
        words = words_of(uncased, text, strlen(text));
        assert_string_equal(words, "low");
        gf_free(words);
    }
    for (size_t at = 0; at < sizeof mixed - 1;)
        bad_count += gf_unicode_decode(mixed, sizeof mixed - 1, &at) == GF_UNICODE_BAD;
    assert_int_equal(bad_count, 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_words), cmocka_unit_test(test_sweep_of_unicode),
        cmocka_unit_test(test_sweep_of_words),  cmocka_unit_test(test_rows_of_marks),
        cmocka_unit_test(test_malformed_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
