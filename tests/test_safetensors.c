/* checkpoints/safetensors against files of the Python package
 * (tests/golden/make_checkpoints.py), an independent formula for half precision, hostile
 * headers, mutations, and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/safetensors.h"
#include "core/io_fault.h"
#include "core/mem.h"
#include "core/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA "tests/data/checkpoints/"

static uint32_t bits_of(float x) {
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* The value that make_checkpoints.py gives to element i of a tensor. */
static float expected(const char *name, int64_t i) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return (float)((h + 37 * (uint64_t)i) % 256) / 128 - 1;
}

static void check_same_bytes(const char *path, const char *wanted_path) {
    size_t wanted_size = 0, size = 0;
    char *wanted = gf_io_read_all(wanted_path, 1 << 20, &wanted_size, NULL);
    char *found = gf_io_read_all(path, 1 << 20, &size, NULL);
    assert_int_equal(size, wanted_size);
    assert_memory_equal(found, wanted, size);
    gf_free(found);
    gf_free(wanted);
}

/* Reads the file, checks every value, and writes it again. */
static void check_round_trip(const char *golden, int64_t count) {
    char path[] = SCRATCH "/graft_safetensors_XXXXXX";
    gf_safetensors s = {0};
    gf_named_tensor items[16];
    gf_real values[16][32];
    gf_err e = {0};
    assert_true(gf_safetensors_open(&s, golden, &e));
    assert_int_equal(s.count, count);
    for (int64_t i = 0; i < s.count; i++) { /* handed over backwards: the writer sorts */
        const gf_tensor *t = &s.items[s.count - 1 - i];
        items[i] = (gf_named_tensor){.name = t->name, .data = values[i]};
        assert_true(gf_tensor_shape(t, &items[i].shape, golden, &e));
        assert_true(gf_tensor_to_real(t, values[i], golden, &e));
        for (int64_t k = 0; k < t->count; k++)
            assert_true(values[i][k] == (gf_real)expected(t->name, k));
    }
    close(mkstemp(path));
    assert_true(gf_safetensors_write(path, items, s.count, &e));
    check_same_bytes(path, golden);
    gf_safetensors_close(&s);
    unlink(path);
}

static void test_reads_and_writes_as_python(void **state) {
    (void)state;
    check_round_trip(DATA "golden.safetensors", 6);
    check_round_trip(DATA "unpadded.safetensors", 1);
}

static void test_finds_by_name(void **state) {
    (void)state;
    gf_safetensors s = {0};
    assert_true(gf_safetensors_open(&s, DATA "golden.safetensors", NULL));
    assert_int_equal(gf_safetensors_find(&s, "heads.a.weight")->dim[1], 8);
    assert_non_null(gf_safetensors_find(&s, "quote \" and \\"));
    assert_int_equal(gf_safetensors_find(&s, "scalar")->n_dims, 0);
    assert_null(gf_safetensors_find(&s, "heads.c.weight"));
    gf_safetensors_close(&s);
}

static void test_reads_other_types(void **state) {
    (void)state;
    static const float f16[] = {0.5f, -2, 0x1p-24f, 65504}; /* 6e-8 rounds to the least subnormal */
    gf_safetensors s = {0};
    gf_real out[8];
    gf_shape shape;
    gf_err e = {0};
    assert_true(gf_safetensors_open(&s, DATA "types.safetensors", &e));
    assert_true(gf_tensor_to_real(gf_safetensors_find(&s, "f16"), out, "t", &e));
    for (int i = 0; i < 4; i++) assert_true(out[i] == f16[i]);
    assert_true(gf_tensor_to_real(gf_safetensors_find(&s, "bf16"), out, "t", &e));
    assert_true(out[0] == 0.5f && out[1] == -2 && out[3] == 0x1.fep127f);
    assert_true(out[2] > 0.9e-40f && out[2] < 1.1e-40f);
    assert_true(gf_tensor_to_real(gf_safetensors_find(&s, "f64"), out, "t", &e));
    assert_true(out[0] == 0.1f && isinf(out[1]) && out[1] < 0 && out[2] == 0 && isinf(out[3]));
    assert_true(gf_tensor_to_real(gf_safetensors_find(&s, "scalar"), out, "t", &e));
    assert_true(out[0] == 7.5f);
    assert_false(gf_tensor_to_real(gf_safetensors_find(&s, "i64"), out, "t", &e));
    assert_string_equal(e.text,
                        "t: tensor \"i64\" is of type I64; floating-point types can be used");
    e.code = GF_OK;
    assert_int_equal(gf_safetensors_find(&s, "none")->count, 0);
    assert_false(gf_tensor_shape(gf_safetensors_find(&s, "none"), &shape, "t", &e));
    e.code = GF_OK;
    assert_false(gf_tensor_shape(gf_safetensors_find(&s, "deep"), &shape, "t", &e));
    assert_non_null(strstr(e.text, "\"deep\" has the shape [1, 2, 1, 2, 1]"));
    gf_safetensors_close(&s);
}

