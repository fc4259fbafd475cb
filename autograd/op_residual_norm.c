/* residual_norm: y = LayerNorm(r + dropout(x)), the end of both halves of a BERT layer (Vaswani et
 * al. 2017, section 5.4; Ba et al. 2016).   x [T, H], r [T, H], gamma [H], beta [H]  ->  y [T, H]
 *
 * aux keeps xhat [T, H] and rstd [T]; y is rebuilt as gamma xhat + beta. */
#include "autograd/op.h"

static void rebuild_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = n->shape.dim[1];
    for (int64_t t = first; t < first + rows; t++)
        gf_node_vec(n)->scale_shift(h, n->in[2]->x, n->in[3]->x, n->aux + t * h, gf_out(n) + t * h);
}

static void rebuild(gf_node *n) { gf_rows_each(n, n->shape.dim[0], rebuild_rows); }

static const char *infer(gf_node *n) {
    const gf_shape *x = &n->in[0]->shape;
    if (x->n != 2 || !gf_shape_equal(x, &n->in[1]->shape)) return "x and r must be [T, H] alike";
    for (int i = 2; i < 4; i++)
        if (n->in[i]->shape.n != 1 || n->in[i]->shape.dim[0] != x->dim[1])
            return "gamma and beta must be [H]";
    n->shape = *x;
    n->n_aux = n->wants_grad ? x->dim[0] * (x->dim[1] + 1) : 0;
    n->n_backward = gf_columns_work(x->dim[0], x->dim[1], 2);
    n->keeps = 1u << 2;
    n->rebuild = rebuild;
    n->overwrites = 3;
    return NULL;
}

static void forward_rows(gf_node *n, int64_t first, int64_t rows) {
    const gf_vec *vec = gf_node_vec(n);
    int64_t h = n->shape.dim[1], tokens = n->shape.dim[0];
    for (int64_t t = first; t < first + rows; t++) {
        gf_real *y = gf_out(n) + t * h, unused; /* [H] */
        gf_real *xhat = n->n_aux ? n->aux + t * h : NULL;
        gf_real *rstd = n->n_aux ? n->aux + tokens * h + t : &unused;
        vec->dropout(h, &n->attr.dropout, t * h, n->in[0]->x + t * h, y);
        vec->add(h, n->in[1]->x + t * h, y);
        vec->layernorm(h, y, n->in[2]->x, n->in[3]->x, (gf_real)n->attr.eps, y, xhat, rstd);
    }
}

static void forward(gf_node *n) { gf_rows_each(n, n->shape.dim[0], forward_rows); }

static void backward_rows(gf_node *n, int64_t first, int64_t rows) {
    const gf_vec *vec = gf_node_vec(n);
    int64_t h = n->shape.dim[1], tokens = n->shape.dim[0];
    gf_real *dx = n->in[0]->g, *dr = n->in[1]->g; /* [T, H] */
    bool x_is_fresh = n->fresh & 1, r_is_fresh = n->fresh & 2;
    for (int64_t t = first, at = first * h; t < first + rows; t++, at += h) {
        gf_real *d = dr && r_is_fresh ? dr + at : n->g + at; /* [H] */
        vec->layernorm_slope(h, n->g + at, n->in[2]->x, n->aux + at, n->aux[tokens * h + t], d);
        if (dr && !r_is_fresh) vec->add(h, d, dr + at);
        if (!dx) continue;
        if (x_is_fresh) {
            vec->dropout(h, &n->attr.dropout, at, d, dx + at);
            continue;
        }
        vec->dropout(h, &n->attr.dropout, at, d, n->g + at);
        vec->add(h, n->g + at, dx + at);
    }
}

static void backward(gf_node *n) {
    gf_column_sums c = {.rows = n->shape.dim[0],
                        .columns = n->shape.dim[1],
                        .a = n->g,
                        .b = n->aux,
                        .sum = n->in[3]->g,
                        .products = n->in[2]->g,
                        .after = n->in[0]->g || n->in[1]->g ? backward_rows : NULL};
    gf_columns_sum(n, &c);
}

#define INPUTS(t, h)                                                                               \
    {                                                                                              \
        {2, {t, h}}, {2, {t, h}}, {1, {h}}, {                                                      \
            1, { h }                                                                               \
        }                                                                                          \
    }
static const gf_case cases[] = {
    {INPUTS(3, 5), {.eps = 1e-5, .dropout = {.keep = 65536}}, true},
    {INPUTS(70, 18), {.eps = 1e-12, .dropout = {1, 2, 3, 58982, 65536 / (gf_real)58982}}, true},
    {{{2, {3, 5}}, {2, {3, 4}}, {1, {5}}, {1, {5}}}, {0}, false},
    {{{2, {3, 5}}, {2, {3, 5}}, {1, {4}}, {1, {5}}}, {0}, false},
};
#undef INPUTS

const gf_op gf_op_residual_norm = {
    "residual_norm", 4, infer, forward, backward, cases, sizeof cases / sizeof *cases};
