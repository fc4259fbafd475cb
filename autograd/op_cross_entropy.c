/* cross_entropy: loss = sum over rows with a label of -w[label] log softmax(z)[label] / divisor.
 * z [B, C]  ->  loss (scalar)
 *
 * attr.ids [B] are the labels, -1 where one is missing. attr.class_weight [C] is w. attr.divisor is
 * the sum of w[label] over the labels the mean is taken over (their number, without weights), which
 * with accumulation counts the whole step; 0 gives a loss of 0. attr.smoothing e (Szegedy et al.
 * 2016) takes a share 1 - e of each row's term and e / C of -w[c] log softmax(z)[c] for every c, as
 * PyTorch does. attr.gamma multiplies each term by (1 - softmax(z)[label])^gamma (Lin et al. 2017,
 * eq. 5). aux keeps softmax(z) [B, C], or with gamma the derivative by z. The sum runs in double,
 * in the order of the rows, whichever threads took them. */
#include "autograd/loss.h"

#include <math.h>
#include <string.h>

static const char *infer(gf_node *n) {
    const gf_shape *z = &n->in[0]->shape;
    if (z->n != 2) return "logits [B, C] are wanted";
    if (!n->attr.ids) return "there are no labels";
    for (int64_t b = 0; b < z->dim[0]; b++)
        if (n->attr.ids[b] < -1 || n->attr.ids[b] >= z->dim[1])
            return "a label is outside the classes";
    if (n->attr.gamma > 0 && z->dim[1] < 2) return "a focal loss is between two classes or more";
    n->shape = (gf_shape){0};
    n->n_aux = gf_shape_count(z);
    n->n_forward = z->dim[0] * (int64_t)(sizeof(double) / sizeof(gf_real));
    return gf_loss_refuse(&n->attr, z->dim[1]);
}

static double weight_of(const gf_attr *a, int64_t c) {
    return a->class_weight ? (double)a->class_weight[c] : 1;
}

/* Writes softmax(z) into p and returns the row's loss. */
static double row_loss(const gf_node *n, const gf_real *z, gf_real *p, int32_t label) {
    const gf_vec *vec = gf_node_vec(n);
    const gf_attr *a = &n->attr;
    int64_t classes = n->in[0]->shape.dim[1];
    gf_real top = vec->max(classes, z), sum;
    double log_sum, loss, rest = 0;
    for (int64_t c = 0; c < classes; c++) p[c] = z[c] - top;
    vec->exp(classes, p, p);
    sum = vec->sum(classes, p);
    vec->scale(classes, 1 / sum, p, p);
    if (label < 0) return 0;
    /* log of libm: it goes into the loss's value only, no gradient reads it */
    log_sum = log((double)sum) + (double)top;
    loss = (1 - a->smoothing) * weight_of(a, label) * (log_sum - (double)z[label]);
    if (a->smoothing == 0) return loss;
    for (int64_t c = 0; c < classes; c++) rest += weight_of(a, c) * (log_sum - (double)z[c]);
    return loss + a->smoothing / (double)classes * rest;
}

/* With gamma: the label against all others together, which are ahead of it by
 * m = log(sum of e^z over them) - z[label]. Writes the derivative by z into dz. */
static double focal_loss(const gf_node *n, const gf_real *z, gf_real *dz, int32_t label) {
    const gf_vec *vec = gf_node_vec(n);
    int64_t classes = n->in[0]->shape.dim[1];
    gf_real top, sum, m, loss, slope, work, weight;
    memcpy(dz, z, (size_t)classes * sizeof *dz);
    dz[label] = (gf_real)-INFINITY;
    top = vec->max(classes, dz);
    for (int64_t c = 0; c < classes; c++) dz[c] -= top;
    vec->exp(classes, dz, dz);
    sum = vec->sum(classes, dz);
    m = sum - 1;
    vec->log1p(1, &m, &m);
    m += top - z[label];
    gf_loss_margins(vec, 1, n->attr.gamma, &m, &loss, &slope, &work);
    weight = (gf_real)weight_of(&n->attr, label);
    vec->scale(classes, weight * slope / sum, dz, dz);
    dz[label] = -weight * slope;
    return (double)(weight * loss);
}

static double any_loss(const gf_node *n, int64_t b) {
    int64_t classes = n->in[0]->shape.dim[1];
    const gf_real *z = n->in[0]->x + b * classes;
    gf_real *aux = n->aux + b * classes;
    int32_t label = n->attr.ids[b];
    if (n->attr.gamma == 0) return row_loss(n, z, aux, label);
    if (label >= 0) return focal_loss(n, z, aux, label);
    memset(aux, 0, (size_t)classes * sizeof *aux);
    return 0;
}

