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

#include "checkpoints/tensors.h"

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

/* The format as gf_tensors_open() knows it. */
bool gf_safetensors_begins(const unsigned char *bytes, size_t size);
bool gf_safetensors_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                         gf_err *e);

typedef struct gf_named_tensor {
    const char *name;
    gf_shape shape;
    const gf_real *data; /* shape's elements */
} gf_named_tensor;

/* Writes the tensors as F32, F16 or BF16, byte for byte what Python's safetensors writes for them
 * with the same metadata: {"format": "pt"}, which transformers wants to see, and then the strings
 * of `metadata`, an object that may be NULL. Published atomically (core/io). */
bool gf_safetensors_write_as(const char *path, const gf_named_tensor *items, int64_t count,
                             gf_dtype dtype, const cJSON *metadata, gf_err *e);
/* F32 without further metadata. */
bool gf_safetensors_write(const char *path, const gf_named_tensor *items, int64_t count, gf_err *e);

#endif
