#include "core/gemm_tiles.h"

#if GF_VEC_X86
#include "core/vec_lanes_avx2.h"

enum { ROWS = 6, VECTORS = 1 }; /* 12 accumulators, 2 of b, 1 of a: 15 registers of 16 */
#include "core/gemm_tiles.inc.h"

const gf_tiles gf_tiles_avx2 = {.name = "avx2", GF_TILES};
#endif
