/* Label dictionaries, and what is a label of each kind. */
#include "tests/dataset_help.h"

#include <time.h>

/* ---- labels ---- */

static void labels_are_learned_and_sorted(void **state) {
    const char *const names[] = {"b", "a", "ä", "B", "ab", "b", "a", ""};
    const char *const sorted[] = {"", "B", "a", "ab", "b", "ä"};
    gf_labels l = {0};
    (void)state;
    for (int i = 0; i < 8; i++) add(&l, names[i]);
    assert_int_equal(l.count, 6);
    assert_string_equal(l.names[0], "b");
    assert_int_equal(gf_labels_find(&l, "b", 1), 0);
    gf_labels_sort(&l);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(l.names[i], sorted[i]);
        assert_int_equal(gf_labels_find(&l, sorted[i], strlen(sorted[i])), i);
    }
    assert_int_equal(gf_labels_find(&l, "abc", 2), 3);
    assert_int_equal(gf_labels_find(&l, "abc", 3), -1);
    assert_int_equal(gf_labels_find(&l, "a\0b", 3), -1);
    gf_labels_free(&l);
    gf_labels_sort(&l);
    assert_int_equal(gf_labels_find(&l, "a", 1), -1);
}

static void fixed_labels_keep_their_order(void **state) {
    const char *const names[] = {"positive", "neutral", "negative"};
    gf_labels l = {.fixed = true};
    gf_err e = {0};
    (void)state;
    for (int i = 0; i < 3; i++) add(&l, names[i]);
    for (int i = 0; i < 3; i++) assert_int_equal(gf_labels_find(&l, names[i], strlen(names[i])), i);
    assert_string_equal(gf_labels_nearest(&l, "positve"), "positive");
    assert_null(gf_labels_nearest(&l, "something"));
    assert_false(gf_labels_add(&l, "a\0b", 3, &e));
    assert_int_equal(e.code, GF_E_INVALID);
    gf_labels_free(&l);
}

static void many_labels_are_learned_fast(void **state) {
    gf_labels l = {0};
    clock_t begin = clock();
    char name[16];
    (void)state;
    for (int i = 0; i < 300000; i++) {
        snprintf(name, sizeof name, "%d", i % 1000 * 7919 % 1000);
        add(&l, name);
    }
    assert_int_equal(l.count, 1000);
    assert_true(clock() - begin < 5 * CLOCKS_PER_SEC);
    gf_labels_free(&l);
}

/* ---- kinds of labels ---- */

