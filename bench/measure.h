/* measure: time and memory, for the programs of this room.
 *
 *     double seconds = gf_bench_best(5, multiply, &job);      (the fastest of at least 5 runs)
 *
 * The fastest of several runs is what the machine can do; on a shared one all others say how busy
 * its neighbours were. Only whole programs are compared by medians: bench/compare.py. */
#ifndef GF_BENCH_MEASURE_H
#define GF_BENCH_MEASURE_H

#include <stdint.h>

/* Seconds of a clock that only rises. */
double gf_bench_now(void);
/* Runs once to warm up, then at least `times` times and for at least 10 ms. */
double gf_bench_best(int times, void (*run)(void *job), void *job);
/* The largest resident memory of this process so far, in MiB. */
double gf_bench_peak_mib(void);

#endif
