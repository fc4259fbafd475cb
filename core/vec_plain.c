#include "core/vec_tables.h"

#include "core/vec_lanes_plain.h"
#include "core/vec_kernels.inc.h"

const gf_vec gf_vec_plain = {.name = "plain", GF_VEC_KERNELS};
