/* checkpoints/torch_file and pickle against files of torch.save and what safetensors wrote for the
 * same tensors, against pickles made by hand to do harm (tests/golden/make_torch.py), and against
 * mutations of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/folder.h"
#include "checkpoints/pickle.h"
#include "checkpoints/tensors.h"
#include "checkpoints/torch_file.h"
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scratch.h"

#define DATA  "tests/data/torch/"
#define PLAIN "tests/data/checkpoints/plain/"

static void open_ok(gf_tensors *t, const char *path) {
    gf_err e = {0};
    if (!gf_tensors_open(t, path, &e)) fail_msg("%s", e.text);
}

static bool are_equal(const gf_tensor *a, const gf_tensor *b) {
    return strcmp(a->name, b->name) == 0 && a->dtype == b->dtype &&
           strcmp(a->dtype_name, b->dtype_name) == 0 && a->n_dims == b->n_dims &&
           memcmp(a->dim, b->dim, sizeof a->dim) == 0 && a->count == b->count &&
           a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

static void check_same(const char *path, const char *wanted_path, int64_t count) {
    gf_tensors found = {0}, wanted = {0};
    open_ok(&found, path);
    open_ok(&wanted, wanted_path);
    assert_string_equal(found.format, "PyTorch");
    assert_int_equal(wanted.count, count);
    assert_int_equal(found.count, count);
    for (int64_t i = 0; i < count; i++)
        if (!are_equal(&found.items[i], &wanted.items[i])) fail_msg("%s", wanted.items[i].name);
    gf_tensors_close(&found);
    gf_tensors_close(&wanted);
}

static void test_reads_what_torch_writes(void **state) {
    (void)state;
    check_same(DATA "types.bin", DATA "types.safetensors", 10);
    check_same(DATA "views.bin", DATA "views.safetensors", 19);
    check_same(DATA "odd.bin", DATA "odd.safetensors", 6);
}

static bool is_in_file(const gf_tensors *t, const char *name) {
    const gf_tensor *x = gf_tensors_find(t, name);
    assert_non_null(x);
    return x->data >= t->maps[0].data && x->data <= t->maps[0].data + t->maps[0].size;
}

static void test_copies_only_what_it_must(void **state) {
    (void)state;
    static const char *const there[] = {"base",      "tied",   "rows",      "cube",
                                        "one_row",   "last",   "scalar",    "no_rows",
                                        "parameter", "frozen", "no_columns"};
    static const char *const copied[] = {"turned",      "columns",   "every_second", "block",
                                         "cube_turned", "cube_part", "one_column"};
    gf_tensors t = {0};
    open_ok(&t, DATA "views.bin");
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        if (!is_in_file(&t, there[i])) fail_msg("%s", there[i]);
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        if (is_in_file(&t, copied[i])) fail_msg("%s", copied[i]);
    assert_ptr_equal(gf_tensors_find(&t, "base")->data, gf_tensors_find(&t, "tied")->data);
    assert_int_equal((uintptr_t)gf_tensors_find(&t, "base")->data % 64, 0);
    gf_tensors_close(&t);
}

static void test_reads_long_dicts(void **state) {
    (void)state;
    static const float values[] = {0, 1, 2};
    gf_tensors t = {0};
    open_ok(&t, DATA "many.bin");
    assert_int_equal(t.count, 1100);
    for (int64_t i = 0; i < t.count; i++) {
        assert_ptr_equal(t.items[i].data, t.items[0].data);
        assert_int_equal(t.items[i].bytes, sizeof values);
    }
    assert_memory_equal(t.items[0].data, values, sizeof values);
    assert_non_null(gf_tensors_find(&t, "t1099"));
    gf_tensors_close(&t);
}

static void test_reads_files_without_check_sums(void **state) {
    (void)state;
    static const float values[] = {0, 1, 2, 3, 4};
    gf_tensors t = {0};
    open_ok(&t, DATA "no_crc.bin");
    assert_memory_equal(gf_tensors_find(&t, "x")->data, values, sizeof values);
    gf_tensors_close(&t);
}

/* minizip 1.1 cannot, a later one may. */
static void test_reads_or_names_zip64(void **state) {
    (void)state;
    static const float values[] = {1, 2, 3, 4};
    gf_tensors t = {0};
    gf_err e = {0};
    if (gf_tensors_open(&t, DATA "zip64.bin", &e))
        assert_memory_equal(gf_tensors_find(&t, "x")->data, values, sizeof values);
    else
        assert_non_null(strstr(e.text, "zip64.bin: it is a zip64 archive"));
    gf_tensors_close(&t);
}

