/* linear: y = act(x Wᵀ + b).   x [T, I], W [O, I], b [O]  ->  y [T, O]
 *
 * attr.kind is a gf_activation; it is fused so that a panel of the product is finished while it
 * is in the cache. aux keeps z = x Wᵀ + b where the activation's slope will need it, and y is then
 * rebuilt from it; the slope of tanh needs y alone. */
#include "autograd/op.h"
#include "core/gemm.h"
#include "core/packed.h"

static bool is_gelu(const gf_node *n) {
    return n->attr.kind == GF_ACT_GELU || n->attr.kind == GF_ACT_GELU_TANH;
}

/* Where packing a weight that stands still costs as much as some of the product, it is kept. */
enum { FEW_TOKENS = 256 };

/* A product in fp32 or, where the graph says so, in bf16, and the scratch it takes; -1: it cannot
 * be done. */
static void multiply(const gf_node *n, const gf_product *p, gf_epilogue *then, gf_node *context) {
    if (gf_node_onednn(n))
        gf_onednn_gemm(gf_node_onednn(n), gf_node_pool(n), p, then, context);
    else
        gf_gemm(gf_node_pool(n), p, then, context);
}

static int64_t work_of(const gf_node *n, gf_product p) {
    gf_onednn *o = gf_node_onednn(n);
    return o ? gf_onednn_work(o, &p) : gf_gemm_work(p.n, p.k);
}

static bool plan_backward(gf_node *n) {
    int64_t t = n->shape.dim[0], i = n->in[1]->shape.dim[1], o = n->in[1]->shape.dim[0];
    bool dw = n->in[1]->wants_grad, dx = n->in[0]->wants_grad;
    int64_t for_w = dw ? work_of(n, (gf_product){.n = i, .k = t, .transpose_a = true}) : 0;
    int64_t for_x = dx ? work_of(n, (gf_product){.n = i, .k = o}) : 0;
    int64_t for_b = gf_columns_work(t, o, n->in[2]->wants_grad);
    n->n_backward = for_w > for_x ? for_w : for_x;
    if (for_b > n->n_backward) n->n_backward = for_b;
    return for_w >= 0 && for_x >= 0;
}

/* y from z, which only GELUs save. */
static void rebuild_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t width = n->shape.dim[1], at = first * width;
    if (n->attr.kind == GF_ACT_GELU)
        gf_node_vec(n)->gelu(rows * width, n->aux + at, gf_out(n) + at);
    else
        gf_node_vec(n)->gelu_tanh(rows * width, n->aux + at, gf_out(n) + at);
}

static void rebuild(gf_node *n) { gf_rows_each(n, n->shape.dim[0], rebuild_rows); }

static const char *infer(gf_node *n) {
    const gf_shape *x = &n->in[0]->shape, *w = &n->in[1]->shape, *b = &n->in[2]->shape;
    if (x->n != 2 || w->n != 2 || b->n != 1) return "x [T, I], W [O, I] and b [O] are wanted";
    if (x->dim[1] != w->dim[1]) return "x and W differ in their input width I";
    if (b->dim[0] != w->dim[0]) return "W and b differ in their output width O";
    n->shape = gf_shape2(x->dim[0], w->dim[0]);
    n->n_aux = is_gelu(n) && n->wants_grad ? gf_shape_count(&n->shape) : 0;
    n->n_forward = work_of(n, (gf_product){.n = w->dim[0], .k = w->dim[1], .transpose_b = true});
    if (n->n_forward < 0 || !plan_backward(n))
        return "oneDNN has no fast product for this shape, or memory is out; use precision fp32";
    if (is_gelu(n)) n->rebuild = rebuild;
    n->overwrites = 1u << 0;
    n->keeps = (unsigned)(n->in[1]->wants_grad ? 1u << 0 : 0) | 1u << 1;
    if (n->attr.kind == GF_ACT_TANH) n->keeps |= GF_KEEPS_X;
    return NULL;
}

/* The activation over a finished panel. z and y may be the same memory. */
static void activate(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const gf_node *n = context;
    const gf_vec *vec = gf_node_vec(n);
    int64_t width = n->shape.dim[1];
    gf_real *y = (gf_real *)(uintptr_t)n->x, *z = n->n_aux ? n->aux : y; /* [T, O] */
    for (int64_t r = row; r < row + rows; r++) {
        int64_t at = r * width + column;
        if (n->attr.kind == GF_ACT_GELU) vec->gelu(columns, z + at, y + at);
        if (n->attr.kind == GF_ACT_GELU_TANH) vec->gelu_tanh(columns, z + at, y + at);
        if (n->attr.kind == GF_ACT_TANH) vec->tanh(columns, z + at, y + at);
    }
}

