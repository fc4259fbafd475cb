/* onnx_graph: builds the nodes and initializers of an ONNX graph.
 *
 *     gf_onnx_graph g = {.e = e, .ok = true};
 *     const char *x = gf_onnx_input(&g, "x", GRAFT_ONNX__DATA_TYPE__FLOAT, true, 8);
 *     const char *y = gf_onnx_node(&g, "Softmax", "head", x, NULL, NULL);
 *     gf_onnx_set_int(&g, "axis", -1);                         (an attribute of the last node)
 *     gf_onnx_output(&g, gf_onnx_rename(&g, "y"), true, 8);
 *     if (!g.ok) goto done;                                    (*e says why)
 *     ...                                                      (g.message is the GraphProto)
 *     gf_onnx_graph_free(&g);
 *
 * A value in the graph is its name. The first failure (memory) clears g.ok and all later calls do
 * nothing and return "", so that calls nest and one look at the end is enough. The graph owns all
 * that it points to but the elements of parameters, which stay where they are. */
#ifndef GF_CHECKPOINTS_ONNX_GRAPH_H
#define GF_CHECKPOINTS_ONNX_GRAPH_H

#include "checkpoints/onnx.pb-c.h"
#include "core/err.h"
#include "core/param.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gf_onnx_graph {
    GraftOnnx__Graph message; /* zeroed until the first call */
    gf_err *e;
    bool ok;
    int64_t node_capacity, initializer_capacity, input_capacity, output_capacity;
    void **owned; /* [n_owned] */
    int64_t n_owned, owned_capacity;
} gf_onnx_graph;

/* Declares an input or output of the shape [batch, sequence, width], without `sequence` [batch,
 * width], and with width 0 without the last one. Batch and sequence are of any size. */
const char *gf_onnx_input(gf_onnx_graph *g, const char *name, GraftOnnx__DataType type,
                          bool sequence, int64_t width);
void gf_onnx_output(gf_onnx_graph *g, const char *name, bool sequence, int64_t width);

/* A parameter under its own name, [out, in] as it is; a second call adds nothing. Fails when it has
 * no value. */
const char *gf_onnx_param(gf_onnx_graph *g, const gf_param *p);
/* Constants. The name stands for the value: a second call of the same name adds nothing. */
const char *gf_onnx_int64s(gf_onnx_graph *g, const char *name, const int64_t *values, int64_t n);
const char *gf_onnx_scalar(gf_onnx_graph *g, const char *name, double value);

/* A node with one to three inputs (NULL behind the last); its output is named WHERE/OP_NUMBER. */
const char *gf_onnx_node(gf_onnx_graph *g, const char *op, const char *where, const char *a,
                         const char *b, const char *c);
/* Attributes of the last node. */
void gf_onnx_set_int(gf_onnx_graph *g, const char *name, int64_t value);
void gf_onnx_set_float(gf_onnx_graph *g, const char *name, double value);
void gf_onnx_set_ints(gf_onnx_graph *g, const char *name, const int64_t *values, int64_t n);
/* Calls the last node's output so, before any node uses it. */
const char *gf_onnx_rename(gf_onnx_graph *g, const char *name);

/* Memory that lives as long as the graph, zeroed; NULL when it is out. */
void *gf_onnx_keep(gf_onnx_graph *g, int64_t count, size_t size);
void gf_onnx_graph_free(gf_onnx_graph *g);

#endif
