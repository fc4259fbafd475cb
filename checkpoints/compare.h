/* compare: two models, checkpoints or weight files, tensor by tensor.
 *
 *     gf_comparison c = {0};
 *     if (!gf_compare_paths("a.h5", "b.h5", log, &c, e)) goto done;
 *     if (c.different) fputs(c.text.data, stdout);
 *     gf_comparison_free(&c);
 *
 * A distance in ULPs is how many float32 values lie between two: 0 for equal bits, and the largest
 * number there is between a NaN and anything else. */
#ifndef GF_CHECKPOINTS_COMPARE_H
#define GF_CHECKPOINTS_COMPARE_H

#include "core/log.h"
#include "core/text.h"
#include "model/model.h"

typedef struct gf_comparison {
    int64_t tensors, elements; /* in both */
    int64_t different;         /* tensors that differ or stand in one only, and settings */
    double largest;            /* absolute difference */
    int64_t ulps;              /* largest distance */
    gf_text text;              /* a line for each difference */
} gf_comparison;

/* Models by their parameters, pooling, length, heads and token ids; two checkpoints by their
 * moments too; other files by their tensors. Fails only on what cannot be read. */
bool gf_compare_paths(const char *a, const char *b, const gf_log *log, gf_comparison *c, gf_err *e);
/* The same for two open models; the names stand for them in lines. */
bool gf_compare_models(const gf_model *a, const gf_model *b, const char *name_a, const char *name_b,
                       gf_comparison *c, gf_err *e);
void gf_comparison_free(gf_comparison *c);

#endif
