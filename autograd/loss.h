/* loss: what the loss ops share.
 *
 *     if ((why = gf_loss_refuse(&n->attr, classes))) return why;        (in infer)
 *     gf_loss_margins(vec, c, n->attr.gamma, m, loss, slope, work);     (in forward)
 *     n->aux[i] = slope[i];
 *     ... .backward = gf_loss_backward
 *
 * Such an op writes in forward, beside its value, the derivative of the undivided sum by every
 * element of its input into aux; backward then only scales it. No libm: exp and log1p are
 * core/vec's, so a gradient has the same bits on every machine. */
#ifndef GF_AUTOGRAD_LOSS_H
#define GF_AUTOGRAD_LOSS_H

#include "autograd/op.h"

/* Why attr's class_weight [classes], smoothing and gamma cannot be, or NULL. With classes 0, the op
 * knows none of them. */
const char *gf_loss_refuse(const gf_attr *a, int64_t classes);

/* m [n], how far the wrong side is ahead in log odds, so that the right side has probability
 * p = 1 / (1 + e^m):  loss [n] = (1 - p)^gamma -log p  and  slope [n] = its derivative by m.
 * gamma 0: the logistic loss log(1 + e^m). Above: the focal loss (Lin et al. 2017, eq. 4). Both are
 * finite for every finite m. work [n] is scratch; no two arrays may overlap. */
void gf_loss_margins(const gf_vec *vec, int64_t n, double gamma, const gf_real *m, gf_real *loss,
                     gf_real *slope, gf_real *work);

/* sum / divisor; 0 where the divisor is: no label was there. */
gf_real gf_loss_mean(const gf_node *n, double sum);
/* in[0]->g += g / divisor * aux, both of as many elements as in[0]. */
void gf_loss_backward(gf_node *n);

#endif
