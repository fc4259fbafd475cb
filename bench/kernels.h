/* kernels: the parts of build/bench/kernels. Each prints its table, unless only JSON is wanted, and
 * adds the same figures to the report. */
#ifndef GF_BENCH_KERNELS_H
#define GF_BENCH_KERNELS_H

#include "bench/machine.h"

/* Matrix products of BERT models against report->peak. */
bool gf_bench_products(gf_bench_report *report, gf_err *e);
/* The vector kernels of every table against copying. */
bool gf_bench_vectors(gf_bench_report *report, gf_err *e);

#endif
