#include "optim/surgery.h"

#include "core/mem.h"
#include "core/rng.h"

#include <math.h>
#include <string.h>

/* A block of two gradients fits in a first-level cache; one of all, for some tasks, in a second. */
enum { BLOCK = 2048, COMBINE_BLOCK = 16384, MOST_SLICES = 64 };

const char *const gf_surgery_names[] = {"none", "pcgrad", "cagrad", NULL};

static bool find_method(gf_surgery *s, const char *name, gf_err *e) {
    for (int i = 0; gf_surgery_names[i]; i++) {
        s->method = (gf_surgery_method)i;
        if (strcmp(gf_surgery_names[i], name) == 0) return true;
    }
    return gf_fail(e, GF_E_INVALID,
                   "surgery: there is no method \"%s\"; there are none, pcgrad and cagrad", name);
}

static bool check(double c, int64_t tasks, gf_err *e) {
    if (!(c >= 0 && c < 1))
        return gf_fail(e, GF_E_INVALID, "surgery: c is %g; give a number from 0 to below 1", c);
    if (tasks < 1 || tasks > GF_SURGERY_TASKS)
        return gf_fail(e, GF_E_INVALID, "surgery: there are %lld tasks; have 1 to %d of them",
                       (long long)tasks, GF_SURGERY_TASKS);
    return true;
}

/* tasks <= GF_SURGERY_TASKS, so the products fit. */
static bool reserve(gf_surgery *s, gf_err *e) {
    int64_t square = s->tasks * s->tasks;
    return (s->parts = gf_alloc_array(s->slices * square, sizeof *s->parts, e)) &&
           (s->gram = gf_alloc_array(square, sizeof *s->gram, e)) &&
           (s->coefficients = gf_alloc_array(s->tasks, sizeof *s->coefficients, e)) &&
           (s->scratch = gf_alloc_array(4 * s->tasks, sizeof *s->scratch, e)) &&
           (s->order = gf_alloc_array(s->tasks, sizeof *s->order, e));
}

bool gf_surgery_start(gf_surgery *s, const char *method, double c, uint64_t seed, int64_t tasks,
                      gf_err *e) {
    *s = (gf_surgery){.c = c, .seed = seed, .tasks = tasks};
    if (!find_method(s, method, e) || !check(c, tasks, e)) return false;
    s->slices = tasks < MOST_SLICES ? MOST_SLICES / tasks : 1;
    if (reserve(s, e)) return true;
    gf_surgery_free(s);
    return false;
}

void gf_surgery_free(gf_surgery *s) {
    gf_free(s->parts);
    gf_free(s->gram);
    gf_free(s->coefficients);
    gf_free(s->scratch);
    gf_free(s->order);
    *s = (gf_surgery){0};
}

void gf_surgery_apply(gf_surgery *s, const gf_real *const *g, int64_t n, int64_t step, gf_real *out,
                      const gf_vec *vec, gf_pool *pool) {
    memset(s->gram, 0, (size_t)(s->tasks * s->tasks) * sizeof *s->gram);
    if (s->method != GF_SURGERY_NONE) gf_surgery_gram(s, g, 0, n, s->gram, pool);
    gf_surgery_coefficients(s, s->gram, step, s->coefficients);
    gf_surgery_combine(s, g, s->coefficients, n, out, vec, pool);
}

/* ---- the Gram matrix ---- */

typedef struct gram_job {
    const gf_surgery *s;
    const gf_real *const *g;
    int64_t first, count;
} gram_job;

/* In double over eight lanes: products of two floats are exact. */
static double dot(int64_t n, const gf_real *x, const gf_real *y) {
    double lane[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++) lane[l] += (double)x[i + l] * (double)y[i + l];
    for (; i < n; i++) lane[i % 8] += (double)x[i] * (double)y[i];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* A part is one row of the lower triangle over one slice of the elements. */
static void gram_row(void *context, int64_t part, int thread) {
    const gram_job *job = context;
    const gf_surgery *s = job->s;
    int64_t i = part % s->tasks, slice = part / s->tasks, blocks = (job->count + BLOCK - 1) / BLOCK;
    int64_t from = blocks * slice / s->slices, to = blocks * (slice + 1) / s->slices;
    double *sums = s->parts + (slice * s->tasks + i) * s->tasks;
    (void)thread;
    memset(sums, 0, (size_t)s->tasks * sizeof *sums);
    for (int64_t block = from; job->g[i] && block < to; block++) {
        int64_t rest = job->count - block * BLOCK, first = job->first + block * BLOCK;
        int64_t n = rest < BLOCK ? rest : BLOCK;
        for (int64_t j = 0; j <= i; j++)
            if (job->g[j]) sums[j] += dot(n, job->g[i] + first, job->g[j] + first);
    }
}

void gf_surgery_gram(gf_surgery *s, const gf_real *const *g, int64_t first, int64_t count,
                     double *gram, gf_pool *pool) {
    int64_t K = s->tasks;
    gram_job job = {s, g, first, count};
    gf_pool_run(pool, s->slices * K, gram_row, &job);
    for (int64_t i = 0; i < K; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t slice = 0; slice < s->slices; slice++)
                sum += s->parts[(slice * K + i) * K + j];
            gram[i * K + j] += sum;
            if (j < i) gram[j * K + i] += sum;
        }
}

