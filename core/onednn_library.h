/* onednn_library: libdnnl loaded at run time, for core/onednn.c.
 *
 *     gf_dnnl d = {0};
 *     if (!gf_dnnl_load(&d, NULL, e)) goto done;
 *     ... d.engine_create(&engine, GF_DNNL_CPU, 0) ...
 *     gf_dnnl_unload(&d);
 *
 * Declared here is what is called of oneDNN's C API, version 2 from 2.6 on (oneDNN developer guide,
 * "C API"; constants of dnnl_types.h), so that graft builds without its headers. Descriptors are
 * structs of the library's own, which fills them in: here they are room that is large enough (2.6
 * takes 696 and 2800 bytes). Version 3 has other signatures, and is refused. */
#ifndef GF_CORE_ONEDNN_LIBRARY_H
#define GF_CORE_ONEDNN_LIBRARY_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GF_DNNL_CPU = 1,
    GF_DNNL_BF16 = 2,
    GF_DNNL_F32 = 3,
    GF_DNNL_TAG_ANY = 1,
    GF_DNNL_IN_ORDER = 1,
    GF_DNNL_SCRATCHPAD_USER = 1,
    GF_DNNL_QUERY_IMPL = 8,
    GF_DNNL_QUERY_WEIGHTS = 131,
    GF_DNNL_QUERY_SCRATCHPAD = 136,
    GF_DNNL_ARG_FROM = 1,
    GF_DNNL_ARG_WEIGHTS = 33,
    GF_DNNL_ARG_TO = 17,
    GF_DNNL_ARG_SCRATCHPAD = 80,
    GF_DNNL_SEQUENTIAL = 1,
    GF_DNNL_OPENMP = 2,
    GF_DNNL_MAX_DIMS = 12
};

typedef struct gf_dnnl_version {
    int major, minor, patch;
    const char *hash;
    unsigned cpu_runtime, gpu_runtime;
} gf_dnnl_version;

typedef struct gf_dnnl_memory_desc {
    _Alignas(64) unsigned char room[2048];
} gf_dnnl_memory_desc;

typedef struct gf_dnnl_op_desc {
    _Alignas(64) unsigned char room[8192];
} gf_dnnl_op_desc;

typedef struct gf_dnnl_arg {
    int what;
    void *memory;
} gf_dnnl_arg;

/* 0 is success throughout. Engines, streams, memories, attributes, primitives and their descriptors
 * are opaque. */
typedef struct gf_dnnl {
    void *handle;
    const gf_dnnl_version *(*version)(void);
    int (*engine_create)(void **engine, int kind, size_t index);
    int (*engine_destroy)(void *engine);
    int (*stream_create)(void **stream, void *engine, unsigned flags);
    int (*stream_destroy)(void *stream);
    int (*attr_create)(void **attr);
    int (*attr_destroy)(void *attr);
    int (*attr_set_scratchpad_mode)(void *attr, int mode);
    int (*desc_by_strides)(gf_dnnl_memory_desc *d, int n, const int64_t *dims, int type,
                           const int64_t *strides);
    int (*desc_by_tag)(gf_dnnl_memory_desc *d, int n, const int64_t *dims, int type, int tag);
    size_t (*desc_size)(const gf_dnnl_memory_desc *d);
    int (*matmul_desc)(gf_dnnl_op_desc *op, const gf_dnnl_memory_desc *a,
                       const gf_dnnl_memory_desc *b, const gf_dnnl_memory_desc *bias,
                       const gf_dnnl_memory_desc *c);
    int (*choose)(void **chosen, const void *op, const void *attr, void *engine, const void *hint);
    int (*choose_reorder)(void **chosen, const gf_dnnl_memory_desc *from, void *from_engine,
                          const gf_dnnl_memory_desc *to, void *to_engine, const void *attr);
    int (*query)(const void *chosen, int what, int index, void *result);
    const gf_dnnl_memory_desc *(*query_desc)(const void *chosen, int what, int index);
    int (*choice_destroy)(void *chosen);
    int (*primitive_create)(void **primitive, const void *chosen);
    int (*primitive_destroy)(void *primitive);
    int (*execute)(const void *primitive, void *stream, int n, const gf_dnnl_arg *args);
    int (*memory_create)(void **memory, const gf_dnnl_memory_desc *d, void *engine, void *at);
    int (*memory_move)(void *memory, void *at, void *stream);
    int (*memory_destroy)(void *memory);
    /* Of the OpenMP it was built with; NULL in a sequential build. */
    int (*get_threads)(void);
    void (*set_threads)(int threads);
} gf_dnnl;

/* path NULL: the system's. GF_E_INVALID when there is none, when it is of another version or kind,
 * or lacks a function. *d is empty after a failure. */
bool gf_dnnl_load(gf_dnnl *d, const char *path, gf_err *e);
void gf_dnnl_unload(gf_dnnl *d);

/* Makes the calling thread one that oneDNN adds no others to, and makes it again what it was. Its
 * OpenMP keeps this number for each thread. */
int gf_dnnl_alone(const gf_dnnl *d);
void gf_dnnl_as_before(const gf_dnnl *d, int threads);

#endif
