/* Products: right to float's precision against sums in double, every element handed to the epilogue
 * once, the same bits for any number of threads; and with a kernel of our own each element is the
 * chain of fused multiply-adds that core/gemm_tiles.h promises, whatever the shape around it. */
#include "core/gemm.h"
#include "core/gemm_blas.h"
#include "core/gemm_tiles.h"
#include "core/mem.h"
#include "core/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "tests/guard.h"

/* From one panel to eight, and sides that no panel divides. */
static const struct size {
    int64_t m, n, k;
} sizes[] = {{1, 1, 1},       {7, 50, 33},    {300, 200, 65},
             {25, 1000, 700}, {801, 97, 301}, {400, 500, 90}};
enum { N_SIZES = sizeof sizes / sizeof *sizes, LARGEST = 801 * 1000 };

typedef struct matrices {
    gf_real *a, *b, *c, *first, *seen; /* [LARGEST] */
} matrices;

static void fill(gf_real *x, uint64_t stream) {
    gf_rng r = gf_rng_new(7, stream);
    for (int64_t i = 0; i < LARGEST; i++) x[i] = gf_rng_uniform(&r) - 0.5f;
}

static int make(void **state) {
    matrices *s = gf_alloc_array(1, sizeof *s, NULL);
    gf_real **all[] = {&s->a, &s->b, &s->c, &s->first, &s->seen};
    for (int i = 0; i < 5; i++) *all[i] = gf_alloc_array(LARGEST, sizeof(gf_real), NULL);
    fill(s->a, 1);
    fill(s->b, 2);
    *state = s;
    return 0;
}

static int unmake(void **state) {
    matrices *s = *state;
    gf_real *all[] = {s->a, s->b, s->c, s->first, s->seen};
    for (int i = 0; i < 5; i++) gf_free(all[i]);
    gf_free(s);
    return 0;
}

static gf_product product_of(const matrices *s, const struct size *z, bool ta, bool tb) {
    return (gf_product){.m = z->m,
                        .n = z->n,
                        .k = z->k,
                        .a = s->a,
                        .lda = ta ? z->m : z->k,
                        .transpose_a = ta,
                        .b = s->b,
                        .ldb = tb ? z->k : z->n,
                        .transpose_b = tb,
                        .c = s->c,
                        .ldc = z->n,
                        .add = true};
}

typedef struct mark_job {
    gf_real *seen; /* [m, n] */
    int64_t n;
} mark_job;

static void mark(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    mark_job *j = context;
    for (int64_t r = row; r < row + rows; r++)
        for (int64_t c = column; c < column + columns; c++) j->seen[r * j->n + c]++;
}

static void run(matrices *s, const gf_product *p, int threads) {
    gf_pool *pool = gf_pool_new(threads, NULL);
    mark_job job = {s->seen, p->n};
    fill(s->c, 3);
    memset(s->seen, 0, LARGEST * sizeof *s->seen);
    gf_gemm(pool, p, mark, &job);
    gf_pool_free(pool);
}

/* c was filled with stream 3 and added to. */
static void check(const matrices *s, const gf_product *p, const gf_real *before) {
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = (double)before[i * p->n + j], difference;
            for (int64_t k = 0; k < p->k; k++)
                sum += (double)p->a[p->transpose_a ? k * p->lda + i : i * p->lda + k] *
                       (double)p->b[p->transpose_b ? j * p->ldb + k : k * p->ldb + j];
            difference = fabs(sum - (double)s->c[i * p->n + j]);
            if (difference > 2e-5) fail_msg("[%d, %d]: off by %g", (int)i, (int)j, difference);
            if (s->seen[i * p->n + j] != 1)
                fail_msg("[%d, %d]: finished %g times", (int)i, (int)j,
                         (double)s->seen[i * p->n + j]);
        }
}

static void test_values(void **state) {
    matrices *s = *state;
    fill(s->first, 3);
    for (int z = 0; z < N_SIZES; z++)
        for (int t = 0; t < 4; t++) {
            gf_product p = product_of(s, &sizes[z], t & 1, t & 2);
            run(s, &p, 2);
            check(s, &p, s->first);
        }
}

static void test_threads(void **state) {
    static const int threads[] = {2, 3, 5, 8};
    matrices *s = *state;
    for (int z = 0; z < N_SIZES; z++) {
        gf_product p = product_of(s, &sizes[z], false, true);
        run(s, &p, 1);
        memcpy(s->first, s->c, LARGEST * sizeof *s->c);
        for (int i = 0; i < 4; i++) {
            run(s, &p, threads[i]);
            assert_memory_equal(s->first, s->c, LARGEST * sizeof *s->c);
        }
    }
}