/* IEEE 754: (-1)^s 2^(x - bias) (1 + f), subnormals 2^(1 - bias) f. */
static double value_of(unsigned bits, int fraction_bits, int bias, unsigned exponents) {
    unsigned x = bits >> fraction_bits & exponents, f = bits & ((1u << fraction_bits) - 1);
    double sign = bits >> 15 ? -1 : 1;
    if (x == exponents) return f ? (double)NAN : sign * (double)INFINITY;
    if (x == 0) return sign * ldexp(f, 1 - bias - fraction_bits);
    return sign * ldexp(f + (1u << fraction_bits), (int)x - bias - fraction_bits);
}

static void check_all_halves(gf_dtype dtype, int fraction_bits, int bias, unsigned exponents) {
    static uint16_t in[65536];
    static gf_real out[65536];
    for (unsigned i = 0; i < 65536; i++) in[i] = (uint16_t)i;
    gf_tensor t = {.name = "h", .dtype = dtype, .count = 65536, .data = (unsigned char *)in};
    assert_true(gf_tensor_to_real(&t, out, "t", NULL));
    for (unsigned i = 0; i < 65536; i++) {
        double wanted = value_of(i, fraction_bits, bias, exponents);
        if (isnan(wanted))
            assert_true(isnan(out[i]));
        else
            assert_int_equal(bits_of((float)out[i]), bits_of((float)wanted));
    }
}

static void test_converts_every_half(void **state) {
    (void)state;
    check_all_halves(GF_DTYPE_F16, 10, 15, 31);
    check_all_halves(GF_DTYPE_BF16, 7, 127, 255);
}

/* Length, header and `data` zero bytes, in exactly as much memory, so that ASan sees the end. */
static unsigned char *make_file(const char *header, size_t data, size_t *size) {
    uint64_t n = strlen(header);
    unsigned char *bytes = calloc(1, *size = 8 + (size_t)n + data);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, (size_t)n);
    return bytes;
}

static const struct {
    const char *header;
    size_t data;
    const char *reason; /* part of the sentence; NULL: must be accepted */
} headers[] = {
    {"{}", 0, NULL},
    {"{}   ", 0, NULL},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, NULL},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1, NULL},
    {"{\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
     1, NULL},
    {"{}", 1, "follow the last tensor"},
    {"[]", 0, "no header"},
    {" {}", 0, "no header"},
    {"{\"a\"", 0, "not valid JSON"},
    {"{\"a\":1}", 0, "\"a\" has no \"dtype\""},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "has no \"dtype\""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "\"shape\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "\"shape\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", 8, "\"shape\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, "\"shape\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
     "\"shape\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2147483648,2147483648],\"data_offsets\":[0,8]}}", 8,
     "do not fill 8 bytes"}, /* 2^62 elements: the size in bytes overflows */
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e300],\"data_offsets\":[0,8]}}", 8, "\"shape\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "do not fill 8 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "do not fill 8 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7,
     "\"data_offsets\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
     "\"data_offsets\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "\"data_offsets\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8,
     "\"data_offsets\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8,
     "\"data_offsets\" must"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,1e30]}}", 8,
     "\"data_offsets\" must"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
     3, "although the one before it ends at 2"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
     5, "leaves a hole"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "leaves a hole"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     2, "stands twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"shape\":[1]}}", 1,
     "stands twice"},
};

static void test_judges_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        size_t size;
        unsigned char *bytes = make_file(headers[i].header, headers[i].data, &size);
        gf_safetensors s = {0};
        gf_err e = {0};
        bool ok = gf_safetensors_parse(&s, bytes, size, "f", &e);
        if (ok != !headers[i].reason || (!ok && !strstr(e.text, headers[i].reason)))
            fail_msg("%s: %s", headers[i].header, ok ? "accepted" : e.text);
        if (!ok) assert_int_equal(e.code, GF_E_MODEL);
        gf_safetensors_close(&s);
        free(bytes);
    }
}

static void test_refuses_nesting_and_bad_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {0, 3, 100000001, UINT64_MAX, UINT64_MAX - 7, 1ull << 63};
    char deep[4096];
    size_t size;
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    deep[sizeof deep - 1] = 0;
    unsigned char *bytes = make_file(deep, 0, &size);
    gf_safetensors s = {0};
    gf_err e = {0};
    assert_false(gf_safetensors_parse(&s, bytes, size, "f", &e));
    assert_non_null(strstr(e.text, "nested too deeply"));
    free(bytes);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        bytes = make_file("{}", 0, &size);
        memcpy(bytes, &lengths[i], 8);
        assert_false(gf_safetensors_parse(&s, bytes, size, "f", NULL));
        free(bytes);
    }
    for (size_t n = 0; n < 10; n++) { /* cut short, at its own length for ASan */
        unsigned char *cut = malloc(n + (n == 0));
        memcpy(cut, "\2\0\0\0\0\0\0\0{}", n);
        assert_false(gf_safetensors_parse(&s, cut, n, "f", NULL));
        free(cut);
    }
}

