/* real: the element type of every tensor. float in the product; the gradient test compiles the same
 * files a second time with -DGF_REAL=double, where a wrong derivative cannot hide in rounding. */
#ifndef GF_CORE_REAL_H
#define GF_CORE_REAL_H

#ifdef GF_REAL
#define GF_REAL_IS_FLOAT 0
#else
#define GF_REAL          float
#define GF_REAL_IS_FLOAT 1
#endif

typedef GF_REAL gf_real;

#endif
