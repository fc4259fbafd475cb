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
} gf_engine;

/* threads 0: the processors there are. Checks that the BLAS keeps to one thread of its own. */
bool gf_engine_start(gf_engine *n, int threads, gf_err *e);
void gf_engine_stop(gf_engine *n);

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

/* Embeds every row of a data set, longest first, and hands each batch with its embeddings
 * [sequences, E] to `take`, which returns false with *e set to stop. */
typedef bool gf_take_batch(void *context, const gf_batch *b, const gf_real *embeddings, gf_err *e);
bool gf_engine_sweep(gf_engine *n, gf_model *m, const gf_dataset *d, int64_t max_rows,
                     gf_take_batch *take, void *context, gf_err *e);

#endif
