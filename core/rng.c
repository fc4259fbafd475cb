#include "core/rng.h"

#include <math.h>
#include <string.h>

static const uint64_t MULTIPLIER = 6364136223846793005u; /* Knuth's, as in O'Neill's reference */

gf_rng gf_rng_new(uint64_t seed, uint64_t stream) {
    gf_rng r = {0, stream << 1 | 1};
    gf_rng_next(&r);
    r.state += seed;
    gf_rng_next(&r);
    return r;
}

uint32_t gf_rng_next(gf_rng *r) {
    uint64_t old = r->state;
    uint32_t shifted = (uint32_t)((old >> 18 ^ old) >> 27), turn = (uint32_t)(old >> 59);
    r->state = old * MULTIPLIER + r->increment;
    return shifted >> turn | shifted << (-turn & 31);
}

/* x -> a x + c composed with itself 2^i times, for the bits i of count (Brown 1994). */
void gf_rng_advance(gf_rng *r, uint64_t count) {
    uint64_t a = MULTIPLIER, c = r->increment, whole_a = 1, whole_c = 0;
    for (; count > 0; count >>= 1) {
        if (count & 1) {
            whole_a *= a;
            whole_c = whole_c * a + c;
        }
        c *= a + 1;
        a *= a;
    }
    r->state = whole_a * r->state + whole_c;
}

uint32_t gf_rng_below(gf_rng *r, uint32_t bound) {
    uint32_t unfair = -bound % bound, x; /* 2^32 mod bound numbers would come once too often */
    do x = gf_rng_next(r);
    while (x < unfair);
    return x % bound;
}

float gf_rng_uniform(gf_rng *r) { return (float)(gf_rng_next(r) >> 8) * 0x1p-24f; }

/* log x for a normal x > 0: the exponent, and 2 artanh((m - 1) / (m + 1)) of the mantissa brought
 * into [sqrt(1/2), sqrt 2], whose series then has an error below 1e-14. */
static double natural_log(double x) {
    static const double series[] = {1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9,
                                    1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
    uint64_t bits;
    double m, s, sum = 1.0 / 17;
    int exponent;
    memcpy(&bits, &x, sizeof bits);
    exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m /= 2;
        exponent++;
    }
    s = (m - 1) / (m + 1);
    for (int k = 0; k < 8; k++) sum = sum * (s * s) + series[k];
    return 2 * s * sum + exponent * 0.69314718055994530942;
}

/* cos(2 pi turn / 2^32): the nearest quarter turn exactly in integers, the rest by Taylor's series,
 * whose error on +-pi/4 is below 1e-13. */
static double cosine(uint32_t turn) {
    static const double even_ratio[] = {1.0 / (13 * 14), 1.0 / (11 * 12), 1.0 / (9 * 10),
                                        1.0 / (7 * 8),   1.0 / (5 * 6),   1.0 / (3 * 4),
                                        1.0 / (1 * 2)};
    static const double odd_ratio[] = {1.0 / (14 * 15), 1.0 / (12 * 13), 1.0 / (10 * 11),
                                       1.0 / (8 * 9),   1.0 / (6 * 7),   1.0 / (4 * 5),
                                       1.0 / (2 * 3)};
    uint32_t quarter = (turn + (1u << 29)) >> 30;
    double x = (double)(int32_t)(turn - (quarter << 30)) * 1.4629180792671596e-9; /* 2 pi / 2^32 */
    double even = 1, odd = 1;
    for (int k = 0; k < 7; k++) {
        even = 1 - even * (x * x) * even_ratio[k];
        odd = 1 - odd * (x * x) * odd_ratio[k];
    }
    odd *= x;
    return quarter == 0 ? even : quarter == 1 ? -odd : quarter == 2 ? -even : odd;
}

float gf_rng_normal(gf_rng *r) {
    double u = ((double)gf_rng_next(r) + 0.5) * 0x1p-32; /* in (0, 1) */
    return (float)(sqrt(-2 * natural_log(u)) * cosine(gf_rng_next(r)));
}

uint64_t gf_rng_stream(const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

void gf_rng_shuffle(gf_rng *r, int64_t n, int64_t *order) {
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n; i > 1; i--) {
        int64_t chosen = gf_rng_below(r, (uint32_t)i), kept = order[chosen];
        order[chosen] = order[i - 1];
        order[i - 1] = kept;
    }
}

void gf_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    memcpy(out, counter, 4 * sizeof *out);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)out[0] * 0xD2511F53u, p1 = (uint64_t)out[2] * 0xCD9E8D57u;
        out[0] = (uint32_t)(p1 >> 32) ^ out[1] ^ k0;
        out[1] = (uint32_t)p1;
        out[2] = (uint32_t)(p0 >> 32) ^ out[3] ^ k1;
        out[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}
