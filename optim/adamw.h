/* adamw: Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019), as
 * PyTorch's torch.optim.AdamW without amsgrad. Usage in optim/blocks.h.
 *
 * Bias correction goes by each parameter's own count of updates, and its moments stay over
 * phases, so that a parameter that is frozen for a while goes on where it stopped. As in PyTorch,
 * what is one number per parameter is computed in double and rounded once. */
#ifndef GF_OPTIM_ADAMW_H
#define GF_OPTIM_ADAMW_H

#include "core/pool.h"
#include "core/vec.h"
#include "optim/blocks.h"
#include "optim/groups.h"

typedef struct gf_adamw_settings {
    double beta1, beta2; /* in [0, 1) */
    double eps;
} gf_adamw_settings;

/* One update of every parameter in the blocks: at its group's lr times `factor` (the schedule's),
 * with gradients multiplied by grad_scale (see gf_grad_scale()). Gradients are zero
 * afterwards. */
void gf_adamw_update(const gf_blocks *blocks, const gf_groups *groups, const gf_adamw_settings *s,
                     double factor, double grad_scale, const gf_vec *vec, gf_pool *pool);

#endif
