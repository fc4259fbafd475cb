/* The products of a linear layer [O, I] over T tokens: forward y = x wᵀ, dX = dy w, dW = dyᵀ x. */
#include "bench/kernels.h"

#include "bench/measure.h"
#include "core/gemm.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/rng.h"

#include <stdio.h>

typedef struct layer {
    const char *model, *name;
    int64_t o, i;
} layer;

static const layer layers[] = {
    {"MiniLM", "attention", 384, 384}, {"MiniLM", "up", 1536, 384},
    {"MiniLM", "down", 384, 1536},     {"BERT-base", "attention", 768, 768},
    {"BERT-base", "up", 3072, 768},    {"BERT-base", "down", 768, 3072},
};
enum { N_LAYERS = sizeof layers / sizeof *layers, WIDEST = 3072, NARROW = 768 };

/* A training batch of 32 texts of 88 tokens, and a few short texts. */
static const int64_t tokens[] = {2816, 96};

typedef struct products {
    gf_bench_report *report;
    gf_pool *pool;
    cJSON *list;
    gf_real *x, *y; /* [T, WIDEST] */
    gf_real *w;     /* [WIDEST, NARROW] */
    gf_real *work;  /* of a product */
} products;

static gf_product forward_of(const products *s, const layer *l, int64_t t) {
    return (gf_product){.m = t,
                        .n = l->o,
                        .k = l->i,
                        .a = s->x,
                        .lda = l->i,
                        .b = s->w,
                        .ldb = l->i,
                        .transpose_b = true,
                        .c = s->y,
                        .ldc = l->o};
}

static gf_product dx_of(const products *s, const layer *l, int64_t t) {
    return (gf_product){.m = t,
                        .n = l->i,
                        .k = l->o,
                        .a = s->y,
                        .lda = l->o,
                        .b = s->w,
                        .ldb = l->i,
                        .c = s->x,
                        .ldc = l->i};
}

static gf_product dw_of(const products *s, const layer *l, int64_t t) {
    return (gf_product){.m = l->o,
                        .n = l->i,
                        .k = t,
                        .a = s->y,
                        .lda = l->o,
                        .transpose_a = true,
                        .b = s->x,
                        .ldb = l->i,
                        .c = s->w,
                        .ldc = l->i};
}

static const struct direction {
    const char *name;
    gf_product (*of)(const products *s, const layer *l, int64_t t);
} directions[] = {{"forward", forward_of}, {"dX", dx_of}, {"dW", dw_of}};
enum { N_DIRECTIONS = sizeof directions / sizeof *directions };

typedef struct product_job {
    gf_pool *pool;
    gf_product p;
} product_job;

static void multiply(void *job) {
    const product_job *j = job;
    gf_gemm(j->pool, &j->p, NULL, NULL);
}

/* The products overwrite each other's inputs, whose size must not drift. */
static void refill(products *s) {
    gf_rng r = gf_rng_new(1, 1);
    for (int64_t i = 0; i < tokens[0] * WIDEST; i++) s->x[i] = s->y[i] = gf_rng_uniform(&r) - 0.5f;
    for (int64_t i = 0; i < WIDEST * NARROW; i++) s->w[i] = gf_rng_uniform(&r) - 0.5f;
}

static bool measure(products *s, const layer *l, int64_t t, const struct direction *d, gf_err *e) {
    product_job job = {s->pool, d->of(s, l, t)};
    int threads = gf_pool_threads(s->pool);
    double rate, share;
    cJSON *j = gf_json_object(s->list, NULL, e);
    job.p.work = s->work;
    rate = 2e-9 * (double)job.p.m * (double)job.p.n * (double)job.p.k /
           gf_bench_best(5, multiply, &job);
    share = rate / (s->report->peak * threads);
    refill(s);
    if (s->report->print) printf("  %7.1f %3.0f %%", rate, 100 * share);
    return j && gf_json_string(j, "model", l->model, e) && gf_json_string(j, "layer", l->name, e) &&
           gf_json_string(j, "product", d->name, e) && gf_json_number(j, "tokens", (double)t, e) &&
           gf_json_number(j, "threads", threads, e) && gf_json_number(j, "m", (double)job.p.m, e) &&
           gf_json_number(j, "n", (double)job.p.n, e) &&
           gf_json_number(j, "k", (double)job.p.k, e) && gf_json_number(j, "gflops", rate, e) &&
           gf_json_number(j, "share_of_peak", share, e);
}

static bool measure_all(products *s, gf_err *e) {
    for (size_t k = 0; k < sizeof tokens / sizeof *tokens; k++)
        for (int i = 0; i < N_LAYERS; i++) {
            const layer *l = &layers[i];
            if (s->report->print)
                printf("%7d  %6lld  %-9s  %-9s", gf_pool_threads(s->pool), (long long)tokens[k],
                       l->model, l->name);
            for (int d = 0; d < N_DIRECTIONS; d++)
                if (!measure(s, l, tokens[k], &directions[d], e)) return false;
            if (s->report->print) printf("\n");
        }
    return true;
}

static bool measure_with(products *s, int threads, gf_err *e) {
    bool ok = (s->pool = gf_pool_new(threads, e)) && measure_all(s, e);
    gf_pool_free(s->pool);
    return ok;
}

static int64_t largest_work(void) {
    int64_t most = 1;
    for (int i = 0; i < N_LAYERS; i++)
        for (int d = 0; d < N_DIRECTIONS; d++) {
            gf_product p = directions[d].of(&(products){0}, &layers[i], tokens[0]);
            int64_t work = gf_gemm_work(p.n, p.k);
            if (work > most) most = work;
        }
    return most;
}

bool gf_bench_products(gf_bench_report *report, gf_err *e) {
    products s = {.report = report};
    bool ok = (s.x = gf_alloc_array(tokens[0] * WIDEST, sizeof *s.x, e)) &&
              (s.y = gf_alloc_array(tokens[0] * WIDEST, sizeof *s.y, e)) &&
              (s.w = gf_alloc_array(WIDEST * NARROW, sizeof *s.w, e)) &&
              (s.work = gf_alloc_array(largest_work(), sizeof *s.work, e)) &&
              (s.list = gf_json_array(report->json, "products", e));
    if (ok) refill(&s);
    if (ok && report->print)
        printf("\nmatrix products: GF/s and share of threads x peak\n"
               "%7s  %6s  %-9s  %-9s  %13s  %13s  %13s\n",
               "threads", "tokens", "model", "layer", "forward", "dX", "dW");
    ok = ok && measure_with(&s, 1, e);
    if (report->threads > 1) ok = ok && measure_with(&s, report->threads, e);
    gf_free(s.x);
    gf_free(s.y);
    gf_free(s.w);
    gf_free(s.work);
    return ok;
}
