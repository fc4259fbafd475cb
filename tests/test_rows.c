/* The readers of rows: every format gives the same table, and every rule of data/rows.h holds. */
#include "tests/rows_help.h"

#include "core/io_fault.h"

#include <unistd.h>

/* The table of tests/golden/make_rows.py; NULL: missing. */
static const char *const table[][3] = {
    {"The cheese was tasty", "cheese", "positive"},
    {"She said \"never again\", twice", "service", "negative"},
    {"", "cheese", NULL},
    {"Käse für 3 €, bitte", NULL, "neutral"},
    {"美味しいチーズ 🧀", "cheese", "positive"},
    {" leading and trailing ", "service", NULL},
};
enum { ROWS = 6 };

/* ---- the same table from every format ---- */

static void same_table(const char *path, int64_t first_line) {
    gf_err e = {0};
    gf_cell cells[3];
    gf_rows *r = gf_rows_open(path, fields, 3, &e);
    if (!r) fail_msg("%s", e.text);
    for (int64_t i = 0; i < ROWS; i++) {
        assert_int_equal(gf_rows_next(r, cells, &e), 1);
        assert_int_equal(gf_rows_line(r), first_line + i);
        for (int k = 0; k < 3; k++) {
            if (table[i][k])
                has_text(&cells[k], table[i][k]);
            else
                assert_true(cells[k].kind == GF_CELL_MISSING || cells[k].kind == GF_CELL_NULL);
        }
    }
    assert_int_equal(gf_rows_next(r, cells, &e), 0);
    assert_string_equal(gf_rows_path(r), path);
    gf_rows_close(r);
}

static void every_format_gives_the_same_rows(void **state) {
    (void)state;
    same_table(DATA "table.jsonl", 1);
    same_table(DATA "table.csv", 2);
    same_table(DATA "table.tsv", 2);
    same_table(DATA "variable.h5", 1);
    same_table(DATA "fixed.h5", 1);
    same_table(DATA "compound.hdf5", 1);
}

static void has_columns(const char *path, int64_t n, const char *const *names) {
    gf_err e = {0};
    int64_t count = -1;
    char **columns = gf_rows_columns(path, &count, &e);
    assert_non_null(columns);
    assert_int_equal(count, n);
    for (int64_t i = 0; i < n; i++) assert_string_equal(columns[i], names[i]);
    gf_io_free_names(columns, count);
}

static void columns_are_listed_in_the_files_order(void **state) {
    const char *const in_order[] = {"id", "text", "category", "sentiment", "score"};
    const char *const by_name[] = {"category", "id", "matrix", "sentiment", "text"};
    gf_err e = {0};
    int64_t count;
    char *near = gf_rows_nearest_column(DATA "table.tsv", "sentimnet");
    (void)state;
    has_columns(DATA "table.jsonl", 4, in_order);
    has_columns(DATA "table.csv", 4, in_order);
    has_columns(DATA "table.tsv", 4, in_order);
    has_columns(DATA "compound.hdf5", 5, in_order);
    has_columns(DATA "variable.h5", 5, by_name);
    has_columns(write_text("x.txt", "a\nb\n"), 0, NULL);
    has_columns(write_text("x.jsonl", ""), 0, NULL);
    assert_string_equal(near, "sentiment");
    gf_free(near);
    assert_null(gf_rows_nearest_column(DATA "table.tsv", "something else"));
    assert_null(gf_rows_nearest_column(DATA "none.tsv", "text"));
    assert_null(gf_rows_columns(DATA "none.tsv", &count, &e));
}

/* ---- files ---- */

static void unreadable_files_are_refused(void **state) {
    const char *const endings[] = {"none.jsonl", "none.csv", "none.tsv", "none.h5", "none.txt"};
    (void)state;
    for (int i = 0; i < 5; i++)
        refuses(endings[i], GF_E_MODEL,
                ": cannot read it: No such file or directory; check the path and its permissions");
    refuses(folder, GF_E_MODEL,
            ": cannot read it: Is a directory; check the path and its permissions");
    refuses(write_text("x.json", "[]"), GF_E_MODEL,
            ": .json is no data format; write one object a line and name the file .jsonl");
    refuses(write_text("x.h5", "text,category\n"), GF_E_MODEL,
            ": it is not an HDF5 file, or a damaged one");
}

