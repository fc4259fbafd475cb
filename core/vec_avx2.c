#include "core/vec_tables.h"

#if GF_VEC_X86
#include "core/vec_lanes_avx2.h"
#include "core/vec_kernels.inc.h"

const gf_vec gf_vec_avx2 = {.name = "avx2", GF_VEC_KERNELS};
#endif
