/* op: what an operation of the tape is. One struct in one file op_NAME.c and one line in ops.def;
 * the generic test (tests/test_ops.c) picks it up. docs/op-howto.md walks through adding one.
 *
 * T rows of packed tokens, B sequences, H hidden width; sequence b is rows start[b] up to
 * start[b + 1]. */
#ifndef GF_AUTOGRAD_OP_H
#define GF_AUTOGRAD_OP_H

#include "core/onednn.h"
#include "core/param.h"
#include "core/pool.h"
#include "core/real.h"
#include "core/shape.h"
#include "core/vec.h"

#include <stdbool.h>
#include <stdint.h>

enum { GF_MAX_IN = 5 };

typedef struct gf_node gf_node;
typedef struct gf_graph gf_graph;

/* What an op is told besides its inputs; each op's file says which of these it reads. */
typedef struct gf_attr {
    int kind;             /* a variant: gf_activation, gf_pool_kind */
    int64_t heads;        /* attention heads */
    double eps;           /* LayerNorm */
    double divisor;       /* losses: how many labels the mean is over, or what they weigh */
    const int32_t *ids;   /* [T] token ids, or [B] labels with -1 for a missing one */
    int64_t n_ids;        /* rows: how many ids there are */
    const int32_t *start; /* [sequences + 1] */
    int64_t sequences;
    gf_dropout dropout;
    const gf_real *target;       /* [B, C] or [B]; NaN first in a row: the row has no label */
    const gf_real *class_weight; /* [C], NULL: all 1 */
    double smoothing;            /* label smoothing, in [0, 1) */
    double gamma;                /* of the focal loss; 0: none */
} gf_attr;

typedef enum gf_activation {
    GF_ACT_NONE,
    GF_ACT_GELU,
    GF_ACT_GELU_TANH,
    GF_ACT_TANH
} gf_activation;
typedef enum gf_pool_kind { GF_POOLED_MEAN, GF_POOLED_CLS, GF_POOLED_MAX } gf_pool_kind;

typedef struct gf_case {
    gf_shape in[GF_MAX_IN];
    gf_attr attr;
    bool fits; /* accepted, or refused with a reason */
} gf_case;

typedef struct gf_op {
    const char *name;
    int n_in;
    /* Sets n->shape, what it saves and needs (below); NULL, or why the inputs do not fit. */
    const char *(*infer)(gf_node *n);
    void (*forward)(gf_node *n); /* writes x and aux; cannot fail */
    /* ADDS into in[i]->g; g == NULL means nobody wants that gradient. May use n->g as scratch. */
    void (*backward)(gf_node *n);
    const gf_case *cases;
    int n_cases;
} gf_op;

struct gf_node {
    const gf_op *op; /* NULL: a leaf */
    gf_node *in[GF_MAX_IN];
    gf_attr attr;
    gf_graph *graph;
    gf_param *param; /* of a leaf that is a parameter */
    gf_shape shape;
    int64_t count;    /* elements of shape */
    bool wants_grad;  /* some parameter below trains */
    const gf_real *x; /* [shape] value; forward writes it through gf_out() */
    gf_real *g;       /* [shape] gradient of the loss, or NULL */
    gf_real *aux;     /* [n_aux] saved by forward for backward */
    gf_real *scratch; /* [n_forward] in forward, [n_backward] in backward */
    /* Set by infer: */
    int64_t n_aux, n_forward, n_backward;
    unsigned keeps; /* what backward reads: bit i for in[i]->x, GF_KEEPS_X for its own x */
    /* Where writing x again costs next to nothing: does so, to the bit, from aux and those inputs
     * that are leaves. x then is not kept from forward to backward. NULL: x is kept. */
    void (*rebuild)(gf_node *n);
    unsigned overwrites; /* bit i: backward looks at `fresh` for in[i] */
    int index;           /* place on the tape */
    bool output;         /* x outlives the run */
    int segment;         /* gf_graph_segment() */
    /* In backward: bit i, only of those in `overwrites`: in[i]->g holds no gradient yet, and all of
     * it is to be written, not added to. */
    unsigned fresh;
};

enum { GF_KEEPS_X = 1 << GF_MAX_IN };

/* The place forward writes to. */
static inline gf_real *gf_out(gf_node *n) { return (gf_real *)(uintptr_t)n->x; }

const gf_vec *gf_node_vec(const gf_node *n);
gf_pool *gf_node_pool(const gf_node *n);
/* What the products of linear ops go through; NULL: gf_gemm(). */
gf_onednn *gf_node_onednn(const gf_node *n);

/* Work over rows in fixed blocks through the pool: run(n, first, rows) for each. */
typedef void gf_row_block(gf_node *n, int64_t first, int64_t rows);
void gf_rows_each(gf_node *n, int64_t rows, gf_row_block *run);
/* The same in blocks of some thousand elements, for rows of any width that take work to each
 * element: few short rows are one block, which is no matter for the pool. */
void gf_rows_wide(gf_node *n, int64_t rows, int64_t columns, gf_row_block *run);
/* Sums over the rows of a matrix, in a fixed order, and in the same pass what else is to be done to
 * its rows, a few at a time, while they are in the cache:
 *     sum[c] += sum over r of a[r, c],  products[c] += sum over r of a[r, c] b[r, c]. */
typedef struct gf_column_sums {
    int64_t rows, columns;
    const gf_real *a, *b;    /* [rows, columns]; b may be NULL where products is */
    gf_real *sum, *products; /* [columns]; NULL: not wanted */
    gf_row_block *before;    /* may write a and b; NULL: nothing */
    gf_row_block *after;     /* may overwrite them; NULL: nothing */
} gf_column_sums;
/* Takes gf_columns_work() elements of n->scratch: infer adds them to n->n_backward. */
void gf_columns_sum(gf_node *n, const gf_column_sums *c);
/* sums: how many are wanted, 0 to 2. */
int64_t gf_columns_work(int64_t rows, int64_t columns, int sums);
/* The longest sequence of attr.start; -1 when the offsets do not rise from 0 to `rows`. */
int64_t gf_attr_longest(const gf_attr *a, int64_t rows);

#define GF_OP(name) extern const gf_op gf_op_##name;
#include "autograd/ops.def"
#undef GF_OP

#endif
