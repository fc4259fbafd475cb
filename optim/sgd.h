/* sgd: stochastic gradient descent with momentum (Polyak 1964; for Nesterov's Sutskever et al.
 * 2013), as PyTorch's torch.optim.SGD with dampening 0.
 *
 *     gf_sgd_settings settings = {.momentum = 0.9, .nesterov = true};
 *     gf_groups_reserve(params, GF_OPTIMIZER_SGD, e)        (moment1 alone; moment2 stays NULL)
 *     gf_sgd_update(&blocks, &groups, &settings, factor, gf_grad_scale(norm, 1.0), pool);
 *
 * g = scale grad + weight_decay w; b = momentum b + g, but b = g in a parameter's first update;
 * w -= lr (g + momentum b) with Nesterov's, else w -= lr b. So weight decay goes through the
 * momentum, unlike AdamW's, and momentum is not a mean: 0.9 makes steps ten times as long.
 *
 * b is p->moment1, and "first" goes by the parameter's own count of updates: one that is frozen for
 * a while goes on where it stopped. Without momentum b is neither read nor written. */
#ifndef GF_OPTIM_SGD_H
#define GF_OPTIM_SGD_H

#include "core/pool.h"
#include "optim/blocks.h"
#include "optim/groups.h"

#include <stdbool.h>

typedef struct gf_sgd_settings {
    double momentum; /* in [0, 1) */
    bool nesterov;   /* wants a momentum above 0 */
} gf_sgd_settings;

/* One update of every parameter in the blocks: at its group's lr times `factor` (the schedule's),
 * with gradients multiplied by grad_scale (see gf_grad_scale()). Gradients are zero
 * afterwards.
 * Cannot fail. */
void gf_sgd_update(const gf_blocks *blocks, const gf_groups *groups, const gf_sgd_settings *s,
                   double factor, double grad_scale, gf_pool *pool);

#endif
