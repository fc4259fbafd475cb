/* Nanoseconds an element, over arrays that lie in the cache and over arrays that do not. */
#include "bench/kernels.h"

#include "bench/measure.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/vec.h"

#include <stdio.h>
#include <string.h>

/* Arrays of 32 MiB, more than most last-level caches in all; blocks of them that stay in an L2. */
enum { ELEMENTS = 1 << 23, BLOCK = 4096, REPEATS = 64, ROW = 384, SCORES = 96, ARRAYS = 4 };

typedef struct vectors {
    const gf_vec *vec;
    gf_real *a[ARRAYS]; /* [ELEMENTS] each */
    int64_t n;          /* elements to run over */
    int repeats;
    void (*run)(const struct vectors *s);
} vectors;

static void run_gelu(const vectors *s) { s->vec->gelu(s->n, s->a[0], s->a[1]); }
static void run_add(const vectors *s) { s->vec->add(s->n, s->a[0], s->a[1]); }
static void run_copy(const vectors *s) { memcpy(s->a[1], s->a[0], (size_t)s->n * sizeof *s->a[0]); }

static void run_gelu_slope(const vectors *s) {
    s->vec->gelu_slope(s->n, s->a[0], s->a[1], s->a[2]);
}

static void run_softmax(const vectors *s) {
    for (int64_t i = 0; i + SCORES <= s->n; i += SCORES)
        s->vec->softmax(SCORES, 0.125f, s->a[0] + i, s->a[1] + i);
}

static void run_layernorm(const vectors *s) {
    gf_real rstd;
    for (int64_t i = 0; i + ROW <= s->n; i += ROW)
        s->vec->layernorm(ROW, s->a[0] + i, s->a[3], s->a[3] + ROW, 1e-12f, s->a[1] + i,
                          s->a[2] + i, &rstd);
}

static void run_dropout(const vectors *s) {
    gf_dropout d = gf_dropout_make(0.1, 1, 2, 3);
    s->vec->dropout(s->n, &d, 0, s->a[0], s->a[1]);
}

static void run_adamw(const vectors *s) {
    gf_adamw a = {.decay = 1,
                  .step_size = 1e-5f,
                  .bias2_sqrt = 1,
                  .rate1 = 0.1f,
                  .rate2 = 1e-3f,
                  .beta2 = 0.999f,
                  .eps = 1e-8f,
                  .grad_scale = 1};
    s->vec->adamw(s->n, &a, s->a[0], s->a[1], s->a[2], s->a[3]);
}

static const struct kernel {
    const char *name;
    int moved; /* floats read and written an element */
    void (*run)(const vectors *s);
} kernels[] = {
    {"add", 3, run_add},         {"gelu", 2, run_gelu},           {"gelu_slope", 3, run_gelu_slope},
    {"softmax", 2, run_softmax}, {"layernorm", 3, run_layernorm}, {"dropout", 2, run_dropout},
    {"adamw", 7, run_adamw}};
enum { N_KERNELS = sizeof kernels / sizeof *kernels };

static void run_repeats(void *job) {
    const vectors *s = job;
    for (int i = 0; i < s->repeats; i++) s->run(s);
}

static void refill(vectors *s) {
    gf_rng r = gf_rng_new(1, 1);
    for (int k = 0; k < ARRAYS; k++)
        for (int64_t i = 0; i < ELEMENTS; i++) s->a[k][i] = gf_rng_uniform(&r);
}

static double nanoseconds(vectors *s, void (*run)(const vectors *s), bool cached) {
    s->run = run;
    s->n = cached ? BLOCK : ELEMENTS;
    s->repeats = cached ? REPEATS : 1;
    return 1e9 * gf_bench_best(3, run_repeats, s) / ((double)s->n * s->repeats);
}

/* copied: nanoseconds that memcpy takes for a float read and a float written, cached or not. */
static bool measure(gf_bench_report *r, cJSON *list, vectors *s, const struct kernel *k,
                    const double copied[2], gf_err *e) {
    double cached = nanoseconds(s, k->run, true), memory = nanoseconds(s, k->run, false);
    double copy_cached = copied[0] * k->moved / 2, copy_memory = copied[1] * k->moved / 2;
    cJSON *j = gf_json_object(list, NULL, e);
    if (r->print)
        printf("%-11s %-7s  %8.3f %8.3f %6.1fx  %8.3f %8.3f %6.1fx\n", k->name, s->vec->name,
               cached, copy_cached, cached / copy_cached, memory, copy_memory,
               memory / copy_memory);
    return j && gf_json_string(j, "kernel", k->name, e) &&
           gf_json_string(j, "table", s->vec->name, e) &&
           gf_json_number(j, "cached_ns", cached, e) &&
           gf_json_number(j, "cached_copy_ns", copy_cached, e) &&
           gf_json_number(j, "memory_ns", memory, e) &&
           gf_json_number(j, "memory_copy_ns", copy_memory, e);
}

static bool measure_all(gf_bench_report *r, vectors *s, gf_err *e) {
    cJSON *list = gf_json_array(r->json, "vectors", e);
    double copied[2];
    bool ok = list != NULL;
    refill(s);
    copied[0] = nanoseconds(s, run_copy, true);
    copied[1] = nanoseconds(s, run_copy, false);
    if (r->print)
        printf("\nvector kernels: ns an element on one thread, and those of a memcpy that moves as "
               "many bytes\n%-11s %-7s  %26s  %26s\n",
               "kernel", "table", "in the cache: copy: ratio", "in memory: copy: ratio");
    for (int k = 0; k < N_KERNELS; k++)
        for (int i = 0; ok && gf_vec_at(i); i++) {
            s->vec = gf_vec_at(i);
            ok = measure(r, list, s, &kernels[k], copied, e);
        }
    return ok;
}

bool gf_bench_vectors(gf_bench_report *report, gf_err *e) {
    vectors s = {0};
    bool ok = true;
    for (int k = 0; k < ARRAYS; k++)
        ok = ok && (s.a[k] = gf_alloc_array(ELEMENTS, sizeof *s.a[k], e));
    ok = ok && measure_all(report, &s, e);
    for (int k = 0; k < ARRAYS; k++) gf_free(s.a[k]);
    return ok;
}
