#include "optim/blocks.h"

#include "core/mem.h"

static bool cut(gf_blocks *b, gf_param *p, gf_err *e) {
    int64_t elements = gf_param_count(p);
    for (int64_t first = 0; first < elements; first += GF_BLOCK) {
        int64_t rest = elements - first;
        if (!gf_grow(&b->items, b->count, &b->capacity, sizeof *b->items, e)) return false;
        b->items[b->count++] = (gf_block){p, first, rest < GF_BLOCK ? rest : GF_BLOCK};
    }
    return true;
}

bool gf_blocks_cut(gf_blocks *b, const gf_params *params, gf_err *e) {
    gf_blocks_free(b);
    for (int64_t i = 0; i < params->count; i++)
        if (params->items[i]->trainable && !cut(b, params->items[i], e)) return false;
    return (b->sums = gf_alloc_array(b->count, sizeof *b->sums, e)) != NULL;
}

void gf_blocks_free(gf_blocks *b) {
    gf_free(b->items);
    gf_free(b->sums);
    *b = (gf_blocks){0};
}
