/* rows: y[m] = x[ids[m]], some rows of a matrix: a loss over few tokens then costs few rows.
 * x [T, H]  ->  y [M, H]
 *
 * attr.ids [M] and attr.n_ids = M, which may be 0; a row may be taken more than once. */
#include "autograd/op.h"

static const char *infer(gf_node *n) {
    const gf_shape *x = &n->in[0]->shape;
    if (x->n != 2) return "a matrix [T, H] is wanted";
    if (!n->attr.ids || n->attr.n_ids < 0) return "there are no row numbers";
    for (int64_t m = 0; m < n->attr.n_ids; m++)
        if (n->attr.ids[m] < 0 || n->attr.ids[m] >= x->dim[0])
            return "a row number is outside the matrix";
    n->shape = gf_shape2(n->attr.n_ids, x->dim[1]);
    return NULL;
}

static void take_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = n->shape.dim[1];
    for (int64_t m = first; m < first + rows; m++)
        gf_node_vec(n)->scale(h, 1, n->in[0]->x + n->attr.ids[m] * h, gf_out(n) + m * h);
}

static void forward(gf_node *n) { gf_rows_each(n, n->shape.dim[0], take_rows); }

enum { STRIP = 64 };

/* Two rows of y may be one row of x, so threads share columns, not rows. */
static void scatter_strip(void *job, int64_t part, int thread) {
    gf_node *n = job;
    int64_t h = n->shape.dim[1], first = part * STRIP;
    int64_t columns = h - first < STRIP ? h - first : STRIP;
    (void)thread;
    for (int64_t m = 0; m < n->shape.dim[0]; m++)
        gf_node_vec(n)->add(columns, n->g + m * h + first,
                            n->in[0]->g + n->attr.ids[m] * h + first);
}

static void backward(gf_node *n) {
    if (n->in[0]->g)
        gf_pool_run(gf_node_pool(n), (n->shape.dim[1] + STRIP - 1) / STRIP, scatter_strip, n);
}

static const int32_t ids[] = {4, 0, 4, 2}, outside[] = {0, 5}, negative[] = {0, -1};
static const gf_case cases[] = {
    {{{2, {5, 3}}}, {.ids = ids, .n_ids = 4}, true},
    {{{2, {5, 150}}}, {.ids = ids, .n_ids = 3}, true},
    {{{2, {5, 3}}}, {.ids = ids, .n_ids = 0}, true},
    {{{2, {5, 3}}}, {.ids = outside, .n_ids = 2}, false},
    {{{2, {5, 3}}}, {.ids = negative, .n_ids = 2}, false},
    {{{2, {5, 3}}}, {.ids = ids, .n_ids = -1}, false},
    {{{2, {5, 3}}}, {.n_ids = 2}, false},
    {{{1, {5}}}, {.ids = ids, .n_ids = 4}, false},
};

const gf_op gf_op_rows = {"rows", 1, infer, forward, backward, cases, sizeof cases / sizeof *cases};