/* Decimal numbers and nothing else that strtod() would take. */
static void numbers_in_words_have_values(void **state) {
    static const struct {
        const char *text;
        double value;
    } good[] = {{"1", 1},      {"-2.5", -2.5}, {"+.5", 0.5}, {" 3.\t", 3},
                {"1e3", 1000}, {"2E-2", 0.02}, {"007", 7},   {"-0", 0},
                {"0.1", 0.1},  {"1e-400", 0},  {"1e+1", 10}};
    const char *const bad[] = {"",    " ",   "-",   ".",     "1,5", "0x10",  "nan", "inf", "1e",
                               "1e+", "1 2", "--1", "1.2.3", "e5",  "1e999", "one", "1\v2"};
    double value;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        value = -1;
        assert_true(gf_labels_value(good[i].text, strlen(good[i].text), &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(gf_labels_value(bad[i], strlen(bad[i]), &value));
    assert_false(gf_labels_value("1\0", 2, &value));
    assert_true(gf_labels_value("12", 1, &value) && value == 1);
}

static void labels_are_sorted_by_value(void **state) {
    const char *const names[] = {"10", "9", "-1", "2.5", "100", "1e1000"};
    const char *const sorted[] = {"-1", "2.5", "9", "10", "100"};
    gf_labels l = {0};
    gf_err e = {0};
    (void)state;
    for (int i = 0; i < 5; i++) add(&l, names[i]);
    assert_true(gf_labels_sort_by_value(&l, &e));
    for (int i = 0; i < 5; i++) {
        assert_string_equal(l.names[i], sorted[i]);
        assert_int_equal(gf_labels_find(&l, sorted[i], strlen(sorted[i])), i);
    }
    add(&l, "10.0");
    assert_false(gf_labels_sort_by_value(&l, &e));
    assert_string_equal(e.text,
                        "the labels \"10\" and \"10.0\" are one number; write it in one way");
    gf_labels_free(&l);
    e = (gf_err){0};
    add(&l, "good");
    assert_false(gf_labels_sort_by_value(&l, &e));
    assert_string_equal(e.text,
                        "label \"good\" is no number; list the task's \"classes\" in their order");
    gf_labels_free(&l);
    assert_true(gf_labels_sort_by_value(&l, &e));
    gf_labels_free(&l);
}

typedef struct one_task {
    gf_labels labels;
    gf_task_field task;
    gf_dataset data;
} one_task;

static void learn(one_task *t, const char *path, gf_label_kind kind, const char *separator) {
    gf_err e = {0};
    *t = (one_task){0};
    t->task = (gf_task_field){.task = "t",
                              .field = "y",
                              .labels = kind == GF_LABEL_NUMBER ? NULL : &t->labels,
                              .kind = kind,
                              .separator = separator};
    assert_true(gf_dataset_learn_labels(path, &t->task, 1, &e));
    assert_true(gf_dataset_finish_labels(&t->task, 1, &e));
    assert_true(gf_dataset_add(&t->data, path, "text", &t->task, 1, NULL, 16, &e));
}

static void forget(one_task *t) {
    gf_dataset_free(&t->data);
    gf_labels_free(&t->labels);
}

static void has_labels(const one_task *t, int64_t n, const int32_t *wanted) {
    assert_int_equal(t->data.rows, n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(t->data.label[0][i], wanted[i]);
}

static void has_names(const one_task *t, int64_t n, const char *const *wanted) {
    assert_int_equal(t->labels.count, n);
    for (int64_t i = 0; i < n; i++) assert_string_equal(t->labels.names[i], wanted[i]);
}

static void ordinal_labels_are_in_their_order(void **state) {
    const char *const classes[] = {"1", "2", "10"};
    one_task t;
    (void)state;
    learn(&t,
          write_text("x.jsonl", "{\"text\":\"a\",\"y\":10}\n{\"text\":\"b\",\"y\":\"2\"}\n"
                                "{\"text\":\"c\"}\n{\"text\":\"d\",\"y\":2.0}\n"
                                "{\"text\":\"e\",\"y\":1}\n"),
          GF_LABEL_ORDER, NULL);
    has_names(&t, 3, classes);
    has_labels(&t, 5, (const int32_t[]){2, 1, -1, 1, 0});
    assert_null(t.data.target[0]);
    forget(&t);
    learn(&t, write_text("x.csv", "text,y\na,10\nb,2\nc,\nd,1\n"), GF_LABEL_ORDER, NULL);
    has_names(&t, 3, classes);
    has_labels(&t, 4, (const int32_t[]){2, 1, -1, 0});
    forget(&t);
}

static void listed_ordinal_labels_need_no_numbers(void **state) {
    const char *path = write_text("x.csv", "text,y\na,good\nb,bad\n");
    gf_labels l = {0};
    gf_task_field task = {.task = "t", .field = "y", .labels = &l, .kind = GF_LABEL_ORDER};
    gf_dataset d = {0};
    gf_err e = {0};
    (void)state;
    add(&l, "good");
    add(&l, "bad");
    l.fixed = true;
    assert_true(gf_dataset_learn_labels(path, &task, 1, &e));
    assert_true(gf_dataset_finish_labels(&task, 1, &e));
    assert_string_equal(l.names[0], "good");
    assert_true(gf_dataset_add(&d, path, "text", &task, 1, NULL, 16, &e));
    assert_int_equal(d.label[0][1], 1);
    gf_dataset_free(&d);
    gf_labels_free(&l);
}

static void has_target(const one_task *t, int64_t n, const gf_real *wanted) {
    for (int64_t i = 0; i < n; i++) assert_true(t->data.target[0][i] == wanted[i]);
}

static void sets_are_rows_of_zeros_and_ones(void **state) {
    const char *const names[] = {"a", "b", "c d"};
    const gf_real wanted[] = {1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
    const int32_t present[] = {0, -1, 0, 0, 0};
    one_task t;
    (void)state;
    learn(&t,
          write_text("x.jsonl", "{\"text\":\"1\",\"y\":[\"b\",\"a\",\"b\"]}\n"
                                "{\"text\":\"2\",\"y\":null}\n{\"text\":\"3\",\"y\":[\"c d\"]}\n"
                                "{\"text\":\"4\",\"y\":[]}\n{\"text\":\"5\",\"y\":\" b \"}\n"),
          GF_LABEL_SET, NULL);
    has_names(&t, 3, names);
    has_labels(&t, 5, present);
    assert_int_equal(t.data.target_width[0], 3);
    has_target(&t, 15, wanted);
    forget(&t);
    learn(&t, write_text("x.tsv", "text\ty\n1\tb | a\n2\t\n3\tc d\n4\t |\n5\tb|b\n"), GF_LABEL_SET,
          NULL);
    has_names(&t, 3, names);
    has_labels(&t, 5, present);
    has_target(&t, 15, wanted);
    forget(&t);
    learn(&t, write_text("x.tsv", "text\ty\n1\tb, a\n2\t\n3\tc d\n4\t,\n5\tb\n"), GF_LABEL_SET,
          ", ");
    has_names(&t, 4, (const char *const[]){",", "a", "b", "c d"}); /* "," is not the separator */
    forget(&t);
    learn(&t, write_text("x.tsv", "text\ty\n1\tb::a\n2\tb:a\n"), GF_LABEL_SET, "::");
    has_names(&t, 3, (const char *const[]){"a", "b", "b:a"});
    forget(&t);
    learn(&t, write_text("x.tsv", "text\ty\n1\tb|a\n"), GF_LABEL_SET, "");
    has_names(&t, 1, (const char *const[]){"b|a"});
    forget(&t);
}

static void numbers_are_targets(void **state) {
    const gf_real wanted[] = {(gf_real)0.1, 0, -3, 0, 7};
    one_task t;
    (void)state;
    learn(&t,
          write_text("x.jsonl", "{\"text\":\"1\",\"y\":0.1}\n{\"text\":\"2\"}\n"
                                "{\"text\":\"3\",\"y\":\"-3\"}\n{\"text\":\"4\",\"y\":0}\n"
                                "{\"text\":\"5\",\"y\":7}\n"),
          GF_LABEL_NUMBER, NULL);
    has_labels(&t, 5, (const int32_t[]){0, -1, 0, 0, 0});
    assert_int_equal(t.data.target_width[0], 1);
    has_target(&t, 5, wanted);
    forget(&t);
    learn(&t, write_text("x.csv", "text,y\n1,0.1\n2,\n3,-3\n4,0\n5, 7\n"), GF_LABEL_NUMBER, NULL);
    has_labels(&t, 5, (const int32_t[]){0, -1, 0, 0, 0});
    has_target(&t, 5, wanted);
    forget(&t);
}

static void refuses_label(const char *path, gf_label_kind kind, bool fixed, const char *sentence) {
    gf_labels l = {.fixed = fixed};
    gf_task_field task = {.task = "t", .field = "y", .labels = &l, .kind = kind};
    gf_dataset d = {0};
    gf_err e = {0};
    char wanted[1024];
    assert_false(gf_dataset_learn_labels(path, &task, 1, &e) &&
                 gf_dataset_finish_labels(&task, 1, &e) &&
                 gf_dataset_add(&d, path, "text", &task, 1, NULL, 24, &e));
    snprintf(wanted, sizeof wanted, sentence[0] == ':' ? "%s%s" : "%.0s%s", path, sentence);
    assert_string_equal(e.text, wanted);
    assert_int_equal(e.code, GF_E_INVALID);
    assert_null(d.source);
    gf_labels_free(&l);
}

static const char *write_label(const char *json) {
    char row[256];
    snprintf(row, sizeof row, "{\"text\":\"a\",\"y\":%s}\n", json);
    return write_text("x.jsonl", row);
}

static void labels_of_another_kind_are_refused(void **state) {
    (void)state;
    refuses_label(write_label("[\"a\"]"), GF_LABEL_ORDER, false,
                  ":1: field \"y\" is a list; labels are strings, whole numbers or null");
    refuses_label(write_label("1.5"), GF_LABEL_ORDER, false,
                  ":1: field \"y\" is no whole number; labels are strings, whole numbers or null");
    refuses_label(write_label("1e300"), GF_LABEL_ORDER, false,
                  ":1: field \"y\" is no whole number; labels are strings, whole numbers or null");
    refuses_label(
        write_label("\"low\""), GF_LABEL_ORDER, false,
        ":1: label \"low\" of task \"t\" is no number; list the task's \"classes\" in their "
        "order");
    refuses_label(write_text("x.csv", "text,y\na,1\nb,01\n"), GF_LABEL_ORDER, false,
                  "task \"t\": the labels \"01\" and \"1\" are one number; write it in one way");
    refuses_label(
        write_label("[\"a\",1]"), GF_LABEL_SET, false,
        ":1: field \"y\" is a list of more than strings; labels are lists of strings, or null");
    refuses_label(write_label("[\"a\",\"\"]"), GF_LABEL_SET, false,
                  ":1: field \"y\" holds an empty label; remove it");
    refuses_label(write_label("\"a|\""), GF_LABEL_SET, false,
                  ":1: field \"y\" holds an empty label; remove it");
    refuses_label(write_label("\"\""), GF_LABEL_SET, false,
                  ":1: field \"y\" is empty; write null for a missing label");
    refuses_label(write_label("[]"), GF_LABEL_SET, false,
                  "task \"t\": every label is the empty set; check the field's name");
    refuses_label(write_label("true"), GF_LABEL_NUMBER, false,
                  ":1: field \"y\" is true or false; labels are numbers or null");
    refuses_label(
        write_label("\"high\""), GF_LABEL_NUMBER, false,
        ":1: field \"y\" holds \"high\", which is no number; correct it, or leave it empty");
    refuses_label(write_label("1e39"), GF_LABEL_NUMBER, false,
                  ":1: field \"y\" is a number too large for float32; scale it");
}

static void a_class_beyond_a_set_is_refused(void **state) {
    gf_labels l = {0};
    gf_task_field task = {.task = "t", .field = "y", .labels = &l, .kind = GF_LABEL_SET};
    gf_dataset d = {0};
    gf_err e = {0};
    (void)state;
    add(&l, "happy");
    assert_false(
        gf_dataset_add(&d, write_label("[\"happy\",\"hapy\"]"), "text", &task, 1, NULL, 24, &e));
    assert_non_null(strstr(e.text,
                           ":1: label \"hapy\" of task \"t\" is not one of its 1 classes; did "
                           "you mean \"happy\"?"));
    gf_labels_free(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_learned_and_sorted),
        cmocka_unit_test(fixed_labels_keep_their_order),
        cmocka_unit_test(many_labels_are_learned_fast),
        cmocka_unit_test(numbers_in_words_have_values),
        cmocka_unit_test(labels_are_sorted_by_value),
        cmocka_unit_test(ordinal_labels_are_in_their_order),
        cmocka_unit_test(listed_ordinal_labels_need_no_numbers),
        cmocka_unit_test(sets_are_rows_of_zeros_and_ones),
        cmocka_unit_test(numbers_are_targets),
        cmocka_unit_test(labels_of_another_kind_are_refused),
        cmocka_unit_test(a_class_beyond_a_set_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
