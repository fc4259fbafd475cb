/* gemm: matrix products over the pool.
 *
 *     gf_gemm(pool, &(gf_product){.m = T, .n = O, .k = I, .a = x, .lda = I, .b = w, .ldb = I,
 *                                 .transpose_b = true, .c = y, .ldc = O}, NULL, NULL);   y = x wᵀ
 *
 * Where the processor has one of the kernels of core/gemm_tiles.h, an element of C depends on its
 * row of A, its column of B and what it starts from, to the bit: not on m, n, the position, the
 * threads or the instruction set. Elsewhere, and in the double build, OpenBLAS computes panels
 * whose size depends on the shape alone, each on one thread: any number of threads gives the same
 * bits, but a row's depend on the rows beside it. */
#ifndef GF_CORE_GEMM_H
#define GF_CORE_GEMM_H

#include "core/err.h"
#include "core/pool.h"
#include "core/real.h"

#include <stdbool.h>
#include <stdint.h>

/* C [m, n] = op(A) op(B) or C += op(A) op(B), row-major; op(A) is [m, k], op(B) is [k, n]; strides
 * are those of the stored matrices. */
typedef struct gf_product {
    int64_t m, n, k;
    const gf_real *a, *b;
    gf_real *c;
    int64_t lda, ldb, ldc;
    bool transpose_a, transpose_b;
    bool add; /* to what C holds; else it is overwritten */
    const gf_real
        *start; /* [n] what every row of C starts from, such as a bias; NULL: 0. Not with `add` */
    const gf_real *packed; /* op(B) as gf_gemm_pack() made it, or NULL */
    gf_real *work;         /* [gf_gemm_work()] scratch, or NULL: slower, the same bits */
} gf_product;

/* Called on finished rows and columns of C, by the thread that computed them and while they are in
 * its cache. */
typedef void gf_epilogue(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns);

/* The whole product over the pool; `then` may be NULL. */
void gf_gemm(gf_pool *pool, const gf_product *p, gf_epilogue *then, void *context);
/* The whole product on the calling thread, for use inside a part of the pool. */
void gf_gemm_here(const gf_product *p);
/* Elements of scratch that a product of this shape makes use of. */
int64_t gf_gemm_work(int64_t n, int64_t k);

/* Elements that op(B) [k, n] takes when it is packed once, for many products; 0 where that is of
 * no use. */
int64_t gf_gemm_packed(int64_t n, int64_t k);
/* Packs the op(B) of p into out; the other matrices are not looked at. */
void gf_gemm_pack(gf_pool *pool, const gf_product *p, gf_real *out);

/* Where there is no kernel of our own, loads the BLAS, makes it single-threaded and checks that it
 * obeys; GF_E_INTERNAL with what to do if not. Call once at start, before any product. */
bool gf_gemm_start(gf_err *e);
/* What the products' bits depend on, for reports and for keys of what is kept of results: "own
 * kernel", whose tables all agree, or "OpenBLAS 0.3.21 ... Zen". */
const char *gf_gemm_name(char *text, int size);

#endif