/* ---- the promise of the kernels, by libm's fmaf ---- */

/* What a product's element is to be, `c` being what C held. */
static float chain(const gf_product *p, int64_t i, int64_t j, float c) {
    float sum = p->add ? c : p->start ? p->start[j] : 0;
    for (int64_t k = 0; k < p->k; k++)
        sum = fmaf(p->a[p->transpose_a ? k * p->lda + i : i * p->lda + k],
                   p->b[p->transpose_b ? j * p->ldb + k : k * p->ldb + j], sum);
    return sum;
}

/* `before` is what s->c held. */
static void check_chains(const matrices *s, const gf_product *p, const gf_real *before,
                         const char *what) {
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            float want = chain(p, i, j, before[i * p->ldc + j]), got = s->c[i * p->ldc + j];
            if (memcmp(&want, &got, sizeof want) != 0)
                fail_msg("%s: [%d, %d] of %d x %d x %d: %a, want %a", what, (int)i, (int)j,
                         (int)p->m, (int)p->n, (int)p->k, (double)got, (double)want);
        }
    for (int64_t i = 0; i < p->m; i++) /* and nothing beside C was written */
        assert_memory_equal(s->c + i * p->ldc + p->n, before + i * p->ldc + p->n,
                            (size_t)(p->ldc - p->n) * sizeof *s->c);
}

/* One tile call of a table, A packed by it or, where there is a whole tile of it, in place. */
static void run_tiles(const gf_tiles *t, const gf_product *p, bool in_place, gf_real *a,
                      gf_real *b) {
    int64_t rest = p->m % t->rows, whole = p->m - rest;
    gf_packing rows = {.items = p->m, .k = p->k, .x = p->a};
    gf_packing columns = {.items = p->n, .k = p->k, .x = p->b};
    gf_tiling tiling = {.m = p->m, .n = p->n, .k = p->k, .c = p->c, .ldc = p->ldc};
    rows.item_stride = p->transpose_a ? 1 : p->lda;
    rows.k_stride = p->transpose_a ? p->lda : 1;
    columns.item_stride = p->transpose_b ? p->ldb : 1;
    columns.k_stride = p->transpose_b ? 1 : p->ldb;
    t->pack_columns(&columns, b);
    t->pack_rows(&rows, a);
    tiling.a = tiling.rest = (gf_tile_rows){a, 1, t->rows};
    tiling.a_stride = p->k * t->rows;
    tiling.rest.x += whole * p->k;
    if (in_place && p->m >= t->rows) {
        tiling.a = tiling.rest = (gf_tile_rows){p->a, rows.item_stride, rows.k_stride};
        tiling.a_stride = t->rows * rows.item_stride;
        tiling.rest.x += (p->m - t->rows) * rows.item_stride;
        tiling.skip = t->rows - rest;
    }
    tiling.b_is_far = in_place;
    tiling.b = b;
    tiling.b_stride = p->k * t->columns;
    tiling.from = p->add ? p->c : p->start;
    tiling.from_stride = p->add ? p->ldc : 0;
    t->multiply(&tiling);
}

static int64_t any(gf_rng *r, int64_t most) {
    return 1 + (int64_t)(gf_rng_uniform(r) * (float)most) % most;
}

static gf_product any_product(const matrices *s, gf_rng *r, int64_t most) {
    struct size z = {any(r, most), any(r, most), any(r, most)};
    gf_product p = product_of(s, &z, any(r, 2) == 1, any(r, 2) == 1);
    p.lda += any(r, 5);
    p.ldb += any(r, 5);
    p.ldc += any(r, 5);
    p.add = any(r, 2) == 1;
    p.start = s->b + 100; /* any numbers */
    return p;
}

static void test_tables(void **state) {
    matrices *s = *state;
    gf_rng r = gf_rng_new(11, 1);
    assert_non_null(gf_tiles_at(0));
    fill(s->first, 3);
    for (int i = 0; gf_tiles_at(i); i++)
        for (int round = 0; round < 150; round++) {
            gf_product p = any_product(s, &r, round % 3 ? 40 : 90);
            fill(s->c, 3);
            run_tiles(gf_tiles_at(i), &p, round % 2 == 1, s->seen, s->seen + LARGEST / 2);
            check_chains(s, &p, s->first, gf_tiles_at(i)->name);
        }
}

