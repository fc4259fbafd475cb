/* param: a named tensor that can be trained. What autograd, optim and checkpoints agree on, so that
 * they need not know each other. */
#ifndef GF_CORE_PARAM_H
#define GF_CORE_PARAM_H

#include "core/err.h"
#include "core/real.h"
#include "core/shape.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of an embedding table whose gradient has few rows. optim/sparse.h makes and keeps it; whoever
 * writes the gradient marks the rows. Arrays have an element a row of the table. */
typedef struct gf_param_rows {
    unsigned char *touched; /* 1: the gradient may be other than zero there */
    unsigned char *live;    /* 0: both moments are zero, and the value lacks the decay below */
    gf_real *decay;         /* [n_decay] factors, in the order of the updates they come from */
    int64_t n_decay, n_dead;
} gf_param_rows;

typedef struct gf_param {
    char *name;           /* as Hugging Face spells it, e.g. encoder.layer.0.output.dense.bias */
    gf_shape shape;       /* weights of linear layers are [out, in] */
    const gf_real *value; /* shape's elements: a read-only map of the model file, or `owned` */
    gf_real *owned;       /* NULL while the value is mapped; gf_param_own() makes it writable */
    gf_real *grad;        /* same shape; NULL unless trainable: nobody wants that gradient */
    bool trainable;       /* in the phase at hand */
    int group;            /* index of its optimizer group in the phase at hand, -1 if frozen */
    /* The optimizer's state, born when the parameter first trains and kept from phase to phase. */
    gf_real *moment1, *moment2; /* same shape; NULL before birth, moment2 always with SGD */
    int64_t updates;            /* how often this parameter was updated */
    gf_real *average;           /* same shape; moving average of the value; NULL: none is kept */
    gf_real *anchor;            /* same shape; where L2-SP pulls the value; NULL: nowhere */
    gf_param_rows *rows;        /* NULL: the gradient is dense, and the value what it says */
    _Atomic(gf_real *) packed;  /* the value as core/packed.h keeps it, or NULL */
    atomic_int asked;           /* how often core/packed.h was asked for it */
} gf_param;

typedef struct gf_params {
    gf_param **items; /* in the order of the model: embeddings, layers, heads */
    int64_t count, capacity;
} gf_params;

/* Adds a zeroed-out parameter of this name and shape; its value is the caller's to set. The name is
 * copied. NULL when memory is out. */
gf_param *gf_params_add(gf_params *p, const char *name, const gf_shape *shape, gf_err *e);
/* The parameter of this name, or NULL. */
gf_param *gf_params_find(const gf_params *p, const char *name);
/* Takes a parameter out of the list and frees it. */
void gf_params_remove(gf_params *p, gf_param *item);
/* Frees all parameters and what they own. */
void gf_params_free(gf_params *p);

/* Makes the value writable: copies a mapped one into memory of its own (zeros if there is none),
 * and lets the map's pages go. */
bool gf_param_own(gf_param *p, gf_err *e);
/* Makes values in a read-only map of a file, which outlives the parameter, its value. */
void gf_param_borrow(gf_param *p, const gf_real *value);
/* Frees rows and makes it NULL. */
void gf_param_forget_rows(gf_param *p);
/* Elements of a parameter. */
int64_t gf_param_count(const gf_param *p);

/* Makes each average the value, and forgets what was the value. Nothing happens without one. */
void gf_params_take_averages(gf_params *p);

#endif
