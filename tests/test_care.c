/* Damaged texts (made by tests/golden/make_mojibake.py with Python's codecs), where malformed UTF-8
 * lies in each format, what cleaning keeps, and what init takes columns for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/json.h"
#include "data/rows.h"
#include "recipes/care.h"
#include "recipes/check.h"
#include "recipes/columns.h"
#include "recipes/findings.h"
#include "recipes/init.h"
#include "tests/scratch.h"

/* ---- texts ---- */

static void mends_to(const char *text, size_t size, const char *want) {
    gf_text out = {0}, again = {0};
    gf_damage d;
    assert_true(gf_text_mend(&out, text, size, NULL));
    if (out.length != strlen(want) || memcmp(out.data, want, out.length) != 0)
        fail_msg("\"%s\" became \"%s\", not \"%s\"", text, out.data, want);
    d = gf_damage_of(out.data, out.length);
    assert_false(gf_damage_is_mendable(&d));
    assert_true(gf_text_mend(&again, out.data, out.length, NULL));
    assert_string_equal(again.data, out.data);
    gf_text_free(&out);
    gf_text_free(&again);
}

static const char *member(const cJSON *j, const char *key) {
    const cJSON *s = cJSON_GetObjectItemCaseSensitive(j, key);
    assert_true(cJSON_IsString(s));
    return s->valuestring;
}

static void double_encoded_text_is_decoded(void **state) {
    gf_err e = {0};
    cJSON *j = gf_json_read("tests/golden/mojibake.json", 1 << 20, &e), *line;
    int lines = 0;
    (void)state;
    assert_non_null(j);
    cJSON_ArrayForEach(line, cJSON_GetObjectItemCaseSensitive(j, "lines")) {
        const char *real = member(line, "real"), *broken = member(line, "broken");
        assert_true(gf_damage_of(broken, strlen(broken)).doubled > 0);
        mends_to(broken, strlen(broken), real);
        mends_to(member(line, "twice"), strlen(member(line, "twice")), real);
        lines++;
    }
    assert_true(lines >= 20);
    cJSON_Delete(j);
}

static void real_text_is_left_alone(void **state) {
    static const char *const lists[] = {"lines", "only_real"};
    cJSON *j = gf_json_read("tests/golden/mojibake.json", 1 << 20, NULL), *line;
    int lines = 0;
    (void)state;
    assert_non_null(j);
    for (int i = 0; i < 2; i++)
        cJSON_ArrayForEach(line, cJSON_GetObjectItemCaseSensitive(j, lists[i])) {
            const char *real = cJSON_IsString(line) ? line->valuestring : member(line, "real");
            gf_damage d = gf_damage_of(real, strlen(real));
            if (d.doubled) fail_msg("\"%s\" is taken for damaged", real);
            assert_false(gf_damage_is_mendable(&d));
            mends_to(real, strlen(real), real);
            lines++;
        }
    assert_true(lines >= 35);
    cJSON_Delete(j);
}

static void weak_damage_counts_beside_strong(void **state) {
    static const char both[] = "voil\xc3\x83\xc2\xa0 du caf\xc3\x83\xc2\xa9";
    static const char alone[] = "voil\xc3\x83\xc2\xa0 du fromage";
    (void)state;
    assert_int_equal(gf_damage_of(both, sizeof both - 1).doubled, 2);
    mends_to(both, sizeof both - 1, "voil\xc3\xa0 du caf\xc3\xa9");
    mends_to(alone, sizeof alone - 1, alone);
}