static void endings_are_read_in_any_case(void **state) {
    (void)state;
    reads(write_text("A.CSV", "text\n\"a\"\n"), 1, (const char *const[]){"a"});
    reads(write_text("A.NdJson", "{\"text\":\"a\"}\n"), 1, (const char *const[]){"a"});
    reads(write_text("A.Tsv", "text\n\"a\"\n"), 1, (const char *const[]){"\"a\""});
}

static void byte_order_mark_and_line_ends(void **state) {
    const char *const ab[] = {"a", "b"};
    (void)state;
    reads(write_text("x.txt", "\xef\xbb\xbf"
                              "a\r\nb"),
          2, ab);
    reads(write_text("x.jsonl", "\xef\xbb\xbf{\"text\":\"a\"}\r\n\r\n \n\n{\"text\":\"b\"}"), 2,
          ab);
    reads(write_text("x.csv", "\xef\xbb\xbftext\r\na\r\n\r\n\"b\"\r\n"), 2, ab);
    reads(write_text("x.tsv", "\xef\xbb\xbftext\r\na\r\n\r\nb"), 2, ab);
    reads(write_text("x.txt", "\xef\xbb\xbf"), 0, NULL);
}

/* HEAD, then `size` times 'a' with a newline every `line` bytes (0: none), then TAIL. */
static const char *write_long(const char *name, const char *head, size_t size, size_t line,
                              const char *tail) {
    size_t n = strlen(head), m = strlen(tail);
    char *text = malloc(n + size + m);
    const char *path;
    memcpy(text, head, n);
    memset(text + n, 'a', size);
    for (size_t i = line; line && i <= size; i += line) text[n + i - 1] = '\n';
    memcpy(text + n + size, tail, m);
    path = write_bytes(name, text, n + size + m);
    free(text);
    return path;
}

static void long_lines_are_read_or_refused(void **state) {
    enum { LONGEST = 16 << 20 };
    gf_err e = {0};
    (void)state;
    assert_int_equal(count_rows(write_long("x.txt", "", LONGEST, 0, "\r\nb"), fields, 1, &e), 2);
    assert_int_equal(e.code, GF_OK);
    refuses(write_long("x.txt", "a\n", LONGEST + 1, 0, "\n"), GF_E_INVALID,
            ":2: a line is longer than 16 MiB; split it");
    refuses(write_long("x.jsonl", "", LONGEST + 1, 0, ""), GF_E_INVALID,
            ":1: a line is longer than 16 MiB; split it");
    refuses(write_long("x.csv", "text,category\nx,y\nx,\"", 2 * LONGEST, 1024, "\"\n"),
            GF_E_INVALID,
            ":3: a record is longer than 16 MiB; is the quote that opens in line 3 closed?");
}

/* ---- JSON Lines ---- */

static void jsonl_rows_are_checked(void **state) {
    const char *good = "{\"text\":\"a\"}\n", *path;
    char text[256];
    (void)state;
    const char *const cases[][2] = {
        {"{\"text\":\"b\"",
         ":2:12: this is not valid JSON; a comma, quote or bracket is missing or "
         "too many near here"},
        {"{\"text\":\"b\"} x", ":2:14: something follows the JSON value; remove it"},
        {"[1]", ":2:1: the line is a list; a row is one object, {\"text\": \"...\"}"},
        {"17", ":2:1: the line is a number; a row is one object, {\"text\": \"...\"}"},
        {"{\"text\":null}", ":2: field \"text\" is null; texts are strings"},
        {"{\"text\":17}", ":2: field \"text\" is a number; texts are strings"},
        {"{\"text\":{}}", ":2: field \"text\" is an object; texts are strings"},
        {"{\"category\":\"a\"}", ":2: field \"text\" is missing; every row needs a text"},
        {"{\"text\":\"\xff\"}",
         ":2: invalid UTF-8 at byte 1 of field \"text\"; save the file as UTF-8"},
        {"{\"text\":\"\",\"category\":\"\xc3\xa4\xc3\"}",
         ":2: invalid UTF-8 at byte 3 of field \"category\"; save the file as UTF-8"},
        {"{\"text\":\"a\",\"text\":\"a\"}",
         ":2: the key \"text\" stands twice in one object; keep one"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "%s%s\n%s", good, cases[i][0], good);
        refuses(write_text("x.jsonl", text), GF_E_INVALID, cases[i][1]);
    }
    path = write_text("x.jsonl", "\n{\"test\":\"a\"}\n");
    refuses(path, GF_E_INVALID, ":2: field \"text\" is missing; did you mean \"test\"?");
    path = write_bytes("x.jsonl", "{\"text\":\"a\0b\"}", 14);
    refuses(path, GF_E_INVALID, ":1:11: a 0 byte is not valid JSON; remove it");
}

