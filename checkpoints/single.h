/* single: a model in one file: a safetensors file that also carries what a folder holds beside it.
 *
 *     if (!gf_single_write(&m, "model.safetensors", GF_DTYPE_F32, e)) goto done;
 *     if (!gf_single_open(&again, "model.safetensors", log, e)) goto done;
 *
 * Configuration, tokenizer, pooling and heads stand in the file's metadata, which other readers
 * pass over; the tensors have the model's names. docs/formats.md lists the keys. */
#ifndef GF_CHECKPOINTS_SINGLE_H
#define GF_CHECKPOINTS_SINGLE_H

#include "checkpoints/tensor.h"
#include "core/log.h"
#include "model/model.h"

/* dtype: F32, F16 or BF16. Published atomically; equal models give equal bytes. */
bool gf_single_write(const gf_model *m, const char *path, gf_dtype dtype, gf_err *e);
/* Opens such a file, or a GGUF one. m must be zeroed; free it also after a failure. A file of
 * tensors without the rest is GF_E_MODEL. */
bool gf_single_open(gf_model *m, const char *path, const gf_log *log, gf_err *e);

#endif
