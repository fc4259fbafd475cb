#include "model/mlm.h"

static gf_node *linear(gf_graph *g, gf_param *weight, gf_param *bias, gf_activation act,
                       gf_node *x) {
    gf_attr attr = {.kind = (int)act};
    return gf_call(g, linear, &attr, x, gf_graph_param(g, weight), gf_graph_param(g, bias));
}

gf_node *gf_mlm_logits(gf_graph *g, gf_model *m, gf_node *hidden, const int32_t *positions,
                       int64_t n) {
    const gf_mlm *l = &m->mlm;
    gf_activation act = m->config.gelu_tanh ? GF_ACT_GELU_TANH : GF_ACT_GELU;
    gf_attr take = {.ids = positions, .n_ids = n}, norm = {.eps = m->config.layer_norm_eps};
    gf_node *x = gf_call(g, rows, &take, hidden);
    x = linear(g, l->dense.weight, l->dense.bias, act, x);
    x = gf_call(g, layer_norm, &norm, x, gf_graph_param(g, l->norm.weight),
                gf_graph_param(g, l->norm.bias));
    return linear(g, m->words, l->bias, GF_ACT_NONE, x);
}
