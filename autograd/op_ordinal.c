/* ordinal: CORN, ordered classes by conditional probabilities (Shi, Cao & Raschka 2023, eq. 5).
 *   loss = sum over k and the rows with label >= k of
 *          -log P(label > k | label >= k) or -log(1 - that), whichever holds, / divisor
 * z [B, C - 1], log odds of "above k, given at least k"  ->  loss (scalar)
 *
 * attr.ids [B] are the labels in [0, C - 1], -1 where one is missing; attr.divisor is the number of
 * terms the mean is taken over, which are min(label + 1, C - 1) for each label; 0 gives a loss of
 * 0. aux keeps the derivative by z [B, C - 1]. The sum runs in double, in the order of the rows. */
#include "autograd/loss.h"

#include <string.h>

static const char *infer(gf_node *n) {
    const gf_shape *z = &n->in[0]->shape;
    if (z->n != 2) return "logits [B, C - 1] are wanted";
    if (!n->attr.ids) return "there are no labels";
    for (int64_t b = 0; b < z->dim[0]; b++)
        if (n->attr.ids[b] < -1 || n->attr.ids[b] > z->dim[1])
            return "a label is outside the classes";
    n->shape = (gf_shape){0};
    n->n_aux = gf_shape_count(z);
    n->n_forward = 3 * z->dim[1];
    return gf_loss_refuse(&n->attr, 0);
}

/* dz [K] for one row with this label; returns its loss. K = C - 1. */
static double row_loss(gf_node *n, int64_t k, int64_t label, const gf_real *z, gf_real *dz) {
    gf_real *margin = n->scratch, *loss = margin + k, *work = loss + k; /* [K] */
    int64_t terms = label < k ? label + 1 : k;
    double sum = 0;
    for (int64_t i = 0; i < terms; i++) margin[i] = label > i ? -z[i] : z[i];
    gf_loss_margins(gf_node_vec(n), terms, 0, margin, loss, dz, work);
    for (int64_t i = 0; i < terms; i++) {
        sum += (double)loss[i];
        if (label > i) dz[i] = -dz[i];
    }
    memset(dz + terms, 0, (size_t)(k - terms) * sizeof *dz);
    return sum;
}

static void forward(gf_node *n) {
    int64_t rows = n->in[0]->shape.dim[0], k = n->in[0]->shape.dim[1];
    double loss = 0;
    for (int64_t b = 0; b < rows; b++)
        loss += row_loss(n, k, n->attr.ids[b], n->in[0]->x + b * k, n->aux + b * k);
    *gf_out(n) = gf_loss_mean(n, loss);
}

static const int32_t labels[] = {2, -1, 0, 3, 1}, missing[] = {-1, -1, -1}, outside[] = {0, 4, 1},
                     below[] = {0, -2, 1};
static const gf_real weight[] = {1, 1, 1};
static const gf_case cases[] = {
    {{{2, {5, 3}}}, {.ids = labels, .divisor = 9}, true},
    {{{2, {5, 20}}}, {.ids = labels, .divisor = 3}, true},
    {{{2, {3, 2}}}, {.ids = labels, .divisor = 3}, true},
    {{{2, {3, 4}}}, {.ids = missing, .divisor = 0}, true},
    {{{2, {3, 3}}}, {.ids = outside, .divisor = 3}, false},
    {{{2, {3, 3}}}, {.ids = below, .divisor = 3}, false},
    {{{2, {3, 3}}}, {.divisor = 3}, false},
    {{{1, {3}}}, {.ids = labels, .divisor = 3}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 3, .class_weight = weight}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 3, .smoothing = 0.1}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 3, .gamma = 1}, false},
};

const gf_op gf_op_ordinal = {
    "ordinal", 1, infer, forward, gf_loss_backward, cases, sizeof cases / sizeof *cases};
