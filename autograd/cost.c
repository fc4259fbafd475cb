/* T tokens, I inputs, O outputs of a layer; s tokens of a sequence, H hidden width. */
#include "autograd/cost.h"

/* y = x Wᵀ; dx = dz W and dW = dzᵀ x are as large. */
static void cost_linear(const gf_node *n, gf_span *s) {
    double one;
    s->width[0] = n->in[1]->shape.dim[0];
    s->width[1] = n->in[1]->shape.dim[1];
    one = 2 * (double)s->rows * (double)s->width[0] * (double)s->width[1];
    s->flops = one;
    if (s->way == GF_WAY_BACKWARD) s->flops = one * ((n->in[0]->g != NULL) + (n->in[1]->g != NULL));
}

/* q kᵀ and p v of every head, 2 s² H each; backward has q kᵀ once more, dp, and one product for
 * each of dq, dk and dv. */
static void cost_attention(const gf_node *n, gf_span *s) {
    double squares = 0, products = 2;
    for (int64_t b = 0; b < n->attr.sequences; b++) {
        double tokens = (double)(n->attr.start[b + 1] - n->attr.start[b]);
        squares += tokens * tokens;
    }
    if (s->way == GF_WAY_BACKWARD) {
        products = 2;
        for (int i = 0; i < 3; i++) products += n->in[i]->g != NULL;
    }
    s->flops = products * 2 * squares * (double)n->shape.dim[1];
}

/* A table is read only where it is looked up. */
static double bytes_of(const gf_node *n, gf_way way) {
    double all = (double)n->count + (double)n->n_aux;
    if (way == GF_WAY_REBUILD) return all * (double)sizeof(gf_real);
    for (int i = 0; i < n->op->n_in; i++) {
        const gf_node *in = n->in[i];
        bool table = n->op == &gf_op_embedding || n->op == &gf_op_rows;
        double count = (double)(table && in->count > n->count ? n->count : in->count);
        if (way != GF_WAY_BACKWARD || n->keeps >> i & 1) all += count;
        if (way == GF_WAY_BACKWARD && in->g) all += 2 * count; /* added to */
    }
    return all * (double)sizeof(gf_real);
}

gf_span gf_cost_of(const gf_node *n, gf_way way) {
    const gf_shape *shape = n->shape.n > 0 ? &n->shape : &n->in[0]->shape;
    gf_span s = {.name = n->op->name, .way = way, .rows = shape->dim[0]};
    if (n->op == &gf_op_linear && way != GF_WAY_REBUILD) cost_linear(n, &s);
    if (n->op == &gf_op_attention) cost_attention(n, &s);
    s.bytes = bytes_of(n, way);
    return s;
}
