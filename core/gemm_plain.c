#include "core/gemm_tiles.h"

#if GF_REAL_IS_FLOAT
#include "core/vec_lanes_plain.h"

enum { ROWS = 6, VECTORS = 1 };
#include "core/gemm_tiles.inc.h"

const gf_tiles gf_tiles_plain = {.name = "plain", GF_TILES};
#endif
