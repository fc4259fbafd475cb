#include "core/vec_tables.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if GF_VEC_X86
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

const gf_vec *gf_vec_at(int i) {
    const gf_vec *tables[3] = {&gf_vec_plain};
    int count = 1;
#if GF_VEC_X86
    if (has_avx2()) tables[count++] = &gf_vec_avx2;
    if (has_avx512()) tables[count++] = &gf_vec_avx512;
#endif
    return i >= 0 && i < count ? tables[i] : NULL;
}

const gf_vec *gf_vec_best(void) {
    const gf_vec *best = gf_vec_at(0);
    for (int i = 1; gf_vec_at(i); i++) best = gf_vec_at(i);
    return best;
}

#if defined(__x86_64__)
/* The compiler has no test of it: leaf 7 of CPUID, EDX bits 22 (AMX-BF16) and 24 (AMX-TILE), Intel
 * SDM volume 2A. Whether the system lends the tiles is for who uses them to ask. */
static bool has_amx_bf16(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1);
}

bool gf_vec_cpu_has_bf16(void) {
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
bool gf_vec_cpu_has_bf16(void) { return false; }
#endif

typedef struct feature {
    const char *name;
    bool there;
} feature;

/* The compiler's test of a feature takes literals only, so each name stands twice. */
const char *gf_vec_cpu_features(char *text, int size) {
    const feature features[] = {
#if defined(__x86_64__)
        {"sse4.2", __builtin_cpu_supports("sse4.2")},
        {"avx", __builtin_cpu_supports("avx")},
        {"avx2", __builtin_cpu_supports("avx2")},
        {"fma", __builtin_cpu_supports("fma")},
        {"avx512f", __builtin_cpu_supports("avx512f")},
        {"avx512bw", __builtin_cpu_supports("avx512bw")},
        {"avx512dq", __builtin_cpu_supports("avx512dq")},
        {"avx512vl", __builtin_cpu_supports("avx512vl")},
        {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
        {"avx512bf16", __builtin_cpu_supports("avx512bf16")},
        {"amx-bf16", has_amx_bf16()},
#elif defined(__aarch64__)
        {"neon", true}, /* part of the architecture */
#endif
        {NULL, false},
    };
    int used = 0;
    if (size > 0) text[0] = 0;
    for (const feature *f = features; f->name; f++)
        if (f->there && used < size)
            used += snprintf(text + used, (size_t)(size - used), "%s%s", used ? " " : "", f->name);
    return text;
}

gf_dropout gf_dropout_make(double p, uint64_t seed, uint64_t step, uint32_t site) {
    uint32_t keep = (uint32_t)((1 - p) * 65536 + 0.5);
    if (keep < 1) keep = 1; /* p just below 1: the scale stays finite */
    return (gf_dropout){seed, step, site, keep, (gf_real)(65536.0 / keep)};
}
