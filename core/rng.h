/* rng: random numbers as a function of (seed, stream, index), so that threads, packing and a resume
 * change nothing.
 *
 *     gf_rng r = gf_rng_new(seed, GF_STREAM_ORDER + epoch);
 *     gf_rng_advance(&r, 1000);                          (as if 1000 numbers had been drawn)
 *     uint32_t k = gf_rng_below(&r, n);
 *
 * PCG32 XSH-RR 64/32 (O'Neill 2014, pcg-random.org), initialised as its pcg32_srandom();
 * Philox4x32-10 (Salmon et al. 2011) is the counter-based generator that dropout uses. */
#ifndef GF_CORE_RNG_H
#define GF_CORE_RNG_H

#include <stdint.h>

typedef struct gf_rng {
    uint64_t state, increment;
} gf_rng;

gf_rng gf_rng_new(uint64_t seed, uint64_t stream);
uint32_t gf_rng_next(gf_rng *r);
/* Jumps `count` numbers ahead in O(log count) (Brown 1994); -(uint64_t)k goes back by k. */
void gf_rng_advance(gf_rng *r, uint64_t count);
/* Uniform in [0, bound), unbiased, bound > 0; draws again where a number would favour some, so how
 * many numbers it takes is not fixed. Same numbers as pcg32_boundedrand_r(). */
uint32_t gf_rng_below(gf_rng *r, uint32_t bound);
/* Uniform in [0, 1) with 24 bits; always draws one number. */
float gf_rng_uniform(gf_rng *r);
/* N(0, 1) by Box and Muller 1958; always draws two numbers, so that element i of a tensor starts at
 * number 2 i. Own log and cosine in double by plain add, multiply and divide (and sqrt, which IEEE
 * 754 defines), so the bits depend neither on libm nor on the processor. At most 6.77 in size. */
float gf_rng_normal(gf_rng *r);
/* A stream's number from its name (FNV-1a 64). */
uint64_t gf_rng_stream(const char *name);
/* Fills order[n], n < 2^32, with a random permutation of 0 .. n-1 (Fisher and Yates, as Durstenfeld
 * 1964). */
void gf_rng_shuffle(gf_rng *r, int64_t n, int64_t *order);

/* One block: 4 numbers of 32 bits for a counter and a key. */
void gf_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
