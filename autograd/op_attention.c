/* attention: softmax(q kᵀ / sqrt(d)) v for every head of every sequence (Vaswani et al. 2017,
 * section 3.2), dropout on the probabilities.   q, k, v [T, H]  ->  y [T, H];  d = H / attr.heads
 *
 * One part of the pool is one (sequence, head); no product sees padding and the probabilities never
 * leave the cache: backward computes them again from q and k, which costs one small product and
 * saves heads * S numbers a token. S is the longest sequence and s the one at hand, S' and s' are
 * these rounded up to a multiple of 32; a thread's scratch is one matrix [S, S'], 3 in backward, in
 * which a head's probabilities stand as [s, s'].
 *
 * Dropout's index of probability (i, j), what token i makes of token j, in a sequence from token
 * `first` on is (first * heads + head * s) * S' + i * s' + j. So a head's probabilities are dropped
 * in one call, with the s' - s places behind each row, which hold anything and are never read. */
#include "autograd/op.h"
#include "core/gemm.h"

#include <math.h>

enum { ROW = 32 }; /* whole vectors, and whole calls of dropout's generator */

static int64_t round_up(int64_t n) { return (n + ROW - 1) / ROW * ROW; }

static const char *infer(gf_node *n) {
    const gf_shape *q = &n->in[0]->shape;
    int64_t longest, squares, threads = gf_pool_threads(gf_node_pool(n));
    if (q->n != 2 || !gf_shape_equal(q, &n->in[1]->shape) || !gf_shape_equal(q, &n->in[2]->shape))
        return "q, k and v must be [T, H] alike";
    if (n->attr.heads < 1 || q->dim[1] % n->attr.heads != 0)
        return "H is not a multiple of the heads";
    if ((longest = gf_attr_longest(&n->attr, q->dim[0])) < 0)
        return "the sequences' offsets do not fit T";
    n->shape = *q;
    squares = threads * longest * round_up(longest);
    n->n_forward = squares;
    n->n_backward = squares * 3;
    n->keeps = n->overwrites = 7;
    return NULL;
}

typedef struct head_job {
    gf_node *n;
    int64_t widest, stride; /* S'; scratch elements a thread */
} head_job;

/* One head of one sequence. */
typedef struct one_head {
    const gf_node *n;
    int64_t s, h, d; /* tokens of the sequence, row stride, head width */
    int64_t wide;    /* s': row stride of probabilities */
    int64_t at;      /* offset of its first element in [T, H] */
    int64_t drop;    /* dropout's index of its first probability */
} one_head;

static one_head find_head(const head_job *j, int64_t part) {
    const gf_node *n = j->n;
    int64_t b = part / n->attr.heads, head = part % n->attr.heads, first = n->attr.start[b];
    one_head o = {.n = n,
                  .s = n->attr.start[b + 1] - first,
                  .h = n->shape.dim[1],
                  .d = n->shape.dim[1] / n->attr.heads};
    o.at = first * o.h + head * o.d;
    o.wide = round_up(o.s);
    o.drop = (first * n->attr.heads + head * o.s) * j->widest;
    return o;
}

/* c [s, s'] = a bᵀ over the head's columns of two [T, H] matrices. */
static void multiply_rows(const one_head *o, const gf_real *a, const gf_real *b, gf_real *c) {
    gf_gemm_here(&(gf_product){.m = o->s,
                               .n = o->s,
                               .k = o->d,
                               .a = a + o->at,
                               .lda = o->h,
                               .b = b + o->at,
                               .ldb = o->h,
                               .transpose_b = true,
                               .c = c,
                               .ldc = o->wide});
}

/* y (+)= p x or pᵀ x over the head's columns. */
static void mix_rows(const one_head *o, const gf_real *p, bool transpose, const gf_real *x,
                     gf_real *y, bool add) {
    gf_gemm_here(&(gf_product){.m = o->s,
                               .n = o->d,
                               .k = o->s,
                               .a = p,
                               .lda = o->wide,
                               .transpose_a = transpose,
                               .b = x + o->at,
                               .ldb = o->h,
                               .c = y + o->at,
                               .ldc = o->h,
                               .add = add});
}

