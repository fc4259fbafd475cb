#include "core/gemm.h"

#include <cblas.h>
#include <stdio.h>

/* Panels of C: 192 columns keep a panel of B for K = 3072 near the L2 cache. Rows are halved from
 * 480 to 120 while there are too few panels to go round; each is a multiple of every micro-kernel's
 * height. */
enum { PANEL_ROWS = 480, LEAST_ROWS = 120, PANEL_COLUMNS = 192, ENOUGH_PANELS = 8 };

#if GF_REAL_IS_FLOAT
#define BLAS_GEMM cblas_sgemm
#else
#define BLAS_GEMM cblas_dgemm
#endif

void gf_gemm_here(const gf_product *p) {
    BLAS_GEMM(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans,
              p->transpose_b ? CblasTrans : CblasNoTrans, (blasint)p->m, (blasint)p->n,
              (blasint)p->k, p->alpha == 0 ? 1 : p->alpha, p->a, (blasint)p->lda, p->b,
              (blasint)p->ldb, p->beta, p->c, (blasint)p->ldc);
}

typedef struct panels {
    const gf_product *p;
    int64_t rows;   /* of a panel */
    int64_t across; /* panels side by side */
    gf_epilogue *then;
    void *context;
} panels;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void run_panel(void *job, int64_t part, int thread) {
    const panels *s = job;
    int64_t row = part / s->across * s->rows, column = part % s->across * PANEL_COLUMNS;
    gf_product p = *s->p;
    (void)thread;
    p.m = least(p.m - row, s->rows);
    p.n = least(p.n - column, PANEL_COLUMNS);
    p.a += p.transpose_a ? row : row * p.lda;
    p.b += p.transpose_b ? column * p.ldb : column;
    p.c += row * p.ldc + column;
    gf_gemm_here(&p);
    if (s->then) s->then(s->context, row, p.m, column, p.n);
}

static int64_t pieces(int64_t length, int64_t piece) { return (length + piece - 1) / piece; }

void gf_gemm(gf_pool *pool, const gf_product *p, gf_epilogue *then, void *context) {
    panels s = {p, PANEL_ROWS, pieces(p->n, PANEL_COLUMNS), then, context};
    while (s.rows > LEAST_ROWS && pieces(p->m, s.rows) * s.across < ENOUGH_PANELS) s.rows /= 2;
    gf_pool_run(pool, pieces(p->m, s.rows) * s.across, run_panel, &s);
}

bool gf_gemm_start(gf_err *e) {
    openblas_set_num_threads(1);
    if (openblas_get_num_threads() == 1) return true;
    return gf_fail(
        e, GF_E_INTERNAL,
        "OpenBLAS: it keeps %d threads although 1 was asked for, so results would change "
        "with them; set OPENBLAS_NUM_THREADS=1 and OMP_NUM_THREADS=1, or install its "
        "pthread build (libopenblas0-pthread)",
        openblas_get_num_threads());
}

const char *gf_gemm_name(char *text, int size) {
    snprintf(text, (size_t)size, "%s, core %s", openblas_get_config(), openblas_get_corename());
    return text;
}
