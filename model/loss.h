/* loss: what a head learns from its labels.
 *
 *     gf_labelling l = {.label = labels, .target = targets};
 *     double share = gf_loss_share(head, &rule, labels[i]);       (summed over an update's rows)
 *     gf_node *loss = gf_loss_make(graph, head, &rule, &l, divisor, logits);
 *
 * classification: cross-entropy; multi_label: binary cross-entropy of each class; regression:
 * squared error; ordinal: CORN (see model/task.h). A row without a label adds nothing. The loss is
 * the sum over the rows divided by `divisor`: the shares of all rows of the update, so that several
 * batches together give the mean, as PyTorch's losses with reduction="mean" do. */
#ifndef GF_MODEL_LOSS_H
#define GF_MODEL_LOSS_H

#include "autograd/graph.h"
#include "model/model.h"

/* How a loss departs from the plain one; all zero: not at all. */
typedef struct gf_loss_rule {
    const gf_real *class_weight; /* [C] of classification; of multi_label, on the positives; NULL */
    double smoothing;            /* label smoothing, Szegedy et al. 2016, section 7 */
    double gamma;                /* of the focal loss, Lin et al. 2017 */
} gf_loss_rule;

/* The labels of B rows; both outlive the tape. */
typedef struct gf_labelling {
    const int32_t *label;  /* [B] -1: missing; classes of classification and ordinal */
    const gf_real *target; /* [B, C] of multi_label, [B, 1] of regression, NaN where missing */
} gf_labelling;

/* What a row of this label adds to the divisor; 0 for a missing one. */
double gf_loss_share(const gf_head *h, const gf_loss_rule *rule, int32_t label);
/* The loss of logits [B, O], a scalar. */
gf_node *gf_loss_make(gf_graph *g, const gf_head *h, const gf_loss_rule *rule,
                      const gf_labelling *l, double divisor, gf_node *logits);
/* Elements of a row's target: C, 1, or 0 where labels are classes. */
int64_t gf_loss_target_width(const gf_head *h);

#endif
