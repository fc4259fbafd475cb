/* What the tests of data/rows.h share: files to read, and the wanted rows. */
#ifndef GF_TESTS_ROWS_HELP_H
#define GF_TESTS_ROWS_HELP_H

#include "core/io.h"
#include "core/mem.h"
#include "data/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATA "tests/data/rows/"

static const char *const fields[] = {"text", "category", "sentiment"};

/* ---- files written by a test ---- */

static char folder[] = "/tmp/graft-rows-XXXXXX";

static inline int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static inline int remove_folder(void **state) {
    (void)state;
    return !gf_io_remove_tree(folder, NULL);
}

static inline const char *write_bytes(const char *name, const void *bytes, size_t size) {
    static char path[128];
    gf_file *f;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_non_null(f = gf_io_create(path, NULL));
    assert_true(gf_io_write(f, bytes, size, NULL));
    assert_true(gf_io_close(f, NULL));
    return path;
}

static inline const char *write_text(const char *name, const char *text) {
    return write_bytes(name, text, strlen(text));
}

/* ---- reading to the end ---- */

/* The rows read until the end or a failure, which is then in *e. */
static inline int64_t count_rows(const char *path, const char *const *wanted, int64_t n,
                                 gf_err *e) {
    gf_cell cells[4];
    gf_rows *r = gf_rows_open(path, wanted, n, e);
    int64_t count = 0;
    int got = r ? 1 : -1;
    while (got == 1 && (got = gf_rows_next(r, cells, e)) == 1) count++;
    assert_int_equal(got < 0, e->code != GF_OK);
    gf_rows_close(r);
    return count;
}

static inline void refuses(const char *path, gf_code code, const char *sentence) {
    gf_err e = {0};
    char wanted[1024];
    count_rows(path, fields, 2, &e);
    snprintf(wanted, sizeof wanted, "%s%s", path, sentence);
    assert_string_equal(e.text, wanted);
    assert_int_equal(e.code, code);
}

static inline void has_bytes(const gf_cell *c, const char *bytes, size_t size) {
    assert_int_equal(c->kind, GF_CELL_STRING);
    assert_int_equal(c->size, size);
    assert_memory_equal(c->text, bytes, size);
}

static inline void has_text(const gf_cell *c, const char *text) {
    has_bytes(c, text, strlen(text));
}

/* Reads a file of one text column and checks its rows. */
static inline void reads(const char *path, int64_t n, const char *const *texts) {
    gf_err e = {0};
    gf_cell c;
    gf_rows *r = gf_rows_open(path, fields, 1, &e);
    assert_non_null(r);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(gf_rows_next(r, &c, &e), 1);
        has_text(&c, texts[i]);
    }
    assert_int_equal(gf_rows_next(r, &c, &e), 0);
    assert_int_equal(gf_rows_next(r, &c, &e), 0);
    gf_rows_close(r);
}

/* A small generator of the test's own (Marsaglia 2003, xorshift). */
static inline uint32_t draw(uint32_t *x) {
    *x ^= *x << 13, *x ^= *x >> 17, *x ^= *x << 5;
    return *x;
}

/* Changes a few bytes of a file, or cuts it, `times` times; the files that are then refused. */
static inline int64_t mutate(const char *name, int times, uint32_t *x) {
    const char special[] = "\",\t\n\r{}[]:\\\0\xff\xc3";
    int64_t refused = 0;
    for (int k = 0; k < times; k++) {
        gf_err e = {0};
        size_t size;
        char *path = gf_format(NULL, DATA "%s", name);
        char *bytes = gf_io_read_all(path, 1 << 20, &size, NULL);
        for (uint32_t n = 1 + draw(x) % 4; n > 0; n--)
            bytes[draw(x) % size] = draw(x) % 2 ? special[draw(x) % sizeof special] : (char)draw(x);
        if (draw(x) % 4 == 0) size = draw(x) % size;
        assert_true(count_rows(write_bytes(name, bytes, size), fields, 3, &e) < 100000);
        refused += e.code != GF_OK;
        gf_free(bytes);
        gf_free(path);
    }
    return refused;
}

#endif
