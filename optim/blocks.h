/* blocks: the trainable parameters cut into blocks of a fixed size, the unit of work for threads.
 *
 *     gf_blocks blocks = {0};
 *     if (!gf_blocks_cut(&blocks, params, e)) goto done;        (after gf_groups_reserve)
 *     double norm = gf_grad_norm(&blocks, vec, pool);           (these two cannot fail)
 *     gf_adamw_update(&blocks, &groups, &settings, factor, gf_grad_scale(norm, 1.0), vec, pool);
 *     ...
 *     gf_blocks_free(&blocks);
 *
 * The cut depends on the shapes alone, so any number of threads gives the same bits. */
#ifndef GF_OPTIM_BLOCKS_H
#define GF_OPTIM_BLOCKS_H

#include "core/err.h"
#include "core/param.h"

#include <stdbool.h>
#include <stdint.h>

/* A block's value, gradient and moments, 256 KiB of floats, fit in a second-level cache. */
enum { GF_BLOCK = 16384 };

typedef struct gf_block {
    gf_param *param;      /* not owned; trainable, with gradient and moments */
    int64_t first, count; /* its elements first .. first + count - 1 */
} gf_block;

typedef struct gf_blocks {
    gf_block *items; /* in the order of the parameters */
    double *sums;    /* [count] scratch for sums over blocks */
    int64_t count, capacity;
} gf_blocks;

/* Replaces an earlier cut. */
bool gf_blocks_cut(gf_blocks *b, const gf_params *params, gf_err *e);
void gf_blocks_free(gf_blocks *b);

#endif