/* ---- pcgrad ---- */

/* Task i's gradient as coefficients a[K] of all, and its dot products with all, u = gram a. */
static void project_task(const gf_surgery *s, const double *gram, int64_t i, double *a, double *u) {
    int64_t K = s->tasks;
    memset(a, 0, (size_t)K * sizeof *a);
    memcpy(u, gram + i * K, (size_t)K * sizeof *u);
    a[i] = 1;
    for (int64_t k = 0; k < K - 1; k++) {
        int64_t j = s->order[k] + (s->order[k] >= i); /* of the others, in ascending order */
        const double *row = gram + j * K;
        if (!(u[j] < 0 && row[j] > 0)) continue;
        double share = u[j] / row[j];
        a[j] -= share;
        for (int64_t l = 0; l < K; l++) u[l] -= share * row[l];
    }
}

static void pcgrad(gf_surgery *s, const double *gram, int64_t step, double *coefficients) {
    double *a = s->scratch, *u = a + s->tasks;
    gf_rng r = gf_rng_new(s->seed, gf_rng_stream("pcgrad"));
    gf_rng_advance(&r, (uint64_t)step << 24);
    memset(coefficients, 0, (size_t)s->tasks * sizeof *coefficients);
    for (int64_t i = 0; i < s->tasks; i++) {
        gf_rng_shuffle(&r, s->tasks - 1, s->order);
        project_task(s, gram, i, a, u);
        for (int64_t k = 0; k < s->tasks; k++) coefficients[k] += a[k];
    }
}

/* ---- cagrad ---- */

/* F(w) = w . b + r sqrt(w . M w + eps^2) over the simplex, M = gram / scale. */
typedef struct simplex {
    int64_t K;
    const double *gram;
    double scale;  /* the largest |g|^2 */
    double r;      /* c |sum g| */
    double *b;     /* [K] M 1, the sum being K times the mean */
    double *w;     /* [K] */
    double *mw;    /* [K] M w */
    double *slope; /* [K] dF/dw */
} simplex;

static double entry(const simplex *p, int64_t i, int64_t j) {
    return p->gram[i * p->K + j] / p->scale;
}

/* eps = 1e-6: where gradients cancel out, coefficients grow to r / eps at most, and floats add up
 * to a few percent of r. */
static double smooth_norm(double square) { return sqrt(fmax(square, 0) + 1e-12); }

static void multiply(const simplex *p, const double *x, double *y) {
    for (int64_t i = 0; i < p->K; i++) {
        double sum = 0;
        for (int64_t j = 0; j < p->K; j++) sum += entry(p, i, j) * x[j];
        y[i] = sum;
    }
}

/* |g_w|, smooth, and the slopes. */
static double look(const simplex *p) {
    double square = 0, norm;
    for (int64_t k = 0; k < p->K; k++) square += p->w[k] * p->mw[k];
    norm = smooth_norm(square);
    for (int64_t k = 0; k < p->K; k++) p->slope[k] = p->b[k] + p->r * p->mw[k] / norm;
    return norm;
}

static double curvature(const simplex *p, int64_t i, int64_t j) {
    return entry(p, i, i) + entry(p, j, j) - 2 * entry(p, i, j);
}

/* The pair to move weight along, from *j to *i: the least slope of a task with a gradient, and what
 * promises most against it. False when the slopes say that this is the minimum. */
static bool choose(const simplex *p, int64_t *i, int64_t *j) {
    double best = 0, largest = 0;
    *i = *j = -1;
    for (int64_t k = 0; k < p->K; k++) {
        if (!(entry(p, k, k) > 0)) continue;
        if (*i < 0 || p->slope[k] < p->slope[*i]) *i = k;
        largest = fmax(largest, fabs(p->slope[k]));
    }
    for (int64_t k = 0; k < p->K && *i >= 0; k++) {
        double gap = p->slope[k] - p->slope[*i], bend;
        if (!(p->w[k] > 0 && gap > 1e-10 * largest)) continue;
        bend = fmax(curvature(p, *i, k), 1e-16);
        if (gap * gap / bend > best) {
            best = gap * gap / bend;
            *j = k;
        }
    }
    return *j >= 0;
}

