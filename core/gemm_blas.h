/* gemm_blas: the matrix product through OpenBLAS, for processors without a kernel of our own.
 *
 *     if (!gf_blas_start(e)) return false;          (once; who has a kernel of our own need not)
 *     gf_blas_gemm(pool, &product, NULL, NULL);
 *
 * A BLAS with threads of its own changes bits with their number (its split of k does). Here the
 * result is cut into panels whose size depends on nothing but the shape, and each panel is one BLAS
 * call on one thread over the whole of k.
 *
 * The library is loaded when it is first asked for and stays: linked in, it would cost every start
 * of a program some milliseconds and a thread that waits for work, mostly for nothing. */
#ifndef GF_CORE_GEMM_BLAS_H
#define GF_CORE_GEMM_BLAS_H

#include "core/gemm.h"

/* What is taken from the library. */
typedef struct gf_blas {
    /* cblas_sgemm or cblas_dgemm: order, transpositions, m, n, k, alpha, A, lda, B, ldb, beta,
     * C, ldc */
    void (*gemm)(int, int, int, int, int, int, gf_real, const gf_real *, int, const gf_real *, int,
                 gf_real, gf_real *, int);
    void (*set_num_threads)(int);
    int (*get_num_threads)(void);
    char *(*get_config)(void);
    char *(*get_corename)(void);
} gf_blas;

/* Fills b from the library of this name, "libopenblas.so.0", which stays loaded. Fails with
 * GF_E_INTERNAL where it is missing or is no OpenBLAS. */
bool gf_blas_load(gf_blas *b, const char *library, gf_err *e);

/* Loads it for the next ones, and holds it to one thread. May be called often, by any thread. */
bool gf_blas_start(gf_err *e);
void gf_blas_gemm(gf_pool *pool, const gf_product *p, gf_epilogue *then, void *context);
void gf_blas_gemm_here(const gf_product *p);
/* "OpenBLAS 0.3.21 ..., core Zen"; before gf_blas_start(), that it is not loaded. */
const char *gf_blas_name(char *text, int size);

#endif
