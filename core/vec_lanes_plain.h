/* vec_lanes_plain: the 16 virtual lanes in plain C. This file defines what every primitive means;
 * vec_lanes_avx2.h and vec_lanes_avx512.h give the same names and the same bits in intrinsics.
 * For -0, NaN and infinity each function does what its C expression here says. */
#ifndef GF_CORE_VEC_LANES_PLAIN_H
#define GF_CORE_VEC_LANES_PLAIN_H

#include "core/real.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANE static inline __attribute__((always_inline))

typedef struct v16 {
    gf_real x[16];
} v16;

/* 16 doubles, to accumulate in. */
typedef struct d16 {
    double x[16];
} d16;

/* 16 unsigned integers of 32 bits: 4 blocks of 4 words. */
typedef struct u16x32 {
    uint32_t x[16];
} u16x32;

LANE v16 v16_load(const gf_real *p) {
    v16 r;
    memcpy(r.x, p, sizeof r.x);
    return r;
}

LANE void v16_store(gf_real *p, v16 a) { memcpy(p, a.x, sizeof a.x); }

LANE v16 v16_set(gf_real a) {
    v16 r;
    for (int i = 0; i < 16; i++) r.x[i] = a;
    return r;
}

/* The first n lanes from memory, 0 < n < 16, the others 0; nothing behind them is touched. */
LANE v16 v16_load_part(const gf_real *p, int n) {
    v16 r = v16_set(0);
    memcpy(r.x, p, (size_t)n * sizeof *p);
    return r;
}

LANE void v16_store_part(gf_real *p, int n, v16 a) { memcpy(p, a.x, (size_t)n * sizeof *p); }

/* As bf16: the upper half of a float, the nearest one, ties to even. NaN stays NaN, made quiet. */
LANE void v16_store_bf16(uint16_t *p, v16 a) {
    for (int i = 0; i < 16; i++) {
        float x = (float)a.x[i];
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if ((bits & 0x7fffffffu) > 0x7f800000u)
            p[i] = (uint16_t)(bits >> 16 | 0x40);
        else
            p[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

/* Lanes n and up become `filler`. */
LANE v16 v16_fill(v16 a, int n, v16 filler) {
    for (int i = 0; i < 16; i++) a.x[i] = i < n ? a.x[i] : filler.x[i];
    return a;
}

/* Lanes by .. 2 by - 1 brought to lanes 0 .. by - 1; what the other lanes hold is not defined. `by`
 * is a constant 8, 4, 2 or 1. */
LANE v16 v16_down(v16 a, int by) {
    for (int i = 0; i < by; i++) a.x[i] = a.x[i + by];
    return a;
}

LANE gf_real v16_first(v16 a) { return a.x[0]; }

LANE v16 v16_add(v16 a, v16 b) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] + b.x[i];
    return a;
}

LANE v16 v16_sub(v16 a, v16 b) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] - b.x[i];
    return a;
}

LANE v16 v16_mul(v16 a, v16 b) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] * b.x[i];
    return a;
}

LANE v16 v16_div(v16 a, v16 b) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] / b.x[i];
    return a;
}

/* a b + c, rounded once. */
LANE v16 v16_fma(v16 a, v16 b, v16 c) {
#if GF_REAL_IS_FLOAT
    for (int i = 0; i < 16; i++) a.x[i] = fmaf(a.x[i], b.x[i], c.x[i]);
#else
    for (int i = 0; i < 16; i++) a.x[i] = fma(a.x[i], b.x[i], c.x[i]);
#endif
    return a;
}

LANE gf_real real_sqrt(gf_real a) {
#if GF_REAL_IS_FLOAT
    return sqrtf(a);
#else
    return sqrt(a);
#endif
}

LANE v16 v16_sqrt(v16 a) {
    for (int i = 0; i < 16; i++) a.x[i] = real_sqrt(a.x[i]);
    return a;
}

/* The second operand where either is NaN or both are zeros, as x86's minps and maxps do. */
LANE v16 v16_min(v16 a, v16 b) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] < b.x[i] ? a.x[i] : b.x[i];
    return a;
}