static void malformed_bytes_and_controls(void **state) {
    static const char bytes[] = "a\xff"
                                "b\xe2\x82"
                                "c\0d\x01"
                                "e\x0b"
                                "f\x7f\xc2\x85g\xc2\x9fh\t\r\n";
    gf_damage d = gf_damage_of(bytes, sizeof bytes - 1);
    (void)state;
    assert_int_equal(d.invalid, 2);
    assert_int_equal(d.controls, 6);
    assert_int_equal(d.lost, 0);
    mends_to(bytes, sizeof bytes - 1,
             "a\xef\xbf\xbd"
             "b\xef\xbf\xbd"
             "cde f gh\t\r\n");
    assert_int_equal(gf_damage_of("a\xef\xbf\xbd", 4).lost, 1);
    assert_int_equal(gf_damage_of("a\xef\xbf\xbd", 4).invalid, 0);
    mends_to("", 0, "");
}

static void markup_is_seen(void **state) {
    static const char *const yes[] = {"a<br>b", "<BR />", "</p>", "<a href=\"x\">y", "Q&amp;A",
                                      "&#39;",  "&#x27;", "<h1>", "x &lt; y",        "<img src=a>"};
    static const char *const no[] = {"a < b > c", "<3",  "AT&T;", "&",    "Q & A; B", "<bread>",
                                     "a<br",      "&#;", "&#zz;", "i <b", "&amp",     "<a"};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!gf_damage_of(yes[i], strlen(yes[i])).markup) fail_msg("%s is no markup", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (gf_damage_of(no[i], strlen(no[i])).markup) fail_msg("%s is markup", no[i]);
}

/* Any bytes are mended into well-formed text that stays as it is. */
static void any_bytes_are_mended_once_for_all(void **state) {
    static const char *const parts[] = {"\xc3\x83", "\xc2\xa9", "\xc3\xa2", "\xe2\x82\xac", "\xff",
                                        "\xc2\x80", "a",        " ",        "\xe2\x84\xa2", "\x01",
                                        "\xc3\x82", "\xc5\x93", "\xc3\xb0", "\xc5\xb8",     "\xe2"};
    uint32_t x = 2463534242u;
    (void)state;
    for (int k = 0; k < 3000; k++) {
        gf_text text = {0}, once = {0}, twice = {0};
        gf_damage d;
        for (int i = 0; i < 12; i++) {
            const char *part;
            x ^= x << 13, x ^= x >> 17, x ^= x << 5; /* xorshift (Marsaglia 2003) */
            part = parts[x % (sizeof parts / sizeof *parts)];
            assert_true(gf_text_add_bytes(&text, part, strlen(part), NULL));
        }
        assert_true(gf_text_mend(&once, text.data, text.length, NULL));
        d = gf_damage_of(once.data, once.length);
        assert_false(gf_damage_is_mendable(&d));
        assert_true(gf_text_mend(&twice, once.data, once.length, NULL));
        assert_string_equal(once.data, twice.data);
        gf_text_free(&text);
        gf_text_free(&once);
        gf_text_free(&twice);
    }
}

static void blank_texts(void **state) {
    (void)state;
    assert_true(gf_care_is_blank("", 0));
    assert_true(gf_care_is_blank(" \t\n\xc2\xa0", 5));
    assert_true(gf_care_is_blank("... -- !?", 9));
    assert_true(gf_care_is_blank("\xe2\x80\xa6\xef\xbf\xbd", 6));
    assert_false(gf_care_is_blank("...7", 4));
    assert_false(gf_care_is_blank("\xe2\x98\x83", 3));
}

/* ---- rows with malformed UTF-8 ---- */

/* The offsets that reading a file of text and label gives, -1 for sound rows. */
static void has_bad_bytes(const char *name, const char *content, size_t size, int64_t n,
                          const int64_t *want) {
    static const char *const fields[] = {"text", "label"};
    gf_cell cells[2];
    gf_rows *r;
    assert_true(gf_io_replace_file(path_of(name), content, size, NULL));
    assert_non_null(r = gf_rows_open(path_of(name), fields, 2, NULL));
    gf_rows_take_any_bytes(r);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(gf_rows_next(r, cells, NULL), 1);
        assert_int_equal(gf_rows_bad_byte(r), want[i]);
        if (want[i] >= 0) assert_int_equal((unsigned char)content[want[i]], 0xff);
    }
    assert_int_equal(gf_rows_next(r, cells, NULL), 0);
    gf_rows_close(r);
}

