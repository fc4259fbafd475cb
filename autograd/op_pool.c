/* pool: one vector a sequence.   x [T, H]  ->  y [B, H]
 *
 * attr.kind is a gf_pool_kind: the mean over the sequence's tokens (Reimers & Gurevych 2019), its
 * first token ([CLS]), or the largest value of each column; attr.start [B + 1]. For max, aux keeps
 * which token won, as an offset in the sequence [B, H]; the first of equals wins, as in PyTorch. */
#include "autograd/op.h"

static const char *infer(gf_node *n) {
    const gf_shape *x = &n->in[0]->shape;
    if (x->n != 2) return "x [T, H] is wanted";
    if (gf_attr_longest(&n->attr, x->dim[0]) < 0) return "the sequences' offsets do not fit T";
    n->shape = gf_shape2(n->attr.sequences, x->dim[1]);
    n->n_aux = n->attr.kind == GF_POOLED_MAX && n->wants_grad ? gf_shape_count(&n->shape) : 0;
    return NULL;
}

static void pool_max(const gf_node *n, int64_t b, gf_real *y) {
    int64_t h = n->shape.dim[1], first = n->attr.start[b], last = n->attr.start[b + 1];
    const gf_real *x = n->in[0]->x;
    for (int64_t c = 0; c < h; c++) {
        int64_t best = first;
        for (int64_t t = first + 1; t < last; t++)
            if (x[t * h + c] > x[best * h + c]) best = t;
        y[c] = x[best * h + c];
        if (n->n_aux) n->aux[b * h + c] = (gf_real)(best - first);
    }
}

static void pool_sequence(void *job, int64_t b, int thread) {
    gf_node *n = job;
    const gf_vec *vec = gf_node_vec(n);
    int64_t h = n->shape.dim[1], first = n->attr.start[b], last = n->attr.start[b + 1];
    gf_real *y = gf_out(n) + b * h; /* [H] */
    (void)thread;
    if (n->attr.kind == GF_POOLED_MAX) {
        pool_max(n, b, y);
        return;
    }
    vec->scale(h, 1, n->in[0]->x + first * h, y);
    if (n->attr.kind == GF_POOLED_CLS) return;
    for (int64_t t = first + 1; t < last; t++) vec->add(h, n->in[0]->x + t * h, y);
    vec->scale(h, 1 / (gf_real)(last - first), y, y);
}

static void forward(gf_node *n) { gf_pool_run(gf_node_pool(n), n->shape.dim[0], pool_sequence, n); }

static void spread_sequence(void *job, int64_t b, int thread) {
    gf_node *n = job;
    int64_t h = n->shape.dim[1], first = n->attr.start[b], last = n->attr.start[b + 1];
    const gf_real *dy = n->g + b * h; /* [H] */
    gf_real *dx = n->in[0]->g;        /* [T, H] */
    (void)thread;
    if (n->attr.kind == GF_POOLED_MEAN)
        for (int64_t t = first; t < last; t++)
            gf_node_vec(n)->axpy(h, 1 / (gf_real)(last - first), dy, dx + t * h);
    else if (n->attr.kind == GF_POOLED_CLS)
        gf_node_vec(n)->add(h, dy, dx + first * h);
    else
        for (int64_t c = 0; c < h; c++) dx[(first + (int64_t)n->aux[b * h + c]) * h + c] += dy[c];
}

static void backward(gf_node *n) {
    if (n->in[0]->g) gf_pool_run(gf_node_pool(n), n->shape.dim[0], spread_sequence, n);
}

static const int32_t start[] = {0, 3, 4, 9}, wrong[] = {0, 3, 4, 8}, empty[] = {0, 3, 3, 9};
#define CASE(k, s, f)                                                                              \
    { {{2, {9, 6}}}, {.kind = k, .start = s, .sequences = 3}, f }
static const gf_case cases[] = {
    CASE(GF_POOLED_MEAN, start, true),
    CASE(GF_POOLED_CLS, start, true),
    CASE(GF_POOLED_MAX, start, true),
    CASE(GF_POOLED_MEAN, wrong, false),
    CASE(GF_POOLED_MEAN, empty, false),
    CASE(GF_POOLED_MEAN, NULL, false),
    {{{1, {9}}}, {.start = start, .sequences = 3}, false},
};
#undef CASE

const gf_op gf_op_pool = {"pool", 1, infer, forward, backward, cases, sizeof cases / sizeof *cases};
