/* vec_lanes_avx512: the 16 virtual lanes as one AVX-512 register (F, BW, DQ, VL). What each
 * function means stands in vec_lanes_plain.h. */
#ifndef GF_CORE_VEC_LANES_AVX512_H
#define GF_CORE_VEC_LANES_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANE static inline __attribute__((always_inline))

typedef __m512 v16;

typedef struct d16 {
    __m512d a, b; /* lanes 0-7 and 8-15 */
} d16;

typedef __m512i u16x32;

LANE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
LANE void v16_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
LANE v16 v16_set(float x) { return _mm512_set1_ps(x); }

LANE __mmask16 first_lanes(int n) { return (__mmask16)(n < 16 ? (1u << n) - 1 : 0xffffu); }

LANE v16 v16_load_part(const float *p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }

LANE void v16_store_part(float *p, int n, v16 x) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

LANE void v16_store_bf16(uint16_t *p, v16 x) {
    __m512i bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
    __m512i even = _mm512_and_si512(high, _mm512_set1_epi32(1));
    __m512i nearest = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    nearest = _mm512_mask_blend_epi32(nan, _mm512_srli_epi32(nearest, 16), quiet);
    _mm256_storeu_si256((__m256i_u *)p, _mm512_cvtepi32_epi16(nearest));
}

LANE v16 v16_fill(v16 x, int n, v16 filler) {
    return _mm512_mask_blend_ps(first_lanes(n), filler, x);
}

LANE v16 v16_down(v16 x, int by) {
    if (by == 8) return _mm512_shuffle_f32x4(x, x, _MM_SHUFFLE(3, 2, 3, 2));
    if (by == 4) return _mm512_shuffle_f32x4(x, x, _MM_SHUFFLE(1, 1, 1, 1));
    if (by == 2) return _mm512_permute_ps(x, _MM_SHUFFLE(3, 2, 3, 2));
    return _mm512_permute_ps(x, _MM_SHUFFLE(1, 1, 1, 1));
}

LANE float v16_first(v16 x) { return _mm512_cvtss_f32(x); }

LANE v16 v16_add(v16 x, v16 y) { return _mm512_add_ps(x, y); }
LANE v16 v16_sub(v16 x, v16 y) { return _mm512_sub_ps(x, y); }
LANE v16 v16_mul(v16 x, v16 y) { return _mm512_mul_ps(x, y); }
LANE v16 v16_div(v16 x, v16 y) { return _mm512_div_ps(x, y); }
LANE v16 v16_fma(v16 x, v16 y, v16 z) { return _mm512_fmadd_ps(x, y, z); }
LANE float real_sqrt(float x) { return sqrtf(x); }
LANE v16 v16_sqrt(v16 x) { return _mm512_sqrt_ps(x); }
LANE v16 v16_min(v16 x, v16 y) { return _mm512_min_ps(x, y); }
LANE v16 v16_max(v16 x, v16 y) { return _mm512_max_ps(x, y); }

LANE v16 v16_if_less(v16 x, v16 y, v16 yes, v16 no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), no, yes);
}

LANE v16 v16_if_nan(v16 x, v16 yes, v16 no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), no, yes);
}

LANE v16 v16_abs(v16 x) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x); }

LANE v16 v16_copysign(v16 size, v16 sign) {
    return _mm512_or_ps(v16_abs(size), _mm512_and_ps(_mm512_set1_ps(-0.0f), sign));
}

LANE v16 v16_low_bits_to_exponent(v16 x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 23));
}

LANE d16 d16_zero(void) { return (d16){_mm512_setzero_pd(), _mm512_setzero_pd()}; }

LANE __m512d add_square(__m512d sum, __m256 x) {
    __m512d wide = _mm512_cvtps_pd(x);
    return _mm512_add_pd(sum, _mm512_mul_pd(wide, wide));
}

LANE d16 d16_add_square(d16 sum, v16 x) {
    return (d16){add_square(sum.a, _mm512_castps512_ps256(x)),
                 add_square(sum.b, _mm512_extractf32x8_ps(x, 1))};
}

LANE void d16_store(double *p, d16 x) {
    _mm512_storeu_pd(p, x.a);
    _mm512_storeu_pd(p + 8, x.b);
}

LANE u16x32 u16x32_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
LANE u16x32 u16x32_add(u16x32 x, u16x32 y) { return _mm512_add_epi32(x, y); }

LANE u16x32 u16x32_add64(u16x32 x, u16x32 y) { return _mm512_add_epi64(x, y); }

/* As in vec_lanes_avx2.h, four blocks at once. */
LANE u16x32 u16x32_philox(u16x32 x, u16x32 key) {
    __m512i factor = _mm512_set1_epi64(0xD2511F53);
    factor = _mm512_mask_blend_epi64(0xaa, factor, _mm512_set1_epi64(0xCD9E8D57));
    __m512i product = _mm512_shuffle_epi32(_mm512_mul_epu32(x, factor), _MM_PERM_ABCD);
    return _mm512_xor_si512(product, _mm512_xor_si512(_mm512_srli_epi64(x, 32), key));
}

LANE u16x32 u16x32_halves(u16x32 x, bool upper) {
    __m256i words = upper ? _mm512_extracti64x4_epi64(x, 1) : _mm512_castsi512_si256(x);
    return _mm512_cvtepu16_epi32(words);
}

LANE v16 v16_keep(v16 x, u16x32 bits, uint32_t keep) {
    return _mm512_maskz_mov_ps(_mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32((int)keep)), x);
}

#endif