static void malformed_rows_pass_with_their_place(void **state) {
    static const char jsonl[] = "\xef\xbb\xbf{\"text\": \"a\xff\"}\n\n{\"text\": \"b\"}\r\n"
                                "{\"other\": \"\xff\", \"text\": \"c\"}\n"
                                "{\"text\": \"d\", \"label\": \"\xff\"}";
    static const char csv[] = "label,text\nx,a\n\"y\",\"b\nb\xff\"\nz,c\n";
    static const char tsv[] = "text\tlabel\r\na\xff\tx\r\nb\ty\r\n";
    static const int64_t in_jsonl[] = {14, -1, -1, 0}, in_csv[] = {-1, 23, -1}, in_tsv[] = {13, -1};
    int64_t last[4];
    (void)state;
    memcpy(last, in_jsonl, sizeof last);
    last[3] = (int64_t)(strrchr(jsonl, '\xff') - jsonl);
    has_bad_bytes("bad.jsonl", jsonl, sizeof jsonl - 1, 4, last);
    has_bad_bytes("bad.csv", csv, sizeof csv - 1, 3, in_csv);
    has_bad_bytes("bad.tsv", tsv, sizeof tsv - 1, 2, in_tsv);
}

/* ---- cleaning ---- */

static const char recipe_text[] =
    "{\"model\": {\"base\": \"bert\", \"init\": \"random\"}, \"data\": {\"train\": "
    "\"train.jsonl\", "
    "\"dev\": \"dev.jsonl\", \"test\": \"test.csv\"}, \"tasks\": [{\"name\": \"a\"}, {\"name\": "
    "\"b\", \"label\": \"c\"}], \"phases\": [{\"trainable\": {}}], \"output\": \"run\"}";

static void write_project(void) {
    char *base = gf_io_absolute("demo/tiny-bert", NULL);
    char *recipe = gf_format(NULL, "%s", recipe_text), *at = strstr(recipe, "\"bert\"");
    gf_text text = {0};
    assert_true(gf_text_add(&text, NULL, "%.*s\"%s\"%s", (int)(at - recipe), recipe, base, at + 6));
    write_file(path_of("r.json"), text.data);
    write_file(path_of("train.jsonl"),
               "{\"text\": \"good cheese here\", \"a\": \"x\", \"c\": null}\n"
               "{\"text\": \"stands in dev\", \"a\": \"x\"}\n"
               "{\"text\": \"stands in test\", \"a\": \"y\"}\n"
               "{\"text\": \"said twice\", \"a\": \"x\", \"c\": \"p\", \"more\": 3}\n"
               "{\"text\": \"said twice\", \"a\": \"x\", \"c\": \"p\"}\n"
               "{\"text\": \"said twice\", \"a\": \"x\"}\n"
               "{\"text\": \"good or bad\", \"a\": \"x\"}\n"
               "{\"text\": \"good or bad\", \"a\": \"y\"}\n"
               "{\"text\": \"good or bad\", \"c\": \"q\"}\n"
               "{\"text\": \"Fine  Or Not\", \"a\": \"x\"}\n"
               "{\"text\": \"fine or not \", \"a\": \"y\"}\n"
               "{\"text\": \"  ... !\", \"a\": \"x\"}\n{\"text\": \"\", \"a\": \"x\"}\n"
               "{\"text\": \"caf\xc3\x83\xc2\xa9 on dev\", \"a\": \"y\"}\n"
               "{\"text\": \"broken \xff here\", \"a\": \"x\"}\n"
               "{\"text\": \"bell\\u0007 rings \\\"out\\\"\", \"a\": \"y\", \"c\": \"q\"}\n");
    write_file(path_of("dev.jsonl"), "{\"text\": \"stands in dev\", \"a\": \"x\"}\n"
                                     "{\"text\": \"caf\xc3\xa9 on dev\", \"a\": \"y\"}\n"
                                     "{\"text\": \"in both of them\", \"a\": \"y\"}\n");
    write_file(path_of("test.csv"), "c,text,a\n,stands in test,y\np,\"in both\nof them\",\n"
                                    "p,in both of them,y\n");
    gf_text_free(&text);
    gf_free(recipe);
    gf_free(base);
}