/* However it is cut: with and without scratch, packed before, on one thread, for all pools. */
static void test_chains(void **state) {
    matrices *s = *state;
    gf_rng r = gf_rng_new(12, 1);
    int ways = 0;
    if (!gf_tiles_best()) skip();
    fill(s->first, 3);
    for (int round = 0; round < 60; round++) {
        gf_product p = any_product(s, &r, round % 4 ? 150 : 800);
        gf_pool *pool = gf_pool_new(1 + round % 4, NULL);
        gf_real *packed = gf_alloc_array(gf_gemm_packed(p.n, p.k), sizeof *packed, NULL);
        if (p.m * p.n > 60000) p.m = 1 + 60000 / p.n;
        fill(s->c, 3);
        if (round % 5 == 0) p.work = s->seen;
        if (round % 5 == 0 && gf_gemm_work(p.n, p.k) > LARGEST) p.work = NULL;
        if (round % 5 == 1) gf_gemm_pack(pool, &p, packed);
        if (round % 5 == 1) p.packed = packed;
        if (round % 5 == 2)
            gf_gemm_here(&p);
        else
            gf_gemm(pool, &p, NULL, NULL);
        check_chains(s, &p, s->first, "gf_gemm");
        ways |= 1 << round % 5;
        gf_free(packed);
        gf_pool_free(pool);
    }
    assert_int_equal(ways, 31);
}

/* ---- every operand beside pages that nobody may touch ---- */

enum { GUARDED = 300000, ROOMS = 7 };

/* Elements from the first of a matrix to its last: behind the last row there is no stride. */
static int64_t extent(int64_t rows, int64_t columns, int64_t stride) {
    return rows > 0 && columns > 0 ? (rows - 1) * stride + columns : 0;
}

/* n of a source's numbers beside a guard. */
static gf_real *beside(const guard *g, int64_t n, bool at_end, const gf_real *source) {
    gf_real *x = guard_place(g, n, at_end);
    if (source) memcpy(x, source, (size_t)n * sizeof *x);
    return x;
}

/* The same product over matrices that take not an element more than they need. */
static gf_product guarded(const gf_product *p, const guard *rooms, bool at_end) {
    gf_product q = *p;
    q.a =
        beside(&rooms[0], p->transpose_a ? extent(p->k, p->m, p->lda) : extent(p->m, p->k, p->lda),
               at_end, p->a);
    q.b =
        beside(&rooms[1], p->transpose_b ? extent(p->n, p->k, p->ldb) : extent(p->k, p->n, p->ldb),
               at_end, p->b);
    q.c = beside(&rooms[2], extent(p->m, p->n, p->ldc), at_end, p->c);
    if (p->start) q.start = beside(&rooms[3], p->n, at_end, p->start);
    return q;
}

/* What run_tiles() packs and multiplies, of one table. */
static void guard_tiles(const gf_tiles *t, const gf_product *p, bool in_place, const guard *rooms,
                        bool at_end) {
    int64_t rows = (p->m + t->rows - 1) / t->rows * t->rows;
    int64_t columns = (p->n + t->columns - 1) / t->columns * t->columns;
    run_tiles(t, p, in_place, guard_place(&rooms[4], rows * p->k, at_end),
              guard_place(&rooms[5], columns * p->k, at_end));
}

/* The whole product, in the ways of test_chains. */
static void guard_product(gf_pool *pool, gf_product *p, const guard *rooms, bool at_end, int way) {
    gf_real *packed = guard_place(&rooms[4], gf_gemm_packed(p->n, p->k), at_end);
    if (way == 0) p->work = guard_place(&rooms[6], gf_gemm_work(p->n, p->k), at_end);
    if (way == 1) gf_gemm_pack(pool, p, packed);
    if (way == 1) p->packed = packed;
    if (way == 2)
        gf_gemm_here(p);
    else
        gf_gemm(pool, p, NULL, NULL);
}

static void test_nothing_outside_is_touched(void **state) {
    matrices *s = *state;
    gf_rng r = gf_rng_new(14, 1);
    gf_pool *pool = gf_pool_new(3, NULL);
    guard rooms[ROOMS];
    fill(s->c, 3);
    for (int i = 0; i < ROOMS; i++) rooms[i] = guard_new(i < 6 ? GUARDED : gf_gemm_work(150, 150));
    for (int round = 0; round < 400; round++) {
        gf_product p = any_product(s, &r, round % 5 ? 40 : 150), q;
        bool at_end = round % 2, in_place = round / 2 % 2;
        for (int i = 0; gf_tiles_at(i); i++) {
            q = guarded(&p, rooms, at_end);
            guard_tiles(gf_tiles_at(i), &q, in_place, rooms, at_end);
        }
        if (!gf_tiles_best()) continue;
        q = guarded(&p, rooms, at_end);
        guard_product(pool, &q, rooms, at_end, round / 2 % 4);
    }
    for (int i = 0; i < ROOMS; i++) guard_free(&rooms[i]);
    gf_pool_free(pool);
}