static const struct {
    const char *name, *part; /* of the sentence that refuses it */
} hostile[] = {
    {"append_to_dict", "appends to what is no list"},
    {"big_endian", "byteorder is not \"little\""},
    {"build_of_call", "sets attributes of what is no dict"},
    {"builtins_eval", "\"builtins.eval\""},
    {"bytes_behind", "bytes follow its end"},
    {"call_of_storage", "calls a type of storage"},
    {"call_of_text", "calls what is no function"},
    {"call_with_dict", "calls what is no function"},
    {"code_in_build", "\"nt.system\""},
    {"complex", "\"torch.ComplexFloatStorage\""},
    {"compressed", "compressed or encrypted (method 8)"},
    {"deep_lists", "nest deeper"},
    {"deep_marks", "more marks"},
    {"deep_tuples", "nest deeper"},
    {"dict_of_arguments", "makes a dict of arguments"},
    {"dotted_name", "\"collections.OrderedDict.fromkeys\""},
    {"doubled_tuples", "nest deeper"},
    {"empty", "byte 0 of its pickle: it ends within an operation"},
    {"entry_twice", "\"data/0\" stands twice"},
    {"extension", "EXT1 (0x82)"},
    {"few_arguments", "other arguments"},
    {"float8", "\"torch._utils._rebuild_tensor_v3\""},
    {"half_item", "a key of a dict has no value"},
    {"hooks", "has hooks"},
    {"huge_long", "more than 64 bits"},
    {"inst", "INST (0x69)"},
    {"item_of_list", "sets an item of what is no dict"},
    {"key_number", "a key of its dict is an integer"},
    {"key_to_paste", "is a dict, not a tensor; save the model's state_dict() alone"},
    {"key_twice", "tensor \"x\" stands twice"},
    {"key_with_zero", "a key of its dict is a text with a byte 0"},
    {"list", "it holds a list, not a dict"},
    {"long4", "LONG4 (0x8b)"},
    {"long_entry", "a name that PyTorch does not use"},
    {"long_name", "the name of a global does not end"},
    {"long_text", "ends within an operation"},
    {"many_copies", "many times the file's size"},
    {"memo_below_mark", "remembers a value of an empty stack"},
    {"memo_empty", "remembers a value of an empty stack"},
    {"memo_missing", "recalls a value that it did not remember"},
    {"memo_number", "memo grows larger"},
    {"metadata", "stand for other values"},
    {"negated_view", "stand for other values"},
    {"negative_numel", "no storage of a type that graft knows"},
    {"negative_offset", "other arguments"},
    {"negative_offset_short", "other arguments"},
    {"negative_size", "whole numbers of 0 or more"},
    {"negative_stride", "whole numbers of 0 or more"},
    {"newobj", "NEWOBJ (0x81)"},
    {"nine_dimensions", "more than 8 dimensions"},
    {"no_dot_in_name", "\"torc..Size\""},
    {"no_folder", "is not in one folder"},
    {"no_mark", "a mark that was not set"},
    {"no_operation", "of no name (0xfe)"},
    {"no_pickle", "no entry \"archive/data.pkl\""},
    {"no_stop", "ends within an operation"},
    {"no_value", "takes a value from an empty stack"},
    {"not_utf8", "is not UTF-8"},
    {"numel_overflow", "has 16 bytes, not 4611686018427387904 elements of F32"},
    {"obj", "OBJ (0x6f)"},
    {"offset_past_end", "reaches beyond the 4 elements"},
    {"old_form", "torch.save(torch.load('tests/data/torch/hostile/old_form.bin'"},
    {"one_past_end", "reaches beyond the 4 elements"},
    {"one_past_end_by_stride", "reaches beyond the 4 elements"},
    {"os_system", "\"os.system\""},
    {"parameter_of_nothing", "_rebuild_parameter has other arguments"},
    {"parameter_of_parameter", "_rebuild_parameter has other arguments"},
    {"pop_below_mark", "sets an item of what is no dict"},
    {"pop_of_nothing", "sets an item of what is no dict"},
    {"posix_system", "\"posix.system\""},
    {"prefix_of_name", "\"collections.OrderedDic\""},
    {"protocol_4", "protocol 4"},
    {"reach_wraps", "reaches beyond the 4 elements"},
    {"reach_overflow", "reaches beyond the 4 elements"},
    {"repeated_elements", "repeats elements"},
    {"self", "\"x\" is a dict, not a tensor"},
    {"shape_of_other_length", "two tuples of one length"},
    {"size_of_text", "makes a shape of what is no tuple"},
    {"size_overflow", "does not fit into 63 bits"},
    {"sparse", "\"torch._utils._rebuild_sparse_tensor\""},
    {"stack_global", "STACK_GLOBAL (0x93)"},
    {"storage_elsewhere", "no entry \"archive/data/../data.pkl\""},
    {"storage_long_key", "no storage of a type that graft knows"},
    {"storage_missing", "no entry \"archive/data/1\""},
    {"storage_of_function", "no storage of a type that graft knows"},
    {"storage_of_other_type", "has 16 bytes, not 4 elements of F16"},
    {"storage_text", "no storage of a type that graft knows"},
    {"storage_too_long", "has 16 bytes, not 3 elements of F32"},
    {"storage_too_short", "has 16 bytes, not 5 elements of F32"},
    {"storage_unknown_type", "\"torch.QInt8Storage\""},
    {"tensor", "it holds an object, not a dict"},
    {"torch_load", "\"torch.load\""},
    {"training_checkpoint", "map_location='cpu')['state_dict'], 'new.bin')"},
    {"tuple_in_dict", "\"x\" is a tuple, not a tensor"},
    {"two_folders", "\"b/data/0\" is not in one folder"},
    {"two_values", "values left on its stack"},
    {"unknown_endian", "byteorder is not \"little\""},
    {"whole_model", "\"torch.nn.modules.linear.Linear\""},
};