static bool clean(const char *const *sets, int64_t n_sets, const char *out, bool force, gf_err *e) {
    gf_recipe r = {0};
    gf_text report = {0};
    bool ok = gf_recipe_read(&r, path_of("r.json"), sets, n_sets, e) &&
              gf_check_fix(&r, out, force, NULL, &report, e);
    gf_text_free(&report);
    gf_recipe_free(&r);
    return ok;
}

static void cleaning_keeps_what_is_sound(void **state) {
    gf_err e = {0};
    char out[128], path[160];
    (void)state;
    write_project();
    snprintf(out, sizeof out, "%s/out", folder);
    if (!clean(NULL, 0, out, false, &e)) fail_msg("%s", e.text);
    snprintf(path, sizeof path, "%s/train.jsonl", out);
    assert_file(path, "{\"text\": \"good cheese here\", \"a\": \"x\", \"c\": null}\n"
                      "{\"text\": \"said twice\", \"a\": \"x\", \"c\": \"p\"}\n"
                      "{\"text\": \"said twice\", \"a\": \"x\"}\n"
                      "{\"text\": \"good or bad\", \"c\": \"q\"}\n"
                      "{\"text\": \"broken \xef\xbf\xbd here\", \"a\": \"x\"}\n"
                      "{\"text\": \"bell rings \\\"out\\\"\", \"a\": \"y\", \"c\": \"q\"}\n");
    snprintf(path, sizeof path, "%s/dev.jsonl", out);
    assert_file(path, "{\"text\": \"stands in dev\", \"a\": \"x\"}\n"
                      "{\"text\": \"caf\xc3\xa9 on dev\", \"a\": \"y\"}\n");
    snprintf(path, sizeof path, "%s/test.jsonl", out);
    assert_file(path, "{\"text\": \"stands in test\", \"a\": \"y\"}\n"
                      "{\"text\": \"in both\\nof them\", \"c\": \"p\"}\n"
                      "{\"text\": \"in both of them\", \"a\": \"y\", \"c\": \"p\"}\n");
    assert_false(clean(NULL, 0, out, false, &e));
    assert_int_equal(e.code, GF_E_IO);
    assert_non_null(strstr(e.text, "use --force"));
}

