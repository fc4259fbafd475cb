/* Products through oneDNN: a library of our own in its place gives bf16 on any processor, the real
 * one, where it is installed, the same blocks, layouts and threads in fp32. Rounding and a linear
 * layer against torch's, every way that a library cannot be used, and nothing kept behind. */
#include "autograd/graph.h"
#include "core/mem.h"
#include "core/onednn.h"
#include "core/rng.h"
#include "tests/optim_help.h"

#include <dlfcn.h>

static const char fake[] = FAKES "fake_dnnl.so";

/* The fake library's own state. */
static _Atomic int *fake_int(const char *name) {
    void *handle = dlopen(fake, RTLD_NOW | RTLD_LOCAL); /* for good: the state outlives a close */
    void *found = handle ? dlsym(handle, name) : NULL;
    if (!found) fail_msg("%s: no %s", fake, name);
    return found;
}

static gf_onednn *must_open(const char *path, gf_onednn_type type, int threads) {
    gf_err e = {0};
    gf_onednn *o =
        gf_onednn_open(&(gf_onednn_options){.type = type, .threads = threads, .path = path}, &e);
    if (!o) fail_msg("%s", e.text);
    return o;
}

/* ---- rounding ---- */

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void bf16_is_torchs(void **state) {
    cJSON *j = read_golden("onednn.json");
    const cJSON *from = get(get(j, "rounding"), "from"), *to = get(get(j, "rounding"), "to");
    int n = cJSON_GetArraySize(from);
    float x[256];
    uint16_t y[257];
    (void)state;
    assert_in_range(n, 100, 256);
    for (int i = 0; i < n; i++)
        x[i] = from_bits((uint32_t)cJSON_GetArrayItem(from, i)->valuedouble);
    for (int t = 0; gf_vec_at(t); t++)
        for (int length = 0; length <= n; length += length < 40 ? 1 : 31) {
            memset(y, 0x5a, sizeof y);
            gf_vec_at(t)->round_bf16(length, x, y);
            for (int i = 0; i < length; i++)
                if (y[i] != cJSON_GetArrayItem(to, i)->valueint)
                    fail_msg("%s: %a is %04x", gf_vec_at(t)->name, (double)x[i], y[i]);
            assert_int_equal(y[length], 0x5a5a);
        }
    cJSON_Delete(j);
}

static void nan_stays_nan(void **state) {
    static const uint32_t bits[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001,
                                    0xffffffff, 0x7f80ffff, 0xffbfffff, 0x7fff8000};
    enum { N = sizeof bits / sizeof *bits };
    (void)state;
    for (int t = 0; gf_vec_at(t); t++) {
        float x[N];
        uint16_t y[N];
        for (int i = 0; i < N; i++) x[i] = from_bits(bits[i]);
        gf_vec_at(t)->round_bf16(N, x, y);
        for (int i = 0; i < N; i++) {
            assert_true(isnan(from_bits((uint32_t)y[i] << 16)));
            assert_int_equal(y[i] >> 15, bits[i] >> 31);
        }
    }
}

/* ---- products ---- */

/* Below, at and above a block's sides, more than one block of k, one and two blocks of columns. */
static const struct size {
    int64_t m, n, k;
} sizes[] = {{1, 1, 1},   {7, 50, 33},    {64, 128, 64}, {65, 129, 31},
             {3, 2, 384}, {70, 20, 1025}, {130, 200, 40}};
enum { N_SIZES = sizeof sizes / sizeof *sizes, LARGEST = 70 * 1200 };

typedef struct matrices {
    gf_real a[LARGEST], b[LARGEST], c[LARGEST], other[LARGEST], before[LARGEST], start[256];
    double want[LARGEST], size[LARGEST];
    int seen[LARGEST];
    int64_t columns;
} matrices;

static void draw(gf_real *x, int64_t n, uint64_t stream) {
    gf_rng r = gf_rng_new(11, stream);
    for (int64_t i = 0; i < n; i++) x[i] = gf_rng_uniform(&r) - 0.5f;
}

static int make(void **state) {
    matrices *s = gf_alloc_array(1, sizeof *s, NULL);
    assert_non_null(s);
    draw(s->a, LARGEST, 1);
    draw(s->b, LARGEST, 2);
    draw(s->before, LARGEST, 3);
    draw(s->start, 256, 4);
    *state = s;
    return 0;
}

static int unmake(void **state) {
    gf_free(*state);
    return 0;
}

