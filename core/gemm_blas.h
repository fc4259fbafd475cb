/* gemm_blas: the matrix product through OpenBLAS, for processors without a kernel of our own.
 * A BLAS with threads of its own changes bits with their number (its split of k does). Here the
 * result is cut into panels whose size depends on nothing but the shape, and each panel is one BLAS
 * call on one thread over the whole of k. */
#ifndef GF_CORE_GEMM_BLAS_H
#define GF_CORE_GEMM_BLAS_H

#include "core/gemm.h"

void gf_blas_gemm(gf_pool *pool, const gf_product *p, gf_epilogue *then, void *context);
void gf_blas_gemm_here(const gf_product *p);
bool gf_blas_start(gf_err *e);
const char *gf_blas_name(char *text, int size);

#endif
