#include "optim/anchor.h"

#include "core/mem.h"

#include <string.h>

typedef struct anchor_job {
    const gf_blocks *blocks;
    const gf_groups *groups;
} anchor_job;

static double strength(const gf_groups *groups, const gf_param *p) {
    return p->trainable ? groups->items[p->group].l2_sp : 0;
}

bool gf_anchor_reserve(gf_params *params, const gf_groups *groups, gf_err *e) {
    for (int64_t i = 0; i < params->count; i++) {
        gf_param *p = params->items[i];
        int64_t count = gf_param_count(p);
        if (!(strength(groups, p) > 0) || p->anchor) continue;
        if (!(p->anchor = gf_alloc_array(count, sizeof *p->anchor, e))) return false;
        memcpy(p->anchor, p->value, (size_t)count * sizeof *p->anchor);
    }
    return true;
}

static void pull_block(void *context, int64_t part, int thread) {
    const anchor_job *job = context;
    const gf_block *block = &job->blocks->items[part];
    const gf_param *p = block->param;
    gf_real l2_sp = (gf_real)strength(job->groups, p);
    (void)thread;
    if (!(l2_sp > 0)) return;
    for (int64_t i = block->first; i < block->first + block->count; i++)
        p->grad[i] += l2_sp * (p->value[i] - p->anchor[i]);
}

void gf_anchor_pull(const gf_blocks *blocks, const gf_groups *groups, gf_pool *pool) {
    anchor_job job = {blocks, groups};
    gf_pool_run(pool, blocks->count, pull_block, &job);
}