/* p [s, s'] = softmax(q kᵀ / sqrt(d)). */
static void find_probabilities(const one_head *o, gf_real *p) {
    gf_real scale = 1 / (gf_real)sqrt((double)o->d);
    multiply_rows(o, o->n->in[0]->x, o->n->in[1]->x, p);
    for (int64_t i = 0; i < o->s; i++)
        gf_node_vec(o->n)->softmax(o->s, scale, p + i * o->wide, p + i * o->wide);
}

/* out [s, s'] = dropout(p); in place is fine. */
static void drop(const one_head *o, const gf_real *p, gf_real *out) {
    gf_node_vec(o->n)->dropout(o->s * o->wide, &o->n->attr.dropout, o->drop, p, out);
}

static void forward_head(void *job, int64_t part, int thread) {
    const head_job *j = job;
    one_head o = find_head(j, part);
    gf_real *p = j->n->scratch + thread * j->stride; /* [s, s'] */
    find_probabilities(&o, p);
    drop(&o, p, p);
    mix_rows(&o, p, false, j->n->in[2]->x, gf_out(j->n), false);
}

static void run_heads(gf_node *n, gf_part *run, int64_t buffers) {
    int64_t longest = gf_attr_longest(&n->attr, n->shape.dim[0]), widest = round_up(longest);
    head_job j = {n, widest, longest * widest * buffers};
    gf_pool_run(gf_node_pool(n), n->attr.sequences * n->attr.heads, run, &j);
}

static void forward(gf_node *n) { run_heads(n, forward_head, 1); }

static void backward_head(void *job, int64_t part, int thread) {
    const head_job *j = job;
    const gf_node *n = j->n;
    gf_node *q = n->in[0], *k = n->in[1], *v = n->in[2];
    one_head o = find_head(j, part);
    gf_real scale = 1 / (gf_real)sqrt((double)o.d);
    gf_real *p = n->scratch + thread * j->stride;                     /* [s, s'] */
    gf_real *dropped = p + o.s * o.wide, *d = dropped + o.s * o.wide; /* [s, s'] */
    find_probabilities(&o, p);
    drop(&o, p, dropped);
    if (v->g) mix_rows(&o, dropped, true, n->g, v->g, !(n->fresh & 1u << 2));
    if (!q->g && !k->g) return;
    multiply_rows(&o, n->g, v->x, d);
    for (int64_t i = 0, at = 0; i < o.s; i++, at += o.wide)
        gf_node_vec(n)->softmax_slope(o.s, scale, p + at, dropped + at, d + at, d + at);
    if (q->g) mix_rows(&o, d, false, k->x, q->g, !(n->fresh & 1u << 0));
    if (k->g) mix_rows(&o, d, true, q->x, k->g, !(n->fresh & 1u << 1));
}

static void backward(gf_node *n) { run_heads(n, backward_head, 3); }

static const int32_t start[] = {0, 3, 4, 9}, wrong[] = {0, 3, 4, 8}, wide[] = {0, 2, 36};
#define INPUTS(t, h)                                                                               \
    {                                                                                              \
        {2, {t, h}}, {2, {t, h}}, {                                                                \
            2, { t, h }                                                                            \
        }                                                                                          \
    }
static const gf_case cases[] = {
    {INPUTS(9, 6), {.heads = 2, .start = start, .sequences = 3, .dropout = {.keep = 65536}}, true},
    {INPUTS(9, 4),
     {.heads = 1,
      .start = start,
      .sequences = 3,
      .dropout = {5, 6, 7, 50000, 65536 / (gf_real)50000}},
     true},
    {INPUTS(36, 4),
     {.heads = 2,
      .start = wide,
      .sequences = 2,
      .dropout = {5, 6, 7, 50000, 65536 / (gf_real)50000}},
     true},
    {INPUTS(9, 6), {.heads = 4, .start = start, .sequences = 3}, false},
    {INPUTS(9, 6), {.heads = 2, .start = wrong, .sequences = 3}, false},
    {{{2, {9, 6}}, {2, {9, 6}}, {2, {9, 8}}}, {.heads = 2, .start = start, .sequences = 3}, false},
};
#undef INPUTS

const gf_op gf_op_attention = {
    "attention", 3, infer, forward, backward, cases, sizeof cases / sizeof *cases};
