#include "optim/average.h"

#include "core/mem.h"

#include <string.h>

typedef struct average_job {
    const gf_blocks *blocks;
    gf_real rate; /* 1 - decay, rounded from double: 1 - 0.999f is not 0.001f */
} average_job;

bool gf_average_start(gf_params *params, gf_err *e) {
    for (int64_t i = 0; i < params->count; i++) {
        gf_param *p = params->items[i];
        int64_t count = gf_param_count(p);
        if (!p->trainable || p->average) continue;
        if (!(p->average = gf_alloc_array(count, sizeof *p->average, e))) return false;
        memcpy(p->average, p->value, (size_t)count * sizeof *p->average);
    }
    return true;
}

static void update_block(void *context, int64_t part, int thread) {
    const average_job *job = context;
    const gf_block *block = &job->blocks->items[part];
    const gf_real *w = block->param->value + block->first;
    gf_real *average = block->param->average + block->first;
    (void)thread;
    for (int64_t i = 0; i < block->count; i++) average[i] += job->rate * (w[i] - average[i]);
}

void gf_average_update(const gf_blocks *blocks, double decay, gf_pool *pool) {
    average_job job = {blocks, (gf_real)(1 - decay)};
    gf_pool_run(pool, blocks->count, update_block, &job);
}

void gf_average_swap(gf_params *params) {
    for (int64_t i = 0; i < params->count; i++) {
        gf_param *p = params->items[i];
        gf_real *average = p->average;
        if (!average) continue;
        p->average = p->owned;
        p->value = p->owned = average;
    }
}
