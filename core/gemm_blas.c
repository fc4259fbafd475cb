#include "core/gemm_blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Panels of C. There are 8 where they keep LEAST_WORK multiplications each, and 16 where they keep
 * MUCH_WORK: enough to go round, and no more, since each packs its own part of A and B. Their sides
 * are multiples of every micro-kernel's. */
enum { PANELS = 8, MANY_PANELS = 16, ROW_STEP = 24, COLUMN_STEP = 48 };
static const double LEAST_WORK = 1 << 21, MUCH_WORK = 1 << 28;

#if GF_REAL_IS_FLOAT
static const char GEMM[] = "cblas_sgemm";
#else
static const char GEMM[] = "cblas_dgemm";
#endif
enum { ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112 }; /* of the C interface to the BLAS */

/* The process's, since the library is. */
static gf_blas blas;
static gf_err blas_error;
static pthread_once_t blas_once = PTHREAD_ONCE_INIT;

/* Cheaper than adding afterwards: BLAS would clear C first. */
static void start_rows(const gf_product *p) {
    for (int64_t r = 0; r < p->m; r++)
        memcpy(p->c + r * p->ldc, p->start, (size_t)p->n * sizeof *p->c);
}

void gf_blas_gemm_here(const gf_product *p) {
    bool starts = p->start && !p->add;
    if (starts) start_rows(p);
    blas.gemm(ROW_MAJOR, p->transpose_a ? TRANSPOSED : AS_IT_IS,
              p->transpose_b ? TRANSPOSED : AS_IT_IS, (int)p->m, (int)p->n, (int)p->k, 1, p->a,
              (int)p->lda, p->b, (int)p->ldb, p->add || starts ? 1 : 0, p->c, (int)p->ldc);
}

typedef struct panels {
    const gf_product *p;
    int64_t rows, columns; /* of a panel */
    int64_t across;        /* panels side by side */
    gf_epilogue *then;
    void *context;
} panels;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void run_panel(void *job, int64_t part, int thread) {
    const panels *s = job;
    int64_t row = part / s->across * s->rows, column = part % s->across * s->columns;
    gf_product p = *s->p;
    (void)thread;
    p.m = least(p.m - row, s->rows);
    p.n = least(p.n - column, s->columns);
    p.a += p.transpose_a ? row : row * p.lda;
    p.b += p.transpose_b ? column * p.ldb : column;
    p.c += row * p.ldc + column;
    if (p.start) p.start += column;
    gf_blas_gemm_here(&p);
    if (s->then) s->then(s->context, row, p.m, column, p.n);
}

static int64_t pieces(int64_t length, int64_t piece) { return (length + piece - 1) / piece; }

static int64_t count_panels(const gf_product *p) {
    double work = (double)p->m * (double)p->n * (double)p->k;
    int64_t count = 1;
    while (count < PANELS && work >= 2 * (double)count * LEAST_WORK) count *= 2;
    return work >= MANY_PANELS * MUCH_WORK ? MANY_PANELS : count;
}

/* Of the ways to cut C into that many panels, the one that packs the least: A is packed once for
 * each panel across, B once for each panel down. */
static void cut(panels *s) {
    const gf_product *p = s->p;
    int64_t count = count_panels(p), best = 1;
    for (int64_t down = 2; down <= count; down *= 2)
        if (count / down * p->m + down * p->n < count / best * p->m + best * p->n) best = down;
    s->rows = pieces(pieces(p->m, best), ROW_STEP) * ROW_STEP;
    s->columns = pieces(pieces(p->n, count / best), COLUMN_STEP) * COLUMN_STEP;
    s->across = pieces(p->n, s->columns);
}

void gf_blas_gemm(gf_pool *pool, const gf_product *p, gf_epilogue *then, void *context) {
    panels s = {.p = p, .then = then, .context = context};
    if (p->m < 1 || p->n < 1) return;
    cut(&s);
    gf_pool_run(pool, pieces(p->m, s.rows) * s.across, run_panel, &s);
}

/* POSIX lets a void * of dlsym() be a function; ISO C does not let it be cast to one. */
static bool find(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

bool gf_blas_load(gf_blas *b, const char *name, gf_err *e) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    const char *why = library ? NULL : dlerror();
    if (!library)
        return gf_fail(e, GF_E_INTERNAL,
                       "OpenBLAS: it cannot be loaded (%s), and this processor has no kernel of "
                       "graft's own; install libopenblas0-pthread",
                       why ? why : name);
    if (find(library, GEMM, &b->gemm) &&
        find(library, "openblas_set_num_threads", &b->set_num_threads) &&
        find(library, "openblas_get_num_threads", &b->get_num_threads) &&
        find(library, "openblas_get_config", &b->get_config) &&
        find(library, "openblas_get_corename", &b->get_corename))
        return true;
    *b = (gf_blas){0};
    dlclose(library);
    return gf_fail(e, GF_E_INTERNAL,
                   "OpenBLAS: %s lacks functions of it; install libopenblas0-pthread", name);
}

static void load(void) { gf_blas_load(&blas, "libopenblas.so.0", &blas_error); }

bool gf_blas_start(gf_err *e) {
    pthread_once(&blas_once, load);
    if (!blas.gemm) return gf_fail(e, blas_error.code, "%s", blas_error.text);
    blas.set_num_threads(1);
    if (blas.get_num_threads() == 1) return true;
    return gf_fail(e, GF_E_INTERNAL,
                   "OpenBLAS: it keeps %d threads although 1 was asked for, so results would "
                   "change with them; set OPENBLAS_NUM_THREADS=1 and OMP_NUM_THREADS=1, or "
                   "install its pthread build (libopenblas0-pthread)",
                   blas.get_num_threads());
}

const char *gf_blas_name(char *text, int size) {
    if (blas.gemm)
        snprintf(text, (size_t)size, "%s, core %s", blas.get_config(), blas.get_corename());
    else
        snprintf(text, (size_t)size, "OpenBLAS, not loaded");
    return text;
}
