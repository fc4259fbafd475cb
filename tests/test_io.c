/* Files: publishing under every fault, limits, mapping, folders, paths. */
#include "core/io.h"
#include "core/io_fault.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scratch.h"

/* --- io -------------------------------------------------------------------------------------- */

/* Fails every call of the system in turn: the old file or the new one is there, whole, no TMP. */
static void replacing_is_all_or_nothing(void **state) {
    const gf_io_fault kinds[] = {GF_FAULT_EIO, GF_FAULT_ENOSPC, GF_FAULT_SHORT};
    const char *path = path_of("replaced");
    (void)state;
    for (int f = 0; f < 3; f++) {
        int64_t k = 1, kept = 0, done = 0;
        for (;; k++) {
            gf_err e = {0};
            write_file(path, "the old text");
            gf_io_fail_at(k, kinds[f]);
            bool ok = gf_io_replace_file(path, "new", 3, &e), fired = gf_io_fault_fired();
            gf_io_fail_at(0, GF_FAULT_EIO);
            if (!fired) break;
            char *text = gf_io_read_all(path, 100, &(size_t){0}, NULL);
            bool old = strcmp(text, "the old text") == 0;
            assert_true(old || strcmp(text, "new") == 0);
            assert_false(ok && old);
            if (!ok) assert_int_equal(e.code, GF_E_IO);
            if (!ok) assert_non_null(strstr(e.text, folder)); /* the file or its folder */
            kept += old, done += ok;
            assert_false(gf_io_exists(path_of("replaced.tmp")));
            gf_free(text);
        }
        assert_file(path, "new");
        /* create, write, close; open, sync; rename; open and sync the folder */
        assert_int_equal(k - 1, 8);
        assert_int_equal(done, kinds[f] == GF_FAULT_SHORT ? 1 : 0); /* a short write goes on */
        assert_int_equal(kept, kinds[f] == GF_FAULT_SHORT ? 5 : 6);
    }
}

static void linking_survives_every_fault(void **state) {
    const char *from = path_of("from"), *to = path_of("to");
    int64_t k = 1, failed = 0;
    (void)state;
    write_file(from, "some text");
    for (;; k++) {
        gf_err e = {0};
        write_file(to, "before");
        gf_io_fail_at(k, GF_FAULT_EIO);
        bool ok = gf_io_link(from, to, &e), fired = gf_io_fault_fired();
        gf_io_fail_at(0, GF_FAULT_EIO);
        assert_int_equal(ok, e.code == GF_OK);
        assert_false(gf_io_exists(path_of("to.tmp")));
        if (!fired) break;
        if (ok) assert_file(to, "some text");
        failed += !ok;
    }
    /* removing an old temporary name; link; open, sync and close... of what is published */
    assert_int_equal(k - 1, 7);
    assert_int_equal(failed, 6); /* without links it is copied */
    assert_file(to, "some text");
}

static void reading_whole_files_has_a_limit(void **state) {
    const char *path = path_of("whole");
    size_t size = 0;
    gf_err e = {0};
    char *big = gf_alloc(300000, NULL), *read;
    (void)state;
    memset(big, 'x', 300000);
    big[299999] = 0;
    write_file(path, big);
    int64_t calls = gf_io_calls(), usual;
    read = gf_io_read_all(path, 299999, &size, &e);
    usual = gf_io_calls() - calls;
    assert_non_null(read);
    assert_string_equal(read, big);
    gf_free(read);
    assert_null(gf_io_read_all(path, 299998, &size, &e));
    assert_int_equal(e.code, GF_E_MODEL);
    assert_non_null(strstr(e.text, "299998 bytes"));
    calls = gf_io_calls();
    gf_io_fail_at(2, GF_FAULT_SHORT); /* a short read is no end of file */
    read = gf_io_read_all(path, 299999, &size, NULL);
    assert_true(gf_io_fault_fired());
    assert_int_equal(size, 299999);
    assert_true(gf_io_calls() - calls > usual);
    gf_free(read);
    write_file(path, "");
    assert_file(path, "");
    e = (gf_err){0};
    assert_null(gf_io_read_all(path_of("none"), 10, &size, &e));
    assert_non_null(strstr(e.text, "none: cannot read it: No such file"));
    assert_null(gf_io_read_all(folder, 10, &size, NULL));
    gf_free(big);
}

static void writing_in_pieces(void **state) {
    const char *path = path_of("pieces");
    char piece[1000];
    gf_err e = {0};
    gf_file *f = gf_io_create(path, &e);
    (void)state;
    memset(piece, 'p', sizeof piece);
    for (int i = 0; i < 100; i++) assert_true(gf_io_write(f, piece, sizeof piece, &e));
    assert_true(gf_io_printf(f, &e, "%0700d\n", 7) && gf_io_sync(f, &e) && gf_io_close(f, &e));
    f = gf_io_append(path, &e);
    assert_true(gf_io_printf(f, &e, "end") && gf_io_flush(f, &e) && gf_io_close(f, &e));
    size_t size = 0;
    char *text = gf_io_read_all(path, 1 << 20, &size, &e);
    assert_int_equal(size, 100704);
    assert_string_equal(text + 100698, "07\nend");
    gf_free(text);
    assert_true(gf_io_close(NULL, &e));
    f = gf_io_create(path, &e);
    assert_true(gf_io_write(f, "x", 1, &e));
    gf_io_fail_at(1, GF_FAULT_ENOSPC); /* the buffered byte is written on close */
    assert_false(gf_io_close(f, &e));
    assert_true(gf_io_fault_fired());
    assert_int_equal(e.code, GF_E_IO);
}

