/* engine: threads, kernels and a tape together: what runs a model.
 *
 *     gf_engine n = {0};
 *     if (!gf_engine_start(&n, 0, e)) goto done;
 *     gf_engine_embed(&n, &model, &batch, out, e);              out [sequences, E]
 *     gf_engine_stop(&n);
 *
 * One engine serves one caller at a time; engines are independent of each other. */
#ifndef GF_MODEL_ENGINE_H
#define GF_MODEL_ENGINE_H

#include "model/encode.h"

typedef struct gf_engine {
    gf_pool *pool;
    const gf_vec *vec;
    gf_graph *graph;
    gf_profile *profile; /* NULL: off; set by gf_engine_profile() */
    gf_onednn *onednn;   /* NULL: fp32; set by gf_engine_precision() */
} gf_engine;

/* What the products of linear layers are computed in. Parameters, their gradients, activations and
 * all else are fp32 either way. */
typedef enum gf_precision { GF_PRECISION_FP32, GF_PRECISION_BF16 } gf_precision;
extern const char *const gf_precision_names[]; /* "fp32", "bf16", NULL */

/* threads 0: gf_pool_processors(). Where products need a BLAS, it is loaded and checked. */
bool gf_engine_start(gf_engine *n, int threads, gf_err *e);
void gf_engine_stop(gf_engine *n);
/* To be called once, after the start. GF_E_INVALID when bf16 is asked for where the processor has
 * none or oneDNN is not there (core/onednn.h). */
bool gf_engine_precision(gf_engine *n, gf_precision precision, gf_err *e);
/* What computes the products of linear layers, for reports and keys: gf_onednn_name() or
 * gf_gemm_name(). */
const char *gf_engine_products(const gf_engine *n, char *text, int size);
/* Spans of this profile, which outlives the engine, are from now on the ops it runs, and what its
 * callers make of it. */
void gf_engine_profile(gf_engine *n, gf_profile *p);

/* Embeds a batch without training anything. */
bool gf_engine_embed(gf_engine *n, gf_model *m, const gf_batch *b, gf_real *out, gf_err *e);
/* All heads over embeddings [rows, E]: logits[h] is [rows, classes of head h]. */
bool gf_engine_heads(gf_engine *n, const gf_model *m, int64_t rows, const gf_real *embeddings,
                     gf_real *const *logits, gf_err *e);

/* How many of rows order[0 .. count) go into one inference batch: at most max_rows and about
 * GF_BATCH_TOKENS tokens. Packing wastes nothing, so a batch need only be large enough to be quick.
 */
enum { GF_BATCH_TOKENS = 2048 };
int64_t gf_engine_take_rows(const gf_dataset *d, const int64_t *order, int64_t count,
                            int64_t max_rows);

/* What is known of every text of a data set before a pass: in the data set's order, behind the
 * lowest `layers` layers the hidden states of all its tokens [tokens, H], or with layers 0 the
 * embeddings [rows, E]. */
typedef struct gf_known {
    const gf_real *x; /* NULL: nothing */
    int64_t layers;
} gf_known;

/* The part of them that a batch of the data set stands for: [b->tokens, H] or [b->sequences, E] =
 * `width`. */
void gf_known_gather(const gf_known *k, const gf_dataset *d, const gf_batch *b, int64_t width,
                     gf_real *out);

/* Embeds every row of a data set, longest first, and hands each batch with its embeddings
 * [sequences, E] to `take`, which returns false with *e set to stop. */
typedef bool gf_take_batch(void *context, const gf_batch *b, const gf_real *embeddings, gf_err *e);
bool gf_engine_sweep(gf_engine *n, gf_model *m, const gf_dataset *d, int64_t max_rows,
                     gf_take_batch *take, void *context, gf_err *e);

/* The same batches, otherwise: from what is known, or not to the end. */
typedef struct gf_sweep {
    int64_t max_rows;
    gf_known known;
    int64_t behind; /* not 0: take() gets the hidden states [tokens, H] behind that many layers */
} gf_sweep;
bool gf_engine_sweep_as(gf_engine *n, gf_model *m, const gf_dataset *d, const gf_sweep *s,
                        gf_take_batch *take, void *context, gf_err *e);

#endif
