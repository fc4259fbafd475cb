#include "optim/adamw.h"

#include "optim/sparse.h"

#include <math.h>
#include <string.h>

typedef struct adamw_job {
    const gf_blocks *blocks;
    const gf_groups *groups;
    const gf_adamw_settings *settings;
    double factor, grad_scale;
    const gf_vec *vec;
} adamw_job;

/* The numbers of one parameter's update, named as torch.optim.AdamW names them. */
static gf_adamw coefficients(const adamw_job *job, const gf_param *p) {
    const gf_adamw_settings *s = job->settings;
    const gf_group *group = &job->groups->items[p->group];
    double lr = group->lr * job->factor;
    double bias_correction1 = 1 - pow(s->beta1, (double)p->updates);
    double bias_correction2 = 1 - pow(s->beta2, (double)p->updates);
    return (gf_adamw){.decay = (gf_real)(1 - lr * group->weight_decay),
                      .step_size = (gf_real)(lr / bias_correction1),
                      .bias2_sqrt = (gf_real)sqrt(bias_correction2),
                      .rate1 = (gf_real)(1 - s->beta1),
                      .rate2 = (gf_real)(1 - s->beta2),
                      .beta2 = (gf_real)s->beta2,
                      .eps = (gf_real)s->eps,
                      .grad_scale = (gf_real)job->grad_scale};
}

static void update_block(void *context, int64_t part, int thread) {
    const adamw_job *job = context;
    const gf_block *block = &job->blocks->items[part];
    gf_param *p = block->param;
    gf_adamw a = coefficients(job, p);
    (void)thread;
    for (gf_stretch s = gf_sparse_start_stretch(block); gf_sparse_next_live(block, &s);)
        job->vec->adamw(s.count, &a, p->grad + s.first, p->owned + s.first, p->moment1 + s.first,
                        p->moment2 + s.first);
    for (gf_stretch s = gf_sparse_start_stretch(block); gf_sparse_next_touched(block, &s);)
        memset(p->grad + s.first, 0, (size_t)s.count * sizeof *p->grad);
}

static bool is_first(const gf_block *b) { return b->first == 0; }

void gf_adamw_update(const gf_blocks *blocks, const gf_groups *groups, const gf_adamw_settings *s,
                     double factor, double grad_scale, const gf_vec *vec, gf_pool *pool) {
    adamw_job job = {blocks, groups, s, factor, grad_scale, vec};
    for (int64_t i = 0; i < blocks->count; i++) {
        gf_param *p = blocks->items[i].param;
        if (!is_first(&blocks->items[i])) continue;
        p->updates++;
        gf_sparse_wake_touched(p, vec);
    }
    gf_pool_run(pool, blocks->count, update_block, &job);
    for (int64_t i = 0; i < blocks->count; i++) {
        gf_param *p = blocks->items[i].param;
        if (is_first(&blocks->items[i]))
            gf_sparse_end_update(p, coefficients(&job, p).decay, vec, pool);
    }
}