static void mapping_refuses_what_is_no_file(void **state) {
    gf_map map = {0};
    gf_err e = {0};
    (void)state;
    write_file(path_of("mapped"), "bytes");
    assert_true(gf_io_map(&map, path_of("mapped"), &e));
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "bytes", 5);
    gf_io_unmap(&map);
    gf_io_unmap(&map);
    write_file(path_of("mapped"), "");
    assert_false(gf_io_map(&map, path_of("mapped"), NULL));
    assert_false(gf_io_map(&map, folder, NULL));
    assert_false(gf_io_map(&map, path_of("none"), &e));
    assert_int_equal(e.code, GF_E_MODEL);
    write_file(path_of("mapped"), "bytes");
    for (int k = 1; k <= 3; k++) {
        gf_io_fail_at(k, GF_FAULT_EIO);
        assert_false(gf_io_map(&map, path_of("mapped"), NULL));
        assert_true(gf_io_fault_fired());
    }
}

/* Whether the page that holds a byte is in this process's memory; see proc_pid_pagemap(5). */
static bool is_present(const void *byte, size_t page) {
    uint64_t entry = 0;
    gf_err e = {0};
    gf_file *f = gf_io_open("/proc/self/pagemap", &e);
    assert_non_null(f);
    assert_true(gf_io_read_at(f, (int64_t)((uintptr_t)byte / page * sizeof entry), &entry,
                              sizeof entry, &e));
    assert_true(gf_io_close(f, &e));
    return entry >> 63;
}

static void unloaded_pages_leave_memory_and_come_back(void **state) {
    enum { PAGES = 6 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *text = calloc(PAGES, page);
    unsigned sum = 0;
    gf_map map = {0};
    gf_err e = {0};
    (void)state;
    for (size_t i = 0; i < PAGES * page; i++) text[i] = (char)('a' + i % 23);
    assert_true(gf_io_replace_file(path_of("mapped"), text, PAGES * page, &e));
    assert_true(gf_io_map(&map, path_of("mapped"), &e));
    for (size_t i = 0; i < map.size; i++) sum += map.data[i];
    assert_true(sum > 0);
    gf_io_unload(map.data + page + 1, 3 * page); /* pages 2 and 3 lie wholly in these bytes */
    for (size_t i = 0; i < PAGES; i++)
        assert_int_equal(is_present(map.data + i * page, page), i < 2 || i > 3);
    gf_io_unload(map.data + 1, page);
    assert_true(is_present(map.data, page));
    assert_memory_equal(map.data, text, PAGES * page);
    gf_io_unmap(&map);
    free(text);
}

static void folders_are_made_listed_and_removed(void **state) {
    gf_err e = {0};
    int64_t count = -1;
    char here[512], **names;
    (void)state;
    assert_true(gf_io_make_folder(path_of("a/b//c/"), &e));
    assert_true(gf_io_make_folder(path_of("a/b/c"), &e)); /* again is fine */
    assert_true(gf_io_is_folder(path_of("a/b/c")));
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    assert_true(gf_io_make_folder("d", &e) && gf_io_is_folder("d")); /* one letter, relative */
    assert_true(gf_io_make_folder("d/e", &e) && gf_io_make_folder(".", &e));
    assert_int_equal(chdir(here), 0);
    write_file(path_of("a/file"), "x");
    assert_false(gf_io_make_folder(path_of("a/file"), &e));
    assert_int_equal(e.code, GF_E_IO);
    assert_false(gf_io_make_folder(path_of("a/file/g"), NULL));
    gf_io_fail_at(2, GF_FAULT_ENOSPC);
    assert_false(gf_io_make_folder(path_of("a/h"), NULL));
    assert_true(gf_io_fault_fired());
    write_file(path_of("a/Z"), "x");
    names = gf_io_list(path_of("a"), &count, NULL);
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "Z");
    assert_string_equal(names[1], "b");
    assert_string_equal(names[2], "file");
    gf_io_free_names(names, count);
    names = gf_io_list(path_of("a/b/c"), &count, NULL);
    assert_non_null(names);
    assert_int_equal(count, 0);
    gf_io_free_names(names, count);
    assert_null(gf_io_list(path_of("none"), &count, NULL));
    assert_int_equal(symlink(folder, path_of("a/loop")), 0); /* removed itself, not followed */
    assert_true(gf_io_remove_tree(path_of("a"), NULL));
    assert_false(gf_io_exists(path_of("a")));
    assert_true(gf_io_is_folder(folder));
    assert_true(gf_io_remove(path_of("none"), NULL) && gf_io_remove_tree(path_of("none"), NULL));
}

static void assert_path(char *got, const char *want) {
    assert_string_equal(got, want);
    gf_free(got);
}

static void paths_join_and_part(void **state) {
    (void)state;
    assert_path(gf_io_join("a", "b", NULL), "a/b");
    assert_path(gf_io_join("a/", "b", NULL), "a/b");
    assert_path(gf_io_join(NULL, "b", NULL), "b");
    assert_path(gf_io_join("", "b", NULL), "b");
    assert_path(gf_io_join("a", "/b", NULL), "/b");
    assert_path(gf_io_folder_of("a/b/c", NULL), "a/b");
    assert_path(gf_io_folder_of("c", NULL), ".");
    assert_path(gf_io_folder_of("/c", NULL), "/");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replacing_is_all_or_nothing),
        cmocka_unit_test(linking_survives_every_fault),
        cmocka_unit_test(reading_whole_files_has_a_limit),
        cmocka_unit_test(writing_in_pieces),
        cmocka_unit_test(mapping_refuses_what_is_no_file),
        cmocka_unit_test(unloaded_pages_leave_memory_and_come_back),
        cmocka_unit_test(folders_are_made_listed_and_removed),
        cmocka_unit_test(paths_join_and_part),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
