/* config: what config.json of a Hugging Face BERT says (transformers, configuration_bert.py). */
#ifndef GF_MODEL_CONFIG_H
#define GF_MODEL_CONFIG_H

#include "core/err.h"
#include "core/json.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gf_bert_config {
    int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int64_t max_position_embeddings, type_vocab_size, pad_token_id;
    bool gelu_tanh; /* hidden_act is gelu_new or gelu_pytorch_tanh, else the erf form */
    double hidden_dropout_prob, attention_probs_dropout_prob;
    double initializer_range, layer_norm_eps;
} gf_bert_config;

/* Reads a parsed config.json; absent keys get transformers' defaults. What is not an encoder-only
 * BERT with absolute positions and GELU is refused by name with GF_E_MODEL. `where` names the file.
 */
bool gf_bert_config_read(gf_bert_config *c, const cJSON *j, const char *where, gf_err *e);
/* The config.json of a BertModel, as a new object for cJSON_Delete(). */
cJSON *gf_bert_config_to_json(const gf_bert_config *c, gf_err *e);

#endif
