/* l2_normalize: y = x / max(|x|, 1e-12), each row (torch.nn.functional.normalize).
 * x [B, H]  ->  y [B, H]
 *
 * aux keeps 1 / max(|x|, 1e-12) [B], negative where the floor was used: there y is linear in x. */
#include "autograd/op.h"

#include <math.h>

static const char *infer(gf_node *n) {
    if (n->in[0]->shape.n != 2) return "x [B, H] is wanted";
    n->shape = n->in[0]->shape;
    n->n_aux = n->shape.dim[0];
    n->keeps = GF_KEEPS_X;
    return NULL;
}

static void forward_rows(gf_node *n, int64_t first, int64_t rows) {
    const gf_vec *vec = gf_node_vec(n);
    int64_t h = n->shape.dim[1];
    for (int64_t b = first; b < first + rows; b++) {
        const gf_real *x = n->in[0]->x + b * h;
        double norm = sqrt(vec->sum_squares(h, x)), inverse = 1 / (norm > 1e-12 ? norm : 1e-12);
        vec->scale(h, (gf_real)inverse, x, gf_out(n) + b * h);
        n->aux[b] = (gf_real)(norm > 1e-12 ? inverse : -inverse);
    }
}

static void forward(gf_node *n) { gf_rows_each(n, n->shape.dim[0], forward_rows); }

static void backward_rows(gf_node *n, int64_t first, int64_t rows) {
    const gf_vec *vec = gf_node_vec(n);
    int64_t h = n->shape.dim[1];
    for (int64_t b = first; b < first + rows; b++) {
        const gf_real *y = n->x + b * h, *dy = n->g + b * h;
        gf_real *dx = n->in[0]->g + b * h, inverse = n->aux[b];
        vec->axpy(h, inverse < 0 ? -inverse : inverse, dy, dx);
        if (inverse > 0) vec->axpy(h, -inverse * vec->dot(h, y, dy), y, dx);
    }
}

static void backward(gf_node *n) {
    if (n->in[0]->g) gf_rows_each(n, n->shape.dim[0], backward_rows);
}

static const gf_case cases[] = {
    {{{2, {3, 5}}}, {0}, true},
    {{{2, {70, 33}}}, {0}, true},
    {{{1, {5}}}, {0}, false},
};

const gf_op gf_op_l2_normalize = {
    "l2_normalize", 1, infer, forward, backward, cases, sizeof cases / sizeof *cases};
