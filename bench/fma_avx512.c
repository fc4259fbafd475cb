#include "bench/fma.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES                 __m512
#define SET(x)                _mm512_set1_ps(x)
#define MULTIPLY_ADD(a, x, y) _mm512_fmadd_ps(a, x, y)
#define FIRST(a)              _mm512_cvtss_f32(a)
#include "bench/fma_loop.inc.h"

const gf_fma gf_fma_avx512 = GF_FMA_OF("avx512");
#endif
