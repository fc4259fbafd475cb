/* The reader of HDF5 tables; tests/test_rows.c compares its rows with the other formats'. */
#include "tests/rows_help.h"

#include <hdf5.h>
#include <math.h>
#include <sys/resource.h>

static void fails_on(const char *path, const char *const *wanted, gf_code code,
                     const char *sentence) {
    gf_err e = {0};
    count_rows(path, wanted, 2, &e);
    assert_string_equal(e.text, sentence);
    assert_int_equal(e.code, code);
}

static void hdf5_tables_are_checked(void **state) {
    const char *const grid[] = {"text", "grid"}, *const broken[] = {NULL, "broken"},
                      *const number[] = {"id", "text"}, *const flag[] = {NULL, "flag"};
    gf_err e = {0};
    gf_cell cells[2];
    gf_rows *r = gf_rows_open(DATA "unequal.h5", flag, 2, &e);
    (void)state;
    assert_int_equal(gf_rows_next(r, cells, &e), 1);
    assert_int_equal(cells[0].kind, GF_CELL_MISSING);
    assert_int_equal(cells[1].kind, GF_CELL_OTHER);
    gf_rows_close(r);
    fails_on(DATA "unequal.h5", fields, GF_E_INVALID,
             DATA "unequal.h5: column \"category\" has 2 rows, another has 3; make them equal");
    fails_on(DATA "unequal.h5", grid, GF_E_INVALID,
             DATA "unequal.h5: column \"grid\" is not a 1-D dataset");
    fails_on(DATA "unequal.h5", broken, GF_E_INVALID,
             DATA
             "unequal.h5:2: invalid UTF-8 at byte 2 of field \"broken\"; save the file as UTF-8");
    fails_on(DATA "variable.h5", number, GF_E_INVALID,
             DATA "variable.h5:1: field \"id\" is a number; texts are strings");
    fails_on(DATA "empty.h5", fields, GF_E_INVALID,
             DATA "empty.h5: it holds no table; 1-D datasets of strings in one group are wanted");
    fails_on(DATA "hostile.h5", (const char *const[]){"text", NULL}, GF_E_INVALID,
             DATA "hostile.h5: it claims 1000000000000000 rows in 0 bytes of data");
    fails_on(DATA "outside.h5", (const char *const[]){"text", NULL}, GF_E_INVALID,
             DATA "outside.h5: column \"text\" keeps its data outside the file; "
                  "write it into the file");
    fails_on(DATA "compound.hdf5", (const char *const[]){"text", "sentimnt"}, GF_E_INVALID,
             DATA
             "compound.hdf5: there is no column \"sentimnt\"; did you mean \"sentiment\"? (the "
             "columns are \"id\", \"text\", \"category\", \"sentiment\", \"score\")");
}

static void hdf5_numbers_have_their_kind(void **state) {
    const char *const wanted[] = {"text", "id", "score"};
    gf_err e = {0};
    gf_cell cells[3];
    gf_rows *r = gf_rows_open(DATA "compound.hdf5", wanted, 3, &e);
    (void)state;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(gf_rows_next(r, cells, &e), 1);
        assert_int_equal(cells[1].kind, GF_CELL_NUMBER);
        assert_int_equal(cells[2].kind, GF_CELL_NUMBER);
        assert_string_equal(cells[1].text, "a number");
        assert_true(cells[1].number == i && cells[2].number == 0.5);
    }
    gf_rows_close(r);
}

/* Written by HDF5 itself: big-endian shorts and floats, and a NaN, which is a missing label. */
static void hdf5_numbers_are_converted(void **state) {
    const char *const wanted[] = {NULL, "count", "score"};
    const char *path = write_text("x.h5", "");
    const hsize_t rows = 3;
    const int32_t count[] = {-7, 0, 300};
    const double score[] = {0.25, (double)NAN, -1e6};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &rows, NULL);
    hid_t a =
        H5Dcreate2(file, "count", H5T_STD_I16BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t b =
        H5Dcreate2(file, "score", H5T_IEEE_F32BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    gf_err e = {0};
    gf_cell cells[3];
    gf_rows *r;
    (void)state;
    assert_true(H5Dwrite(a, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, count) >= 0);
    assert_true(H5Dwrite(b, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, score) >= 0);
    H5Dclose(a), H5Dclose(b), H5Sclose(space), H5Fclose(file);
    assert_non_null(r = gf_rows_open(path, wanted, 3, &e));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gf_rows_next(r, cells, &e), 1);
        assert_true(cells[1].kind == GF_CELL_NUMBER && cells[1].number == count[i]);
        assert_int_equal(cells[2].kind, i == 1 ? GF_CELL_MISSING : GF_CELL_NUMBER);
        assert_true(i == 1 || cells[2].number == score[i]);
    }
    assert_int_equal(gf_rows_next(r, cells, &e), 0);
    gf_rows_close(r);
}

