/* anchor: L2-SP, a pull of the weights towards where they started, against forgetting
 * (Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional
 * Networks", eq. 3).
 *
 *     if (!gf_anchor_reserve(params, &groups, e)) goto done;    (after gf_groups_reserve)
 *     ...backward...
 *     gf_anchor_pull(&blocks, &groups, pool);                   (before gf_grad_norm)
 *
 * The loss gains l2_sp / 2 |w - w0|^2 for each group with an l2_sp above 0; w0, the anchor, is the
 * value when the parameter first trained under one, kept in p->anchor, which the parameter owns,
 * from phase to phase. The paper's second term, plain L2 on new layers, is the heads' weight decay.
 * As a gradient it is clipped, and with AdamW scaled, like any other; weight decay pulls towards 0
 * against it, so that 0 is the weight decay to go with it. */
#ifndef GF_OPTIM_ANCHOR_H
#define GF_OPTIM_ANCHOR_H

#include "core/err.h"
#include "core/param.h"
#include "core/pool.h"
#include "optim/blocks.h"
#include "optim/groups.h"

#include <stdbool.h>

/* Gives each parameter that its group anchors and that has no anchor yet a copy of its present
 * value. False when memory is out; what was made until then stays valid. */
bool gf_anchor_reserve(gf_params *params, const gf_groups *groups, gf_err *e);
/* grad += l2_sp (w - anchor). Cannot fail. */
void gf_anchor_pull(const gf_blocks *blocks, const gf_groups *groups, gf_pool *pool);

#endif