/* Longer than one piece of the scratch, so that chains are taken up again. */
static void test_long_chains(void **state) {
    matrices *s = *state;
    gf_pool *pool = gf_pool_new(2, NULL);
    gf_product p = product_of(s, &(struct size){5, 97, 8000}, true, false);
    if (!gf_tiles_best()) skip();
    gf_real *work = gf_alloc_array(gf_gemm_work(5000, 8000), sizeof *work, NULL);
    p.work = work;
    fill(s->first, 3);
    fill(s->c, 3);
    gf_gemm(pool, &p, NULL, NULL);
    check_chains(s, &p, s->first, "8000 elements");
    p = product_of(s, &(struct size){3, 5000, 150}, false, true);
    p.work = work;
    fill(s->c, 3);
    gf_gemm(pool, &p, NULL, NULL);
    check_chains(s, &p, s->first, "5000 columns");
    gf_free(work);
    gf_pool_free(pool);
}

/* Sums over nothing: a batch may have no token that a layer is asked for. */
static void test_no_depth(void **state) {
    matrices *s = *state;
    gf_pool *pool = gf_pool_new(2, NULL);
    if (!gf_tiles_best()) skip();
    fill(s->first, 3);
    for (int way = 0; way < 3; way++) {
        gf_product p = product_of(s, &(struct size){20, 50, 0}, true, false);
        p.add = way == 0;
        p.start = way == 1 ? s->b : NULL;
        p.work = s->seen;
        fill(s->c, 3);
        gf_gemm(pool, &p, NULL, NULL);
        check_chains(s, &p, s->first, "no k");
    }
    gf_pool_free(pool);
}

/* The way of processors without a kernel. */
static void test_blas(void **state) {
    matrices *s = *state;
    gf_pool *pool = gf_pool_new(2, NULL);
    mark_job job = {s->seen, 0};
    gf_err e = {0};
    if (!gf_blas_start(&e)) fail_msg("%s", e.text);
    fill(s->first, 3);
    for (int z = 0; z < N_SIZES; z++) {
        gf_product p = product_of(s, &sizes[z], z & 1, z & 2);
        job.n = p.n;
        fill(s->c, 3);
        memset(s->seen, 0, LARGEST * sizeof *s->seen);
        gf_blas_gemm(pool, &p, mark, &job);
        check(s, &p, s->first);
    }
    gf_pool_free(pool);
}

/* Where it is needed and is not there, or is something else. */
static void test_no_blas(void **state) {
    gf_err e = {0}, other = {0};
    gf_blas b = {0};
    char name[256];
    (void)state;
    assert_false(gf_blas_load(&b, "libno-such-blas.so.0", &e));
    assert_int_equal(e.code, GF_E_INTERNAL);
    assert_non_null(strstr(e.text, "libno-such-blas.so.0"));
    assert_non_null(strstr(e.text, "; install libopenblas0-pthread"));
    assert_false(gf_blas_load(&b, "libm.so.6", &other));
    assert_string_equal(other.text, "OpenBLAS: libm.so.6 lacks functions of it; install "
                                    "libopenblas0-pthread");
    assert_null(b.gemm);
    if (gf_tiles_best()) assert_non_null(strstr(gf_gemm_name(name, 256), "own kernel"));
}

static void test_nothing(void **state) {
    matrices *s = *state;
    gf_product p = product_of(s, &(struct size){0, 5, 5}, false, false);
    run(s, &p, 2);
    assert_true(s->seen[0] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, make, unmake),
        cmocka_unit_test_setup_teardown(test_threads, make, unmake),
        cmocka_unit_test_setup_teardown(test_tables, make, unmake),
        cmocka_unit_test_setup_teardown(test_chains, make, unmake),
        cmocka_unit_test_setup_teardown(test_nothing_outside_is_touched, make, unmake),
        cmocka_unit_test_setup_teardown(test_long_chains, make, unmake),
        cmocka_unit_test_setup_teardown(test_no_depth, make, unmake),
        cmocka_unit_test_setup_teardown(test_blas, make, unmake),
        cmocka_unit_test(test_no_blas),
        cmocka_unit_test_setup_teardown(test_nothing, make, unmake),
    };
    gf_err e = {0};
    if (!gf_gemm_start(&e)) return 1;
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