static void test_refuses_what_does_harm(void **state) {
    (void)state;
    int64_t n = sizeof hostile / sizeof *hostile, files = 0;
    for (int64_t i = 0; i < n; i++) {
        char path[128];
        gf_tensors t = {0};
        gf_err e = {0};
        snprintf(path, sizeof path, DATA "hostile/%s.bin", hostile[i].name);
        if (gf_tensors_open(&t, path, &e)) fail_msg("%s opens", path);
        gf_tensors_close(&t);
        assert_int_equal(e.code, GF_E_MODEL);
        if (strncmp(e.text, path, strlen(path)) != 0 || !strstr(e.text, hostile[i].part))
            fail_msg("\"%s\" is not in: %s", hostile[i].part, e.text);
    }
    char **names = gf_io_list(DATA "hostile", &files, NULL);
    gf_io_free_names(names, files);
    assert_int_equal(n, files); /* each is in the table */
}

/* A file's bytes, in exactly as much memory, so that ASan sees the end. */
static unsigned char *read_bytes(const char *path, size_t *size) {
    char *text = gf_io_read_all(path, 1 << 20, size, NULL);
    unsigned char *bytes = malloc(*size);
    assert_non_null(text);
    memcpy(bytes, text, *size);
    gf_free(text);
    return bytes;
}

/* Reads the bytes: 0 if refused, 1 if they hold what `wanted` does, 2 if something else. */
static int judge(const unsigned char *bytes, size_t size, const gf_tensors *wanted) {
    gf_tensors t = {0};
    gf_err e = {0};
    int result = gf_torch_read(&t, bytes, size, "f", &e);
    assert_true(result || (e.code == GF_E_MODEL && e.text[0]));
    if (result && t.count != wanted->count) result = 2;
    for (int64_t i = 0; result == 1 && i < t.count; i++)
        if (!are_equal(&t.items[i], &wanted->items[i])) result = 2;
    gf_tensors_close(&t);
    return result;
}

static void test_tells_its_files(void **state) {
    (void)state;
    gf_tensors t = {0};
    gf_err e = {0};
    assert_true(gf_tensors_is_known(DATA "types.bin"));
    assert_true(gf_tensors_is_known(DATA "hostile/old_form.bin"));
    write_file(path_of("short.bin"), "PK\3");
    assert_false(gf_tensors_is_known(path_of("short.bin")));
    write_file(path_of("cut.bin"), "PK\3\4");
    assert_false(gf_tensors_open(&t, path_of("cut.bin"), &e));
    assert_non_null(strstr(e.text, "zip directory is damaged or cut short"));
    gf_tensors_close(&t);
    size_t size = 0;
    unsigned char *bytes = read_bytes(DATA "types.bin", &size);
    bytes = realloc(bytes, size + 1); /* one byte more than the archive */
    bytes[size] = 0;
    assert_int_equal(judge(bytes, size + 1, NULL), 0);
    free(bytes);
}

