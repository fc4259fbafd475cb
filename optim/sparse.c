/* V rows of the table, H its width. */
#include "optim/sparse.h"

#include "core/mem.h"

#include <string.h>

/* Rows of a part of a flush; lanes of gf_vec's sum_squares. */
enum { ROWS = 64, LANES = 16 };

static int64_t width_of(const gf_param *p) { return p->shape.dim[1]; }

/* By their bits: -0 is not what a moment is born with. */
static bool is_zero(const gf_real *x, int64_t n) {
    static const gf_real zero = 0;
    for (int64_t i = 0; i < n; i++)
        if (memcmp(x + i, &zero, sizeof zero) != 0) return false;
    return true;
}

static void find_live(gf_param *p) {
    int64_t h = width_of(p);
    p->rows->n_dead = p->shape.dim[0];
    if (p->updates == 0) return; /* new moments are zero; looking would fetch their pages */
    for (int64_t r = 0; r < p->shape.dim[0]; r++) {
        bool live = !is_zero(p->moment1 + r * h, h) || !is_zero(p->moment2 + r * h, h);
        p->rows->live[r] = live;
        p->rows->n_dead -= live;
    }
}

bool gf_sparse_start(gf_param *p, gf_err *e) {
    gf_param_rows *rows;
    if (p->rows) return gf_fail(e, GF_E_INTERNAL, "%s: it is sparse already", p->name);
    if (!(rows = p->rows = gf_alloc_array(1, sizeof *rows, e)) ||
        !(rows->touched = gf_alloc_array(p->shape.dim[0], sizeof *rows->touched, e)) ||
        !(rows->live = gf_alloc_array(p->shape.dim[0], sizeof *rows->live, e)) ||
        !(rows->decay = gf_alloc_array(GF_SPARSE_DECAYS, sizeof *rows->decay, e))) {
        gf_param_forget_rows(p);
        return false;
    }
    find_live(p);
    return true;
}

/* ---- the decay that dead rows still lack ---- */

static void decay_row(gf_param *p, int64_t row, const gf_vec *vec) {
    int64_t h = width_of(p);
    for (int64_t i = 0; i < p->rows->n_decay; i++)
        vec->scale(h, p->rows->decay[i], p->owned + row * h, p->owned + row * h);
}

static void wake(gf_param *p, int64_t row, const gf_vec *vec) {
    if (p->rows->live[row]) return;
    decay_row(p, row, vec);
    p->rows->live[row] = 1;
    p->rows->n_dead--;
}

void gf_sparse_wake(gf_param *p, const int32_t *ids, int64_t n, const gf_vec *vec) {
    if (!p->rows) return;
    for (int64_t i = 0; i < n; i++) wake(p, ids[i], vec);
}

void gf_sparse_wake_touched(gf_param *p, const gf_vec *vec) {
    if (!p->rows) return;
    for (int64_t r = 0; r < p->shape.dim[0]; r++)
        if (p->rows->touched[r]) wake(p, r, vec);
}

typedef struct flush_job {
    gf_param *param;
    const gf_vec *vec;
} flush_job;

static void flush_part(void *context, int64_t part, int thread) {
    const flush_job *job = context;
    gf_param *p = job->param;
    (void)thread;
    for (int64_t r = part * ROWS; r < (part + 1) * ROWS && r < p->shape.dim[0]; r++)
        if (!p->rows->live[r]) decay_row(p, r, job->vec);
}

void gf_sparse_flush(gf_param *p, const gf_vec *vec, gf_pool *pool) {
    flush_job job = {p, vec};
    if (!p->rows || p->rows->n_decay == 0) return;
    gf_pool_run(pool, (p->shape.dim[0] + ROWS - 1) / ROWS, flush_part, &job);
    p->rows->n_decay = 0;
}

void gf_sparse_stop(gf_param *p, const gf_vec *vec, gf_pool *pool) {
    gf_sparse_flush(p, vec, pool);
    gf_param_forget_rows(p);
}

void gf_sparse_end_update(gf_param *p, gf_real decay, const gf_vec *vec, gf_pool *pool) {
    gf_param_rows *rows = p->rows;
    if (!rows) return;
    memset(rows->touched, 0, (size_t)p->shape.dim[0] * sizeof *rows->touched);
    if (rows->n_dead == 0 || decay == 1) return;
    rows->decay[rows->n_decay++] = decay;
    if (rows->n_decay == GF_SPARSE_DECAYS) gf_sparse_flush(p, vec, pool);
}

/* ---- the rows of a block ---- */

gf_stretch gf_sparse_start_stretch(const gf_block *b) { return (gf_stretch){b->first, 0}; }

/* The next run of rows with this flag; flag NULL: all rows have it. A run ends where a row without
 * it begins, or with the block. */
static bool next(const gf_block *b, const unsigned char *flag, gf_stretch *s) {
    int64_t h = flag ? width_of(b->param) : 1, end = b->first + b->count;
    int64_t row = (s->first + s->count) / h, behind = (end - 1) / h + 1, last;
    if (s->first + s->count == end) return false;
    if (!flag) {
        s->count = b->count;
        return true;
    }
    while (row < behind && !flag[row]) row++;
    for (last = row; last < behind && flag[last];) last++;
    s->first = row * h < b->first ? b->first : row * h;
    s->count = (last * h < end ? last * h : end) - s->first;
    return s->count > 0;
}

bool gf_sparse_next_live(const gf_block *b, gf_stretch *s) {
    return next(b, b->param->rows ? b->param->rows->live : NULL, s);
}

bool gf_sparse_next_touched(const gf_block *b, gf_stretch *s) {
    return next(b, b->param->rows ? b->param->rows->touched : NULL, s);
}

gf_stretch gf_sparse_touched(const gf_block *b) {
    gf_stretch s = gf_sparse_start_stretch(b), all;
    if (!gf_sparse_next_touched(b, &s)) return (gf_stretch){b->first, 0};
    all = s;
    while (gf_sparse_next_touched(b, &s)) all.count = s.first + s.count - all.first;
    all.count += (all.first - b->first) % LANES;
    all.first -= (all.first - b->first) % LANES;
    return all;
}