static void cleaning_again_changes_nothing(void **state) {
    static const char *const files[] = {"train", "dev", "test"};
    const char *sets[3];
    char *set[3], once[128], twice[128];
    gf_err e = {0};
    (void)state;
    write_project();
    snprintf(once, sizeof once, "%s/once", folder);
    snprintf(twice, sizeof twice, "%s/twice", folder);
    if (!clean(NULL, 0, once, false, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < 3; i++)
        sets[i] = set[i] = gf_format(NULL, "data.%s=%s/%s.jsonl", files[i], once, files[i]);
    if (!clean(sets, 3, twice, false, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < 3; i++) {
        char *a = gf_format(NULL, "%s/%s.jsonl", once, files[i]);
        char *b = gf_format(NULL, "%s/%s.jsonl", twice, files[i]);
        char *text = gf_io_read_all(a, 1 << 20, &(size_t){0}, NULL);
        assert_file(b, text);
        gf_free(text);
        gf_free(a);
        gf_free(b);
        gf_free(set[i]);
    }
}

static void a_split_that_would_be_empty(void **state) {
    gf_err e = {0};
    char out[128];
    (void)state;
    write_project();
    write_file(path_of("dev.jsonl"), "{\"text\": \"!\", \"a\": \"x\"}\n");
    snprintf(out, sizeof out, "%s/none", folder);
    assert_false(clean(NULL, 0, out, false, &e));
    assert_int_equal(e.code, GF_E_INVALID);
    assert_non_null(strstr(e.text, "no row of dev"));
    assert_false(gf_io_exists(out));
    e = (gf_err){0};
    write_file(path_of("dev.jsonl"), "{\"text\": \"a good one\", \"a\": 3}\n");
    assert_false(clean(NULL, 0, out, false, &e));
    assert_int_equal(e.code, GF_E_INVALID);
    assert_non_null(strstr(e.text, "dev.jsonl:1: field \"a\" is a number"));
}

/* ---- columns ---- */

static gf_column_role role_of(const gf_columns *c, const char *name) {
    int64_t i = gf_columns_find(c, name);
    if (i < 0) fail_msg("there is no column %s", name);
    return c->list[i].role;
}

static void columns_are_told_apart(void **state) {
    gf_columns c = {0};
    gf_text t = {0};
    gf_err e = {0};
    (void)state;
    assert_true(gf_text_add(&t, &e, "number,uuid,kind,score,flag,title,body,same\n"));
    for (int i = 0; i < 40; i++)
        assert_true(gf_text_add(&t, &e,
                                "%d,0f8fad5bd9cb469fa16570867728950e0f8fad5bd9cb%04d,%s,%d.5,%d,"
                                "title %d,this is the text of row %d,yes\n",
                                i + 1, i, i % 3 ? "red" : "green", i % 7, i % 2, i / 2, i));
    write_file(path_of("columns.csv"), t.data);
    if (!gf_columns_read(&c, path_of("columns.csv"), &e)) fail_msg("%s", e.text);
    assert_int_equal(c.rows, 40);
    assert_string_equal(c.list[gf_columns_find_text(&c)].name, "body");
    assert_int_equal(role_of(&c, "number"), GF_COLUMN_IDS);
    assert_int_equal(role_of(&c, "uuid"), GF_COLUMN_IDS);
    assert_int_equal(role_of(&c, "kind"), GF_COLUMN_LABEL);
    assert_int_equal(role_of(&c, "score"), GF_COLUMN_NUMBER);
    assert_int_equal(role_of(&c, "flag"), GF_COLUMN_LABEL);
    assert_int_equal(role_of(&c, "same"), GF_COLUMN_CONSTANT);
    assert_true(c.list[gf_columns_find(&c, "kind")].distinct == 2);
    gf_columns_free(&c);
    gf_text_free(&t);
}

static void numbers_and_sets_are_told_apart(void **state) {
    gf_columns c = {0};
    gf_text t = {0};
    gf_err e = {0};
    (void)state;
    for (int i = 0; i < 60; i++)
        assert_true(gf_text_add(
            &t, &e,
            "{\"stars\": %d, \"year\": %d, \"sim\": %d.%02d, \"price\": %d.5, \"row\": %d, "
            "\"list\": [\"a\"%s], \"tags\": \"%s\", \"path\": \"%s\", \"half\": %d.5}\n",
            i % 5 + 1, 1990 + i % 3, i % 4, i, i * 9, 100 - i, i % 2 ? ", \"b\"" : "",
            i % 3 == 0   ? "x; y"
            : i % 3 == 1 ? "z;x;y"
            : i % 2      ? "z"
                         : "y; z",
            i % 2 ? "home|bath" : "toys|dolls", i % 2));
    write_file(path_of("kinds.jsonl"), t.data);
    if (!gf_columns_read(&c, path_of("kinds.jsonl"), &e)) fail_msg("%s", e.text);
    assert_int_equal(role_of(&c, "stars"), GF_COLUMN_GRADES);
    assert_int_equal(role_of(&c, "year"), GF_COLUMN_NUMBER);
    assert_true(gf_column_is_graded(&c.list[gf_columns_find(&c, "year")]));
    assert_int_equal(role_of(&c, "sim"), GF_COLUMN_VALUES);
    assert_int_equal(role_of(&c, "price"), GF_COLUMN_NUMBER);
    assert_int_equal(role_of(&c, "half"), GF_COLUMN_NUMBER);
    assert_int_equal(role_of(&c, "row"), GF_COLUMN_IDS);
    assert_int_equal(role_of(&c, "list"), GF_COLUMN_SETS);
    assert_null(c.list[gf_columns_find(&c, "list")].separator);
    assert_int_equal(role_of(&c, "tags"), GF_COLUMN_SETS);
    assert_string_equal(c.list[gf_columns_find(&c, "tags")].separator, ";");
    assert_int_equal(role_of(&c, "path"), GF_COLUMN_LABEL);
    assert_string_equal(c.list[gf_columns_find(&c, "path")].separator, "|");
    gf_columns_free(&c);
    gf_text_free(&t);
}

/* A label that the first row lacks is found all the same. */
static void keys_of_later_rows_count(void **state) {
    gf_columns c = {0};
    (void)state;
    write_file(path_of("keys.jsonl"),
               "{\"text\": \"one two\"}\n{\"text\": \"three\", \"l\": \"x\"}\n"
               "{\"text\": \"four\", \"l\": \"x\", \"n\": 4}\n");
    assert_true(gf_columns_read(&c, path_of("keys.jsonl"), NULL));
    assert_int_equal(c.count, 3);
    assert_int_equal(c.list[gf_columns_find(&c, "l")].missing, 1);
    assert_int_equal(role_of(&c, "n"), GF_COLUMN_NUMBER);
    gf_columns_free(&c);
}

/* ---- lines ---- */

static void lines_keep_to_80_columns(void **state) {
    gf_text t = {0};
    (void)state;
    assert_true(gf_text_add_wrapped(
        &t, "! ", "  ",
        "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 bbbbbbbbb cccccccccc dddddddddd eeeeeeeee ffffffffff "
        "gggggggggg hhhhhhh iii jjjj",
        NULL));
    assert_string_equal(t.data,
                        "! \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 bbbbbbbbb cccccccccc dddddddddd "
                        "eeeeeeeee ffffffffff gggggggggg hhhhhhh\n  iii jjjj\n");
    t.length = 0;
    assert_true(gf_text_add_shell_word(&t, "a b'c", NULL) && gf_text_add(&t, NULL, " ") &&
                gf_text_add_shell_word(&t, "a=/b.c", NULL));
    assert_string_equal(t.data, "'a b'\\''c' a=/b.c");
    gf_text_free(&t);
}

/* ---- memory ---- */

static bool check_once(gf_err *e) {
    gf_recipe r = {0};
    gf_check c = {0};
    bool ok = gf_recipe_read(&r, path_of("r.json"), NULL, 0, e) &&
              gf_check_run(&c, &r, "graft check", NULL, e);
    if (ok) assert_int_equal(c.refused.code, GF_E_INVALID);
    if (ok) assert_non_null(strstr(c.refused.text, "train.jsonl:15: "));
    gf_check_free(&c);
    gf_recipe_free(&r);
    return ok;
}

/* Labels of every kind, in a file that is divided. */
static bool kinds_once(gf_err *e) {
    const char *sets[] = {
        NULL,
        "data.split={\"dev\": 0.2}",
        "data.text=row_text",
        "tasks=[{\"name\": \"stars\", \"type\": \"ordinal\"}, {\"name\": \"sim\", \"type\": "
        "\"regression\"}, {\"name\": \"tags\", \"type\": \"multi_label\", \"separator\": \";\"}, "
        "{\"name\": \"list\", \"type\": \"multi_label\"}]",
        "data.dev=null",
        "data.test=null"};
    gf_recipe r = {0};
    gf_check c = {0};
    gf_text report = {0};
    char out[128], train[160];
    bool ok;
    snprintf(out, sizeof out, "%s/walk-kinds", folder);
    snprintf(train, sizeof train, "data.train=%s/texts.jsonl", folder);
    sets[0] = train;
    ok = gf_recipe_read(&r, path_of("r.json"), sets, 6, e) &&
         gf_check_run(&c, &r, "graft check", NULL, e) &&
         gf_check_fix(&r, out, true, NULL, &report, e);
    gf_text_free(&report);
    gf_check_free(&c);
    gf_recipe_free(&r);
    return ok;
}

static void write_texts(void) {
    gf_text t = {0};
    for (int i = 0; i < 30; i++)
        assert_true(gf_text_add(&t, NULL,
                                "{\"row_text\": \"cheese and bread %d\", \"stars\": %d, \"sim\": "
                                "0.%d, \"tags\": \"%s\", \"list\": [\"a\"%s]}\n",
                                i, i % 2 + 1, i, i % 4 > 1 ? "x ; y" : "y",
                                i % 2 ? ", \"b\"" : ""));
    write_file(path_of("texts.jsonl"), t.data);
    gf_text_free(&t);
}

static bool init_kinds_once(gf_err *e) {
    gf_init_options o = {.data = path_of("texts.jsonl"), .base = "demo/tiny-bert"};
    gf_text t = {0};
    bool ok = gf_init_recipe(&o, &t, NULL, e);
    gf_text_free(&t);
    return ok;
}

static bool init_once(gf_err *e) {
    gf_init_options o = {.data = path_of("columns.csv"), .base = "demo/tiny-bert"};
    gf_text t = {0};
    bool ok = gf_init_recipe(&o, &t, NULL, e);
    gf_text_free(&t);
    return ok;
}

static bool clean_once(gf_err *e) {
    char out[128];
    snprintf(out, sizeof out, "%s/walk", folder);
    return clean(NULL, 0, out, true, e);
}

/* Every k-th allocation fails in turn; k grows, as there are many thousand. */
static void walk(bool (*once)(gf_err *)) {
    int64_t faults = 0;
    for (int64_t k = 1;; k += 1 + k / 24) {
        gf_err e = {0};
        int64_t before = gf_mem_get_stats().live_blocks;
        bool ok, fired;
        gf_mem_fail_at(k, false);
        ok = once(&e);
        fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
        if (!fired) {
            assert_true(ok);
            break;
        }
        faults++;
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
    }
    assert_true(faults > 50);
}

static void memory_may_run_out(void **state) {
    (void)state;
    gf_json_use_core_memory();
    write_project();
    walk(check_once);
    walk(clean_once);
    walk(init_once);
    write_texts();
    walk(kinds_once);
    walk(init_kinds_once);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(double_encoded_text_is_decoded),
        cmocka_unit_test(real_text_is_left_alone),
        cmocka_unit_test(weak_damage_counts_beside_strong),
        cmocka_unit_test(malformed_bytes_and_controls),
        cmocka_unit_test(markup_is_seen),
        cmocka_unit_test(any_bytes_are_mended_once_for_all),
        cmocka_unit_test(blank_texts),
        cmocka_unit_test(malformed_rows_pass_with_their_place),
        cmocka_unit_test(cleaning_keeps_what_is_sound),
        cmocka_unit_test(cleaning_again_changes_nothing),
        cmocka_unit_test(a_split_that_would_be_empty),
        cmocka_unit_test(columns_are_told_apart),
        cmocka_unit_test(numbers_and_sets_are_told_apart),
        cmocka_unit_test(keys_of_later_rows_count),
        cmocka_unit_test(lines_keep_to_80_columns),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
