#include "optim/sgd.h"

#include <string.h>

typedef struct sgd_job {
    const gf_blocks *blocks;
    const gf_groups *groups;
    const gf_sgd_settings *settings;
    double factor, grad_scale;
} sgd_job;

/* Plain C: elementwise and bound by memory, so kernels of its own would gain nothing. */
static void update_block(void *context, int64_t part, int thread) {
    const sgd_job *job = context;
    const gf_block *block = &job->blocks->items[part];
    const gf_param *p = block->param;
    const gf_group *group = &job->groups->items[p->group];
    const gf_real *grad = p->grad + block->first;
    gf_real *w = p->owned + block->first, *buffer = p->moment1 + block->first;
    gf_real lr = (gf_real)(group->lr * job->factor), decay = (gf_real)group->weight_decay;
    gf_real momentum = (gf_real)job->settings->momentum, scale = (gf_real)job->grad_scale;
    bool first = p->updates == 1, nesterov = job->settings->nesterov;
    (void)thread;
    for (int64_t i = 0; i < block->count; i++) {
        gf_real g = scale * grad[i] + decay * w[i];
        if (momentum > 0) {
            buffer[i] = first ? g : momentum * buffer[i] + g;
            g = nesterov ? g + momentum * buffer[i] : buffer[i];
        }
        w[i] -= lr * g;
    }
    memset(p->grad + block->first, 0, (size_t)block->count * sizeof *grad);
}

void gf_sgd_update(const gf_blocks *blocks, const gf_groups *groups, const gf_sgd_settings *s,
                   double factor, double grad_scale, gf_pool *pool) {
    sgd_job job = {blocks, groups, s, factor, grad_scale};
    for (int64_t i = 0; i < blocks->count; i++)
        if (blocks->items[i].first == 0) blocks->items[i].param->updates++;
    gf_pool_run(pool, blocks->count, update_block, &job);
}
