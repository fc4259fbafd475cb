/* layer_norm: y = LayerNorm(x) where no residual is added (Ba et al. 2016), as before the decoder
 * of the masked language model.   x [M, H], gamma [H], beta [H]  ->  y [M, H]
 *
 * M may be 0. aux keeps xhat [M, H] and rstd [M]; y is rebuilt as gamma xhat + beta. */
#include "autograd/op.h"

static void rebuild_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = n->shape.dim[1];
    for (int64_t m = first; m < first + rows; m++)
        gf_node_vec(n)->scale_shift(h, n->in[1]->x, n->in[2]->x, n->aux + m * h, gf_out(n) + m * h);
}

static void rebuild(gf_node *n) { gf_rows_each(n, n->shape.dim[0], rebuild_rows); }

static const char *infer(gf_node *n) {
    const gf_shape *x = &n->in[0]->shape;
    if (x->n != 2) return "x must be [M, H]";
    for (int i = 1; i < 3; i++)
        if (n->in[i]->shape.n != 1 || n->in[i]->shape.dim[0] != x->dim[1])
            return "gamma and beta must be [H]";
    n->shape = *x;
    n->n_aux = n->wants_grad ? x->dim[0] * (x->dim[1] + 1) : 0;
    n->n_backward = gf_columns_work(x->dim[0], x->dim[1], 2);
    n->keeps = 1u << 1;
    n->rebuild = rebuild;
    n->overwrites = 1;
    return NULL;
}

static void forward_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = n->shape.dim[1], all = n->shape.dim[0];
    for (int64_t m = first; m < first + rows; m++) {
        gf_real unused, *xhat = n->n_aux ? n->aux + m * h : NULL;
        gf_real *rstd = n->n_aux ? n->aux + all * h + m : &unused;
        gf_node_vec(n)->layernorm(h, n->in[0]->x + m * h, n->in[1]->x, n->in[2]->x,
                                  (gf_real)n->attr.eps, gf_out(n) + m * h, xhat, rstd);
    }
}

static void forward(gf_node *n) { gf_rows_each(n, n->shape.dim[0], forward_rows); }

static void backward_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = n->shape.dim[1], all = n->shape.dim[0];
    for (int64_t m = first; m < first + rows; m++) {
        gf_real *dy = n->g + m * h, *dx = n->in[0]->g + m * h; /* [H] */
        gf_real *d = n->fresh & 1 ? dx : dy;
        gf_node_vec(n)->layernorm_slope(h, dy, n->in[1]->x, n->aux + m * h, n->aux[all * h + m], d);
        if (d != dx) gf_node_vec(n)->add(h, d, dx);
    }
}

static void backward(gf_node *n) {
    gf_column_sums c = {.rows = n->shape.dim[0],
                        .columns = n->shape.dim[1],
                        .a = n->g,
                        .b = n->aux,
                        .sum = n->in[2]->g,
                        .products = n->in[1]->g,
                        .after = n->in[0]->g ? backward_rows : NULL};
    gf_columns_sum(n, &c);
}

static const gf_case cases[] = {
    {{{2, {3, 5}}, {1, {5}}, {1, {5}}}, {.eps = 1e-5}, true},
    {{{2, {70, 18}}, {1, {18}}, {1, {18}}}, {.eps = 1e-12}, true},
    {{{2, {0, 5}}, {1, {5}}, {1, {5}}}, {.eps = 1e-12}, true},
    {{{1, {5}}, {1, {5}}, {1, {5}}}, {0}, false},
    {{{2, {3, 5}}, {1, {4}}, {1, {5}}}, {0}, false},
    {{{2, {3, 5}}, {1, {5}}, {2, {1, 5}}}, {0}, false},
};

const gf_op gf_op_layer_norm = {
    "layer_norm", 3, infer, forward, backward, cases, sizeof cases / sizeof *cases};
