#include "bench/measure.h"

#include <sys/resource.h>
#include <time.h>

double gf_bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double gf_bench_best(int times, void (*run)(void *job), void *job) {
    double begun, best = 1e30;
    run(job);
    begun = gf_bench_now();
    for (int i = 0; i < times || gf_bench_now() - begun < 0.01; i++) {
        double start = gf_bench_now(), took;
        run(job);
        took = gf_bench_now() - start;
        if (took < best) best = took;
    }
    return best;
}

double gf_bench_peak_mib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}