/* Rows are 3 elements longer than they need be. */
static gf_product product_of(matrices *s, const struct size *z, int way) {
    bool ta = way & 1, tb = way & 2;
    return (gf_product){.m = z->m,
                        .n = z->n,
                        .k = z->k,
                        .a = s->a,
                        .lda = (ta ? z->m : z->k) + 3,
                        .b = s->b,
                        .ldb = (tb ? z->k : z->n) + 3,
                        .c = s->c,
                        .ldc = z->n + 3,
                        .transpose_a = ta,
                        .transpose_b = tb,
                        .add = way & 4,
                        .start = way & 8 ? s->start : NULL};
}

static double as(gf_onednn_type type, gf_real x) {
    uint16_t bits;
    if (type == GF_ONEDNN_F32) return (double)x;
    gf_vec_at(0)->round_bf16(1, &x, &bits);
    return (double)from_bits((uint32_t)bits << 16);
}

static void compute_wanted(matrices *s, const gf_product *p, gf_onednn_type type) {
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            int64_t at = i * p->ldc + j;
            double sum = p->add ? (double)s->before[at] : p->start ? (double)p->start[j] : 0;
            s->size[at] = fabs(sum);
            for (int64_t k = 0; k < p->k; k++) {
                double x = as(type, p->a[p->transpose_a ? k * p->lda + i : i * p->lda + k]);
                double y = as(type, p->b[p->transpose_b ? j * p->ldb + k : k * p->ldb + j]);
                sum += x * y;
                s->size[at] += fabs(x * y);
            }
            s->want[at] = sum;
        }
}

static void note(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    matrices *s = context;
    for (int64_t r = row; r < row + rows; r++)
        for (int64_t c = column; c < column + columns; c++) s->seen[r * s->columns + c]++;
}

static void run(matrices *s, gf_onednn *o, int threads, gf_product *p) {
    gf_pool *pool = gf_pool_new(threads, NULL);
    int64_t work = gf_onednn_work(o, p);
    assert_true(work > 0);
    p->work = gf_alloc_array(work + 1, sizeof *p->work, NULL);
    p->work[work] = 12345;
    memcpy(s->c, s->before, sizeof s->c);
    memset(s->seen, 0, sizeof s->seen);
    s->columns = p->ldc;
    gf_onednn_gemm(o, pool, p, note, s);
    assert_true(p->work[work] == 12345);
    gf_free(p->work);
    gf_pool_free(pool);
}

static void check(const matrices *s, const gf_product *p, const char *what) {
    for (int64_t at = 0; at < LARGEST; at++) {
        bool inside = at / p->ldc < p->m && at % p->ldc < p->n;
        double error = inside ? fabs((double)s->c[at] - s->want[at]) : 0;
        if (!inside && s->c[at] != s->before[at]) fail_msg("%s: writes outside", what);
        if (inside && !(error <= 1e-6 * (s->size[at] + 1e-3)))
            fail_msg("%s: %g, wanted %g", what, (double)s->c[at], s->want[at]);
        assert_int_equal(s->seen[at], inside);
    }
}

/* Every size and way: right, and the same bits with more threads. */
static void try_products(matrices *s, const char *path, gf_onednn_type type) {
    static const int threads[] = {1, 2, 5};
    gf_onednn *o[3];
    for (int t = 0; t < 3; t++) o[t] = must_open(path, type, threads[t]);
    for (int i = 0; i < N_SIZES * 12; i++) {
        gf_product p = product_of(s, &sizes[i % N_SIZES], i / N_SIZES);
        char what[64];
        snprintf(what, sizeof what, "%lld x %lld x %lld, way %d", (long long)p.m, (long long)p.n,
                 (long long)p.k, i / N_SIZES);
        compute_wanted(s, &p, type);
        for (int t = 0; t < 3; t++) {
            run(s, o[t], threads[t], &p);
            if (t == 0) check(s, &p, what);
            if (t == 0) memcpy(s->other, s->c, sizeof s->c);
            assert_memory_equal(s->other, s->c, sizeof s->c);
        }
    }
    for (int t = 0; t < 3; t++) gf_onednn_close(o[t]);
}

static void fake_bf16(void **state) { try_products(*state, fake, GF_ONEDNN_BF16); }
static void fake_fp32(void **state) { try_products(*state, fake, GF_ONEDNN_F32); }

static void real_fp32(void **state) {
    gf_err e = {0};
    char name[128];
    gf_onednn *o = gf_onednn_open(&(gf_onednn_options){.type = GF_ONEDNN_F32}, &e);
    if (!o) {
        print_message("%s\n", e.text);
        skip();
    }
    assert_non_null(strstr(gf_onednn_name(o, name, sizeof name), "oneDNN 2."));
    assert_non_null(strstr(name, ", fp32, "));
    gf_onednn_close(o);
    try_products(*state, NULL, GF_ONEDNN_F32);
}

