#include "model/encode.h"

static gf_node *linear(gf_graph *g, const gf_linear *l, gf_activation act, gf_node *x) {
    gf_attr attr = {.kind = (int)act};
    return gf_call(g, linear, &attr, x, gf_graph_param(g, l->weight), gf_graph_param(g, l->bias));
}

static bool linear_trains(const gf_linear *l) { return l->weight->trainable || l->bias->trainable; }
static bool norm_trains(const gf_norm *n) { return n->weight->trainable || n->bias->trainable; }

static bool layer_trains(const gf_bert_layer *l) {
    return linear_trains(&l->query) || linear_trains(&l->key) || linear_trains(&l->value) ||
           linear_trains(&l->attention_out) || norm_trains(&l->attention_norm) ||
           linear_trains(&l->intermediate) || linear_trains(&l->output) ||
           norm_trains(&l->output_norm);
}

static bool embeddings_train(const gf_model *m) {
    return m->words->trainable || m->positions->trainable || m->types->trainable ||
           norm_trains(&m->embedding_norm);
}

static bool dense_trains(const gf_linear *l) {
    return (l->weight && l->weight->trainable) || (l->bias && l->bias->trainable);
}

int64_t gf_model_frozen_layers(const gf_model *m) {
    int64_t n = 0;
    if (embeddings_train(m)) return -1;
    while (n < m->config.num_hidden_layers && !layer_trains(&m->layers[n])) n++;
    return n;
}

bool gf_model_encoder_frozen(const gf_model *m) {
    return gf_model_frozen_layers(m) == m->config.num_hidden_layers && !dense_trains(&m->dense);
}

/* Dropout sites of a pass: 0 behind the embeddings, then three a layer. */
static gf_dropout site(const gf_mode *mode, bool trains, double rate, int64_t number) {
    return gf_dropout_make(mode->training && trains ? rate : 0, mode->seed, mode->step,
                           (uint32_t)number);
}

static gf_node *embed_tokens(gf_graph *g, gf_model *m, const gf_batch *b, const gf_mode *mode) {
    gf_attr attr = {.ids = b->ids,
                    .start = b->start,
                    .sequences = b->sequences,
                    .eps = m->config.layer_norm_eps};
    attr.dropout = site(mode, embeddings_train(m), mode->hidden_dropout, 0);
    return gf_call(g, embedding, &attr, gf_graph_param(g, m->words),
                   gf_graph_param(g, m->positions), gf_graph_param(g, m->types),
                   gf_graph_param(g, m->embedding_norm.weight),
                   gf_graph_param(g, m->embedding_norm.bias));
}

static gf_node *residual_norm(gf_graph *g, const gf_norm *norm, double eps, gf_dropout dropout,
                              gf_node *x, gf_node *residual) {
    gf_attr attr = {.eps = eps, .dropout = dropout};
    return gf_call(g, residual_norm, &attr, x, residual, gf_graph_param(g, norm->weight),
                   gf_graph_param(g, norm->bias));
}

static gf_node *run_layer(gf_graph *g, gf_model *m, int64_t i, const gf_batch *b,
                          const gf_mode *mode, gf_node *x) {
    const gf_bert_layer *l = &m->layers[i];
    bool trains = layer_trains(l);
    double eps = m->config.layer_norm_eps;
    gf_activation act = m->config.gelu_tanh ? GF_ACT_GELU_TANH : GF_ACT_GELU;
    gf_attr attr = {
        .heads = m->config.num_attention_heads, .start = b->start, .sequences = b->sequences};
    gf_node *q = linear(g, &l->query, GF_ACT_NONE, x), *k = linear(g, &l->key, GF_ACT_NONE, x);
    gf_node *v = linear(g, &l->value, GF_ACT_NONE, x), *y;
    attr.dropout = site(mode, trains, mode->attention_dropout, 3 * i + 1);
    y = linear(g, &l->attention_out, GF_ACT_NONE, gf_call(g, attention, &attr, q, k, v));
    x = residual_norm(g, &l->attention_norm, eps,
                      site(mode, trains, mode->hidden_dropout, 3 * i + 2), y, x);
    y = linear(g, &l->output, GF_ACT_NONE, linear(g, &l->intermediate, act, x));
    return residual_norm(g, &l->output_norm, eps,
                         site(mode, trains, mode->hidden_dropout, 3 * i + 3), y, x);
}

gf_node *gf_model_hidden_behind(gf_graph *g, gf_model *m, const gf_batch *b, const gf_mode *mode,
                                int64_t layers) {
    gf_shape shape = gf_shape2(b->tokens, m->config.hidden_size);
    gf_node *x =
        mode->hidden ? gf_graph_input(g, shape, mode->hidden) : embed_tokens(g, m, b, mode);
    for (int64_t i = mode->hidden ? mode->layers : 0; i < layers; i++) {
        gf_graph_segment(g);
        x = run_layer(g, m, i, b, mode, x);
    }
    return x;
}

gf_node *gf_model_hidden(gf_graph *g, gf_model *m, const gf_batch *b, const gf_mode *mode) {
    return gf_model_hidden_behind(g, m, b, mode, m->config.num_hidden_layers);
}

static gf_node *project(gf_graph *g, const gf_model *m, gf_node *x) {
    gf_attr attr = {.kind = m->dense_activation == GF_DENSE_TANH ? GF_ACT_TANH : GF_ACT_NONE};
    gf_node *bias = m->dense.bias ? gf_graph_param(g, m->dense.bias)
                                  : gf_graph_input(g, gf_shape1(m->embedding_size), m->zeros);
    return gf_call(g, linear, &attr, x, gf_graph_param(g, m->dense.weight), bias);
}

gf_node *gf_model_embed(gf_graph *g, gf_model *m, const gf_batch *b, const gf_mode *mode) {
    static const int kinds[] = {[GF_POOL_MEAN] = GF_POOLED_MEAN,
                                [GF_POOL_CLS] = GF_POOLED_CLS,
                                [GF_POOL_MAX] = GF_POOLED_MAX,
                                [GF_POOL_POOLER] = GF_POOLED_CLS};
    gf_attr attr = {.kind = kinds[m->pooling], .start = b->start, .sequences = b->sequences};
    gf_node *x = gf_call(g, pool, &attr, gf_model_hidden(g, m, b, mode));
    if (m->dense.weight) x = project(g, m, x);
    return m->normalize ? gf_call(g, l2_normalize, &attr, x) : x;
}

gf_node *gf_head_logits(gf_graph *g, const gf_head *h, gf_node *embedding) {
    return linear(g, &h->linear, GF_ACT_NONE, embedding);
}
