/* safetensors: named tensors in one file, read in place.
 *
 *     gf_safetensors s = {0};
 *     if (!gf_safetensors_open(&s, "model.safetensors", e)) goto done;
 *     const gf_tensor *t = gf_safetensors_find(&s, "embeddings.LayerNorm.weight");
 *     if (t && !gf_tensor_to_real(t, out, "model.safetensors", e)) goto done;
 *     gf_safetensors_close(&s);
 *
 * The format (huggingface/safetensors, README and src/tensor.rs): u64 N, N bytes of JSON that
 * map a name to {"dtype", "shape", "data_offsets": [begin, end]}, then the data, all little
 * endian. The file may be hostile: everything that is not exactly so is refused with GF_E_MODEL,
 * and the sentence names file and tensor. An unknown dtype or too many dimensions is refused
 * only when the tensor is used. */
#ifndef GF_CHECKPOINTS_SAFETENSORS_H
#define GF_CHECKPOINTS_SAFETENSORS_H

#include "core/err.h"
#include "core/io.h"
#include "core/json.h"
#include "core/real.h"
#include "core/shape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The element types whose size is known; those graft converts are F16, BF16, F32 and F64. */
typedef enum gf_dtype {
    GF_DTYPE_OTHER,
#define GF_DTYPE(name, size) GF_DTYPE_##name,
#include "checkpoints/dtype.def"
#undef GF_DTYPE
} gf_dtype;

enum { GF_TENSOR_DIMS = 8 };

typedef struct gf_tensor {
    const char *name;
    const char *dtype_name; /* as the file spells it */
    gf_dtype dtype;
    int n_dims;                  /* 0 is a scalar; dimensions behind the 8th are not stored */
    int64_t dim[GF_TENSOR_DIMS]; /* may be 0 */
    int64_t count;               /* elements: the product of all dimensions */
    const unsigned char *data;   /* in the file's bytes, aligned to nothing in particular */
    size_t bytes;
} gf_tensor;

typedef struct gf_safetensors {
    gf_map map;       /* of gf_safetensors_open(); its user may take it over and empty this field */
    gf_tensor *items; /* [count] by name */
    int64_t count;
    cJSON *header; /* owns the names; "__metadata__" is still in it */
} gf_safetensors;

/* Maps a file and reads its header. s must be zeroed; after a failure it is empty again. */
bool gf_safetensors_open(gf_safetensors *s, const char *path, gf_err *e);
/* The same over bytes that stay the caller's and must outlive s. `where` names them in errors. */
bool gf_safetensors_parse(gf_safetensors *s, const unsigned char *bytes, size_t size,
                          const char *where, gf_err *e);
/* The tensor of this name, or NULL. */
const gf_tensor *gf_safetensors_find(const gf_safetensors *s, const char *name);
void gf_safetensors_close(gf_safetensors *s);

/* The shape; fails when it has more than GF_MAX_DIMS dimensions or one of them is 0. */
bool gf_tensor_shape(const gf_tensor *t, gf_shape *shape, const char *where, gf_err *e);
/* Writes "[8, 384]" into text, whatever the number of dimensions, and returns it. */
const char *gf_tensor_shape_text(const gf_tensor *t, char *text, size_t size);
/* Fills out[t->count]. F16 and BF16 convert exactly, F64 rounds to nearest; other types fail. */
bool gf_tensor_to_real(const gf_tensor *t, gf_real *out, const char *where, gf_err *e);

typedef struct gf_named_tensor {
    const char *name;
    gf_shape shape;
    const gf_real *data; /* shape's elements */
} gf_named_tensor;

/* Writes the tensors as F32, byte for byte what Python's safetensors writes for them with the
 * metadata {"format": "pt"} that transformers wants to see. Published atomically (core/io). */
bool gf_safetensors_write(const char *path, const gf_named_tensor *items, int64_t count, gf_err *e);

#endif
