/* tensor: an array as a weight file holds it: name, element type, shape, bytes.
 *
 *     if (!gf_tensor_to_real(t, out, "model.safetensors", e)) goto done;      (out[t->count])
 *     gf_tensor_pack(GF_DTYPE_F16, values, n, bytes);                         (the other way)
 *
 * Bytes are little endian, in C order, aligned to nothing in particular. */
#ifndef GF_CHECKPOINTS_TENSOR_H
#define GF_CHECKPOINTS_TENSOR_H

#include "core/err.h"
#include "core/real.h"
#include "core/shape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The element types whose size is known; those graft converts are the floating ones. */
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

/* Bytes of an element, 0 for GF_DTYPE_OTHER. */
size_t gf_dtype_size(gf_dtype d);
/* The type of this name as safetensors spells it ("F32"), else GF_DTYPE_OTHER. */
gf_dtype gf_dtype_find(const char *name);
const char *gf_dtype_name(gf_dtype d);

/* The shape; fails when it has more than GF_MAX_DIMS dimensions or one of them is 0. */
bool gf_tensor_shape(const gf_tensor *t, gf_shape *shape, const char *where, gf_err *e);
/* Writes "[8, 384]" into text, whatever the number of dimensions, and returns it. */
const char *gf_tensor_shape_text(const gf_tensor *t, char *text, size_t size);
/* Fills out[t->count]. Narrow floats convert exactly, F64 rounds to nearest; other types fail. */
bool gf_tensor_to_real(const gf_tensor *t, gf_real *out, const char *where, gf_err *e);

/* The other way, to F32, F16 or BF16, rounding to nearest, ties to even: fills count elements. */
void gf_tensor_pack(gf_dtype to, const gf_real *values, int64_t count, unsigned char *bytes);

#endif