/* On processors that have it. */
static void real_bf16(void **state) {
    gf_err e = {0};
    gf_onednn *o = gf_onednn_open(&(gf_onednn_options){.type = GF_ONEDNN_BF16}, &e);
    if (!o) {
        assert_int_equal(e.code, GF_E_INVALID);
        if (!gf_vec_cpu_has_bf16()) assert_non_null(strstr(e.text, "AVX512-BF16 or AMX-BF16"));
        assert_non_null(strstr(e.text, "use precision fp32"));
        print_message("%s\n", e.text);
        skip();
    }
    gf_onednn_close(o);
    try_products(*state, NULL, GF_ONEDNN_BF16);
}

/* Equal shapes, and those that differ in m or within a block only, share a primitive. */
static void primitives_are_kept(void **state) {
    gf_onednn *o = must_open(fake, GF_ONEDNN_BF16, 2);
    _Atomic int *created = fake_int("fake_created");
    gf_product p = {.m = 5, .n = 100, .k = 100};
    int before = *created;
    (void)state;
    gf_onednn_work(o, &p);
    assert_int_equal(*created - before, 2); /* the product and the packing of B */
    p.m = 900;
    p.n = 128;
    p.k = 128;
    gf_onednn_work(o, &p);
    assert_int_equal(*created - before, 2);
    p.transpose_a = true;
    gf_onednn_work(o, &p);
    assert_int_equal(*created - before, 4);
    p.k = 129;
    gf_onednn_work(o, &p);
    assert_int_equal(*created - before, 6);
    gf_onednn_close(o);
    assert_int_equal(*fake_int("fake_live"), 0);
}

/* ---- a layer on the tape ---- */

static gf_param *make_param(gf_param *p, const cJSON *j, const char *key, gf_shape shape) {
    gf_real *value = gf_alloc_array(gf_shape_count(&shape), sizeof(gf_real), NULL);
    *p = (gf_param){.name = (char *)(uintptr_t)key, .shape = shape, .trainable = true};
    p->grad = gf_alloc_array(gf_shape_count(&shape), sizeof(gf_real), NULL);
    fill(value, get(j, key));
    p->value = value;
    return p;
}

static void free_param(gf_param *p) {
    gf_free((void *)(uintptr_t)p->value);
    gf_free(p->grad);
}

static void a_layer_is_torchs(void **state) {
    cJSON *all = read_golden("onednn.json");
    const cJSON *j = get(all, "layer");
    int64_t tokens = (int64_t)number(all, "tokens"), in = (int64_t)number(all, "in");
    int64_t out = (int64_t)number(all, "out");
    gf_pool *pool = gf_pool_new(3, NULL);
    gf_graph *g = gf_graph_new(pool, gf_vec_best(), NULL);
    gf_onednn *o = must_open(fake, GF_ONEDNN_BF16, 3);
    gf_param x, w, b;
    gf_node *y;
    gf_err e = {0};
    int before = *fake_int("fake_executed");
    (void)state;
    gf_graph_set_onednn(g, o);
    gf_graph_reset(g);
    y = gf_call(g, linear, (&(gf_attr){.kind = GF_ACT_GELU}),
                gf_graph_param(g, make_param(&x, j, "x", gf_shape2(tokens, in))),
                gf_graph_param(g, make_param(&w, j, "w", gf_shape2(out, in))),
                gf_graph_param(g, make_param(&b, j, "b", gf_shape1(out))));
    gf_graph_keep(y);
    if (!gf_graph_plan(g, &y, 1, &e)) fail_msg("%s", e.text);
    gf_graph_forward(g);
    assert_array_near(y->x, get(j, "y"), 2e-6, "y");
    fill(y->g, get(j, "dy"));
    gf_graph_backward(g, NULL);
    /* dz of which one lies on the other side of a rounding step counts for 2^-9 of its part */
    assert_array_near(x.grad, get(j, "dx"), 2e-3, "dx");
    assert_array_near(w.grad, get(j, "dw"), 2e-3, "dw");
    assert_array_near(b.grad, get(j, "db"), 1e-5, "db");
    assert_true(*fake_int("fake_executed") > before + 6);
    gf_graph_free(g);
    gf_onednn_close(o);
    gf_pool_free(pool);
    free_param(&x);
    free_param(&w);
    free_param(&b);
    cJSON_Delete(all);
}

/* ---- what goes wrong ---- */

static void refuses(const char *path, const char *want) {
    gf_err e = {0};
    gf_onednn_options how = {.type = GF_ONEDNN_BF16, .path = path};
    assert_null(gf_onednn_open(&how, &e));
    assert_int_equal(e.code, GF_E_INVALID);
    if (!strstr(e.text, want) || !strstr(e.text, "precision fp32")) fail_msg("%s", e.text);
}

