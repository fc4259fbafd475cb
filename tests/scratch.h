/* scratch: a folder for one test program, and files in it. */
#ifndef GF_TESTS_SCRATCH_H
#define GF_TESTS_SCRATCH_H

/* After <cmocka.h>. make_scratch() and remove_scratch() are the program's set-up and tear-down. */
#include "core/io.h"
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[64]; /* a fresh one for the whole program */

static inline int make_scratch(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, SCRATCH "/graft-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_scratch(void **state) {
    (void)state;
    return gf_io_remove_tree(folder, NULL) ? 0 : -1;
}

/* FOLDER/NAME; the same name gives the same text until the program ends. */
static inline const char *path_of(const char *name) {
    static char paths[64][160];
    size_t skip = strlen(folder) + 1;
    int i = 0;
    while (paths[i][0] && strcmp(paths[i] + skip, name) != 0) assert_true(++i < 64);
    snprintf(paths[i], sizeof paths[i], "%s/%s", folder, name);
    return paths[i];
}

static inline void write_file(const char *path, const char *text) {
    gf_err e = {0};
    if (!gf_io_replace_file(path, text, strlen(text), &e)) fail_msg("%s", e.text);
}

static inline void assert_file(const char *path, const char *want) {
    gf_err e = {0};
    size_t size = 0;
    char *text = gf_io_read_all(path, 1 << 20, &size, &e);
    if (!text) fail_msg("%s", e.text);
    assert_int_equal(size, strlen(want));
    assert_string_equal(text, want);
    gf_free(text);
}

#endif
