#include "core/gemm_tiles.h"

#if GF_VEC_X86
#include "core/vec_lanes_avx512.h"

enum { ROWS = 12, VECTORS = 2 }; /* 24 accumulators, 2 of b, a from memory: 26 registers of 32 */
#include "core/gemm_tiles.inc.h"

const gf_tiles gf_tiles_avx512 = {.name = "avx512", GF_TILES};
#endif