/* Uses everything a parsed file offers. */
static void use_all(const gf_safetensors *s) {
    gf_real *out = malloc(65536 * sizeof *out);
    char text[64];
    gf_shape shape;
    for (int64_t i = 0; i < s->count; i++) {
        const gf_tensor *t = &s->items[i];
        gf_tensor_shape_text(t, text, sizeof text);
        gf_tensor_shape(t, &shape, "f", NULL);
        if (t->count <= 65536) gf_tensor_to_real(t, out, "f", NULL);
        assert_non_null(gf_safetensors_find(s, t->name));
    }
    free(out);
}

static void test_survives_mutations(void **state) {
    (void)state;
    static const char *const names[] = {DATA "types.safetensors", DATA "golden.safetensors"};
    gf_rng r = gf_rng_new(7, 7);
    int accepted = 0;
    for (int round = 0; round < 2000; round++) {
        size_t size = 0;
        char *whole = gf_io_read_all(names[round % 2], 1 << 20, &size, NULL);
        if (round % 5 == 0) size = gf_rng_below(&r, (uint32_t)size);
        unsigned char *bytes = malloc(size + !size);
        memcpy(bytes, whole, size);
        gf_free(whole);
        for (uint32_t k = gf_rng_below(&r, 4); size > 0 && k < 4; k++)
            bytes[gf_rng_below(&r, (uint32_t)size)] =
                (unsigned char)(k % 2 ? "0123456789[]{},:\"-e"[gf_rng_below(&r, 19)]
                                      : (char)gf_rng_next(&r));
        gf_safetensors s = {0};
        if (gf_safetensors_parse(&s, bytes, size, "f", NULL)) {
            use_all(&s);
            accepted++;
        }
        gf_safetensors_close(&s);
        free(bytes);
    }
    assert_in_range(accepted, 20, 1980); /* else the mutations test one side only */
}

static void test_survives_lack_of_memory(void **state) {
    (void)state;
    static const gf_real values[2] = {1, 2};
    gf_named_tensor item = {"a", {1, {2}}, values};
    int64_t before = gf_mem_get_stats().live_blocks, k = 0;
    char path[] = SCRATCH "/graft_safetensors_XXXXXX";
    bool ok = false;
    close(mkstemp(path));
    while (!ok) {
        gf_safetensors s = {0};
        gf_err e = {0};
        gf_mem_fail_at(++k, false);
        ok = gf_safetensors_write(path, &item, 1, &e) &&
             gf_safetensors_open(&s, DATA "golden.safetensors", &e);
        assert_true(ok == !gf_mem_fault_fired());
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        gf_safetensors_close(&s);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    gf_mem_fail_at(0, false);
    assert_true(k > 40);
    unlink(path);
}

static void test_write_keeps_the_old_file(void **state) {
    (void)state;
    static const gf_real one[2] = {1, 2}, two[2] = {3, 4};
    char path[] = SCRATCH "/graft_safetensors_XXXXXX";
    close(mkstemp(path));
    for (int kind = GF_FAULT_EIO; kind <= GF_FAULT_ENOSPC; kind++)
        for (int64_t k = 1; k < 4; k++) { /* create, write, sync: before the rename */
            gf_named_tensor a = {"a", {1, {2}}, one}, b = {"a", {1, {2}}, two};
            gf_safetensors s = {0};
            gf_real out[2];
            gf_err e = {0};
            assert_true(gf_safetensors_write(path, &a, 1, &e));
            gf_io_fail_at(k, (gf_io_fault)kind);
            assert_false(gf_safetensors_write(path, &b, 1, &e));
            assert_true(gf_io_fault_fired());
            assert_int_equal(e.code, GF_E_IO);
            gf_io_fail_at(0, GF_FAULT_EIO);
            assert_true(gf_safetensors_open(&s, path, NULL));
            assert_true(gf_tensor_to_real(&s.items[0], out, "f", NULL) && out[0] == 1);
            gf_safetensors_close(&s);
        }
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_and_writes_as_python),
        cmocka_unit_test(test_finds_by_name),
        cmocka_unit_test(test_reads_other_types),
        cmocka_unit_test(test_converts_every_half),
        cmocka_unit_test(test_judges_headers),
        cmocka_unit_test(test_refuses_nesting_and_bad_lengths),
        cmocka_unit_test(test_survives_mutations),
        cmocka_unit_test(test_survives_lack_of_memory),
        cmocka_unit_test(test_write_keeps_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