static void jsonl_cells_have_kinds(void **state) {
    const char *const wanted[] = {"t", "null", "number", "true", "list", "none", "empty"};
    static const struct {
        gf_cell_kind kind;
        const char *words;
    } expected[] = {{GF_CELL_STRING, "\xef\xbf\xbd"},
                    {GF_CELL_NULL, "null"},
                    {GF_CELL_NUMBER, "a number"},
                    {GF_CELL_OTHER, "true or false"},
                    {GF_CELL_LIST, "a list"},
                    {GF_CELL_MISSING, "missing"},
                    {GF_CELL_STRING, ""}};
    gf_err e = {0};
    gf_cell cells[7];
    gf_rows *r =
        gf_rows_open(write_text("x.jsonl", "{\"t\":\"\\u0000\",\"null\":null,\"number\":1,"
                                           "\"true\":true,\"list\":[\"a\"],\"empty\":\"\"}"),
                     wanted, 7, &e);
    (void)state;
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(cells[i].kind, expected[i].kind);
        assert_string_equal(cells[i].text, expected[i].words);
        assert_int_equal(cells[i].size, i == 0 ? 3 : 0);
    }
    gf_rows_close(r);
}

static void jsonl_numbers_have_values(void **state) {
    const char *const wanted[] = {NULL, "a", "b", "c"};
    gf_err e = {0};
    gf_cell cells[4];
    gf_rows *r =
        gf_rows_open(write_text("x.jsonl", "{\"a\":-1.5e3,\"b\":7,\"c\":\"7\"}"), wanted, 4, &e);
    (void)state;
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    assert_int_equal(cells[0].kind, GF_CELL_MISSING);
    assert_true(cells[1].kind == GF_CELL_NUMBER && cells[1].number == -1500);
    assert_true(cells[2].kind == GF_CELL_NUMBER && cells[2].number == 7);
    has_text(&cells[3], "7");
    gf_rows_close(r);
}

static void has_items(const gf_cell *c, int64_t n, const char *const *items) {
    assert_int_equal(c->kind, GF_CELL_LIST);
    assert_string_equal(c->text, "a list");
    assert_int_equal(c->n_items, n);
    for (int64_t i = 0; i < n; i++) {
        assert_string_equal(c->items[i], items[i]);
        assert_int_equal(c->sizes[i], strlen(items[i]));
    }
}

/* Two lists a row, the later rows' longer: no cell's items move while another's are taken. */
static void jsonl_lists_of_strings_are_cells(void **state) {
    const char *const wanted[] = {"t", "a", "b"};
    gf_err e = {0};
    gf_cell cells[3];
    gf_rows *r = gf_rows_open(
        write_text("x.jsonl",
                   "{\"t\":\"\",\"b\":[],\"a\":[\"x\"]}\n"
                   "{\"t\":\"\",\"a\":[\"p\",\"\",\"\xc3\xa4\"],\"b\":[\"q\",\"r\",\"s\",\"t\"]}\n"
                   "{\"t\":\"\",\"a\":[\"p\",1],\"b\":[\"x\"]}\n"
                   "{\"t\":\"\",\"a\":[[\"p\"]],\"b\":[null]}\n"
                   "{\"t\":\"\",\"a\":[],\"b\":[\"\xff\"]}\n"),
        wanted, 3, &e);
    (void)state;
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    has_items(&cells[1], 1, (const char *const[]){"x"});
    has_items(&cells[2], 0, NULL);
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    has_items(&cells[1], 3, (const char *const[]){"p", "", "\xc3\xa4"});
    has_items(&cells[2], 4, (const char *const[]){"q", "r", "s", "t"});
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    assert_int_equal(cells[1].kind, GF_CELL_OTHER);
    assert_string_equal(cells[1].text, "a list of more than strings");
    has_items(&cells[2], 1, (const char *const[]){"x"});
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    assert_int_equal(cells[1].kind, GF_CELL_OTHER);
    assert_int_equal(cells[2].kind, GF_CELL_OTHER);
    assert_int_equal(gf_rows_next(r, cells, &e), -1);
    assert_non_null(
        strstr(e.text, ":5: invalid UTF-8 at byte 1 of field \"b\"; save the file as UTF-8"));
    gf_rows_close(r);
}

/* ---- CSV and TSV ---- */

