#include "model/loss.h"

double gf_loss_share(const gf_head *h, const gf_loss_rule *rule, int32_t label) {
    if (label < 0) return 0;
    switch (h->type) {
    case GF_TASK_CLASSIFICATION: return rule->class_weight ? (double)rule->class_weight[label] : 1;
    case GF_TASK_MULTI_LABEL: return (double)h->n_classes;
    case GF_TASK_REGRESSION: return 1;
    case GF_TASK_ORDINAL: /* the binary questions it answers */
        return label + 1 < h->n_classes ? (double)label + 1 : (double)h->n_classes - 1;
    }
    return 0;
}

int64_t gf_loss_target_width(const gf_head *h) {
    if (h->type == GF_TASK_REGRESSION) return 1;
    return h->type == GF_TASK_MULTI_LABEL ? h->n_classes : 0;
}

gf_node *gf_loss_make(gf_graph *g, const gf_head *h, const gf_loss_rule *rule,
                      const gf_labelling *l, double divisor, gf_node *logits) {
    gf_attr attr = {.ids = l->label,
                    .target = l->target,
                    .divisor = divisor,
                    .class_weight = rule->class_weight,
                    .smoothing = rule->smoothing,
                    .gamma = rule->gamma};
    switch (h->type) {
    case GF_TASK_CLASSIFICATION: return gf_call(g, cross_entropy, &attr, logits);
    case GF_TASK_MULTI_LABEL: return gf_call(g, binary_cross_entropy, &attr, logits);
    case GF_TASK_REGRESSION: return gf_call(g, squared_error, &attr, logits);
    case GF_TASK_ORDINAL: return gf_call(g, ordinal, &attr, logits);
    }
    return NULL;
}
