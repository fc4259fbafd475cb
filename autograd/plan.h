/* plan: in which order a tape runs, and where in its arena each value, saved activation, gradient
 * and scratch buffer lives.
 *
 *     gf_plan_make(&plan, nodes, n, losses, n_losses, GF_PLAN_RETAIN, e);
 *     plan.steps[0 .. backward)            the forward run
 *     plan.steps[backward .. n_steps)      the backward run
 *
 * Time runs over the steps. A buffer lives from its first writer to its last reader; buffers that
 * never live together may share memory. The largest ones get their places first, each in the
 * smallest gap that fits (Pisarchyk & Lee 2020, "Efficient memory management for deep neural net
 * inference", "greedy by size"). A pure function of the tape.
 *
 * A value that only the backward run still wants need not live in between: where its op can rebuild
 * it from what it saves, it dies behind its last forward reader and has a second life from just
 * before its first backward reader. With GF_PLAN_CHECKPOINT this holds for all of a segment
 * (gf_graph_segment() in graph.h): what its nodes save dies too, and the segment runs forward again
 * before its own backward run, from the values that entered it, which stay (Chen et al. 2016,
 * "Training deep nets with sublinear memory cost", section 4). The last segment is exempt where
 * there is one backward run: it comes at once.
 *
 * Where the backward run is to be repeated, what forward left for it lives to the end; gradients,
 * scratch and second lives are made anew by each repeat and share memory as ever. A repeat from
 * fewer losses may write a gradient first at a later node than planned, which is within the
 * buffer's life. */
#ifndef GF_AUTOGRAD_PLAN_H
#define GF_AUTOGRAD_PLAN_H

#include "autograd/op.h"
#include "core/err.h"

#include <stddef.h>

enum {
    GF_PLAN_RETAIN = 1, /* more than one backward run */
    GF_PLAN_CHECKPOINT = 2
};

typedef enum gf_place_what { GF_PLACE_X, GF_PLACE_G, GF_PLACE_AUX, GF_PLACE_SCRATCH } gf_place_what;

typedef struct gf_place {
    gf_node *node;
    gf_place_what what;
    int birth, death;    /* steps, both inclusive */
    size_t size, offset; /* elements */
    bool settled;        /* while planning: offset is known */
} gf_place;

/* What a step does with its node. AGAIN is forward once more, into the second lives of x and aux;
 * REBUILD writes the second life of x alone. */
typedef enum gf_step_what {
    GF_STEP_FORWARD,
    GF_STEP_AGAIN,
    GF_STEP_REBUILD,
    GF_STEP_BACKWARD
} gf_step_what;

typedef struct gf_plan_step {
    gf_node *node;
    gf_step_what what;
    size_t scratch; /* offset */
} gf_plan_step;

typedef struct gf_plan_node {
    int64_t x[2], aux[2], g; /* places; first and second life; -1: none */
    int life;                /* while planning: which life is on, 0 or 1 */
    bool root;               /* a loss */
    bool wanted;             /* while planning: a step that runs again reads x */
    bool reached;            /* g holds a gradient in the present backward run */
} gf_plan_node;

typedef struct gf_plan {
    gf_plan_step *steps; /* [n_steps] the forward run, then, from `backward` on, the backward run */
    int64_t n_steps, steps_capacity, backward;
    int exempt;       /* segments below this one run again */
    gf_place *places; /* [n] in order of birth */
    int64_t n, capacity;
    gf_plan_node *of; /* [nodes of the tape] */
    int64_t of_capacity;
    int64_t *settled; /* [n] places that have an offset, by it (work space of gf_plan_make) */
    int64_t settled_capacity;
    size_t elements; /* of the whole arena */
    gf_real marker;  /* its address means "will have a gradient" while planning */
} gf_plan;

/* Plans the tape; `how` is a set of GF_PLAN_*. Reuses the memory of an earlier plan in *p, which
 * starts zeroed. */
bool gf_plan_make(gf_plan *p, gf_node **nodes, int n, gf_node *const *losses, int n_losses,
                  unsigned how, gf_err *e);
/* The most elements that live at one time: no plan can do with less. */
size_t gf_plan_live(const gf_plan *p);
void gf_plan_free(gf_plan *p);

#endif
