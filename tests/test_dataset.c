/* Data sets of one file and of several. */
#include "tests/dataset_help.h"

/* ---- data sets ---- */

typedef struct two_tasks {
    gf_labels category, sentiment;
    gf_task_field task[2];
} two_tasks;

static void set_up(two_tasks *t) {
    *t = (two_tasks){0};
    t->task[0] = (gf_task_field){.task = "category", .field = "category", .labels = &t->category};
    t->task[1] = (gf_task_field){.task = "mood", .field = "sentiment", .labels = &t->sentiment};
    add(&t->sentiment, "positive");
    add(&t->sentiment, "neutral");
    add(&t->sentiment, "negative");
    t->sentiment.fixed = true;
}

static void tear_down(two_tasks *t) {
    gf_labels_free(&t->category);
    gf_labels_free(&t->sentiment);
}

static void a_table_becomes_ids_and_classes(void **state) {
    const char *const files[] = {"table.jsonl", "table.csv", "table.tsv",
                                 "variable.h5", "fixed.h5",  "compound.hdf5"};
    const int32_t category[] = {0, 1, 0, -1, 0, 1}, mood[] = {0, 2, -1, 1, 0, -1};
    const int64_t bytes[] = {20, 29, 0, 23, 26, 22}, kept[] = {20, 22, 0, 22, 22, 22};
    (void)state;
    for (int k = 0; k < 6; k++) {
        two_tasks t;
        gf_dataset d = {0};
        gf_err e = {0};
        char path[64];
        int64_t pieces = 0;
        set_up(&t);
        snprintf(path, sizeof path, DATA "%s", files[k]);
        assert_true(gf_dataset_learn_labels(path, t.task, 2, &e));
        assert_true(gf_dataset_finish_labels(t.task, 2, &e));
        assert_int_equal(t.category.count, 2);
        assert_string_equal(t.category.names[1], "service");
        assert_string_equal(t.sentiment.names[0], "positive");
        assert_true(gf_dataset_add(&d, path, "text", t.task, 2, NULL, 24, &e));
        assert_int_equal(d.rows, 6);
        for (int i = 0; i < 6; i++) {
            assert_int_equal(d.label[0][i], category[i]);
            assert_int_equal(d.label[1][i], mood[i]);
            assert_int_equal(d.start[i + 1] - d.start[i], kept[i] + 2);
            assert_int_equal(d.ids.id[d.start[i]], 1);
            assert_int_equal(d.ids.id[d.start[i + 1] - 1], 2);
            assert_int_equal(d.line[i], i + 1 + (k == 1 || k == 2));
            pieces += bytes[i];
        }
        assert_int_equal(d.ids.id[1], 'T');
        assert_int_equal(d.pieces, pieces);
        assert_int_equal(d.truncated, 3);
        gf_dataset_free(&d);
        tear_down(&t);
    }
}

/* FNV-1a 64 of "", "a" and "foobar" as in draft-eastlake-fnv, appendix C. */
static void texts_are_hashed(void **state) {
    gf_dataset d = {0};
    gf_err e = {0};
    const char *path = write_text("x.txt", "\na\nfoobar\nxax");
    (void)state;
    assert_true(gf_dataset_add(&d, path, "text", NULL, 0, NULL, 16, &e));
    assert_true(d.text_hash[0] == 0xcbf29ce484222325u);
    assert_true(d.text_hash[1] == 0xaf63dc4c8601ec8cu);
    assert_true(d.text_hash[2] == 0x85944171f73967e8u);
    assert_int_equal(d.unknown, 2);
    assert_string_equal(d.source[0].path, path);
    gf_dataset_free(&d);
}

