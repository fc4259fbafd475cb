/* attention: softmax(q kᵀ / sqrt(d)) v for every head of every sequence (Vaswani et al. 2017,
 * section 3.2), dropout on the probabilities.   q, k, v [T, H]  ->  y [T, H];  d = H / attr.heads
 *
 * One part of the pool is one (sequence, head); nothing is padded and the probabilities never leave
 * the cache: backward computes them again from q and k, which costs one small product and saves
 * heads * S numbers a token. S is the longest sequence; a thread's scratch is one matrix [S, S], 3
 * in backward. Dropout's index of probability (t, head, j) is (t * heads + head) * S + j. */
#include "autograd/op.h"
#include "core/gemm.h"

#include <math.h>

static const char *infer(gf_node *n) {
    const gf_shape *q = &n->in[0]->shape;
    int64_t longest, threads = gf_pool_threads(gf_node_pool(n));
    if (q->n != 2 || !gf_shape_equal(q, &n->in[1]->shape) || !gf_shape_equal(q, &n->in[2]->shape))
        return "q, k and v must be [T, H] alike";
    if (n->attr.heads < 1 || q->dim[1] % n->attr.heads != 0)
        return "H is not a multiple of the heads";
    if ((longest = gf_attr_longest(&n->attr, q->dim[0])) < 0)
        return "the sequences' offsets do not fit T";
    n->shape = *q;
    n->n_forward = threads * longest * longest;
    n->n_backward = threads * longest * longest * 3;
    n->keeps = n->overwrites = 7;
    return NULL;
}

typedef struct head_job {
    gf_node *n;
    int64_t longest, stride; /* S; scratch elements a thread */
} head_job;

/* One head of one sequence. */
typedef struct one_head {
    const gf_node *n;
    int64_t s, h, d;    /* tokens of the sequence, row stride, head width */
    int64_t at;         /* offset of its first element in [T, H] */
    int64_t drop, step; /* dropout's index of its first probability, and from row to row */
} one_head;

static one_head find_head(const head_job *j, int64_t part) {
    const gf_node *n = j->n;
    int64_t b = part / n->attr.heads, head = part % n->attr.heads, first = n->attr.start[b];
    one_head o = {.n = n,
                  .s = n->attr.start[b + 1] - first,
                  .h = n->shape.dim[1],
                  .d = n->shape.dim[1] / n->attr.heads};
    o.at = first * o.h + head * o.d;
    o.drop = (first * n->attr.heads + head) * j->longest;
    o.step = n->attr.heads * j->longest;
    return o;
}

/* c [s, s] = a bᵀ over the head's columns of two [T, H] matrices. */
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
                               .ldc = o->s});
}

/* y (+)= p x or pᵀ x over the head's columns. */
static void mix_rows(const one_head *o, const gf_real *p, bool transpose, const gf_real *x,
                     gf_real *y, bool add) {
    gf_gemm_here(&(gf_product){.m = o->s,
                               .n = o->d,
                               .k = o->s,
                               .a = p,
                               .lda = o->s,
                               .transpose_a = transpose,
                               .b = x + o->at,
                               .ldb = o->h,
                               .c = y + o->at,
                               .ldc = o->h,
                               .add = add});
}

/* p [s, s] = softmax(q kᵀ / sqrt(d)). */
static void find_probabilities(const one_head *o, gf_real *p) {
    gf_real scale = 1 / (gf_real)sqrt((double)o->d);
    multiply_rows(o, o->n->in[0]->x, o->n->in[1]->x, p);
    for (int64_t i = 0; i < o->s; i++)
        gf_node_vec(o->n)->softmax(o->s, scale, p + i * o->s, p + i * o->s);
}

/* out [s, s] = dropout(p); in place is fine. */
static void drop(const one_head *o, const gf_real *p, gf_real *out) {
    for (int64_t i = 0; i < o->s; i++)
        gf_node_vec(o->n)->dropout(o->s, &o->n->attr.dropout, o->drop + i * o->step, p + i * o->s,
                                   out + i * o->s);
}

static void forward_head(void *job, int64_t part, int thread) {
    const head_job *j = job;
    one_head o = find_head(j, part);
    gf_real *p = j->n->scratch + thread * j->stride; /* [s, s] */
    find_probabilities(&o, p);
    drop(&o, p, p);
    mix_rows(&o, p, false, j->n->in[2]->x, gf_out(j->n), false);
}

static void run_heads(gf_node *n, gf_part *run, int64_t buffers) {
    int64_t longest = gf_attr_longest(&n->attr, n->shape.dim[0]);
    head_job j = {n, longest, longest * longest * buffers};
    gf_pool_run(gf_node_pool(n), n->attr.sequences * n->attr.heads, run, &j);
}

static void forward(gf_node *n) { run_heads(n, forward_head, 1); }

static void backward_head(void *job, int64_t part, int thread) {
    const head_job *j = job;
    const gf_node *n = j->n;
    gf_node *q = n->in[0], *k = n->in[1], *v = n->in[2];
    one_head o = find_head(j, part);
    gf_real scale = 1 / (gf_real)sqrt((double)o.d);
    gf_real *p = n->scratch + thread * j->stride, *dropped = p + o.s * o.s; /* [s, s] */
    gf_real *dp = dropped + o.s * o.s;                                      /* [s, s] */
    find_probabilities(&o, p);
    drop(&o, p, dropped);
    if (v->g) mix_rows(&o, dropped, true, n->g, v->g, !(n->fresh & 1u << 2));
    if (!q->g && !k->g) return;
    multiply_rows(&o, n->g, v->x, dp);
    drop(&o, dp, dp);
    for (int64_t i = 0; i < o.s; i++)
        gf_node_vec(n)->softmax_slope(o.s, scale, p + i * o.s, dp + i * o.s, dp + i * o.s);
    if (q->g) mix_rows(&o, dp, false, k->x, q->g, !(n->fresh & 1u << 0));
    if (k->g) mix_rows(&o, dp, true, q->x, k->g, !(n->fresh & 1u << 1));
}

static void backward(gf_node *n) { run_heads(n, backward_head, 3); }

static const int32_t start[] = {0, 3, 4, 9}, wrong[] = {0, 3, 4, 8};
#define INPUTS(h)                                                                                  \
    {                                                                                              \
        {2, {9, h}}, {2, {9, h}}, {                                                                \
            2, { 9, h }                                                                            \
        }                                                                                          \
    }
static const gf_case cases[] = {
    {INPUTS(6), {.heads = 2, .start = start, .sequences = 3, .dropout = {.keep = 65536}}, true},
    {INPUTS(4),
     {.heads = 1,
      .start = start,
      .sequences = 3,
      .dropout = {5, 6, 7, 50000, 65536 / (gf_real)50000}},
     true},
    {INPUTS(6), {.heads = 4, .start = start, .sequences = 3}, false},
    {INPUTS(6), {.heads = 2, .start = wrong, .sequences = 3}, false},
    {{{2, {9, 6}}, {2, {9, 6}}, {2, {9, 8}}}, {.heads = 2, .start = start, .sequences = 3}, false},
};
#undef INPUTS

const gf_op gf_op_attention = {
    "attention", 3, infer, forward, backward, cases, sizeof cases / sizeof *cases};
