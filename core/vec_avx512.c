#include "core/vec_tables.h"

#if GF_VEC_X86
#include "core/vec_lanes_avx512.h"
#include "core/vec_kernels.inc.h"

const gf_vec gf_vec_avx512 = {.name = "avx512", GF_VEC_KERNELS};
#endif
