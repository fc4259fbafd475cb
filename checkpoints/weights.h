/* weights: parameter values from files of any known format, and the other way.
 *
 *     if (!gf_weights_read_encoder(&m, "bert/model.safetensors", log, e)) goto done;
 *
 * Aligned F32 tensors are used where they lie: the parameter points into the mapped file, which the
 * model then keeps. Others are converted into memory of the parameter's own. A missing tensor and a
 * wrong shape are GF_E_MODEL, with the tensor's name and both shapes. */
#ifndef GF_CHECKPOINTS_WEIGHTS_H
#define GF_CHECKPOINTS_WEIGHTS_H

#include "checkpoints/tensor.h"
#include "core/log.h"
#include "model/model.h"

/* True for heads.<task>.weight and .bias, false for what belongs to the encoder. */
bool gf_weights_is_head(const gf_param *p);
/* All parameters of embeddings and layers. Names may have any prefix, the same before all
 * ("bert.", "0.auto_model."), and LayerNorm's parameters TensorFlow's names gamma and beta; what
 * the file holds beyond that goes to the log in one line. */
bool gf_weights_read_encoder(gf_model *m, const char *path, const gf_log *log, gf_err *e);
/* A linear layer of the model from the tensors NAME.weight and NAME.bias, with the encoder's prefix
 * or without. */
bool gf_weights_read_linear(gf_model *m, const gf_linear *l, const char *name, const char *path,
                            gf_err *e);
/* The masked language model's parameters that the file has; the others keep what they have, and a
 * note names them. They stand beside the encoder ("bert.embeddings...", "cls.predictions...") or
 * under its prefix. A decoder whose matrix is not that of the word embeddings is warned of. */
bool gf_weights_read_mlm(gf_model *m, const char *path, const gf_log *log, gf_err *e);
/* The rows of NAME, with the encoder's prefix or without; 0 when the file has no such tensor. */
bool gf_weights_rows(const char *path, const char *name, int64_t *rows, gf_err *e);
/* All parameters of all heads. */
bool gf_weights_read_heads(gf_model *m, const char *path, const gf_log *log, gf_err *e);
/* All parameters, under the model's own names. */
bool gf_weights_read_all(gf_model *m, const char *path, gf_err *e);
/* Writes the encoder's parameters, with BERT's pooler if the model has it, or the heads', as F32,
 * F16 or BF16. A parameter without a value is an error. */
bool gf_weights_write(const gf_model *m, bool heads, gf_dtype dtype, const char *path, gf_err *e);
/* Writes NAME.weight and, if there is one, NAME.bias. */
bool gf_weights_write_linear(const gf_linear *l, const char *name, const char *path, gf_err *e);

#endif
