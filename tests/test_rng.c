/* Random numbers: the published vectors of PCG and Random123, jumps, and the normal distribution.
 */
#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* imneme/pcg-c, test-high/expected/check-pcg32.out, round 1: pcg32_srandom(42, 54), then numbers,
 * coins, rolls and cards from one stream. */
static void pcg32_matches_its_published_demo(void **state) {
    static const uint32_t numbers[] = {0xa15c02b7, 0x7b47f409, 0xba1d3330,
                                       0x83d2f293, 0xbfa4784b, 0xcbed606e};
    const char *coins = "HHTTTHTHHHTHTTTHHHHHTTTHHHTHTHTHTTHTTTHHHHHHTTTTHHTTTTTHTTTTTTTHT";
    const char *rolls = "341122324324335231315141564662633";
    const char *cards =
        "QdKs6d3s3d4c3hTdKc5cJhKdJdAs4s4hAdThAcJc7sQs2s7hKh2d6cAh4dQh9h6s5s2c9cTs8d9s"
        "3c8cJs5d2h6h7d8s9d5h8hQc7cTc";
    int64_t order[52];
    gf_rng r = gf_rng_new(42, 54);
    (void)state;
    for (int i = 0; i < 6; i++) assert_int_equal(gf_rng_next(&r), numbers[i]);
    gf_rng_advance(&r, -(uint64_t)6); /* the demo's "Again" */
    for (int i = 0; i < 6; i++) assert_int_equal(gf_rng_next(&r), numbers[i]);
    for (int i = 0; coins[i]; i++) assert_int_equal("TH"[gf_rng_below(&r, 2)], coins[i]);
    for (int i = 0; rolls[i]; i++) assert_int_equal("123456"[gf_rng_below(&r, 6)], rolls[i]);
    gf_rng_shuffle(&r, 52, order);
    for (int i = 0; i < 52; i++) {
        assert_int_equal("A23456789TJQK"[order[i] / 4], cards[2 * i]);
        assert_int_equal("hcds"[order[i] % 4], cards[2 * i + 1]);
    }
}

