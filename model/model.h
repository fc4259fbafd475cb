/* model: one BERT encoder, its pooling, a projection, its tokenizer and any number of heads.
 *
 *     gf_model m = {0};
 *     if (!gf_model_make(&m, &config, e)) goto done;             (parameters exist, without values)
 *     if (!gf_model_set_pooling(&m, GF_POOL_POOLER, e)) goto done;         (another than the mean)
 *     if (!gf_model_add_head(&m, "category", names, 28, e)) goto done;
 *     ...                                                         (values from a file or the seed)
 *     gf_model_free(&m);
 *
 * An embedding is the pooled hidden states, then, where there is one, a projection of them (BERT's
 * own pooler, or sentence-transformers' Dense), then the L2 norm.
 *
 * Parameters are named as Hugging Face names them, without the "bert." prefix. The pooler is
 * pooler.dense.weight [H, H] and .bias, a Dense is dense.weight [E, H] and, perhaps, dense.bias;
 * heads are heads.<task>.weight [O, E] and heads.<task>.bias [O], O the logits of the task's type;
 * the masked language model is cls.predictions.* (model/mlm.h). H is the hidden size, E the
 * embedding's. checkpoints/ fills values from files; model/encode.h builds the computation. The
 * model owns all it points to. */
#ifndef GF_MODEL_MODEL_H
#define GF_MODEL_MODEL_H

#include "core/err.h"
#include "core/io.h"
#include "core/param.h"
#include "data/wordpiece.h"
#include "model/config.h"
#include "model/task.h"

#include <stdbool.h>
#include <stdint.h>

/* GF_POOL_POOLER is BERT's pooler: tanh of a linear layer over the [CLS] token (Devlin et al.
 * 2019), the only pooling with parameters. */
typedef enum gf_pooling { GF_POOL_MEAN, GF_POOL_CLS, GF_POOL_MAX, GF_POOL_POOLER } gf_pooling;

/* "mean", "cls", "max" or "pooler". */
const char *gf_pooling_name(gf_pooling p);
/* The other way; false when there is no such pooling. */
bool gf_pooling_find(const char *name, gf_pooling *p);

/* What follows the projection's linear layer. */
typedef enum gf_dense_activation { GF_DENSE_IDENTITY, GF_DENSE_TANH } gf_dense_activation;

/* "identity" or "tanh". */
const char *gf_dense_activation_name(gf_dense_activation a);
bool gf_dense_activation_find(const char *name, gf_dense_activation *a);

/* A linear layer's parameters: y = x weightᵀ + bias. */
typedef struct gf_linear {
    gf_param *weight; /* [out, in] */
    gf_param *bias;   /* [out] */
} gf_linear;

typedef struct gf_norm {
    gf_param *weight, *bias; /* [H] gamma and beta */
} gf_norm;

typedef struct gf_bert_layer {
    gf_linear query, key, value, attention_out; /* [H, H] */
    gf_norm attention_norm;
    gf_linear intermediate; /* [I, H] */
    gf_linear output;       /* [H, I] */
    gf_norm output_norm;
} gf_bert_layer;

/* What predicts masked tokens (Devlin et al. 2019, section 3.1): a transform and a bias; the matrix
 * behind them is that of the word embeddings. */
typedef struct gf_mlm {
    gf_linear dense; /* [H, H] cls.predictions.transform.dense; weight NULL: there is none */
    gf_norm norm;    /* cls.predictions.transform.LayerNorm */
    gf_param *bias;  /* [V] cls.predictions.bias */
} gf_mlm;

typedef struct gf_head {
    char *name; /* the task's */
    gf_task_type type;
    char **classes; /* [n_classes] in the order of the scores; none for a regression */
    int64_t n_classes;
    int64_t outputs;     /* O, the logits it has; see model/task.h */
    gf_real *thresholds; /* [n_classes] of multi_label, from which score on a class is predicted */
    gf_linear linear;    /* [O, E] */
} gf_head;

