/* cross_entropy: loss = sum over rows with a label of -log softmax(z)[label] / divisor.
 * z [B, C]  ->  loss (scalar)
 *
 * attr.ids [B] are the labels, -1 where one is missing; attr.divisor is the number of labels the
 * mean is taken over, which with accumulation counts the whole step; 0 gives a loss of 0. aux keeps
 * softmax(z) [B, C]. The sum runs in double, in the order of the rows. */
#include "autograd/op.h"

#include <math.h>

static const char *infer(gf_node *n) {
    const gf_shape *z = &n->in[0]->shape;
    if (z->n != 2) return "logits [B, C] are wanted";
    if (!n->attr.ids) return "there are no labels";
    for (int64_t b = 0; b < z->dim[0]; b++)
        if (n->attr.ids[b] < -1 || n->attr.ids[b] >= z->dim[1])
            return "a label is outside the classes";
    n->shape = (gf_shape){0};
    n->n_aux = gf_shape_count(z);
    return NULL;
}

/* Writes softmax(z) into p and returns -log of its element `label`. */
static double row_loss(const gf_vec *vec, int64_t classes, const gf_real *z, gf_real *p,
                       int32_t label) {
    gf_real top = vec->max(classes, z), sum;
    for (int64_t c = 0; c < classes; c++) p[c] = z[c] - top;
    vec->exp(classes, p, p);
    sum = vec->sum(classes, p);
    vec->scale(classes, 1 / sum, p, p);
    /* log of libm: it goes into reports only, no gradient reads it */
    return label < 0 ? 0 : log((double)sum) + (double)top - (double)z[label];
}

static void forward(gf_node *n) {
    int64_t rows = n->in[0]->shape.dim[0], classes = n->in[0]->shape.dim[1];
    double loss = 0;
    for (int64_t b = 0; b < rows; b++)
        loss += row_loss(gf_node_vec(n), classes, n->in[0]->x + b * classes, n->aux + b * classes,
                         n->attr.ids[b]);
    *gf_out(n) = n->attr.divisor > 0 ? (gf_real)(loss / n->attr.divisor) : 0;
}

static void backward(gf_node *n) {
    int64_t rows = n->in[0]->shape.dim[0], classes = n->in[0]->shape.dim[1];
    gf_real *dz = n->in[0]->g, each; /* [B, C] */
    if (!dz || !(n->attr.divisor > 0)) return;
    each = (gf_real)(n->g[0] / n->attr.divisor);
    for (int64_t b = 0; b < rows; b++) {
        if (n->attr.ids[b] < 0) continue;
        gf_node_vec(n)->axpy(classes, each, n->aux + b * classes, dz + b * classes);
        dz[b * classes + n->attr.ids[b]] -= each;
    }
}

static const int32_t labels[] = {2, -1, 0}, missing[] = {-1, -1, -1}, outside[] = {0, 3, 1};
static const gf_case cases[] = {
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2}, true},
    {{{2, {3, 20}}}, {.ids = labels, .divisor = 5}, true},
    {{{2, {3, 4}}}, {.ids = missing, .divisor = 0}, true},
    {{{2, {3, 3}}}, {.ids = outside, .divisor = 3}, false},
    {{{2, {3, 3}}}, {.divisor = 3}, false},
    {{{1, {3}}}, {.ids = labels, .divisor = 3}, false},
};

const gf_op gf_op_cross_entropy = {
    "cross_entropy", 1, infer, forward, backward, cases, sizeof cases / sizeof *cases};
