/* onnx_read: ONNX files as tensors, and as messages for who checks a graph.
 *
 *     gf_tensors t = {0};
 *     GraftOnnx__Model *m = gf_onnx_unpack(&t, bytes, size, "model.onnx", e);
 *     ...
 *     gf_tensors_close(&t);                                       (frees the message, too)
 *
 * As weights (gf_tensors_open), an ONNX file is its initializers of type FLOAT and FLOAT16 whose
 * name has a dot in it: those are parameters, what has none are constants that an exporter made.
 * The file may be hostile: messages do not nest, and what is damaged is GF_E_MODEL. */
#ifndef GF_CHECKPOINTS_ONNX_READ_H
#define GF_CHECKPOINTS_ONNX_READ_H

#include "checkpoints/onnx.pb-c.h"
#include "checkpoints/tensors.h"

/* The message, in memory of t's; NULL when the bytes are none, or hold no graph. */
GraftOnnx__Model *gf_onnx_unpack(gf_tensors *t, const unsigned char *bytes, size_t size,
                                 const char *where, gf_err *e);
/* An initializer as a tensor whose data lie in the message. */
bool gf_onnx_tensor(gf_tensor *out, const GraftOnnx__Tensor *x, const char *where, gf_err *e);

/* The format as gf_tensors_open() knows it. */
bool gf_onnx_begins(const unsigned char *bytes, size_t size);
bool gf_onnx_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                  gf_err *e);

#endif