LANE v16 v16_max(v16 a, v16 b) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] > b.x[i] ? a.x[i] : b.x[i];
    return a;
}

/* a < b ? yes : no; NaN is not less. */
LANE v16 v16_if_less(v16 a, v16 b, v16 yes, v16 no) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] < b.x[i] ? yes.x[i] : no.x[i];
    return a;
}

LANE v16 v16_if_nan(v16 a, v16 yes, v16 no) {
    for (int i = 0; i < 16; i++) a.x[i] = a.x[i] != a.x[i] ? yes.x[i] : no.x[i];
    return a;
}

LANE v16 v16_abs(v16 a) {
    for (int i = 0; i < 16; i++) a.x[i] = (gf_real)fabs(a.x[i]);
    return a;
}

LANE v16 v16_copysign(v16 size, v16 sign) {
    for (int i = 0; i < 16; i++) size.x[i] = (gf_real)copysign(size.x[i], sign.x[i]);
    return size;
}

#if GF_REAL_IS_FLOAT
/* The bits of each lane shifted 23 places left: what stood in the low 9 bits of the mantissa
 * becomes sign and exponent. */
LANE v16 v16_low_bits_to_exponent(v16 a) {
    uint32_t bits[16];
    memcpy(bits, a.x, sizeof bits);
    for (int i = 0; i < 16; i++) bits[i] <<= 23;
    memcpy(a.x, bits, sizeof bits);
    return a;
}
#endif

LANE d16 d16_zero(void) {
    d16 r = {{0}};
    return r;
}

/* sum + a a; the square of a float is exact in double. */
LANE d16 d16_add_square(d16 sum, v16 a) {
    for (int i = 0; i < 16; i++) sum.x[i] = sum.x[i] + (double)a.x[i] * (double)a.x[i];
    return sum;
}

LANE void d16_store(double *p, d16 a) { memcpy(p, a.x, sizeof a.x); }

LANE u16x32 u16x32_load(const uint32_t *p) {
    u16x32 r;
    memcpy(r.x, p, sizeof r.x);
    return r;
}

LANE u16x32 u16x32_add(u16x32 a, u16x32 b) {
    for (int i = 0; i < 16; i++) a.x[i] += b.x[i];
    return a;
}

/* The same as 8 integers of 64 bits, the low word first. */
LANE u16x32 u16x32_add64(u16x32 a, u16x32 b) {
    for (int i = 0; i < 16; i += 2) {
        uint64_t sum = (uint64_t)a.x[i] + b.x[i];
        a.x[i] = (uint32_t)sum;
        a.x[i + 1] += b.x[i + 1] + (uint32_t)(sum >> 32);
    }
    return a;
}

/* One round of Philox4x32 over 4 blocks; key holds (k0, 0, k1, 0) for each. */
LANE u16x32 u16x32_philox(u16x32 a, u16x32 key) {
    u16x32 r;
    for (int i = 0; i < 16; i += 4) {
        uint64_t p0 = (uint64_t)a.x[i] * 0xD2511F53u, p1 = (uint64_t)a.x[i + 2] * 0xCD9E8D57u;
        r.x[i] = (uint32_t)(p1 >> 32) ^ a.x[i + 1] ^ key.x[i];
        r.x[i + 1] = (uint32_t)p1;
        r.x[i + 2] = (uint32_t)(p0 >> 32) ^ a.x[i + 3] ^ key.x[i + 2];
        r.x[i + 3] = (uint32_t)p0;
    }
    return r;
}

/* The 16-bit halves of words 0 to 7 (or 8 to 15), the low half of a word first. */
LANE u16x32 u16x32_halves(u16x32 a, bool upper) {
    u16x32 r;
    for (int i = 0; i < 16; i++) r.x[i] = a.x[(upper ? 8 : 0) + i / 2] >> (i % 2 * 16) & 0xffff;
    return r;
}

/* +0 where bits >= keep. */
LANE v16 v16_keep(v16 a, u16x32 bits, uint32_t keep) {
    for (int i = 0; i < 16; i++) a.x[i] = bits.x[i] < keep ? a.x[i] : 0;
    return a;
}

#endif
