/* clip: clipping by the global norm of the gradient (Pascanu et al. 2013), as PyTorch's
 * torch.nn.utils.clip_grad_norm_. Usage in optim/blocks.h. */
#ifndef GF_OPTIM_CLIP_H
#define GF_OPTIM_CLIP_H

#include "core/param.h"
#include "core/pool.h"
#include "core/vec.h"
#include "optim/blocks.h"

/* The L2 norm over the gradients of all trainable parameters, summed in double in the order of the
 * blocks. NaN or infinite when any gradient is not finite. */
double gf_grad_norm(gf_blocks *b, const gf_vec *vec, gf_pool *pool);

/* What gradients of this norm are to be multiplied by: min(1, clip_norm / (norm + 1e-6)), 1 when
 * clip_norm is 0, which means no clipping. */
double gf_grad_scale(double norm, double clip_norm);

/* The first trainable parameter with a gradient that is NaN or infinite, NULL if none. */
const gf_param *gf_grad_find_nonfinite(const gf_params *params);

#endif
