/* embedding: y = dropout(LayerNorm(words[id] + positions[p] + types[0])), BERT's input (Devlin et
 * al. 2019, figure 2).
 * words [V, H], positions [P, H], types [Y, H], gamma [H], beta [H]  ->  y [T, H]
 *
 * attr.ids [T] and attr.start; positions restart with each sequence; single texts have type 0. aux
 * keeps xhat [T, H] and rstd [T]; y is rebuilt as dropout(gamma xhat + beta). */
#include "autograd/op.h"

static int64_t width(const gf_node *n) { return n->in[0]->shape.dim[1]; }

static void rebuild_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = width(n);
    for (int64_t t = first; t < first + rows; t++) {
        gf_real *y = gf_out(n) + t * h; /* [H] */
        gf_node_vec(n)->scale_shift(h, n->in[3]->x, n->in[4]->x, n->aux + t * h, y);
        gf_node_vec(n)->dropout(h, &n->attr.dropout, t * h, y, y);
    }
}

static void rebuild(gf_node *n) { gf_rows_each(n, n->shape.dim[0], rebuild_rows); }

static const char *infer(gf_node *n) {
    const gf_attr *a = &n->attr;
    const gf_shape *words = &n->in[0]->shape;
    int64_t tokens, longest;
    for (int i = 0; i < 3; i++)
        if (n->in[i]->shape.n != 2 || n->in[i]->shape.dim[1] != words->dim[1])
            return "three tables [rows, H] of one width are wanted";
    for (int i = 3; i < 5; i++)
        if (n->in[i]->shape.n != 1 || n->in[i]->shape.dim[0] != words->dim[1])
            return "gamma and beta must be [H]";
    if (!a->ids || !a->start || a->sequences < 1) return "there are no tokens";
    tokens = a->start[a->sequences];
    if ((longest = gf_attr_longest(a, tokens)) < 0) return "the sequences' offsets do not rise";
    if (longest > n->in[1]->shape.dim[0])
        return "a sequence is longer than the positions there are";
    for (int64_t t = 0; t < tokens; t++)
        if (a->ids[t] < 0 || a->ids[t] >= words->dim[0])
            return "a token id is outside the vocabulary";
    n->shape = gf_shape2(tokens, words->dim[1]);
    n->n_aux = n->wants_grad ? tokens * (words->dim[1] + 1) : 0;
    n->n_backward = gf_columns_work(tokens, words->dim[1], 2);
    n->keeps = 1u << 3;
    n->rebuild = rebuild;
    return NULL;
}

static void embed_sequence(gf_node *n, int64_t b) {
    const gf_vec *vec = gf_node_vec(n);
    int64_t h = width(n), tokens = n->shape.dim[0];
    for (int64_t t = n->attr.start[b]; t < n->attr.start[b + 1]; t++) {
        gf_real *y = gf_out(n) + t * h, unused;
        gf_real *xhat = n->n_aux ? n->aux + t * h : NULL,
                *rstd = n->n_aux ? n->aux + tokens * h + t : &unused;
        vec->scale(h, 1, n->in[0]->x + n->attr.ids[t] * h, y);
        vec->add(h, n->in[1]->x + (t - n->attr.start[b]) * h, y);
        vec->add(h, n->in[2]->x, y);
        vec->layernorm(h, y, n->in[3]->x, n->in[4]->x, (gf_real)n->attr.eps, y, xhat, rstd);
        vec->dropout(h, &n->attr.dropout, t * h, y, y);
    }
}

static void run_sequence(void *job, int64_t part, int thread) {
    (void)thread;
    embed_sequence(job, part);
}

static void forward(gf_node *n) {
    gf_pool_run(gf_node_pool(n), n->attr.sequences, run_sequence, n);
}

static void undo_dropout(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = width(n), at = first * h;
    gf_node_vec(n)->dropout(rows * h, &n->attr.dropout, at, n->g + at, n->g + at);
}

