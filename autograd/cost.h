/* cost: what an op's run comes to in arithmetic and memory traffic, for core/profile.h.
 *
 *     gf_profile_begin(p);
 *     n->op->forward(n);
 *     gf_cost_end(p, n, GF_WAY_FORWARD);
 *
 * Flops are those of the matrix products, two for each multiplication and addition, where an op is
 * made of them; what backward computes again counts as well, since it is done. Bytes are those of
 * the tensors that the run reads or writes, once each; a product reads its operands more often. */
#ifndef GF_AUTOGRAD_COST_H
#define GF_AUTOGRAD_COST_H

#include "autograd/op.h"
#include "core/profile.h"

gf_span gf_cost_of(const gf_node *n, gf_way way);

static inline void gf_cost_end(gf_profile *p, const gf_node *n, gf_way way) {
    gf_span s;
    if (!p) return;
    s = gf_cost_of(n, way);
    gf_profile_leave(p, &s);
}

#endif
