/* plan: where in the arena each value, saved activation, gradient and scratch buffer of a tape
 * lives.
 *
 * Time runs over the tape forward (node i at i) and back (node i at 2n - 1 - i). A buffer lives
 * from its first writer to its last reader; buffers that never live together may share memory.
 * Places are given in order of birth, each in the smallest gap that fits (best fit). A pure
 * function of the tape.
 *
 * Where the backward run is to be repeated, what forward left for it lives to the end; gradients
 * and scratch are made anew by each repeat and share memory as ever. A repeat from fewer losses
 * may write a gradient first at a later node than planned, which is within the buffer's life. */
#ifndef GF_AUTOGRAD_PLAN_H
#define GF_AUTOGRAD_PLAN_H

#include "autograd/op.h"
#include "core/err.h"

#include <stddef.h>

typedef enum gf_place_what { GF_PLACE_X, GF_PLACE_G, GF_PLACE_AUX, GF_PLACE_SCRATCH } gf_place_what;

typedef struct gf_place {
    gf_node *node;
    gf_place_what what;
    int birth, death;    /* in time, both inclusive */
    size_t size, offset; /* elements */
} gf_place;

typedef struct gf_plan_node {
    size_t forward, backward; /* offsets of scratch */
    int first_writer;         /* the node whose backward may write this one's g first; -1: caller */
    int last_reader;          /* time of the last reader of x */
    bool root;                /* a loss */
    bool reached;             /* g holds a gradient in the present backward run */
} gf_plan_node;

typedef struct gf_plan {
    gf_place *places; /* [n] */
    int64_t n, capacity;
    gf_plan_node *scratch; /* [nodes of the tape] */
    int64_t scratch_capacity;
    int64_t *active; /* [n] places alive at the moment, by offset (work space of gf_plan_make) */
    int64_t active_capacity;
    size_t elements; /* of the whole arena */
    gf_real marker;  /* its address means "will have a gradient" while planning */
} gf_plan;

/* Plans the tape; `retain`: for more than one backward run. Reuses the memory of an earlier plan in
 * *p, which starts zeroed. */
bool gf_plan_make(gf_plan *p, gf_node **nodes, int n, gf_node *const *losses, int n_losses,
                  bool retain, gf_err *e);
void gf_plan_free(gf_plan *p);

#endif