static void many_rows_are_read(void **state) {
    enum { ROWS = 5000 };
    char *text = malloc(ROWS * 16), *p = text;
    gf_dataset d = {0};
    gf_err e = {0};
    gf_labels l = {0};
    gf_task_field task = {.task = "t", .field = "label", .labels = &l};
    const char *path;
    (void)state;
    p += sprintf(p, "text,label\n");
    for (int i = 0; i < ROWS; i++) p += sprintf(p, "%d,%d\n", i, i % 10);
    path = write_text("x.csv", text);
    assert_true(gf_dataset_learn_labels(path, &task, 1, &e));
    assert_true(gf_dataset_finish_labels(&task, 1, &e));
    assert_true(gf_dataset_add(&d, path, "text", &task, 1, NULL, 16, &e));
    assert_int_equal(d.rows, ROWS);
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(d.label[0][i], i % 10);
        assert_int_equal(d.start[i + 1] - d.start[i], snprintf(NULL, 0, "%d", i) + 2);
    }
    gf_dataset_free(&d);
    gf_labels_free(&l);
    free(text);
}

/* ---- several files ---- */

typedef struct three_files {
    gf_labels category, tags;
    gf_task_field task[3];
    gf_dataset data;
    char path[3][128];
} three_files;

/* The second has no tags, the third its own text column and only a score. */
static bool read_three(three_files *t, gf_err *e) {
    const char *const columns[3][4] = {{"text", "category", "tags", "score"},
                                       {"text", "kind", NULL, NULL},
                                       {"body", NULL, NULL, "y"}};
    bool ok = true;
    t->task[0] = (gf_task_field){.task = "category", .labels = &t->category};
    t->task[1] = (gf_task_field){.task = "tags", .labels = &t->tags, .kind = GF_LABEL_SET};
    t->task[2] = (gf_task_field){.task = "score", .kind = GF_LABEL_NUMBER};
    for (int pass = 0; ok && pass < 2; pass++) {
        for (int f = 0; ok && f < 3; f++) {
            for (int k = 0; k < 3; k++) t->task[k].field = columns[f][k + 1];
            ok = pass == 0
                     ? gf_dataset_learn_labels(t->path[f], t->task, 3, e)
                     : gf_dataset_add(&t->data, t->path[f], columns[f][0], t->task, 3, NULL, 16, e);
        }
        if (pass == 0) ok = ok && gf_dataset_finish_labels(t->task, 3, e);
    }
    return ok;
}

static void write_three(three_files *t) {
    *t = (three_files){0};
    strcpy(t->path[0],
           write_text("1.jsonl", "{\"text\":\"a\",\"category\":\"z\",\"tags\":[\"q\"]}\n\n"
                                 "{\"text\":\"bx\",\"category\":\"m\",\"score\":2}\n"));
    strcpy(t->path[1], write_text("2.csv", "text,kind\nccc,a\ndddd,m\n"));
    strcpy(t->path[2], write_text("3.tsv", "body\ty\nxxxxxxxxxxxxxxxxxxxx\t-1\n"));
}

static void free_three(three_files *t) {
    gf_dataset_free(&t->data);
    gf_labels_free(&t->category);
    gf_labels_free(&t->tags);
}

static void files_are_appended_as_sources(void **state) {
    const int64_t first[] = {0, 2, 4}, rows[] = {2, 2, 1}, lines[] = {1, 3, 2, 3, 2};
    const int32_t category[] = {2, 1, 0, 1, -1}, tags[] = {0, -1, -1, -1, -1};
    const int32_t score[] = {-1, 0, -1, -1, 0}, pieces[] = {1, 2, 3, 4, 20};
    three_files t;
    gf_err e = {0};
    (void)state;
    write_three(&t);
    assert_true(read_three(&t, &e));
    assert_int_equal(t.category.count, 3); /* a, m, z: from two files, then sorted */
    assert_int_equal(t.data.n_sources, 3);
    assert_int_equal(t.data.rows, 5);
    for (int s = 0; s < 3; s++) {
        assert_string_equal(t.data.source[s].path, t.path[s]);
        assert_int_equal(t.data.source[s].first, first[s]);
        assert_int_equal(t.data.source[s].rows, rows[s]);
    }
    for (int i = 0; i < 5; i++) {
        const char *path;
        int64_t line;
        gf_dataset_place(&t.data, i, &path, &line);
        assert_string_equal(path, t.path[i / 2]);
        assert_int_equal(line, lines[i]);
        assert_int_equal(t.data.label[0][i], category[i]);
        assert_int_equal(t.data.label[1][i], tags[i]);
        assert_int_equal(t.data.label[2][i], score[i]);
        assert_true(t.data.target[2][i] == (gf_real)(i == 1 ? 2 : i == 4 ? -1 : 0));
        assert_int_equal(t.data.row_pieces[i], pieces[i]);
        assert_int_equal(t.data.row_unknown[i], i == 1 ? 1 : i == 4 ? 14 : 0);
        assert_int_equal(t.data.start[i + 1] - t.data.start[i], i == 4 ? 16 : pieces[i] + 2);
    }
    assert_int_equal(t.data.truncated, 1);
    free_three(&t);
}

