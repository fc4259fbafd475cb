/* model: one BERT encoder, its pooling, its tokenizer and any number of heads.
 *
 *     gf_model m = {0};
 *     if (!gf_model_make(&m, &config, e)) goto done;             (parameters exist, without values)
 *     if (!gf_model_add_head(&m, "category", names, 28, e)) goto done;
 *     ...                                                         (values from a file or the seed)
 *     gf_model_free(&m);
 *
 * Parameters are named as Hugging Face names them, without the "bert." prefix; heads are
 * heads.<task>.weight [classes, hidden] and heads.<task>.bias [classes]. checkpoints/ fills values
 * from files; model/graph.h builds the computation. The model owns all it points to. */
#ifndef GF_MODEL_MODEL_H
#define GF_MODEL_MODEL_H

#include "core/err.h"
#include "core/io.h"
#include "core/param.h"
#include "data/wordpiece.h"
#include "model/config.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum gf_pooling { GF_POOL_MEAN, GF_POOL_CLS, GF_POOL_MAX } gf_pooling;

/* "mean", "cls" or "max". */
const char *gf_pooling_name(gf_pooling p);

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

typedef struct gf_head {
    char *name;     /* the task's */
    char **classes; /* [n_classes] in the order of the logits */
    int64_t n_classes;
    gf_linear linear; /* [n_classes, H] */
} gf_head;

typedef struct gf_model {
    gf_bert_config config;
    gf_pooling pooling;
    bool normalize;     /* L2 norm of the pooled embedding */
    int64_t max_length; /* tokens of a text, special ones included */
    gf_tokenizer *tokenizer;
    gf_params params;                    /* embeddings, layers, heads, in this order */
    gf_param *words, *positions, *types; /* [V, H], [P, H], [Y, H] */
    gf_norm embedding_norm;
    gf_bert_layer *layers; /* [num_hidden_layers] */
    gf_head *heads;        /* [n_heads] */
    int64_t n_heads;
    gf_map *maps; /* [n_maps] files in which mapped parameter values lie */
    int64_t n_maps;
} gf_model;

/* All encoder parameters with their shapes; mean pooling, L2 norm, max_length = the positions there
 * are. m must be zeroed; free it also after a failure. */
bool gf_model_make(gf_model *m, const gf_bert_config *config, gf_err *e);
/* A further head; names are copied. Fails when the task has one already. */
bool gf_model_add_head(gf_model *m, const char *task, const char *const *classes, int64_t n_classes,
                       gf_err *e);
/* Puts a head at place `to` of the list; the others keep their order. */
void gf_model_move_head(gf_model *m, gf_head *head, int64_t to);
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
