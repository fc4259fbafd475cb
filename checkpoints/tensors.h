/* tensors: the named tensors of weight files, whatever their format.
 *
 *     gf_tensors t = {0};
 *     if (!gf_tensors_open(&t, "model.safetensors.index.json", e)) goto done;
 *     const gf_tensor *x = gf_tensors_find(&t, "embeddings.LayerNorm.weight");
 *     ...
 *     gf_tensors_close(&t);
 *
 * One reader a format (safetensors.c, torch_file.c, gguf.c, ...) fills a gf_tensors; who wants
 * weights, lists or compares them reads it and need not know the format. Data lie in the mapped
 * files where they can, else in memory that the gf_tensors owns. */
#ifndef GF_CHECKPOINTS_TENSORS_H
#define GF_CHECKPOINTS_TENSORS_H

#include "checkpoints/tensor.h"
#include "core/io.h"
#include "core/json.h"

typedef struct gf_tensors {
    const char *format; /* of the first file, for people: "safetensors", "GGUF", ... */
    gf_tensor *items;   /* [count] by name */
    int64_t count, capacity;
    cJSON *metadata; /* an object of strings, NULL if the files have none */
    gf_map *maps;    /* [n_maps] the files; a user may take one over and empty it */
    int64_t n_maps;
    void **owned; /* [n_owned] names and converted data */
    int64_t n_owned, owned_capacity;
} gf_tensors;

/* Opens a file of a known format, told by its first bytes, or an *.index.json that spreads weights
 * over several files beside it. t must be zeroed; close it also after a failure (GF_E_MODEL). */
bool gf_tensors_open(gf_tensors *t, const char *path, gf_err *e);
/* True when a file begins as one of the formats does. */
bool gf_tensors_is_known(const char *path);
/* The tensor of this name, or NULL. */
const gf_tensor *gf_tensors_find(const gf_tensors *t, const char *name);
void gf_tensors_close(gf_tensors *t);

/* For readers. Adds a tensor whose data stay where they are (a map's bytes, or memory from
 * gf_tensors_alloc()); name and dtype_name are copied. The byte count must be the shape's where the
 * type is known. */
bool gf_tensors_add(gf_tensors *t, const gf_tensor *tensor, const char *where, gf_err *e);
/* Memory that lives as long as t. */
void *gf_tensors_alloc(gf_tensors *t, size_t bytes, gf_err *e);

#endif
