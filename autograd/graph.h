/* graph: the tape. Built anew for every batch, planned, run forward and backward, reused.
 *
 *     gf_graph_reset(g);
 *     gf_node *x = gf_graph_param(g, words), *y = gf_call(g, linear, attr, x, w, b);
 *     gf_node *loss = gf_call(g, cross_entropy, labels, y);
 *     if (!gf_graph_plan(g, &loss, 1, e)) goto done;          (the only call here that can fail)
 *     gf_graph_forward(g);
 *     gf_graph_backward(g, (double[]){weight});
 *
 * A node that does not fit remembers why; calls over a NULL node return NULL, so one check at
 * gf_graph_plan() is enough. Values, saved activations, gradients and scratch share one arena in
 * which a place is given again once its last reader is done; its size is known after planning and
 * never grows while running. Parameter gradients are the parameters' own and are added to. The tape
 * is cut below the lowest trainable parameter: nodes above none have no gradient. */
#ifndef GF_AUTOGRAD_GRAPH_H
#define GF_AUTOGRAD_GRAPH_H

#include "autograd/op.h"
#include "core/err.h"
#include "core/profile.h"

#include <stddef.h>

/* pool and vec outlive the graph. NULL when memory is out. */
gf_graph *gf_graph_new(gf_pool *pool, const gf_vec *vec, gf_err *e);
void gf_graph_free(gf_graph *g);
/* Linear ops multiply through it, in bf16 (core/onednn.h), on all tapes from now on; it outlives
 * the graph. NULL: in fp32, as at first. To be called before any node is made. */
void gf_graph_set_onednn(gf_graph *g, gf_onednn *o);
/* Every op run from now on is a span of this profile, which outlives the graph; NULL: of none. */
void gf_graph_set_profile(gf_graph *g, gf_profile *p);
void gf_graph_reset(gf_graph *g);

/* A leaf with a fixed value; x must outlive the run. */
gf_node *gf_graph_input(gf_graph *g, gf_shape shape, const gf_real *x);
/* A leaf for a parameter. A tape can be planned before p->grad exists, but not run backward. */
gf_node *gf_graph_param(gf_graph *g, gf_param *p);
/* One op on op->n_in inputs. */
gf_node *gf_graph_call(gf_graph *g, const gf_op *op, const gf_attr *attr, gf_node *const *in,
                       int n_in);
#define gf_call(g, name, attr, ...)                                                                \
    gf_graph_call(g, &gf_op_##name, attr, (gf_node *const[]){__VA_ARGS__},                         \
                  (int)(sizeof((gf_node *const[]){__VA_ARGS__}) / sizeof(gf_node *)))
/* Keeps n->x readable after the run. */
void gf_graph_keep(gf_node *n);

/* Lets gf_graph_backward() run more than once after one forward run (PyTorch's retain_graph), each
 * time for weights of its own, at the price of memory: what forward saved is kept to the end. To be
 * called before gf_graph_plan(); gf_graph_reset() forgets it. Gradients add up over the runs, so
 * the caller clears the parameters' grad in between:
 *
 *     gf_graph_retain(g);
 *     if (!gf_graph_plan(g, losses, 2, e)) goto done;
 *     gf_graph_forward(g);
 *     gf_graph_backward(g, (double[]){1, 0});    the first loss alone
 *     ... take its gradient, clear ...
 *     gf_graph_backward(g, (double[]){0, 1});    the second alone */
void gf_graph_retain(gf_graph *g);

/* Gradient checkpointing (Chen et al. 2016): the tape keeps only what enters each of its segments,
 * and runs a segment forward once more when its backward run comes. Bits are the same; the price is
 * about one more forward run. Segments begin where gf_graph_segment() is called, so a model calls
 * it before each layer; without gf_graph_checkpoint() they mean nothing. To be called before
 * gf_graph_plan(); gf_graph_reset() forgets it. */
void gf_graph_checkpoint(gf_graph *g);
void gf_graph_segment(gf_graph *g);

/* Reserves everything. losses: [n_losses] scalars to go backward from; none for inference. */
bool gf_graph_plan(gf_graph *g, gf_node *const *losses, int n_losses, gf_err *e);
void gf_graph_forward(gf_graph *g);
/* Adds d(sum weight * loss)/d(parameter) into every trainable parameter's grad. Nodes that only
 * losses of weight 0 lead to are not run. With weights NULL the caller has filled the roots' g,
 * which may then be any tensors, and which a run uses up. Once after each forward run, unless
 * gf_graph_retain() was called. */
void gf_graph_backward(gf_graph *g, const double *weights);

/* Bytes of the arena the present plan needs. */
size_t gf_graph_bytes(const gf_graph *g);
/* The most bytes that are in use at one time, which no arena can be below. */
size_t gf_graph_live_bytes(const gf_graph *g);
/* Nodes on the tape, and the i-th of them. */
int gf_graph_size(const gf_graph *g);
const gf_node *gf_graph_node(const gf_graph *g, int i);

#endif
