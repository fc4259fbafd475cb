/* evaluate: a model's metrics over a data set, and embeddings kept while the encoder stands still.
 */
#ifndef GF_RECIPES_EVALUATE_H
#define GF_RECIPES_EVALUATE_H

#include "core/io.h"
#include "data/mask.h"
#include "model/engine.h"
#include "recipes/metrics.h"

/* Rows encoded at once when nobody says otherwise; GF_BATCH_TOKENS usually ends a batch before. */
enum { GF_EVAL_ROWS = 512 };

/* What stands still of the network makes this of a data set: embeddings [rows, E], or, where only
 * the lowest `layers` layers stand still, the hidden states behind them [tokens, H], in the data
 * set's order. */
typedef struct gf_features {
    const gf_real *x;    /* NULL: none */
    int64_t rows, width; /* rows counts texts or tokens */
    int64_t layers;      /* 0: embeddings */
    gf_real *owned;      /* where x lies, or in a file: */
    gf_map map;          /* both empty: with somebody else */
} gf_features;

/* Called as rows are encoded; false with *e set stops the work. */
typedef struct gf_tell {
    bool (*rows)(void *context, int64_t done, int64_t all, gf_err *e);
    void *context;
} gf_tell;

/* Embeddings, in memory. tell may be NULL. */
bool gf_features_make(gf_features *f, gf_engine *n, gf_model *m, const gf_dataset *d,
                      int64_t max_rows, const gf_tell *tell, gf_err *e);
void gf_features_free(gf_features *f);

/* Fills *out (started here, freed by the caller) for the heads of the model over d, whose task i is
 * the model's head i. Without features (NULL, or x NULL) texts are encoded from their tokens, at
 * most max_rows at once; with them in the same batches, so that the figures are the same. */
bool gf_evaluate(gf_metrics *out, gf_engine *n, gf_model *m, const gf_dataset *d,
                 const gf_features *features, int64_t max_rows, const gf_tell *tell, gf_err *e);

/* Rows of a batch of the masked language model, whose logits are a vocabulary wide. */
enum { GF_MLM_ROWS = 32 };
/* The mean cross-entropy of masked tokens over d; NaN when none is masked. exp() of it is the
 * pseudo-perplexity. The masks are a function of place. */
bool gf_evaluate_mlm(double *loss, gf_engine *n, gf_model *m, const gf_masker *k,
                     const gf_mask_place *place, const gf_dataset *d, const gf_tell *tell,
                     gf_err *e);

#endif