/* A program of `head`, then `part` repeated. */
static void refuse_program(const char *head, const char *part, size_t times, const char *why) {
    size_t n = strlen(head), k = strlen(part), size = n + k * times;
    unsigned char *bytes = malloc(size);
    gf_pickle p = {0};
    gf_err e = {0};
    memcpy(bytes, head, n);
    for (size_t i = 0; i < times; i++) memcpy(bytes + n + i * k, part, k);
    assert_false(gf_pickle_read(&p, bytes, size, NULL, 0, "p", &e));
    if (!strstr(e.text, why)) fail_msg("\"%s\" is not in: %s", why, e.text);
    gf_pickle_free(&p);
    free(bytes);
}

static void test_bounds_the_machine(void **state) {
    (void)state;
    int64_t blocks = gf_mem_get_stats().live_blocks;
    refuse_program("", "N", 70000, "stack grows higher");
    refuse_program("Nq\1", "h\1", 70000, "stack grows higher");
    refuse_program("]", "Na", 1 << 21, "makes more values");
    refuse_program("]q\1", "h\1a", 100, "nest deeper");
    assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
}

static void test_notices_every_changed_byte(void **state) {
    (void)state;
    static const unsigned char flips[] = {0x01, 0x80, 0xff};
    int64_t blocks = gf_mem_get_stats().live_blocks, seen[3] = {0};
    gf_tensors wanted = {0};
    size_t size = 0;
    unsigned char *bytes = read_bytes(DATA "views.bin", &size);
    assert_true(gf_torch_read(&wanted, bytes, size, "f", NULL)); /* in the pickle's order */
    unsigned char *changed = malloc(size);
    for (size_t i = 0; i < size * 3; i++) {
        memcpy(changed, bytes, size);
        changed[i / 3] ^= flips[i % 3];
        seen[judge(changed, size, &wanted)]++;
    }
    free(changed);
    assert_true(seen[0] > 2000 && seen[1] > 1000); /* much of the file is padding */
    assert_int_equal(seen[2], 0);
    gf_tensors_close(&wanted);
    free(bytes);
    assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
}

static void test_refuses_every_beginning(void **state) {
    (void)state;
    gf_tensors wanted = {0};
    size_t size = 0;
    unsigned char *bytes = read_bytes(DATA "types.bin", &size);
    assert_true(gf_torch_read(&wanted, bytes, size, "f", NULL));
    for (size_t n = 0; n < size; n++) {
        unsigned char *cut = malloc(n + !n);
        memcpy(cut, bytes, n);
        if (judge(cut, n, &wanted) != 0) fail_msg("%zu bytes", n);
        free(cut);
    }
    gf_tensors_close(&wanted);
    free(bytes);
}

/* data.pkl is the first entry: after the local header, and with its CRC-32 in the first header of
 * the directory, where 0 says that there is none. */
static void find_pickle(unsigned char *file, size_t size, size_t *begin, size_t *end) {
    uint32_t n;
    size_t at = 0;
    while (at + 46 < size && memcmp(file + at, "PK\1\2", 4) != 0) at++;
    assert_true(at + 46 < size);
    memset(file + at + 16, 0, 4);
    memcpy(&n, file + at + 24, 4);
    *begin = 30 + (size_t)(file[26] | file[27] << 8) + (size_t)(file[28] | file[29] << 8);
    *end = *begin + n;
    assert_memory_equal(file + *begin, "\x80\x02", 2);
}

static void test_survives_changed_pickles(void **state) {
    (void)state;
    int64_t blocks = gf_mem_get_stats().live_blocks, seen[3] = {0};
    gf_tensors wanted = {0};
    size_t size = 0, begin, end;
    unsigned char *bytes = read_bytes(DATA "views.bin", &size);
    assert_true(gf_torch_read(&wanted, bytes, size, "f", NULL));
    unsigned char *changed = malloc(size);
    memcpy(changed, bytes, size);
    find_pickle(changed, size, &begin, &end);
    for (size_t i = begin; i < end; i++)
        for (int k = 0; k < 256; k += 11) {
            changed[i] = (unsigned char)(bytes[i] ^ k);
            seen[judge(changed, size, &wanted)]++;
            changed[i] = bytes[i];
        }
    free(changed);
    assert_true(seen[0] > 10000 && seen[1] > 1000 && seen[2] > 1000);
    gf_tensors_close(&wanted);
    free(bytes);
    assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
}

