/* sparse: AdamW on an embedding table of whose rows a batch has few.
 *
 *     if (!gf_sparse_start(words, e)) goto done;                    (after gf_groups_reserve)
 *     ...
 *     gf_sparse_wake(words, batch.ids, batch.tokens, vec);          (before each forward run)
 *     ... forward, backward, which marks words->rows->touched ...
 *     gf_grad_norm(...);  gf_adamw_update(...);                     (they know of the rows)
 *     ...
 *     gf_sparse_flush(words, vec, pool);                            (before anybody else reads it)
 *     ...
 *     gf_sparse_stop(words, vec, pool);                             (flushes, too)
 *
 * A row that no batch ever had has a gradient of zero and moments of zero, and all that AdamW does
 * to it is to multiply it by 1 - lr weight_decay in each update. Such a row is "dead": the factors
 * are kept, and applied in their order, each rounded as ever, when the row is first read or when
 * the table is flushed. A row that was ever read is "live", and is updated as always. So every bit
 * of values and moments is that of the dense form, whoever looks, while the cost goes by the rows
 * that the texts have. (Leaving the moments of rows out that a batch lacks, as PyTorch's SparseAdam
 * does, is another optimizer.)
 *
 * What is live is not saved: a row with moments of +0 is updated to the same bits in either form,
 * so a resumed run takes as dead what has such moments. Untouched rows of gradient and moments are
 * never written, and take no memory where they are pages of zeros (see core/mem.h).
 *
 * Not for a table that has another gradient too (a tied decoder), whose value or gradient others
 * read in each update (averages, anchors, gradient surgery), for SGD, or for eps = 0: there the
 * caller leaves p->rows NULL, and all is dense. */
#ifndef GF_OPTIM_SPARSE_H
#define GF_OPTIM_SPARSE_H

#include "core/err.h"
#include "core/param.h"
#include "core/pool.h"
#include "core/vec.h"
#include "optim/blocks.h"

#include <stdbool.h>
#include <stdint.h>

/* Factors that are kept; the table is flushed when there are as many. */
enum { GF_SPARSE_DECAYS = 4096 };

/* From now on p [rows, width] is sparse. It has moments, and a gradient of zeros. */
bool gf_sparse_start(gf_param *p, gf_err *e);
/* Makes the rows live whose numbers are ids[n], none below 0 or too large; they then hold their
 * value. Does nothing for a dense parameter; nor do those below. */
void gf_sparse_wake(gf_param *p, const int32_t *ids, int64_t n, const gf_vec *vec);
/* Then all rows hold their value. Any number of threads gives the same bits. */
void gf_sparse_flush(gf_param *p, const gf_vec *vec, gf_pool *pool);
/* Flushes, and makes p dense. */
void gf_sparse_stop(gf_param *p, const gf_vec *vec, gf_pool *pool);

/* ---- for the optimizer ---- */

/* Elements of the parameter. */
typedef struct gf_stretch {
    int64_t first, count;
} gf_stretch;

/* Goes through a block's elements in live or touched rows, in rising order, one run of rows at a
 * time: from an empty span at the block's start until there is none. All of a dense block is live
 * and touched. */
gf_stretch gf_sparse_start_stretch(const gf_block *b);
bool gf_sparse_next_live(const gf_block *b, gf_stretch *s);
bool gf_sparse_next_touched(const gf_block *b, gf_stretch *s);
/* Elements outside of which the block's gradient is zero. They begin a multiple of 16 behind the
 * block, so that gf_vec's sum_squares, which sums in 16 lanes, sums over them what it sums over
 * the block: zeros add nothing. */
gf_stretch gf_sparse_touched(const gf_block *b);

/* Before an update: touched rows are live. */
void gf_sparse_wake_touched(gf_param *p, const gf_vec *vec);
/* After it: dead rows are still to be multiplied by `decay`, and no row is touched. */
void gf_sparse_end_update(gf_param *p, gf_real decay, const gf_vec *vec, gf_pool *pool);

#endif
