/* gemm: matrix products through OpenBLAS, called single-threaded on fixed panels of our own.
 *
 *     gf_gemm(pool, &(gf_product){.m = T, .n = O, .k = I, .a = x, .lda = I, .b = w, .ldb = I,
 *                                 .transpose_b = true, .c = y, .ldc = O}, NULL, NULL);   y = x wᵀ
 *
 * A BLAS with threads of its own changes bits with their number (its split of K does). Here the
 * result is cut into panels whose size depends on nothing but the shape, each panel is one BLAS
 * call on one thread over the whole of K, and so any number of threads gives the same bits. */
#ifndef GF_CORE_GEMM_H
#define GF_CORE_GEMM_H

#include "core/err.h"
#include "core/pool.h"
#include "core/real.h"

#include <stdbool.h>
#include <stdint.h>

/* C [m, n] = alpha op(A) op(B) + beta C, row-major; op(A) is [m, k], op(B) is [k, n]; strides are
 * those of the stored matrices. alpha 0 stands for 1, so that it can be left out. */
typedef struct gf_product {
    int64_t m, n, k;
    const gf_real *a, *b;
    gf_real *c;
    int64_t lda, ldb, ldc;
    bool transpose_a, transpose_b;
    gf_real alpha, beta;
    const gf_real *start; /* [n] what every row of C starts from, such as a bias; then beta is 1 */
} gf_product;

/* Called on a finished panel, by the thread that computed it and while it is in the cache. */
typedef void gf_epilogue(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns);

/* The whole product over the pool; `then` may be NULL. */
void gf_gemm(gf_pool *pool, const gf_product *p, gf_epilogue *then, void *context);
/* The whole product in one BLAS call on the calling thread: for use inside a part of the pool. */
void gf_gemm_here(const gf_product *p);

/* Makes the BLAS single-threaded and checks that it obeys; GF_E_INTERNAL with what to do if not.
 * Call once at start, before any product. */
bool gf_gemm_start(gf_err *e);
/* "OpenBLAS 0.3.21 ... Zen", for reports. */
const char *gf_gemm_name(char *text, int size);

#endif
