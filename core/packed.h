/* packed: weights that stand still, kept as the matrix kernel wants them.
 *
 *     .packed = gf_param_packed(w, pool)                 in a gf_product y = x wᵀ of few rows
 *
 * To bring a weight into panels costs as much as multiplying it by some dozen rows: nothing in a
 * large batch, but half the time of a single sentence. Only weights in a read-only map of a model
 * file are kept, since nothing can change those; gf_param_own() forgets them. */
#ifndef GF_CORE_PACKED_H
#define GF_CORE_PACKED_H

#include "core/param.h"
#include "core/pool.h"

/* The weight [out, in] packed, or NULL: multiply by the value then, the bits are the same. It is
 * packed when it is asked for the third time, and its pages of the map leave memory. Any number of
 * threads may ask for one weight at a time. It belongs to p. */
const gf_real *gf_param_packed(gf_param *p, gf_pool *pool);

#endif