static void csv_fields_are_unquoted(void **state) {
    (void)state;
    const char *const texts[] = {"a,b", "two\r\nlines\n\n", "\"", "in \"the\" middle", "", "",
                                 "\n"};
    reads(write_text("x.csv", "id,text\n1,\"a,b\"\n\n2,\"two\r\nlines\n\n\"\r\n3,\"\"\"\"\n"
                              "4,in \"the\" middle\n5,\n6,\"\"\n7,\"\n\""),
          7, texts);
    reads(write_text("x.csv", "\"text\"\n\"\"\n\n\"\"\n"), 2, (const char *const[]){"", ""});
    gf_err e = {0};
    gf_cell c;
    gf_rows *r = gf_rows_open(write_text("x.csv", "text\n\n\"a\nb\"\nc\n"), fields, 1, &e);
    assert_int_equal(gf_rows_next(r, &c, &e), 1);
    assert_int_equal(gf_rows_line(r), 3);
    assert_int_equal(gf_rows_next(r, &c, &e), 1);
    assert_int_equal(gf_rows_line(r), 5);
    gf_rows_close(r);
}

static void csv_records_are_checked(void **state) {
    (void)state;
    refuses(write_text("x.csv", ""), GF_E_INVALID,
            ": it is empty; a header line with the columns' names is wanted");
    refuses(write_text("x.csv", "\"text"), GF_E_INVALID,
            ":1: the quote that opens here is never closed");
    refuses(write_text("x.csv", "text,category\na,b\n\"c\nd\",\"e\nf,g\n"), GF_E_INVALID,
            ":4: the quote that opens here is never closed");
    refuses(write_text("x.csv", "text,category\n\"a\n\" b,c\n"), GF_E_INVALID,
            ":3: text follows a closing quote; double the quotes inside a field");
    refuses(write_text("x.csv", "text,category\n\"a\n\",b,c\n"), GF_E_INVALID,
            ":2: the row has 3 fields, the header 2; quote a field that holds a comma");
    refuses(write_text("x.csv", "text,category\na\n"), GF_E_INVALID,
            ":2: the row has 1 fields, the header 2; quote a field that holds a comma");
    refuses(write_text("x.csv", "text,category\na,b\xe2\x82\n"), GF_E_INVALID,
            ":2: invalid UTF-8 at byte 2 of field \"category\"; save the file as UTF-8");
    refuses(write_text("x.csv", "text,categry\n"), GF_E_INVALID,
            ": there is no column \"category\"; did you mean \"categry\"? "
            "(the columns are \"text\", \"categry\")");
    refuses(write_text("x.csv", "a,b\n"), GF_E_INVALID,
            ": there is no column \"text\"; the columns are \"a\", \"b\"");
    refuses(write_text("x.csv", "text,category,text\n"), GF_E_INVALID,
            ": the column \"text\" stands twice in the header; rename one");
    refuses(write_text("x.csv", "text,\xff\n"), GF_E_INVALID,
            ": a column's name is invalid UTF-8; save the file as UTF-8");
}

static void too_many_columns_are_refused(void **state) {
    char *text = malloc(5000);
    (void)state;
    memset(text, ',', 5000);
    refuses(write_bytes("x.csv", text, 4096), GF_E_INVALID,
            ":1: the row has more than 4096 fields");
    free(text);
}

static void tsv_has_no_quotes(void **state) {
    (void)state;
    reads(write_text("x.tsv", "text\tid\n\"a\t1\n\"b\"\t2\n\t3\n\"\"\t4\n"), 4,
          (const char *const[]){"\"a", "\"b\"", "", "\"\""});
    refuses(write_text("x.tsv", "text\tcategory\na\tb\tc\n"), GF_E_INVALID,
            ":2: the row has 3 fields, the header 2; a field cannot hold a tab");
    refuses(write_text("x.tsv", "text\n"), GF_E_INVALID,
            ": there is no column \"category\"; the columns are \"text\"");
    refuses(write_text("x.tsv", ""), GF_E_INVALID,
            ": it is empty; a header line with the columns' names is wanted");
}

/* ---- plain text and memory ---- */

static void plain_text_keeps_every_line_and_byte(void **state) {
    gf_err e = {0};
    gf_cell cells[2];
    gf_rows *r = gf_rows_open(write_bytes("x", "a\n\n\xff\0b\r\n", 8), fields, 2, &e);
    (void)state;
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    has_text(&cells[0], "a");
    assert_int_equal(cells[1].kind, GF_CELL_MISSING);
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    has_text(&cells[0], "");
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    has_bytes(&cells[0], "\xff\0b", 3);
    assert_int_equal(gf_rows_line(r), 3);
    assert_int_equal(gf_rows_next(r, cells, &e), 0);
    gf_rows_close(r);
}

