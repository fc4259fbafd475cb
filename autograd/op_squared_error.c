/* squared_error: loss = sum over rows with a target of (z - target)² / divisor.
 * z [B, 1]  ->  loss (scalar)
 *
 * attr.target [B], NaN where one is missing; attr.divisor is the number of targets the mean is
 * taken over, 0 gives a loss of 0. aux keeps 2 (z - target) [B], 0 where the target is missing. The
 * sum runs in double, in the order of the rows. */
#include "autograd/loss.h"

#include <math.h>

static const char *infer(gf_node *n) {
    const gf_shape *z = &n->in[0]->shape;
    if (z->n != 2 || z->dim[1] != 1) return "one value per row [B, 1] is wanted";
    if (!n->attr.target) return "there are no targets";
    for (int64_t b = 0; b < z->dim[0]; b++)
        if (isinf(n->attr.target[b])) return "a target is infinite";
    n->shape = (gf_shape){0};
    n->n_aux = z->dim[0];
    return gf_loss_refuse(&n->attr, 0);
}

static void forward(gf_node *n) {
    double loss = 0;
    for (int64_t b = 0; b < n->n_aux; b++) {
        bool missing = isnan(n->attr.target[b]);
        gf_real off = missing ? 0 : n->in[0]->x[b] - n->attr.target[b];
        loss += (double)off * (double)off;
        n->aux[b] = 2 * off;
    }
    *gf_out(n) = gf_loss_mean(n, loss);
}

static const int32_t ids[] = {0, 0, 0};
static const gf_real some[] = {(gf_real)0.5, (gf_real)NAN, -2},
                     none[] = {(gf_real)NAN, (gf_real)NAN, (gf_real)NAN},
                     infinite[] = {1, (gf_real)INFINITY, 0};
static const gf_case cases[] = {
    {{{2, {3, 1}}}, {.target = some, .divisor = 2}, true},
    {{{2, {3, 1}}}, {.target = some, .divisor = 7}, true},
    {{{2, {3, 1}}}, {.target = none, .divisor = 0}, true},
    {{{2, {3, 2}}}, {.target = some, .divisor = 2}, false},
    {{{1, {3}}}, {.target = some, .divisor = 2}, false},
    {{{2, {3, 1}}}, {.ids = ids, .divisor = 3}, false},
    {{{2, {3, 1}}}, {.target = infinite, .divisor = 3}, false},
    {{{2, {3, 1}}}, {.target = some, .divisor = 2, .class_weight = infinite}, false},
    {{{2, {3, 1}}}, {.target = some, .divisor = 2, .smoothing = 0.1}, false},
    {{{2, {3, 1}}}, {.target = some, .divisor = 2, .gamma = 2}, false},
};

const gf_op gf_op_squared_error = {
    "squared_error", 1, infer, forward, gf_loss_backward, cases, sizeof cases / sizeof *cases};
