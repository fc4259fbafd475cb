/* onednn: matrix products whose factors are rounded to bf16, through the oneDNN library.
 *
 *     gf_onednn *o = gf_onednn_open(&(gf_onednn_options){.threads = gf_pool_threads(pool)}, e);
 *     int64_t work = gf_onednn_work(o, &p);           while planning; -1: it cannot be done
 *     p.work = scratch;                               [work]
 *     gf_onednn_gemm(o, pool, &p, NULL, NULL);        as gf_gemm(), see core/gemm.h
 *     gf_onednn_close(o);
 *
 * Why: processors with AVX512-BF16 or AMX-BF16 multiply bf16 numbers several times as fast as fp32
 * ones, and oneDNN has kernels for each of them. It is no part of graft: libdnnl.so.2 is loaded by
 * gf_onednn_open() and let go by gf_onednn_close(), and nothing else of graft needs it.
 *
 * Numbers. Both factors are rounded to the nearest bf16, ties to even (gf_vec.round_bf16; NaN stays
 * NaN); products and sums are fp32, and so is C. The processor's instructions flush denormals.
 *
 * Bits. oneDNN is only asked for blocks of one shape per product, [64, wide] over `deep` elements
 * of k, filled up with zeros, each on one thread; wide and deep depend on n and k alone, and sums
 * over several blocks of k are made here, in order. So the bits do not depend on the number of
 * threads, and not on m. They do depend on the version of oneDNN and on the kernel it chooses for
 * the processor, and that a row's do not depend on its place among the 64 is what such kernels
 * do, not what oneDNN promises.
 *
 * Errors. open: GF_E_INVALID with what is missing and what to do. A product cannot fail; should
 * oneDNN report an error in one, the block becomes NaN, which training refuses. The handle is for
 * one product at a time, over a pool of at most the `threads` of its opening. */
#ifndef GF_CORE_ONEDNN_H
#define GF_CORE_ONEDNN_H

#include "core/gemm.h"

/* F32 rounds nothing and runs on any processor: the same blocks, layouts and threads, so that all
 * but the rounding is tested on processors without bf16. */
typedef enum gf_onednn_type { GF_ONEDNN_BF16, GF_ONEDNN_F32 } gf_onednn_type;

typedef struct gf_onednn_options {
    gf_onednn_type type;
    int threads;      /* 0: 1 */
    const char *path; /* NULL: the system's. Else this library, for tests: with it, the processor is
                         not asked whether it has bf16 */
} gf_onednn_options;

typedef struct gf_onednn gf_onednn;

gf_onednn *gf_onednn_open(const gf_onednn_options *options, gf_err *e);
void gf_onednn_close(gf_onednn *o);

/* Prepares products of this n, k and these transposes, and returns the elements of scratch that
 * each of them needs at p->work; the matrices are not looked at. -1 when oneDNN refuses, or has no
 * better kernel than its reference one, or memory is out. */
int64_t gf_onednn_work(gf_onednn *o, const gf_product *p);
/* The product, with p->work of at least gf_onednn_work(), which was called before. p->packed is not
 * looked at. */
void gf_onednn_gemm(gf_onednn *o, gf_pool *pool, const gf_product *p, gf_epilogue *then,
                    void *context);

/* "oneDNN 2.6.3, bf16, brg:avx512_core_bf16": library, type and kernel. */
const char *gf_onednn_name(const gf_onednn *o, char *text, int size);

#endif