/* Random123, tests/kat_vectors, the three lines "philox4x32 10". */
static void philox_matches_random123(void **state) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t out[4];
    (void)state;
    for (int i = 0; i < 3; i++) {
        gf_philox(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

/* FNV's own test vectors (isthe.com/chongo/src/fnv/test_fnv.c). */
static void streams_are_fnv1a(void **state) {
    (void)state;
    assert_true(gf_rng_stream("") == 0xcbf29ce484222325u);
    assert_true(gf_rng_stream("a") == 0xaf63dc4c8601ec8cu);
    assert_true(gf_rng_stream("foobar") == 0x85944171f73967e8u);
}

static void jumping_equals_stepping(void **state) {
    gf_rng walk = gf_rng_new(7, 8), start = walk, jump;
    (void)state;
    for (uint64_t n = 0; n < 2000; n++) {
        jump = start;
        gf_rng_advance(&jump, n);
        assert_true(jump.state == walk.state);
        gf_rng_advance(&jump, -n);
        assert_true(jump.state == start.state);
        gf_rng_next(&walk);
    }
    jump = start; /* far jumps add up, and the period is 2^64 */
    gf_rng_advance(&jump, 0x123456789abcdefu);
    gf_rng_advance(&jump, 0xfedcba9876543210u);
    walk = start;
    gf_rng_advance(&walk, 0x123456789abcdefu + 0xfedcba9876543210u);
    assert_true(jump.state == walk.state);
    gf_rng_advance(&walk, -(uint64_t)(0x123456789abcdefu + 0xfedcba9876543210u));
    assert_true(walk.state == start.state);
}

static void streams_and_seeds_differ(void **state) {
    gf_rng a = gf_rng_new(1, 1), b = gf_rng_new(1, 2), c = gf_rng_new(2, 1);
    int ab = 0, ac = 0;
    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint32_t x = gf_rng_next(&a);
        ab += x == gf_rng_next(&b), ac += x == gf_rng_next(&c);
    }
    assert_true(ab < 3 && ac < 3);
}

/* Pearson's chi-squared, 5 degrees of freedom: above 30 with probability 1.5e-5. A bound just above
 * 2^31 shows a biased remainder at once: its lower half would come twice as often. */
static void below_is_unbiased(void **state) {
    const uint32_t bound = 0xc0000000u;
    double chi = 0, count[6] = {0};
    int n = 60000, low = 0;
    gf_rng r = gf_rng_new(3, 4);
    (void)state;
    for (int i = 0; i < n; i++) count[gf_rng_below(&r, 6)]++;
    for (int i = 0; i < 6; i++) chi += (count[i] - n / 6.0) * (count[i] - n / 6.0) / (n / 6.0);
    assert_true(chi < 30);
    for (int i = 0; i < n; i++) {
        uint32_t x = gf_rng_below(&r, bound);
        assert_true(x < bound);
        low += x < bound / 2;
    }
    assert_true(fabs(low - n / 2.0) < 5 * sqrt(n / 4.0));
    for (int i = 0; i < 100; i++) assert_int_equal(gf_rng_below(&r, 1), 0);
}

static void uniform_is_a_24_bit_fraction(void **state) {
    gf_rng r = gf_rng_new(5, 6), twin = r;
    double sum = 0;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        float u = gf_rng_uniform(&r);
        assert_true(u >= 0.0f && u < 1.0f);
        assert_true(u * 0x1p24f == (float)(gf_rng_next(&twin) >> 8));
        sum += (double)u;
    }
    assert_true(fabs(sum / 10000 - 0.5) < 5 * sqrt(1.0 / 12 / 10000));
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Moments within 5 standard deviations; Kolmogorov and Smirnov: sqrt(n) D above 2.0 has probability
 * 2 exp(-2 * 2.0^2) = 0.07 %. */
static void normal_is_normal(void **state) {
    enum { N = 100000 };
    static float x[N];
    gf_rng r = gf_rng_new(11, 12);
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, d = 0, neighbours = 0;
    (void)state;
    for (int i = 0; i < N; i++) {
        double v = (double)(x[i] = gf_rng_normal(&r));
        m1 += v / N, m2 += v * v / N, m3 += v * v * v / N, m4 += v * v * v * v / N;
        if (i) neighbours += v * (double)x[i - 1] / N;
    }
    assert_true(fabs(m1) < 5 / sqrt(N));
    assert_true(fabs(m2 - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(m3) < 5 * sqrt(15.0 / N));
    assert_true(fabs(m4 - 3) < 5 * sqrt(96.0 / N));
    assert_true(fabs(neighbours) < 5 / sqrt(N));
    qsort(x, N, sizeof *x, by_size);
    for (int i = 0; i < N; i++) {
        double cdf = erfc(-(double)x[i] / sqrt(2)) / 2;
        d = fmax(d, fmax(fabs(cdf - (double)i / N), fabs(cdf - (i + 1.0) / N)));
    }
    assert_true(sqrt(N) * d < 2.0);
}

/* Against libm in double, number for number; element i starts at number 2 i. */
static void normal_is_box_and_muller(void **state) {
    gf_rng r = gf_rng_new(13, 14), twin = r;
    (void)state;
    for (uint64_t i = 0; i < 200000; i++) {
        gf_rng at = gf_rng_new(13, 14);
        double u = (gf_rng_next(&twin) + 0.5) / 4294967296.0, v = gf_rng_next(&twin) / 4294967296.0;
        double want = sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
        float got = gf_rng_normal(&r);
        assert_true(fabs((double)got - want) <= 6e-8 * fabs(want) + 1e-14);
        gf_rng_advance(&at, 2 * i);
        assert_true(gf_rng_normal(&at) == got);
    }
}

/* The bits themselves, on every machine: a change here changes every run's initial weights. They
 * were computed with mpmath at 40 digits from the published numbers of seed 42, stream 54. */
static void normal_has_fixed_bits(void **state) {
    static const float want[] = {-0x1.e89edcp-1f, -0x1.970b12p-1f, 0x1.c1bdeep-3f};
    gf_rng r = gf_rng_new(42, 54);
    (void)state;
    for (int i = 0; i < 3; i++) assert_true(gf_rng_normal(&r) == want[i]);
}

static void shuffle_is_a_fair_permutation(void **state) {
    enum { N = 5, ROUNDS = 20000 };
    int at[N][N] = {{0}};
    int64_t order[1000], seen = 0;
    gf_rng r = gf_rng_new(15, 16);
    (void)state;
    for (int k = 0; k < ROUNDS; k++) {
        gf_rng_shuffle(&r, N, order);
        for (int i = 0; i < N; i++) at[i][order[i]]++;
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            assert_true(fabs(at[i][j] - ROUNDS / 5.0) < 5 * sqrt(ROUNDS * 0.2 * 0.8));
    gf_rng_shuffle(&r, 1000, order);
    for (int i = 0; i < 1000; i++)
        for (int j = 0; j < 1000; j++) seen += order[j] == i;
    assert_int_equal(seen, 1000);
    gf_rng_shuffle(&r, 0, order);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pcg32_matches_its_published_demo),
        cmocka_unit_test(philox_matches_random123),
        cmocka_unit_test(streams_are_fnv1a),
        cmocka_unit_test(jumping_equals_stepping),
        cmocka_unit_test(streams_and_seeds_differ),
        cmocka_unit_test(below_is_unbiased),
        cmocka_unit_test(uniform_is_a_24_bit_fraction),
        cmocka_unit_test(normal_is_normal),
        cmocka_unit_test(normal_is_box_and_muller),
        cmocka_unit_test(normal_has_fixed_bits),
        cmocka_unit_test(shuffle_is_a_fair_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
