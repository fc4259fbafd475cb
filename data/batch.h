/* batch: rows of a data set packed for one step, and the order in which an epoch visits the rows.
 *
 *     gf_batch b = {0};
 *     int64_t *order = gf_alloc_array(d->rows, sizeof *order, e);
 *     gf_order_make(order, d, 32, true, seed, phase, epoch, e);
 *     for (int64_t i = 0; i < d->rows; i += 32)
 *         gf_batch_fill(&b, d, order + i, d->rows - i < 32 ? d->rows - i : 32, e);   (step)
 *     gf_batch_free(&b);
 *
 * Only the last batch of an epoch may be short. A batch is its sequences' tokens one behind the
 * other, never padded: padding costs 1.8 to 3.5 times the work at usual spreads of length. */
#ifndef GF_DATA_BATCH_H
#define GF_DATA_BATCH_H

#include "data/dataset.h"

typedef struct gf_batch {
    int64_t sequences, tokens;
    int32_t *ids;   /* [tokens] */
    int32_t *start; /* [sequences + 1] offsets into ids */
    int64_t *row;   /* [sequences] row in the data set */
    int64_t capacity_sequences, capacity_tokens;
} gf_batch;

/* Gathers rows[count]; b's memory is reused and only grows. A batch of more than 2^31 - 1 tokens is
 * GF_E_INVALID. */
bool gf_batch_fill(gf_batch *b, const gf_dataset *d, const int64_t *rows, int64_t count, gf_err *e);
void gf_batch_free(gf_batch *b);

/* Fills order[d->rows] with a permutation that is a function of (seed, phase, epoch) and the data
 * alone, so that a resumed run finds its place by making it again.
 *
 * With `bucket`, rows of like length meet in a batch without losing randomness: the shuffled rows
 * are cut into windows of 50 batches, a window is sorted by length (ties as shuffled) and cut into
 * batches, and all batches are shuffled. The rows of a short batch are those shuffled last, and
 * stay last. */
bool gf_order_make(int64_t *order, const gf_dataset *d, int64_t batch_size, bool bucket,
                   uint64_t seed, int64_t phase, int64_t epoch, gf_err *e);
/* All rows, longest first, ties by row: for evaluation and embedding. */
bool gf_order_by_length(int64_t *order, const gf_dataset *d, gf_err *e);

#endif
