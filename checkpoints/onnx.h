/* onnx: a model as an ONNX graph that other programs run.
 *
 *     if (!gf_onnx_write(&m, false, "out/model.onnx", e)) goto done;
 *     if (!gf_onnx_compare(&m, "out/model.onnx", &largest, e)) goto done;     (largest is 0)
 *
 * Operators of version 17, IR version 8, batch and sequence of any size:
 *     input_ids, attention_mask, token_type_ids   int64 [batch, sequence]
 *     last_hidden_state                           float [batch, sequence, H]
 *     sentence_embedding                          float [batch, E]            (the full graph)
 *     logits_<task>                               float [batch, O]            (the full graph)
 * H is the hidden size, E the embedding's, O the logits of the task's type (model/task.h: the
 * classes, one less for ordinal, 1 for a regression). Initializers have the parameters' names and
 * layouts, so that the file also serves as weights; types, classes and thresholds of the heads are
 * the metadata "heads", the text of heads.json. A row without any token (attention_mask all 0)
 * gives finite numbers without meaning. */
#ifndef GF_CHECKPOINTS_ONNX_H
#define GF_CHECKPOINTS_ONNX_H

#include "model/model.h"

/* Published atomically, PATH.tmp first; equal models give equal bytes. A model of 2 GiB or more
 * does not fit into the format and is GF_E_MODEL. encoder_only leaves pooling and heads out. */
bool gf_onnx_write(const gf_model *m, bool encoder_only, const char *path, gf_err *e);

/* Reads a written file again. Every parameter of the model must be in it with its name and shape
 * (an encoder-only file needs no others than the encoder's), every node's input must come from an
 * earlier node, a graph input or an initializer, and the outputs must be declared and exist; else
 * GF_E_VERIFY. *largest is the largest absolute difference between values. */
bool gf_onnx_compare(const gf_model *m, const char *path, double *largest, gf_err *e);

#endif
