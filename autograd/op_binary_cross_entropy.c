/* binary_cross_entropy: classes that do not exclude each other, one yes or no each.
 *   loss = sum over rows with a target and over classes of
 *          -(w y log s(z) + (1 - y) log(1 - s(z))) / divisor,  s(z) = 1 / (1 + e^-z)
 * z [B, C]  ->  loss (scalar)
 *
 * attr.target [B, C] are y, 0 or 1; NaN in a row's first element: that row has no target.
 * attr.divisor is the number of elements the mean is taken over, rows with a target times C; 0
 * gives a loss of 0. attr.class_weight [C] is w, PyTorch's pos_weight. attr.smoothing e makes y
 * into y (1 - e) + e / 2 (Szegedy et al. 2016); attr.gamma multiplies each -log p by
 * (1 - p)^gamma (Lin et al. 2017, eq. 4). aux keeps the derivative by z [B, C]. The sum runs in
 * double, in the order of the elements. */
#include "autograd/loss.h"

#include <math.h>
#include <string.h>

static const char *infer(gf_node *n) {
    const gf_shape *z = &n->in[0]->shape;
    if (z->n != 2) return "logits [B, C] are wanted";
    if (!n->attr.target) return "there are no targets";
    for (int64_t b = 0; b < z->dim[0]; b++) {
        const gf_real *y = n->attr.target + b * z->dim[1]; /* [C] */
        if (isnan(y[0])) continue;
        for (int64_t c = 0; c < z->dim[1]; c++)
            if (y[c] != 0 && y[c] != 1) return "a target is neither 0 nor 1";
    }
    n->shape = (gf_shape){0};
    n->n_aux = gf_shape_count(z);
    n->n_forward = 4 * z->dim[1];
    return gf_loss_refuse(&n->attr, z->dim[1]);
}

/* What the term of this side, "yes" or "no", weighs in class c. */
static double side_weight(const gf_attr *a, gf_real y, int64_t c, bool yes) {
    double share = yes ? (double)y : 1 - (double)y;
    share = share * (1 - a->smoothing) + a->smoothing / 2;
    return yes && a->class_weight ? share * (double)a->class_weight[c] : share;
}

/* The terms of one side of a row: returns their loss, adds their slopes to dz [C]. */
static double side_loss(gf_node *n, bool yes, const gf_real *z, const gf_real *y, gf_real *dz) {
    int64_t classes = n->in[0]->shape.dim[1];
    gf_real *margin = n->scratch, *loss = margin + classes; /* [C] */
    gf_real *slope = loss + classes, *work = slope + classes;
    double sum = 0;
    for (int64_t c = 0; c < classes; c++) margin[c] = yes ? -z[c] : z[c];
    gf_loss_margins(gf_node_vec(n), classes, n->attr.gamma, margin, loss, slope, work);
    for (int64_t c = 0; c < classes; c++) {
        double weight = side_weight(&n->attr, y[c], c, yes);
        if (weight == 0) continue; /* 0 times infinity would be NaN */
        sum += weight * (double)loss[c];
        dz[c] += (gf_real)(yes ? -weight : weight) * slope[c];
    }
    return sum;
}

static void forward(gf_node *n) {
    int64_t rows = n->in[0]->shape.dim[0], classes = n->in[0]->shape.dim[1];
    double loss = 0;
    memset(n->aux, 0, (size_t)n->n_aux * sizeof *n->aux);
    for (int64_t b = 0; b < rows; b++) {
        const gf_real *z = n->in[0]->x + b * classes, *y = n->attr.target + b * classes;
        gf_real *dz = n->aux + b * classes;
        if (isnan(y[0])) continue;
        loss += side_loss(n, false, z, y, dz);
        loss += side_loss(n, true, z, y, dz);
    }
    *gf_out(n) = gf_loss_mean(n, loss);
}

#define NONE (gf_real) NAN
static const gf_real some[] = {1, 0, 1, NONE, 0, 5, 0, 0, 1}, wide[40] = {1, 0, 0, 1, [25] = 1, 1},
                     missing[] = {NONE, 1, NONE, 1}, third[] = {0, 1, (gf_real)0.3},
                     late[] = {0, NONE, 1}, weight[] = {2, 0, (gf_real)0.5},
                     negative[] = {1, -1, 1};
#undef NONE
static const gf_case cases[] = {
    {{{2, {3, 3}}}, {.target = some, .divisor = 6}, true},
    {{{2, {2, 20}}}, {.target = wide, .divisor = 40}, true},
    {{{2, {2, 2}}}, {.target = missing, .divisor = 0}, true},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .class_weight = weight}, true},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .smoothing = 0.1}, true},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .smoothing = 0.2, .class_weight = weight}, true},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .gamma = 2, .class_weight = weight}, true},
    {{{2, {2, 20}}}, {.target = wide, .divisor = 40, .gamma = 0.5}, true},
    {{{2, {1, 3}}}, {.target = third, .divisor = 3}, false},
    {{{2, {1, 3}}}, {.target = late, .divisor = 3}, false},
    {{{2, {1, 3}}}, {.divisor = 3}, false},
    {{{1, {3}}}, {.target = some, .divisor = 3}, false},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .class_weight = negative}, false},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .smoothing = 1}, false},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .gamma = -1}, false},
    {{{2, {3, 3}}}, {.target = some, .divisor = 6, .gamma = 1, .smoothing = 0.1}, false},
};

const gf_op gf_op_binary_cross_entropy = {
    "binary_cross_entropy",      1, infer, forward, gf_loss_backward, cases,
    sizeof cases / sizeof *cases};
