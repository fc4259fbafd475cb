/* vec_lanes_avx2: the 16 virtual lanes as two AVX2 registers. What each function means stands in
 * vec_lanes_plain.h. */
#ifndef GF_CORE_VEC_LANES_AVX2_H
#define GF_CORE_VEC_LANES_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANE static inline __attribute__((always_inline))

typedef struct v16 {
    __m256 a, b; /* lanes 0-7 and 8-15 */
} v16;

typedef struct d16 {
    __m256d a, b, c, d;
} d16;

typedef struct u16x32 {
    __m256i a, b;
} u16x32;

LANE v16 v16_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }

LANE void v16_store(float *p, v16 x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

LANE v16 v16_set(float x) { return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }

/* All bits set in lanes below n - from. */
LANE __m256i first_lanes(int n, int from) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - from), lane);
}

LANE v16 v16_load_part(const float *p, int n) {
    return (v16){_mm256_maskload_ps(p, first_lanes(n, 0)),
                 n > 8 ? _mm256_maskload_ps(p + 8, first_lanes(n, 8)) : _mm256_setzero_ps()};
}

LANE void v16_store_part(float *p, int n, v16 x) {
    _mm256_maskstore_ps(p, first_lanes(n, 0), x.a);
    if (n > 8) _mm256_maskstore_ps(p + 8, first_lanes(n, 8), x.b);
}

/* bf16 in the low half of each word. */
LANE __m256i bf16_words(__m256 x) {
    __m256i bits = _mm256_castps_si256(x), high = _mm256_srli_epi32(bits, 16);
    __m256i even = _mm256_and_si256(high, _mm256_set1_epi32(1));
    __m256i nearest = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(_mm256_srli_epi32(nearest, 16), quiet, nan);
}

LANE void v16_store_bf16(uint16_t *p, v16 x) {
    __m256i mixed = _mm256_packus_epi32(bf16_words(x.a), bf16_words(x.b));
    _mm256_storeu_si256((__m256i_u *)p, _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0)));
}

LANE v16 v16_fill(v16 x, int n, v16 filler) {
    __m256 low = _mm256_castsi256_ps(first_lanes(n, 0));
    __m256 high = _mm256_castsi256_ps(first_lanes(n, 8));
    return (v16){_mm256_blendv_ps(filler.a, x.a, low), _mm256_blendv_ps(filler.b, x.b, high)};
}

LANE v16 v16_down(v16 x, int by) {
    if (by == 8)
        x.a = x.b;
    else if (by == 4)
        x.a = _mm256_permute2f128_ps(x.a, x.a, 0x11);
    else if (by == 2)
        x.a = _mm256_permute_ps(x.a, _MM_SHUFFLE(3, 2, 3, 2));
    else
        x.a = _mm256_permute_ps(x.a, _MM_SHUFFLE(1, 1, 1, 1));
    return x;
}

LANE float v16_first(v16 x) { return _mm256_cvtss_f32(x.a); }

LANE v16 v16_add(v16 x, v16 y) { return (v16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }

LANE v16 v16_sub(v16 x, v16 y) { return (v16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }

LANE v16 v16_mul(v16 x, v16 y) { return (v16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }

LANE v16 v16_div(v16 x, v16 y) { return (v16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }

LANE v16 v16_fma(v16 x, v16 y, v16 z) {
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

LANE float real_sqrt(float x) { return sqrtf(x); }

LANE v16 v16_sqrt(v16 x) { return (v16){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }

LANE v16 v16_min(v16 x, v16 y) { return (v16){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }

LANE v16 v16_max(v16 x, v16 y) { return (v16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }

LANE v16 v16_if_less(v16 x, v16 y, v16 yes, v16 no) {
    return (v16){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                 _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}

LANE v16 v16_if_nan(v16 x, v16 yes, v16 no) {
    return (v16){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
                 _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q))};
}

LANE v16 v16_abs(v16 x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}

LANE v16 v16_copysign(v16 size, v16 sign) {
    __m256 bit = _mm256_set1_ps(-0.0f);
    v16 r = v16_abs(size);
    r.a = _mm256_or_ps(r.a, _mm256_and_ps(bit, sign.a));
    r.b = _mm256_or_ps(r.b, _mm256_and_ps(bit, sign.b));
    return r;
}

LANE v16 v16_low_bits_to_exponent(v16 x) {
    return (v16){_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.a), 23)),
                 _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.b), 23))};
}

LANE d16 d16_zero(void) {
    __m256d zero = _mm256_setzero_pd();
    return (d16){zero, zero, zero, zero};
}

LANE __m256d add_square(__m256d sum, __m128 x) {
    __m256d wide = _mm256_cvtps_pd(x);
    return _mm256_add_pd(sum, _mm256_mul_pd(wide, wide));
}

LANE d16 d16_add_square(d16 sum, v16 x) {
    return (d16){add_square(sum.a, _mm256_castps256_ps128(x.a)),
                 add_square(sum.b, _mm256_extractf128_ps(x.a, 1)),
                 add_square(sum.c, _mm256_castps256_ps128(x.b)),
                 add_square(sum.d, _mm256_extractf128_ps(x.b, 1))};
}

LANE void d16_store(double *p, d16 x) {
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
    _mm256_storeu_pd(p + 8, x.c);
    _mm256_storeu_pd(p + 12, x.d);
}

LANE u16x32 u16x32_load(const uint32_t *p) {
    return (u16x32){_mm256_loadu_si256((const __m256i *)(const void *)p),
                    _mm256_loadu_si256((const __m256i *)(const void *)(p + 8))};
}

LANE u16x32 u16x32_add(u16x32 x, u16x32 y) {
    return (u16x32){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}

LANE u16x32 u16x32_add64(u16x32 x, u16x32 y) {
    return (u16x32){_mm256_add_epi64(x.a, y.a), _mm256_add_epi64(x.b, y.b)};
}

/* A block (c0, c1, c2, c3) fills 128 bits, so that the two products of a round, which want c0 and
 * c2, come from one instruction as (lo0, hi0, lo1, hi1); reversed, it is the next block but for the
 * exclusive-ors. */
LANE __m256i philox_round(__m256i x, __m256i key) {
    __m256i factor = _mm256_setr_epi32((int)0xD2511F53u, 0, (int)0xCD9E8D57u, 0, (int)0xD2511F53u,
                                       0, (int)0xCD9E8D57u, 0);
    __m256i product = _mm256_shuffle_epi32(_mm256_mul_epu32(x, factor), _MM_SHUFFLE(0, 1, 2, 3));
    return _mm256_xor_si256(product, _mm256_xor_si256(_mm256_srli_epi64(x, 32), key));
}

LANE u16x32 u16x32_philox(u16x32 x, u16x32 key) {
    return (u16x32){philox_round(x.a, key.a), philox_round(x.b, key.b)};
}

LANE u16x32 u16x32_halves(u16x32 x, bool upper) {
    __m256i words = upper ? x.b : x.a;
    return (u16x32){_mm256_cvtepu16_epi32(_mm256_castsi256_si128(words)),
                    _mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1))};
}

LANE v16 v16_keep(v16 x, u16x32 bits, uint32_t keep) {
    __m256i limit = _mm256_set1_epi32((int)keep);
    __m256 a = _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, bits.a));
    __m256 b = _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, bits.b));
    return (v16){_mm256_and_ps(x.a, a), _mm256_and_ps(x.b, b)};
}

#endif