static const gf_real *packed_weight(const gf_node *n) {
    gf_param *w = n->in[1]->param;
    if (!w || w->trainable || n->shape.dim[0] > FEW_TOKENS || gf_node_onednn(n)) return NULL;
    return gf_param_packed(w, gf_node_pool(n));
}

static void forward(gf_node *n) {
    int64_t t = n->shape.dim[0], o = n->shape.dim[1], i = n->in[0]->shape.dim[1];
    gf_product p = {.m = t,
                    .n = o,
                    .k = i,
                    .a = n->in[0]->x,
                    .lda = i,
                    .b = n->in[1]->x,
                    .ldb = i,
                    .transpose_b = true,
                    .c = n->n_aux ? n->aux : gf_out(n),
                    .ldc = o,
                    .start = n->in[2]->x,
                    .packed = packed_weight(n),
                    .work = n->scratch};
    multiply(n, &p, n->attr.kind == GF_ACT_NONE ? NULL : activate, n);
}

/* g becomes dz. */
static void through_activation(gf_node *n, int64_t first, int64_t rows) {
    const gf_vec *vec = gf_node_vec(n);
    int64_t width = n->shape.dim[1], at = first * width;
    if (n->attr.kind == GF_ACT_GELU)
        vec->gelu_slope(rows * width, n->aux + at, n->g + at, n->g + at);
    else if (n->attr.kind == GF_ACT_GELU_TANH)
        vec->gelu_tanh_slope(rows * width, n->aux + at, n->g + at, n->g + at);
    else /* dz = dy (1 - y²) */
        for (int64_t i = at; i < at + rows * width; i++) n->g[i] *= 1 - n->x[i] * n->x[i];
}

/* dx = dz W, or dx += dz W. */
static void multiply_dx(gf_node *n) {
    int64_t t = n->shape.dim[0], o = n->shape.dim[1], i = n->in[0]->shape.dim[1];
    gf_product p = {.m = t,
                    .n = i,
                    .k = o,
                    .a = n->g,
                    .lda = o,
                    .b = n->in[1]->x,
                    .ldb = i,
                    .c = n->in[0]->g,
                    .ldc = i,
                    .add = !(n->fresh & 1u << 0),
                    .work = n->scratch};
    multiply(n, &p, NULL, NULL);
}

/* dW += dzᵀ x. */
static void multiply_dw(gf_node *n) {
    int64_t t = n->shape.dim[0], o = n->shape.dim[1], i = n->in[0]->shape.dim[1];
    gf_product p = {.m = o,
                    .n = i,
                    .k = t,
                    .a = n->g,
                    .lda = o,
                    .transpose_a = true,
                    .b = n->in[0]->x,
                    .ldb = i,
                    .c = n->in[1]->g,
                    .ldc = i,
                    .add = true,
                    .work = n->scratch};
    multiply(n, &p, NULL, NULL);
}

static void backward(gf_node *n) {
    gf_column_sums db = {.rows = n->shape.dim[0],
                         .columns = n->shape.dim[1],
                         .a = n->g,
                         .sum = n->in[2]->g,
                         .before = n->attr.kind == GF_ACT_NONE ? NULL : through_activation};
    gf_columns_sum(n, &db);
    if (n->in[1]->g) multiply_dw(n);
    if (n->in[0]->g) multiply_dx(n);
}

static const gf_case cases[] = {
    {{{2, {3, 5}}, {2, {4, 5}}, {1, {4}}}, {.kind = GF_ACT_NONE}, true},
    {{{2, {7, 6}}, {2, {10, 6}}, {1, {10}}}, {.kind = GF_ACT_GELU}, true},
    {{{2, {2, 3}}, {2, {17, 3}}, {1, {17}}}, {.kind = GF_ACT_GELU_TANH}, true},
    {{{2, {130, 3}}, {2, {2, 3}}, {1, {2}}}, {.kind = GF_ACT_GELU}, true},
    {{{2, {3, 5}}, {2, {19, 5}}, {1, {19}}}, {.kind = GF_ACT_TANH}, true},
    {{{2, {70, 4}}, {2, {2, 4}}, {1, {2}}}, {.kind = GF_ACT_TANH}, true},
    {{{2, {3, 5}}, {2, {4, 6}}, {1, {4}}}, {0}, false},
    {{{2, {3, 5}}, {2, {4, 5}}, {1, {5}}}, {0}, false},
    {{{1, {5}}, {2, {4, 5}}, {1, {4}}}, {0}, false},
};

const gf_op gf_op_linear = {
    "linear", 3, infer, forward, backward, cases, sizeof cases / sizeof *cases};