/* [B], of doubles. */
static double *losses_of(const gf_node *n) { return (double *)(void *)n->scratch; }

static void forward_rows(gf_node *n, int64_t first, int64_t rows) {
    for (int64_t b = first; b < first + rows; b++) losses_of(n)[b] = any_loss(n, b);
}

static void forward(gf_node *n) {
    const gf_shape *z = &n->in[0]->shape;
    double loss = 0;
    gf_rows_wide(n, z->dim[0], z->dim[1], forward_rows);
    for (int64_t b = 0; b < z->dim[0]; b++) loss += losses_of(n)[b];
    *gf_out(n) = gf_loss_mean(n, loss);
}

/* dz += each * (t softmax(z) - e / C w - (1 - e) w[label] at the label), where t is the sum of what
 * is taken off. */
static void backward_row(const gf_node *n, double each, double sum, const gf_real *p, gf_real *dz,
                         int32_t label) {
    int64_t classes = n->in[0]->shape.dim[1];
    double smooth = n->attr.smoothing / (double)classes;
    double hit = (1 - n->attr.smoothing) * weight_of(&n->attr, label);
    gf_node_vec(n)->axpy(classes, (gf_real)(each * (hit + smooth * sum)), p, dz);
    dz[label] -= (gf_real)(each * hit);
    for (int64_t c = 0; smooth > 0 && c < classes; c++)
        dz[c] -= (gf_real)(each * smooth * weight_of(&n->attr, c));
}

static double weights_of(const gf_attr *a, int64_t classes) {
    double sum = 0;
    if (!a->class_weight) return (double)classes;
    for (int64_t c = 0; c < classes; c++) sum += weight_of(a, c);
    return sum;
}

static void backward_rows(gf_node *n, int64_t first, int64_t rows) {
    int64_t classes = n->in[0]->shape.dim[1];
    double each = (double)n->g[0] / n->attr.divisor, sum = weights_of(&n->attr, classes);
    for (int64_t b = first; b < first + rows; b++)
        if (n->attr.ids[b] >= 0)
            backward_row(n, each, sum, n->aux + b * classes, n->in[0]->g + b * classes,
                         n->attr.ids[b]);
}

static void backward(gf_node *n) {
    const gf_shape *z = &n->in[0]->shape;
    if (n->attr.gamma > 0)
        gf_loss_backward(n);
    else if (n->in[0]->g && n->attr.divisor > 0)
        gf_rows_wide(n, z->dim[0], z->dim[1], backward_rows);
}

static const int32_t labels[] = {2, -1, 0}, missing[] = {-1, -1, -1}, outside[] = {0, 3, 1};
static const int32_t zeros[] = {0, -1, 0};
static const gf_real weight[20] = {2, 0, (gf_real)0.5, 1, 1, 3}, infinite[] = {1, INFINITY, 1},
                     negative[] = {-1, 1, 1};
static const gf_case cases[] = {
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2}, true},
    {{{2, {3, 20}}}, {.ids = labels, .divisor = 5}, true},
    {{{2, {3, 4}}}, {.ids = missing, .divisor = 0}, true},
    {{{2, {3, 1}}}, {.ids = zeros, .divisor = 2, .smoothing = 0.1}, true},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2.5, .class_weight = weight}, true},
    {{{2, {3, 20}}}, {.ids = labels, .divisor = 2, .smoothing = 0.1}, true},
    {{{2, {3, 4}}}, {.ids = labels, .divisor = 3, .smoothing = 0.3, .class_weight = weight}, true},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2, .gamma = 2}, true},
    {{{2, {3, 2}}}, {.ids = zeros, .divisor = 2, .gamma = 0.5}, true},
    {{{2, {3, 20}}}, {.ids = labels, .divisor = 2, .gamma = 1.5, .class_weight = weight}, true},
    {{{2, {3, 4}}}, {.ids = missing, .divisor = 0, .gamma = 1}, true},
    {{{2, {3, 3}}}, {.ids = outside, .divisor = 3}, false},
    {{{2, {3, 3}}}, {.divisor = 3}, false},
    {{{1, {3}}}, {.ids = labels, .divisor = 3}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2, .class_weight = negative}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2, .class_weight = infinite}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2, .smoothing = 1}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2, .smoothing = -0.1}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2, .gamma = NAN}, false},
    {{{2, {3, 3}}}, {.ids = labels, .divisor = 2, .gamma = 2, .smoothing = 0.1}, false},
    {{{2, {3, 1}}}, {.ids = zeros, .divisor = 2, .gamma = 2}, false},
};

const gf_op gf_op_cross_entropy = {
    "cross_entropy", 1, infer, forward, backward, cases, sizeof cases / sizeof *cases};
