/* vec_tables: the tables there are, for core/vec.c to choose from; everybody else asks
 * gf_vec_best(). GF_VEC_X86 says whether this build has the two of x86. */
#ifndef GF_CORE_VEC_TABLES_H
#define GF_CORE_VEC_TABLES_H

#include "core/vec.h"

#if defined(__x86_64__) && GF_REAL_IS_FLOAT
#define GF_VEC_X86 1
#else
#define GF_VEC_X86 0
#endif

extern const gf_vec gf_vec_plain;
extern const gf_vec gf_vec_avx2; /* with GF_VEC_X86 only, as the next */
extern const gf_vec gf_vec_avx512;

#endif