static void hdf5_is_read_block_by_block(void **state) {
    gf_err e = {0};
    gf_cell cells[2];
    char text[24];
    gf_rows *r = gf_rows_open(DATA "blocks.h5", fields, 2, &e);
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(gf_rows_next(r, cells, &e), 1);
        snprintf(text, sizeof text, "text %d", i);
        has_text(&cells[0], text);
        assert_int_equal(cells[1].kind, GF_CELL_MISSING);
    }
    assert_int_equal(gf_rows_next(r, cells, &e), 0);
    assert_int_equal(gf_rows_next(r, cells, &e), 0);
    gf_rows_close(r);
}

/* Two texts of 9 MiB do not fit into one block, one of 17 MiB into none. */
static void hdf5_rows_may_be_long(void **state) {
    const size_t sizes[] = {9 << 20, 1, 9 << 20, 17 << 20};
    const char *texts[4];
    char path[128];
    hsize_t n = 4;
    gf_err e = {0};
    gf_cell c;
    gf_rows *r;
    hid_t file, space, type, set;
    (void)state;
    for (int i = 0; i < 4; i++) {
        char *text = calloc(sizes[i] + 1, 1);
        memset(text, 'a' + i, sizes[i]);
        texts[i] = text;
    }
    snprintf(path, sizeof path, "%s/long.h5", folder);
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    space = H5Screate_simple(1, &n, NULL);
    type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    set = H5Dcreate2(file, "text", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts) >= 0);
    H5Dclose(set), H5Tclose(type), H5Sclose(space), H5Fclose(file);
    r = gf_rows_open(path, fields, 1, &e);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gf_rows_next(r, &c, &e), 1);
        has_bytes(&c, texts[i], sizes[i]);
    }
    assert_int_equal(gf_rows_next(r, &c, &e), -1);
    assert_non_null(strstr(e.text, "long.h5:4: the row is longer than 16 MiB; split it"));
    gf_rows_close(r);
    for (int i = 0; i < 4; i++) free((void *)(uintptr_t)texts[i]);
}

/* A variable string is stored as its length and where it lies (HDF5 file format, III.H); here the
 * length of the first text, 20, becomes 4 GB. */
static void a_false_length_takes_no_memory(void **state) {
    const char length[] = {20, 0, 0, 0};
    struct rusage usage;
    gf_err e = {0};
    size_t size, i = 0;
    char *bytes = gf_io_read_all(DATA "variable.h5", 1 << 20, &size, NULL);
    (void)state;
    while (i + 24 < size && (memcmp(bytes + i, length, 4) != 0 || bytes[i + 16] != 29)) i++;
    assert_true(i + 24 < size); /* the second text has 29 bytes */
    memcpy(bytes + i, "\xf0\xff\xff\xff", 4);
    assert_int_equal(count_rows(write_bytes("x.h5", bytes, size), fields, 3, &e), 0);
    assert_int_equal(e.code, GF_E_MODEL);
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &usage), 0);
    assert_true(usage.ru_maxrss < 1200 * 1024);
    gf_free(bytes);
}

static void mutated_files_do_no_harm(void **state) {
    uint32_t x = 20240607;
    int64_t live = gf_mem_get_stats().live_blocks, refused;
    (void)state;
    refused = mutate("variable.h5", 200, &x) + mutate("fixed.h5", 100, &x) +
              mutate("compound.hdf5", 100, &x);
    assert_true(refused > 40 && refused < 400);
    assert_int_equal(gf_mem_get_stats().live_blocks, live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hdf5_tables_are_checked),
        cmocka_unit_test(hdf5_numbers_have_their_kind),
        cmocka_unit_test(hdf5_numbers_are_converted),
        cmocka_unit_test(hdf5_is_read_block_by_block),
        cmocka_unit_test(hdf5_rows_may_be_long),
        cmocka_unit_test(a_false_length_takes_no_memory),
        cmocka_unit_test(mutated_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
