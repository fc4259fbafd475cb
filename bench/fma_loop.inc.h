/* The loop of bench/fma.h for one instruction set; the file that includes it defines LANES (a
 * vector of floats), SET(x), MULTIPLY_ADD(a, x, y) = a x + y and FIRST(a). */
enum { CHAINS = 12 };

static float run(int64_t rounds) {
    LANES a[CHAINS], x = SET(0.999999f), y = SET(1e-6f);
    float sum = 0;
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) a[i] = SET((float)i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) a[i] = MULTIPLY_ADD(a[i], x, y);
    }
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) sum += FIRST(a[i]);
    return sum;
}

#define GF_FMA_OF(label)                                                                           \
    { .name = label, .flops = 2 * CHAINS * (int64_t)(sizeof(LANES) / sizeof(float)), .run = run }
