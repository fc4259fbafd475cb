/* average: an exponential moving average of the weights, which is evaluated and kept in their place
 * (Polyak & Juditsky 1992), as PyTorch's torch.optim.swa_utils.AveragedModel with
 * get_ema_multi_avg_fn().
 *
 *     if (!gf_average_start(params, e)) goto done;          (after gf_groups_reserve)
 *     gf_sgd_update(...);
 *     gf_average_update(&blocks, 0.999, pool);              (after every update)
 *     ...
 *     gf_average_swap(params);  evaluate;  gf_average_swap(params);
 *     ...
 *     gf_params_take_averages(params);                            (at the end of the phase)
 *
 * average = decay average + (1 - decay) value, kept in p->average, which the parameter owns. A
 * graph built before a swap or the finish must not be run behind it: p->value moves. */
#ifndef GF_OPTIM_AVERAGE_H
#define GF_OPTIM_AVERAGE_H

#include "core/err.h"
#include "core/param.h"
#include "core/pool.h"
#include "optim/blocks.h"

#include <stdbool.h>

/* Gives each trainable parameter that has none an average, equal to its value. To be called again
 * when parameters begin to train later in the phase. False when memory is out; what was made until
 * then stays valid. */
bool gf_average_start(gf_params *params, gf_err *e);
/* Takes the parameters' present values into their averages; decay in [0, 1]. Every parameter in the
 * blocks must have one. */
void gf_average_update(const gf_blocks *blocks, double decay, gf_pool *pool);
/* Exchanges value and average of every parameter that has one; twice is as never. */
void gf_average_swap(gf_params *params);

#endif