typedef struct gf_model {
    gf_bert_config config;
    gf_pooling pooling;
    bool normalize;     /* L2 norm of the pooled embedding */
    int64_t max_length; /* tokens of a text, special ones included */
    gf_tokenizer *tokenizer;
    gf_params params; /* embeddings, layers, projection, mlm, heads, in this order */
    gf_param *words, *positions, *types; /* [V, H], [P, H], [Y, H] */
    gf_norm embedding_norm;
    gf_bert_layer *layers; /* [num_hidden_layers] */
    gf_linear dense;       /* [E, H] the projection; weight NULL: none, bias may be NULL */
    gf_dense_activation dense_activation;
    int64_t embedding_size; /* E: the hidden size, or what the projection makes of it */
    gf_real *zeros;         /* [E] in place of a bias that a projection lacks */
    gf_mlm mlm;             /* there while the model is trained on masked tokens */
    gf_head *heads;         /* [n_heads] */
    int64_t n_heads;
    gf_map *maps; /* [n_maps] files in which mapped parameter values lie */
    int64_t n_maps;
} gf_model;

/* All encoder parameters with their shapes; mean pooling, no projection, L2 norm, max_length = the
 * positions there are. m must be zeroed; free it also after a failure. */
bool gf_model_make(gf_model *m, const gf_bert_config *config, gf_err *e);
/* Another pooling. To GF_POOL_POOLER, the pooler comes as the projection, without values, in place
 * of one that may be there; from it, the pooler goes. Among the others a projection stays. Fails
 * when heads stand on a projection whose width is not the hidden size. */
bool gf_model_set_pooling(gf_model *m, gf_pooling p, gf_err *e);
/* A projection to `out` elements with the parameters PREFIX.weight and, if wanted, PREFIX.bias,
 * without values. The model has none yet, and no heads unless `out` is the hidden size. */
bool gf_model_add_dense(gf_model *m, const char *prefix, int64_t out, bool bias,
                        gf_dense_activation activation, gf_err *e);
/* True for what stands between the encoder and the heads. */
bool gf_model_is_dense(const gf_model *m, const gf_param *p);
/* The masked language model's parameters, without values; true also when the model has them. They
 * belong to training: checkpoints keep them, model folders and exports leave them out. */
bool gf_model_add_mlm(gf_model *m, gf_err *e);
/* Removes them; the model need not have them. */
void gf_model_drop_mlm(gf_model *m);
/* True for the masked language model's own parameters. */
bool gf_model_is_mlm(const gf_model *m, const gf_param *p);
/* A further head for a classification; names are copied. Fails when the task has one already. */
bool gf_model_add_head(gf_model *m, const char *task, const char *const *classes, int64_t n_classes,
                       gf_err *e);
/* The same for a task of any type. The thresholds of a multi_label head are 0.5 each. */
bool gf_model_add_task_head(gf_model *m, const char *task, gf_task_type type,
                            const char *const *classes, int64_t n_classes, gf_err *e);
/* Puts a head at place `to` of the list; the others keep their order. */
void gf_model_move_head(gf_model *m, gf_head *head, int64_t to);
/* Gives a head and its parameters another name, which no head has. */
bool gf_model_rename_head(gf_model *m, gf_head *head, const char *task, gf_err *e);
/* Removes the last head and its parameters. */
void gf_model_drop_last_head(gf_model *m);
gf_head *gf_model_find_head(const gf_model *m, const char *task);
/* Draws values as BERT does: weights from N(0, initializer_range), biases 0, LayerNorm 1 and 0.
 * Each element is a function of (seed, parameter's name, index). Only parameters without a value.
 */
bool gf_model_init(gf_model *m, uint64_t seed, gf_err *e);
/* Hands a mapping to the model, which unmaps it when it is freed; *map is emptied. */
bool gf_model_keep_map(gf_model *m, gf_map *map, gf_err *e);
void gf_model_free(gf_model *m);

#endif