static void unusable_libraries_are_named(void **state) {
    void **kernel = (void **)(uintptr_t)fake_int("fake_kernel"), *kept = *kernel;
    static char reference[] = "ref:any";
    (void)state;
    refuses(FAKES "no_such.so", "apt install libdnnl2");
    refuses(FAKES "fake_dnnl_3.so", "is oneDNN 3.4.3, and graft knows versions 2.6 and 2.7");
    refuses(FAKES "fake_dnnl_hole.so", "lacks the function dnnl_memory_destroy");
    refuses("libm.so.6", "is not oneDNN");
    *kernel = reference;
    refuses(fake, "for this processor (ref:any)");
    *kernel = kept;
    assert_int_equal(*fake_int("fake_live"), 0);
}

/* Where oneDNN turns out to have nothing for a shape, planning says so. */
static void a_refused_shape_fails_the_plan(void **state) {
    void **kernel = (void **)(uintptr_t)fake_int("fake_kernel"), *kept = *kernel;
    static char reference[] = "ref:any";
    static gf_real x[2 * 3], w[5 * 3], b[5];
    gf_pool *pool = gf_pool_new(1, NULL);
    gf_graph *g = gf_graph_new(pool, gf_vec_best(), NULL);
    gf_onednn *o = must_open(fake, GF_ONEDNN_BF16, 1);
    gf_err e = {0};
    (void)state;
    gf_graph_set_onednn(g, o);
    gf_graph_reset(g);
    *kernel = reference;
    assert_null(gf_call(g, linear, (&(gf_attr){.kind = GF_ACT_NONE}),
                        gf_graph_input(g, gf_shape2(2, 3), x),
                        gf_graph_input(g, gf_shape2(5, 3), w), gf_graph_input(g, gf_shape1(5), b)));
    *kernel = kept;
    assert_false(gf_graph_plan(g, NULL, 0, &e));
    assert_non_null(strstr(e.text, "oneDNN has no fast product for this shape"));
    gf_graph_free(g);
    gf_onednn_close(o);
    gf_pool_free(pool);
}

/* An execution that fails, of a packing or of a product, leaves no numbers that look right. */
static void failures_become_nan(void **state) {
    matrices *s = *state;
    gf_onednn *o = must_open(fake, GF_ONEDNN_BF16, 1);
    _Atomic int *fail_in = fake_int("fake_fail_in");
    for (int k = 1; k <= 4; k++) {
        gf_product p = product_of(s, &(struct size){80, 60, 50}, 0);
        int nans = 0;
        *fail_in = k;
        run(s, o, 1, &p);
        for (int64_t i = 0; i < 80 * p.ldc; i++) nans += isnan(s->c[i]);
        assert_int_equal(*fail_in, k < 4 ? 0 : 1);
        assert_int_equal(nans, k == 1 ? 80 * 60 : k == 2 ? 64 * 60 : k == 3 ? 16 * 60 : 0);
    }
    *fail_in = 0;
    gf_onednn_close(o);
}

static void memory_may_run_out(void **state) {
    gf_onednn_options how = {.type = GF_ONEDNN_BF16, .threads = 2, .path = fake};
    size_t live = gf_mem_get_stats().live_bytes;
    bool done = false;
    int refused = 0;
    (void)state;
    for (int k = 1; !done; k++) {
        gf_err e = {0};
        gf_onednn *o;
        gf_mem_fail_at(k, false);
        o = gf_onednn_open(&how, &e);
        done = o && gf_onednn_work(o, &(gf_product){.m = 1, .n = 40, .k = 40}) > 0;
        assert_int_equal(done, !gf_mem_fault_fired());
        if (!o) assert_int_equal(e.code, GF_E_NOMEM);
        refused += !done;
        gf_mem_fail_at(0, false);
        gf_onednn_close(o);
        assert_int_equal(*fake_int("fake_live"), 0);
        assert_int_equal(gf_mem_get_stats().live_bytes, live);
    }
    assert_true(refused > 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_is_torchs),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test_setup_teardown(fake_bf16, make, unmake),
        cmocka_unit_test_setup_teardown(fake_fp32, make, unmake),
        cmocka_unit_test_setup_teardown(real_fp32, make, unmake),
        cmocka_unit_test_setup_teardown(real_bf16, make, unmake),
        cmocka_unit_test(primitives_are_kept),
        cmocka_unit_test(a_layer_is_torchs),
        cmocka_unit_test(unusable_libraries_are_named),
        cmocka_unit_test(a_refused_shape_fails_the_plan),
        cmocka_unit_test_setup_teardown(failures_become_nan, make, unmake),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("onednn", tests, NULL, NULL);
}
