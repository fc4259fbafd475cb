/* fma: how fast one core multiplies and adds when nothing holds it up: the ceiling that matrix
 * products are measured against.
 *
 *     const gf_fma *fma = gf_fma_best();
 *     float sink = fma->run(1000000);                (1000000 * fma->flops operations)
 *
 * Twelve independent chains hide the 4 cycles that a fused multiply-add takes on two units; they
 * live in registers, so no memory is touched. */
#ifndef GF_BENCH_FMA_H
#define GF_BENCH_FMA_H

#include <stdint.h>

typedef struct gf_fma {
    const char *name;
    int64_t flops;                /* of one round: 2 * chains * lanes */
    float (*run)(int64_t rounds); /* the result only keeps the compiler from dropping the work */
} gf_fma;

/* The widest one this processor runs. */
const gf_fma *gf_fma_best(void);

extern const gf_fma gf_fma_plain;
#if defined(__x86_64__)
extern const gf_fma gf_fma_avx2;
extern const gf_fma gf_fma_avx512;
#endif

#endif