static void standard_input_is_plain_text(void **state) {
    gf_err e = {0};
    gf_cell c;
    int kept = dup(STDIN_FILENO);
    gf_rows *r;
    (void)state;
    assert_non_null(freopen(write_text("in.jsonl", "{\"text\":1}\n"), "r", stdin));
    r = gf_rows_open("-", fields, 1, &e);
    assert_int_equal(gf_rows_next(r, &c, &e), 1);
    has_text(&c, "{\"text\":1}");
    assert_string_equal(gf_rows_path(r), "standard input");
    gf_rows_close(r);
    dup2(kept, STDIN_FILENO);
    close(kept);
}

static void texts_in_memory_are_rows(void **state) {
    const char *const texts[] = {"a", "", "\xff"};
    gf_err e = {0};
    gf_cell c;
    gf_rows *r = gf_rows_from_texts(texts, 3, &e);
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gf_rows_next(r, &c, &e), 1);
        has_text(&c, texts[i]);
        assert_int_equal(gf_rows_line(r), i + 1);
    }
    assert_int_equal(gf_rows_next(r, &c, &e), 0);
    assert_string_equal(gf_rows_path(r), "command line");
    gf_rows_close(r);
}

/* ---- hostile files and failing calls ---- */

static void mutated_files_do_no_harm(void **state) {
    uint32_t x = 20240607;
    int64_t live = gf_mem_get_stats().live_blocks, refused;
    (void)state;
    refused = mutate("table.jsonl", 200, &x) + mutate("table.csv", 200, &x) +
              mutate("table.tsv", 200, &x);
    assert_true(refused > 100 && refused < 600);
    assert_int_equal(gf_mem_get_stats().live_blocks, live);
}

/* Fails each allocation in turn, then each call of the system, until a run meets no fault. */
static void every_failing_call_is_reported(const char *path) {
    int64_t live = gf_mem_get_stats().live_blocks, k = 0;
    gf_err e = {.code = GF_E_NOMEM};
    while (e.code != GF_OK) {
        e = (gf_err){0};
        gf_mem_fail_at(++k, false);
        count_rows(path, fields, 3, &e);
        assert_int_equal(e.code, gf_mem_fault_fired() ? GF_E_NOMEM : GF_OK);
        gf_mem_fail_at(0, false);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    }
    assert_true(k > 8);
    for (k = 1; k < 3; k++) {
        e = (gf_err){0};
        gf_io_fail_at(k, GF_FAULT_EIO);
        count_rows(path, fields, 3, &e);
        assert_true(gf_io_fault_fired());
        gf_io_fail_at(0, GF_FAULT_EIO);
        assert_int_equal(e.code, GF_E_MODEL);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    }
}

static void faults_are_reported(void **state) {
    (void)state;
    every_failing_call_is_reported(DATA "table.jsonl");
    every_failing_call_is_reported(DATA "table.csv");
    every_failing_call_is_reported(DATA "table.tsv");
    every_failing_call_is_reported(write_text("x.txt", "a\nb\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_gives_the_same_rows),
        cmocka_unit_test(columns_are_listed_in_the_files_order),
        cmocka_unit_test(unreadable_files_are_refused),
        cmocka_unit_test(endings_are_read_in_any_case),
        cmocka_unit_test(byte_order_mark_and_line_ends),
        cmocka_unit_test(long_lines_are_read_or_refused),
        cmocka_unit_test(jsonl_rows_are_checked),
        cmocka_unit_test(jsonl_cells_have_kinds),
        cmocka_unit_test(jsonl_numbers_have_values),
        cmocka_unit_test(jsonl_lists_of_strings_are_cells),
        cmocka_unit_test(csv_fields_are_unquoted),
        cmocka_unit_test(csv_records_are_checked),
        cmocka_unit_test(too_many_columns_are_refused),
        cmocka_unit_test(tsv_has_no_quotes),
        cmocka_unit_test(plain_text_keeps_every_line_and_byte),
        cmocka_unit_test(standard_input_is_plain_text),
        cmocka_unit_test(texts_in_memory_are_rows),
        cmocka_unit_test(mutated_files_do_no_harm),
        cmocka_unit_test(faults_are_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