/* Moves t from w[j] to w[i], t the minimum on that line: with y = a t + half, the slope of
 * F is 0 at y = s sqrt((y^2 + rest) / a), that is y^2 (a - s^2) = s^2 rest. */
static void descend(const simplex *p, int64_t i, int64_t j, double norm) {
    double a = curvature(p, i, j), half = p->mw[i] - p->mw[j], t = p->w[j];
    double s = (p->b[j] - p->b[i]) / p->r, rest = fmax(a * norm * norm - half * half, 0);
    if (a > s * s) t = fmin(fmax((s * sqrt(rest / (a - s * s)) - half) / a, 0), p->w[j]);
    if (t >= p->w[j]) t = p->w[j];
    p->w[i] += t;
    p->w[j] = t < p->w[j] ? p->w[j] - t : 0;
    for (int64_t k = 0; k < p->K; k++) p->mw[k] += t * (entry(p, k, i) - entry(p, k, j));
}

static double minimise(const simplex *p) {
    int64_t lines = 20000 + 20000000 / p->K, i, j;
    double norm, present = 0;
    for (int64_t k = 0; k < p->K; k++) present += entry(p, k, k) > 0;
    for (int64_t k = 0; k < p->K; k++) p->w[k] = entry(p, k, k) > 0 ? 1 / present : 0;
    for (int64_t line = 0;; line++) {
        if (line % 512 == 0) multiply(p, p->w, p->mw); /* forgets rounding */
        norm = look(p);
        if (line == lines || !choose(p, &i, &j)) return norm;
        descend(p, i, j, norm);
    }
}

static void cagrad(gf_surgery *s, const double *gram, double *coefficients) {
    int64_t K = s->tasks;
    double *x = s->scratch, square = 0, norm;
    simplex p = {K, gram, 0, 0, x, x + K, x + 2 * K, x + 3 * K};
    for (int64_t k = 0; k < K; k++) {
        p.scale = fmax(p.scale, gram[k * K + k]);
        coefficients[k] = p.w[k] = 1;
    }
    if (!(p.scale > 0 && s->c > 0)) return;
    multiply(&p, p.w, p.b);
    for (int64_t k = 0; k < K; k++) square += p.b[k];
    p.r = s->c * sqrt(fmax(square, 0));
    if (!(p.r > 0)) return;
    norm = minimise(&p);
    for (int64_t k = 0; k < K; k++) coefficients[k] += p.r / norm * p.w[k];
}

void gf_surgery_coefficients(gf_surgery *s, const double *gram, int64_t step,
                             double *coefficients) {
    bool finite = true;
    for (int64_t i = 0; i < s->tasks * s->tasks; i++) finite = finite && isfinite(gram[i]);
    for (int64_t k = 0; k < s->tasks; k++) coefficients[k] = finite ? 1 : NAN;
    if (finite && s->method == GF_SURGERY_PCGRAD) pcgrad(s, gram, step, coefficients);
    if (finite && s->method == GF_SURGERY_CAGRAD) cagrad(s, gram, coefficients);
}

/* ---- the combination ---- */

typedef struct combine_job {
    const gf_real *const *g;
    const double *coefficients;
    int64_t tasks, n;
    gf_real *out;
    const gf_vec *vec;
} combine_job;

static void combine_block(void *context, int64_t part, int thread) {
    const combine_job *job = context;
    int64_t first = part * COMBINE_BLOCK, rest = job->n - first;
    int64_t n = rest < COMBINE_BLOCK ? rest : COMBINE_BLOCK;
    gf_real *out = job->out + first;
    bool begun = false;
    (void)thread;
    for (int64_t k = 0; k < job->tasks; k++) {
        gf_real factor = (gf_real)job->coefficients[k];
        if (!job->g[k]) continue;
        if (begun)
            job->vec->axpy(n, factor, job->g[k] + first, out);
        else
            job->vec->scale(n, factor, job->g[k] + first, out);
        begun = true;
    }
    if (!begun) memset(out, 0, (size_t)n * sizeof *out);
}

void gf_surgery_combine(const gf_surgery *s, const gf_real *const *g, const double *coefficients,
                        int64_t n, gf_real *out, const gf_vec *vec, gf_pool *pool) {
    combine_job job = {g, coefficients, s->tasks, n, out, vec};
    gf_pool_run(pool, (n + COMBINE_BLOCK - 1) / COMBINE_BLOCK, combine_block, &job);
}
