#include "bench/fma.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES                 __m256
#define SET(x)                _mm256_set1_ps(x)
#define MULTIPLY_ADD(a, x, y) _mm256_fmadd_ps(a, x, y)
#define FIRST(a)              _mm256_cvtss_f32(a)
#include "bench/fma_loop.inc.h"

const gf_fma gf_fma_avx2 = GF_FMA_OF("avx2+fma");
#endif
