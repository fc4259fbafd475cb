/* outline: how a model makes an embedding of hidden states, as JSON, wherever no folder of
 * sentence-transformers says it:
 *     {"pooling": "mean", "normalize": true, "max_length": 128,
 *      "dense": {"size": 256, "bias": true, "activation": "tanh"}}
 * "dense" is null without a projection, and with the pooling "pooler", which brings its own. */
#ifndef GF_CHECKPOINTS_OUTLINE_H
#define GF_CHECKPOINTS_OUTLINE_H

#include "core/json.h"
#include "model/model.h"

/* A new object for cJSON_Delete(). */
cJSON *gf_outline_to_json(const gf_model *m, gf_err *e);
/* Gives a model without heads what j says; the projection has no values yet. Failures are
 * GF_E_MODEL and name the key. */
bool gf_outline_apply(gf_model *m, const cJSON *j, const char *where, gf_err *e);

#endif
