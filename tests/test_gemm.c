/* Products cut into panels: right to float's precision against sums in double, every element
 * handed to the epilogue once, and the same bits for any number of threads. */
#include "core/gemm.h"
#include "core/mem.h"
#include "core/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

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
                        .beta = 1};
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
        cmocka_unit_test_setup_teardown(test_nothing, make, unmake),
    };
    gf_err e = {0};
    if (!gf_gemm_start(&e)) return 1;
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
