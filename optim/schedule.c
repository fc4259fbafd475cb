#include "optim/schedule.h"

#include <math.h>
#include <stddef.h>

const char *const gf_schedule_names[] = {"constant", "linear", "cosine", NULL};

static double at_least_one(int64_t n) { return n > 1 ? (double)n : 1.0; }

double gf_schedule_factor(gf_schedule schedule, int64_t warmup, int64_t total, int64_t step) {
    const double pi = 3.14159265358979323846;
    double rest = at_least_one(total - warmup);
    if (step < warmup) return (double)step / at_least_one(warmup);
    switch (schedule) {
    case GF_SCHEDULE_LINEAR: return fmax(0.0, (double)(total - step) / rest);
    case GF_SCHEDULE_COSINE:
        /* 2.0 * 0.5 cycles, kept in transformers' order of operations. */
        return fmax(0.0, 0.5 * (1.0 + cos(pi * 0.5 * 2.0 * ((double)(step - warmup) / rest))));
    case GF_SCHEDULE_CONSTANT: break;
    }
    return 1.0;
}

int64_t gf_schedule_warmup(double warmup, int64_t total) {
    const double most = 1e15; /* beyond any run, and exact in a double */
    if (warmup < 1) return (int64_t)ceil((double)total * warmup);
    return (int64_t)fmin(warmup, most);
}
