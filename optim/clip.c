#include "optim/clip.h"

#include "optim/sparse.h"

#include <math.h>

typedef struct norm_job {
    gf_blocks *blocks;
    const gf_vec *vec;
} norm_job;

static void sum_block(void *context, int64_t part, int thread) {
    norm_job *job = context;
    const gf_block *block = &job->blocks->items[part];
    (void)thread;
    gf_stretch s = gf_sparse_touched(block);
    job->blocks->sums[part] = job->vec->sum_squares(s.count, block->param->grad + s.first);
}

double gf_grad_norm(gf_blocks *b, const gf_vec *vec, gf_pool *pool) {
    norm_job job = {b, vec};
    double sum = 0;
    gf_pool_run(pool, b->count, sum_block, &job);
    for (int64_t i = 0; i < b->count; i++) sum += b->sums[i];
    return sqrt(sum);
}

double gf_grad_scale(double norm, double clip_norm) {
    double scale = clip_norm / (norm + 1e-6);
    return clip_norm > 0 && scale < 1 ? scale : 1;
}

static bool is_finite(const gf_param *p) {
    int64_t count = gf_param_count(p);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(p->grad[i])) return false;
    return true;
}

const gf_param *gf_grad_find_nonfinite(const gf_params *params) {
    for (int64_t i = 0; i < params->count; i++)
        if (params->items[i]->trainable && !is_finite(params->items[i])) return params->items[i];
    return NULL;
}
