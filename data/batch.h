/* batch: rows of a data set packed for one step, and the batches that an epoch is made of.
 *
 *     gf_batch b = {0};
 *     gf_epoch p = {0};
 *     gf_epoch_rule rule = {.batch_size = 32, .bucket = true, .seed = seed, .epochs = 5};
 *     for (rule.epoch = 0; rule.epoch < rule.epochs; rule.epoch++) {
 *         if (!gf_epoch_make(&p, d, &rule, e)) goto done;
 *         for (int64_t i = 0; i < p.batches; i++)
 *             gf_batch_fill(&b, d, p.row + p.start[i], p.start[i + 1] - p.start[i], e);   (step)
 *     }
 *     gf_epoch_free(&p);
 *     gf_batch_free(&b);
 *
 * A batch is its sequences' tokens one behind the other, never padded: padding costs 1.8 to 3.5
 * times the work at usual spreads of length. */
#ifndef GF_DATA_BATCH_H
#define GF_DATA_BATCH_H

#include "data/dataset.h"
#include "data/mix.h"

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

typedef struct gf_epoch_rule {
    int64_t batch_size;   /* rows of a batch; 0: as many as batch_tokens allows */
    int64_t batch_tokens; /* the most tokens of a batch, but it holds at least one row; 0: any */
    bool bucket;
    gf_mix mix;
    uint64_t seed;
    int64_t phase, epoch, epochs; /* of the phase */
} gf_epoch_rule;

/* Batch b holds rows row[start[b]] .. row[start[b + 1] - 1]. */
typedef struct gf_epoch {
    int64_t *row;   /* [rows] as many as the data set's; each of them once, unless they are mixed */
    int64_t *start; /* [batches + 1] offsets into row */
    int64_t rows, batches;
    int64_t row_capacity, start_capacity;
} gf_epoch;

/* Replaces p, which is zeroed at first and whose memory is reused, by an epoch that is a function
 * of the rule and the data alone, so that a resumed run finds its place by making it again.
 *
 * The rows are shuffled, over all sources (data/mix.h); then batches take batch_size rows in turn,
 * or as many as batch_tokens and batch_size allow. With round_robin each source is dealt with
 * alone, then its batches take turns with those of the others until all are gone.
 *
 * With `bucket`, rows of like length meet in a batch without losing randomness: the shuffled rows
 * are cut into windows of 50 batches, a window is sorted by length (ties as shuffled) and cut into
 * batches, and all batches are shuffled. Without batch_tokens only the last batch may be short; its
 * rows are those shuffled last, and stay last. With batch_tokens a window is as many rows as hold
 * 50 times as much, and its last batch may be short.
 *
 * After a failure p can be made again or freed. */
bool gf_epoch_make(gf_epoch *p, const gf_dataset *d, const gf_epoch_rule *rule, gf_err *e);
void gf_epoch_free(gf_epoch *p);

/* All rows, longest first, ties by row: for evaluation and embedding. */
bool gf_order_by_length(int64_t *order, const gf_dataset *d, gf_err *e);

#endif