/* A field that a file does not have is another file's to give; but one that it has must be used. */
static void a_file_without_a_tasks_labels_is_refused(void **state) {
    three_files t;
    gf_err e = {0};
    (void)state;
    write_three(&t);
    strcpy(t.path[1], write_text("2.csv", "text,kind\nccc,\n"));
    assert_false(read_three(&t, &e));
    assert_non_null(
        strstr(e.text, "2.csv: no row has a label for task \"category\" in field \"kind\""));
    free_three(&t);
}

static void differing_tasks_are_refused(void **state) {
    three_files t;
    gf_err e = {0};
    (void)state;
    write_three(&t);
    assert_true(read_three(&t, &e));
    assert_false(gf_dataset_add(&t.data, t.path[2], "body", t.task, 2, NULL, 16, &e));
    assert_int_equal(e.code, GF_E_INTERNAL);
    assert_null(t.data.source);
    free_three(&t);
}

static void some_rows_can_be_selected(void **state) {
    const int64_t rows[] = {1, 4};
    gf_dataset some = {0};
    three_files t;
    gf_err e = {0};
    (void)state;
    write_three(&t);
    assert_true(read_three(&t, &e));
    assert_true(gf_dataset_select(&some, &t.data, rows, 2, &e));
    assert_int_equal(some.rows, 2);
    assert_int_equal(some.n_sources, 3);
    assert_int_equal(some.source[1].rows, 0);
    assert_int_equal(some.source[2].first, 1);
    assert_int_equal(some.pieces, 22);
    assert_int_equal(some.unknown, 15);
    assert_int_equal(some.truncated, 1);
    for (int i = 0; i < 2; i++) {
        const char *path, *was;
        int64_t line, was_line;
        gf_dataset_place(&some, i, &path, &line);
        gf_dataset_place(&t.data, rows[i], &was, &was_line);
        assert_string_equal(path, was);
        assert_int_equal(line, was_line);
        assert_int_equal(some.start[i + 1] - some.start[i], i ? 16 : 4);
        assert_int_equal(some.ids.id[some.start[i] + 1], i ? 'x' : 'b');
    }
    gf_dataset_free(&some);
    free_three(&t);
}

static void every_failing_allocation_of_several_files_is_reported(void **state) {
    int64_t live = gf_mem_get_stats().live_blocks, k = 0;
    gf_err e = {.code = GF_E_NOMEM};
    (void)state;
    while (e.code != GF_OK) {
        three_files t;
        write_three(&t);
        e = (gf_err){0};
        gf_mem_fail_at(++k, false);
        read_three(&t, &e);
        assert_int_equal(e.code, gf_mem_fault_fired() ? GF_E_NOMEM : GF_OK);
        gf_mem_fail_at(0, false);
        free_three(&t);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    }
    assert_true(k > 80);
}

/* ---- refusals ---- */

static void refuses(const char *path, bool learning, const char *sentence) {
    two_tasks t;
    gf_dataset d = {0};
    gf_err e = {0};
    char wanted[1024];
    int64_t live = gf_mem_get_stats().live_blocks;
    set_up(&t);
    add(&t.category, "cheese");
    assert_false(learning ? gf_dataset_learn_labels(path, t.task, 2, &e)
                          : gf_dataset_add(&d, path, "text", t.task, 2, NULL, 24, &e));
    snprintf(wanted, sizeof wanted, "%s%s", path, sentence);
    assert_string_equal(e.text, wanted);
    assert_int_equal(e.code, GF_E_INVALID);
    tear_down(&t);
    assert_int_equal(gf_mem_get_stats().live_blocks, live);
}

