/* machine: what the programs of this room measure against, and what a report calls the machine.
 *
 *     gf_bench_report r = {.print = true, .threads = 2};
 *     if (!gf_bench_machine(&r, &e)) goto done;                  (r.peak, r.copy and r.json filled)
 *     ...
 *     cJSON_Delete(r.json);
 *
 * The peak is that of multiply-adds in registers (bench/fma.h); the bandwidth counts the bytes that
 * memcpy() reads and those that it writes, over arrays that no cache holds. */
#ifndef GF_BENCH_MACHINE_H
#define GF_BENCH_MACHINE_H

#include "core/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

typedef struct gf_bench_report {
    cJSON *json; /* one object */
    bool print;  /* tables to standard output */
    int threads; /* the most to measure with */
    double peak; /* GF/s of one core */
    double copy; /* GB/s of one thread that copies */
} gf_bench_report;

/* Starts the BLAS, measures, and adds "machine", "peak" and "memory" to a new report->json. */
bool gf_bench_machine(gf_bench_report *report, gf_err *e);
/* The report's JSON: to the file, or to standard output where path is NULL and no tables are
 * printed. */
bool gf_bench_give_json(const gf_bench_report *report, const char *path, gf_err *e);

#endif
