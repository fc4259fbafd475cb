/* Label dictionaries and data sets, with a stand-in for the tokenizer: [CLS] is 1, [SEP] 2, and
 * each byte a piece of its own value, 'x' being unknown. */
#include "core/io.h"
#include "core/mem.h"
#include "data/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define DATA "tests/data/rows/"

static bool add_id(gf_ids *ids, int32_t id, gf_err *e) {
    if (!gf_grow(&ids->id, ids->count, &ids->capacity, sizeof *ids->id, e)) return false;
    ids->id[ids->count++] = id;
    return true;
}

bool gf_tokenizer_encode(const gf_tokenizer *t, const char *text, size_t size, int64_t max_length,
                         gf_ids *ids, gf_encoding *out, gf_err *e) {
    int64_t pieces = (int64_t)size, kept = pieces < max_length - 2 ? pieces : max_length - 2;
    bool ok = add_id(ids, 1, e);
    assert_null(t);
    *out = (gf_encoding){.first = ids->count, .count = kept + 2, .pieces = pieces};
    for (int64_t i = 0; ok && i < kept; i++) {
        ok = add_id(ids, (unsigned char)text[i], e);
        out->unknown += text[i] == 'x';
    }
    out->truncated = kept < pieces;
    return ok && add_id(ids, 2, e);
}

static char folder[] = SCRATCH "/graft-dataset-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    return !gf_io_remove_tree(folder, NULL);
}

static const char *write_text(const char *name, const char *text) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_true(gf_io_replace_file(path, text, strlen(text), NULL));
    return path;
}

/* ---- labels ---- */

static void add(gf_labels *l, const char *name) {
    gf_err e = {0};
    assert_true(gf_labels_add(l, name, strlen(name), &e));
}

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
        cmocka_unit_test(labels_are_learned_and_sorted),
        cmocka_unit_test(fixed_labels_keep_their_order),
        cmocka_unit_test(many_labels_are_learned_fast),
        cmocka_unit_test(a_table_becomes_ids_and_classes),
        cmocka_unit_test(texts_are_hashed),
        cmocka_unit_test(many_rows_are_read),
        cmocka_unit_test(wrong_labels_are_refused),
        cmocka_unit_test(files_without_rows_or_labels_are_refused),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