static void through_norm(gf_node *n, int64_t first, int64_t rows) {
    int64_t h = width(n), tokens = n->shape.dim[0];
    for (int64_t t = first; t < first + rows; t++)
        gf_node_vec(n)->layernorm_slope(h, n->g + t * h, n->in[3]->x, n->aux + t * h,
                                        n->aux[tokens * h + t], n->g + t * h);
}

enum { STRIP = 64 };

/* Rows of different tokens may be one row of a table, so threads share columns, not tokens. */
static void scatter_strip(void *job, int64_t part, int thread) {
    gf_node *n = job;
    const gf_vec *vec = gf_node_vec(n);
    int64_t h = width(n), first = part * STRIP, columns = h - first < STRIP ? h - first : STRIP;
    (void)thread;
    for (int64_t b = 0; b < n->attr.sequences; b++)
        for (int64_t t = n->attr.start[b]; t < n->attr.start[b + 1]; t++) {
            int64_t row[3] = {n->attr.ids[t], t - n->attr.start[b], 0};
            for (int i = 0; i < 3; i++)
                if (n->in[i]->g)
                    vec->add(columns, n->g + t * h + first, n->in[i]->g + row[i] * h + first);
        }
}

static void mark_rows(const gf_node *n) {
    const gf_param *words = n->in[0]->param;
    if (!words || !words->rows) return;
    for (int64_t t = 0; t < n->shape.dim[0]; t++) words->rows->touched[n->attr.ids[t]] = 1;
}

static void backward(gf_node *n) {
    int64_t h = width(n);
    bool tables = n->in[0]->g || n->in[1]->g || n->in[2]->g;
    gf_column_sums c = {.rows = n->shape.dim[0],
                        .columns = h,
                        .a = n->g,
                        .b = n->aux,
                        .sum = n->in[4]->g,
                        .products = n->in[3]->g,
                        .before = undo_dropout,
                        .after = tables ? through_norm : NULL};
    gf_columns_sum(n, &c);
    if (!tables) return;
    gf_pool_run(gf_node_pool(n), (h + STRIP - 1) / STRIP, scatter_strip, n);
    mark_rows(n);
}

static const int32_t ids[] = {3, 0, 5, 3, 1, 4, 3};
static const int32_t start[] = {0, 3, 4, 7}, backwards[] = {0, 3, 2, 7};
#define TABLES(v, p, h)                                                                            \
    {                                                                                              \
        {2, {v, h}}, {2, {p, h}}, {2, {2, h}}, {1, {h}}, {                                         \
            1, { h }                                                                               \
        }                                                                                          \
    }
static const gf_case cases[] = {
    {TABLES(6, 4, 5),
     {.ids = ids, .start = start, .sequences = 3, .eps = 1e-5, .dropout = {.keep = 65536}},
     true},
    {TABLES(7, 3, 70),
     {.ids = ids,
      .start = start,
      .sequences = 3,
      .eps = 1e-12,
      .dropout = {7, 2, 1, 40000, 65536 / (gf_real)40000}},
     true},
    {TABLES(5, 4, 5), {.ids = ids, .start = start, .sequences = 3}, false},
    {TABLES(6, 2, 5), {.ids = ids, .start = start, .sequences = 3}, false},
    {TABLES(6, 4, 5), {.ids = ids, .start = backwards, .sequences = 3}, false},
    {TABLES(6, 4, 5), {.ids = ids, .start = start, .sequences = 0}, false},
    {{{2, {6, 5}}, {2, {4, 6}}, {2, {2, 5}}, {1, {5}}, {1, {5}}},
     {.ids = ids, .start = start, .sequences = 3},
     false},
    {{{2, {6, 5}}, {2, {4, 5}}, {2, {2, 5}}, {1, {5}}, {1, {4}}},
     {.ids = ids, .start = start, .sequences = 3},
     false},
};
#undef TABLES

const gf_op gf_op_embedding = {
    "embedding", 5, infer, forward, backward, cases, sizeof cases / sizeof *cases};
