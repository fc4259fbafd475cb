/* The 4-lane vectors that every x86-64 and aarch64 has; on x86-64 without a fused multiply-add. */
#include "bench/fma.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#define LANES                 float32x4_t
#define MULTIPLY_ADD(a, x, y) vfmaq_f32(y, a, x)
#else
typedef float lanes __attribute__((vector_size(16)));
#define LANES                 lanes
#define MULTIPLY_ADD(a, x, y) ((a) * (x) + (y))
#endif
#define SET(x)   ((LANES){x, x, x, x})
#define FIRST(a) ((a)[0])
#include "bench/fma_loop.inc.h"

const gf_fma gf_fma_plain = GF_FMA_OF("plain");

const gf_fma *gf_fma_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return &gf_fma_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &gf_fma_avx2;
#endif
    return &gf_fma_plain;
}
