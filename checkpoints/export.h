/* export: a model in the form that other tools read.
 *
 *     gf_export_options o = {.format = "onnx", .dtype = GF_DTYPE_F32};
 *     gf_export_result r = {0};
 *     if (!gf_export(&m, "out", &o, &r, e)) goto done;      (r.largest: what the format rounded)
 *
 * What is written is read again and compared with the model before this returns: values, shapes,
 * pooling, heads and the ids of some texts. A difference beyond the rounding of the format's
 * element type is GF_E_VERIFY; what a format cannot carry is refused by name with GF_E_MODEL. */
#ifndef GF_CHECKPOINTS_EXPORT_H
#define GF_CHECKPOINTS_EXPORT_H

#include "checkpoints/tensor.h"
#include "core/log.h"
#include "model/model.h"

typedef struct gf_export_options {
    const char *format; /* a name of gf_export_names */
    gf_dtype dtype;     /* of the encoder's weights: F32, F16 or BF16 */
    bool without_heads;
    const char *readme; /* the model card of a sentence-transformers folder, NULL: none */
} gf_export_options;

typedef struct gf_export_result {
    int64_t tensors, elements; /* compared */
    double largest;            /* absolute difference to the model */
} gf_export_result;

/* [GF_EXPORTS] */
extern const char *const gf_export_names[];
enum { GF_EXPORTS = 5 };

/* Writes OUT, a folder (hf, sentence-transformers, onnx) or a file (safetensors, gguf), published
 * atomically. The masked language model is dropped from *m, with without_heads the heads, too. */
bool gf_export(gf_model *m, const char *out, const gf_export_options *o, gf_export_result *r,
               gf_err *e);

#endif
