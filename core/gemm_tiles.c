#include "core/gemm_tiles.h"

#include <stddef.h>

/* In the order of core/vec's tables, each of which has its own. */
const gf_tiles *gf_tiles_at(int i) {
    const gf_tiles *tables[] = {
#if GF_REAL_IS_FLOAT
        &gf_tiles_plain,
#else
        NULL,
#endif
#if GF_VEC_X86
        &gf_tiles_avx2,
        &gf_tiles_avx512,
#endif
    };
    return i >= 0 && gf_vec_at(i) ? tables[i] : NULL;
}

const gf_tiles *gf_tiles_best(void) {
    const gf_tiles *best = NULL;
    for (int i = 1; gf_tiles_at(i); i++) best = gf_tiles_at(i);
    return best;
}