static void wrong_labels_are_refused(void **state) {
    const char *number = "{\"text\":\"a\",\"category\":null}\n\n{\"text\":\"a\",\"category\":4}\n";
    (void)state;
    for (int learning = 0; learning < 2; learning++) {
        refuses(write_text("x.jsonl", number), learning,
                ":3: field \"category\" is a number; labels are strings or null");
        refuses(write_text("x.jsonl", "{\"text\":\"a\",\"sentiment\":[\"a\"]}\n"), learning,
                ":1: field \"sentiment\" is a list; labels are strings or null");
        refuses(write_text("x.jsonl", "{\"text\":\"a\",\"sentiment\":\"\"}\n"), learning,
                ":1: field \"sentiment\" is empty; write null for a missing label");
    }
    refuses(write_text("x.jsonl", "{\"text\":\"a\",\"sentiment\":\"postive\"}\n"), false,
            ":1: label \"postive\" of task \"mood\" is not one of its 3 classes; "
            "did you mean \"positive\"?");
    refuses(write_text("x.csv", "text,category,sentiment\na,cheese,\nb,something,\n"), false,
            ":3: label \"something\" of task \"category\" is not one of its 1 classes; "
            "correct it, or add it to the task's classes");
}

static void files_without_rows_or_labels_are_refused(void **state) {
    (void)state;
    refuses(write_text("x.jsonl", "\n"), false, ": it holds no rows");
    refuses(write_text("x.csv", "text,category,sentiment\n"), false, ": it holds no rows");
    refuses(write_text("x.txt", ""), false, ": it holds no rows");
    refuses(
        write_text("x.jsonl", "{\"text\":\"a\",\"category\":\"a\",\"sentimnt\":\"positive\"}\n"),
        true,
        ": no row has a label for task \"mood\" in field \"sentiment\"; did you mean "
        "\"sentimnt\"?");
    refuses(write_text("x.txt", "a\n"), true,
            ": no row has a label for task \"category\" in field \"category\"; check the field's "
            "name");
    refuses(write_text("x.csv", "text,category\na,b\n"), true,
            ": there is no column \"sentiment\"; the columns are \"text\", \"category\"");
    refuses(write_text("x.csv", "category,sentiment\na,b\n"), false,
            ": there is no column \"text\"; the columns are \"category\", \"sentiment\"");
}

static void every_failing_allocation_is_reported(void **state) {
    const char *const files[] = {DATA "table.jsonl", DATA "table.csv", DATA "table.tsv"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        int64_t live = gf_mem_get_stats().live_blocks, k = 0;
        gf_err e = {.code = GF_E_NOMEM};
        while (e.code != GF_OK) {
            two_tasks t;
            gf_dataset d = {0};
            set_up(&t);
            e = (gf_err){0};
            gf_mem_fail_at(++k, false);
            if (gf_dataset_learn_labels(files[i], t.task, 2, &e) &&
                gf_dataset_finish_labels(t.task, 2, &e))
                gf_dataset_add(&d, files[i], "text", t.task, 2, NULL, 24, &e);
            assert_int_equal(e.code, gf_mem_fault_fired() ? GF_E_NOMEM : GF_OK);
            gf_mem_fail_at(0, false);
            gf_dataset_free(&d);
            tear_down(&t);
            assert_int_equal(gf_mem_get_stats().live_blocks, live);
        }
        assert_true(k > 30);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_becomes_ids_and_classes),
        cmocka_unit_test(texts_are_hashed),
        cmocka_unit_test(many_rows_are_read),
        cmocka_unit_test(files_are_appended_as_sources),
        cmocka_unit_test(a_file_without_a_tasks_labels_is_refused),
        cmocka_unit_test(differing_tasks_are_refused),
        cmocka_unit_test(some_rows_can_be_selected),
        cmocka_unit_test(every_failing_allocation_of_several_files_is_reported),
        cmocka_unit_test(wrong_labels_are_refused),
        cmocka_unit_test(files_without_rows_or_labels_are_refused),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
