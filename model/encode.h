/* encode: the computation of a model as a tape over a packed batch.
 *
 *     gf_node *e = gf_model_embed(graph, model, &batch, &(gf_mode){0});      [B, E]
 *     gf_node *z = gf_head_logits(graph, &model->heads[0], e);               [B, classes]
 *
 * Devlin et al. 2019 (BERT) with post-layer norms, mean pooling and L2 norm of Reimers & Gurevych
 * 2019. Nodes are checked together by gf_graph_plan(). */
#ifndef GF_MODEL_ENCODE_H
#define GF_MODEL_ENCODE_H

#include "autograd/graph.h"
#include "data/batch.h"
#include "model/model.h"

/* How a pass runs. All zero is inference. */
typedef struct gf_mode {
    bool training; /* dropout is on in modules of which a parameter trains, off in frozen ones */
    double hidden_dropout, attention_dropout;
    uint64_t seed, step; /* which dropout masks; step counts every batch, accumulated ones too */
    /* Where the pass begins: behind the lowest `layers` layers, whose output for this batch is
     * `hidden` [T, H]. NULL: with the tokens. Nothing below may train; all above is as in a whole
     * pass, dropout masks too. */
    const gf_real *hidden;
    int64_t layers;
} gf_mode;

/* The hidden states behind the last layer [T, H]. */
gf_node *gf_model_hidden(gf_graph *g, gf_model *m, const gf_batch *b, const gf_mode *mode);
/* Those behind the lowest `layers` layers [T, H]. */
gf_node *gf_model_hidden_behind(gf_graph *g, gf_model *m, const gf_batch *b, const gf_mode *mode,
                                int64_t layers);
/* Pooled and, as the model says, projected and normalised [B, E]. */
gf_node *gf_model_embed(gf_graph *g, gf_model *m, const gf_batch *b, const gf_mode *mode);
/* Logits [B, classes] over an embedding [B, E]. */
gf_node *gf_head_logits(gf_graph *g, const gf_head *h, gf_node *embedding);
/* True when no parameter below the heads trains: the embedding of a text is then a constant. */
bool gf_model_encoder_frozen(const gf_model *m);
/* How many layers from below stand still, embeddings included: what a text is behind them is then a
 * constant. 0: the lowest layer trains and the embeddings do not; -1: the embeddings train. */
int64_t gf_model_frozen_layers(const gf_model *m);

#endif
