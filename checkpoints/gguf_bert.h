/* gguf_bert: BERT sentence encoders as GGUF files, the format of llama.cpp.
 *
 *     gf_model m = {0};
 *     if (!gf_gguf_open_model(&m, "minilm.gguf", log, e)) goto done;
 *     ...
 *     if (!gf_gguf_write_model(&m, GF_DTYPE_F16, "out.gguf", e)) goto done;
 *     gf_model_free(&m);
 *
 * One file holds configuration, vocabulary, pooling and weights, as llama.cpp's converter names
 * them (bert.*, tokenizer.ggml.*, blk.N.*). graft adds graft.max_length, graft.normalize and
 * graft.hidden_act, which other readers pass over; without them: all positions, L2 norm, erf-GELU.
 * docs/formats.md has the tables, and in what llama.cpp itself computes otherwise. */
#ifndef GF_CHECKPOINTS_GGUF_BERT_H
#define GF_CHECKPOINTS_GGUF_BERT_H

#include "checkpoints/tensor.h"
#include "core/log.h"
#include "model/model.h"

/* m must be zeroed; free it also after a failure (GF_E_MODEL, naming key or tensor). Aligned F32
 * tensors are used where they lie, F16, BF16 and F64 are converted; quantised ones are refused by
 * name, and so is what is no BERT with a WordPiece vocabulary and mean or CLS pooling. */
bool gf_gguf_open_model(gf_model *m, const char *path, const gf_log *log, gf_err *e);

/* False, with GF_E_MODEL and a sentence, for a model that would not be the same after it was
 * written and read: heads, max pooling, a projection behind the pooling, a tokenizer that keeps
 * case, accents or Chinese characters together, or has tokens that GGUF cannot tell apart. */
bool gf_gguf_can_carry(const gf_model *m, gf_err *e);

/* Writes what gf_gguf_can_carry() allows as F32, or with the large matrices as F16. Published
 * atomically; equal models give equal bytes. */
bool gf_gguf_write_model(const gf_model *m, gf_dtype dtype, const char *path, gf_err *e);

#endif