static void test_survives_lack_of_memory(void **state) {
    (void)state;
    int64_t blocks = gf_mem_get_stats().live_blocks, k = 1;
    for (;; k++) {
        gf_tensors t = {0};
        gf_err e = {0};
        gf_mem_fail_at(k, false);
        bool ok = gf_tensors_open(&t, DATA "views.bin", &e), fired = gf_mem_fault_fired();
        gf_mem_fail_at(0, false);
        gf_tensors_close(&t);
        assert_int_equal(gf_mem_get_stats().live_blocks, blocks);
        assert_int_equal(ok, !fired);
        if (ok) break;
        assert_int_equal(e.code, GF_E_NOMEM);
    }
    assert_true(k > 100);
}

static void copy(const char *from, const char *to) {
    gf_err e = {0};
    size_t size = 0;
    unsigned char *bytes = read_bytes(from, &size);
    if (!gf_io_replace_file(to, bytes, size, &e)) fail_msg("%s", e.text);
    free(bytes);
}

static void make_folder(const char *path) {
    char to[256];
    static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json"};
    assert_true(gf_io_make_folder(path, NULL));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[256];
        snprintf(from, sizeof from, PLAIN "%s", files[i]);
        snprintf(to, sizeof to, "%s/%s", path, files[i]);
        copy(from, to);
    }
}

/* The folder's model has the bits of the one that safetensors wrote. */
static void check_folder(const char *path, bool in_place) {
    gf_model found = {0}, wanted = {0};
    gf_err e = {0};
    if (!gf_folder_open(&found, path, GF_OPEN_WEIGHTS, NULL, &e) ||
        !gf_folder_open(&wanted, PLAIN, GF_OPEN_WEIGHTS, NULL, &e))
        fail_msg("%s", e.text);
    assert_int_equal(found.params.count, wanted.params.count);
    for (int64_t i = 0; i < found.params.count; i++) {
        const gf_param *a = found.params.items[i], *b = wanted.params.items[i];
        assert_string_equal(a->name, b->name);
        assert_memory_equal(a->value, b->value, (size_t)gf_param_count(a) * sizeof *a->value);
        assert_int_equal(a->owned == NULL, in_place);
    }
    gf_model_free(&found);
    gf_model_free(&wanted);
}

static void test_opens_a_folder(void **state) {
    (void)state;
    make_folder(path_of("model"));
    copy(DATA "pytorch_model.bin", path_of("model/pytorch_model.bin"));
    check_folder(path_of("model"), true);
}

static void test_opens_a_folder_of_shards(void **state) {
    (void)state;
    static const char *const files[][2] = {
        {DATA "sharded/pytorch_model.bin.index.json", "shards/pytorch_model.bin.index.json"},
        {DATA "sharded/pytorch_model-00001-of-00002.bin",
         "shards/pytorch_model-00001-of-00002.bin"},
        {DATA "sharded/pytorch_model-00002-of-00002.bin",
         "shards/pytorch_model-00002-of-00002.bin"},
    };
    make_folder(path_of("shards"));
    for (int i = 0; i < 3; i++) copy(files[i][0], path_of(files[i][1]));
    check_folder(path_of("shards"), true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_torch_writes),
        cmocka_unit_test(test_copies_only_what_it_must),
        cmocka_unit_test(test_reads_long_dicts),
        cmocka_unit_test(test_reads_files_without_check_sums),
        cmocka_unit_test(test_reads_or_names_zip64),
        cmocka_unit_test(test_refuses_what_does_harm),
        cmocka_unit_test(test_tells_its_files),
        cmocka_unit_test(test_bounds_the_machine),
        cmocka_unit_test(test_notices_every_changed_byte),
        cmocka_unit_test(test_refuses_every_beginning),
        cmocka_unit_test(test_survives_changed_pickles),
        cmocka_unit_test(test_survives_lack_of_memory),
        cmocka_unit_test(test_opens_a_folder),
        cmocka_unit_test(test_opens_a_folder_of_shards),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
