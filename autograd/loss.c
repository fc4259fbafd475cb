#include "autograd/loss.h"

#include <math.h>

const char *gf_loss_refuse(const gf_attr *a, int64_t classes) {
    if (classes == 0)
        return a->class_weight || a->smoothing != 0 || a->gamma != 0
                   ? "this loss has no class weights, smoothing or gamma"
                   : NULL;
    for (int64_t c = 0; a->class_weight && c < classes; c++)
        if (!(a->class_weight[c] >= 0 && isfinite(a->class_weight[c])))
            return "a class weight is negative or not finite";
    if (!(a->smoothing >= 0 && a->smoothing < 1)) return "label smoothing is outside [0, 1)";
    if (!(a->gamma >= 0 && isfinite(a->gamma))) return "gamma is negative or not finite";
    return a->smoothing > 0 && a->gamma > 0 ? "label smoothing and gamma exclude each other" : NULL;
}

void gf_loss_margins(const gf_vec *vec, int64_t n, double gamma, const gf_real *m, gf_real *loss,
                     gf_real *slope, gf_real *work) {
    const gf_real focus = (gf_real)gamma;
    for (int64_t i = 0; i < n; i++) slope[i] = m[i] > 0 ? -m[i] : m[i];
    vec->exp(n, slope, slope);
    vec->log1p(n, slope, loss);
    for (int64_t i = 0; i < n; i++) work[i] = -focus * ((m[i] < 0 ? -m[i] : 0) + loss[i]);
    if (gamma > 0) vec->exp(n, work, work); /* (1 - p)^gamma, as 1 - p = 1 / (1 + e^-m) */
    for (int64_t i = 0; i < n; i++) {
        gf_real large = 1 / (1 + slope[i]), small = slope[i] / (1 + slope[i]);
        gf_real p = m[i] > 0 ? small : large, wrong = m[i] > 0 ? large : small;
        gf_real minus_log_p = (m[i] > 0 ? m[i] : 0) + loss[i], power = gamma > 0 ? work[i] : 1;
        loss[i] = power * minus_log_p;
        slope[i] = power * (wrong + focus * minus_log_p * p);
    }
}

gf_real gf_loss_mean(const gf_node *n, double sum) {
    return n->attr.divisor > 0 ? (gf_real)(sum / n->attr.divisor) : 0;
}

void gf_loss_backward(gf_node *n) {
    gf_node *z = n->in[0];
    if (!z->g || !(n->attr.divisor > 0)) return;
    gf_node_vec(n)->axpy(z->count, (gf_real)((double)n->g[0] / n->attr.divisor), n->aux, z->g);
}
