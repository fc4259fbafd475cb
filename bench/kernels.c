/* build/bench/kernels: what one core can do, and how near to it matrix products and vector kernels
 * come. bench/README.md says how to read it. */
#include "bench/kernels.h"

#include "bench/fma.h"
#include "bench/measure.h"
#include "core/gemm.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: kernels [--json] [--threads N]\n"
    "Measures the multiply-add peak of a core, the matrix products of MiniLM and BERT-base "
    "against\n"
    "it with 1 and with N threads (default: all processors), and the vector kernels against\n"
    "memcpy. --json prints one JSON object instead of tables.\n";

enum { ROUNDS = 1000000 };

typedef struct peak_job {
    const gf_fma *fma;
    volatile float sink;
} peak_job;

static void multiply_add(void *job) {
    peak_job *j = job;
    j->sink = j->fma->run(ROUNDS);
}

static bool measure_peak(gf_bench_report *r, gf_err *e) {
    peak_job job = {.fma = gf_fma_best()};
    cJSON *j = gf_json_object(r->json, "peak", e);
    r->peak = 1e-9 * ROUNDS * (double)job.fma->flops / gf_bench_best(20, multiply_add, &job);
    if (r->print) printf("multiply-add peak of one core: %.1f GF/s (%s)\n", r->peak, job.fma->name);
    return j && gf_json_string(j, "kernel", job.fma->name, e) &&
           gf_json_number(j, "gflops", r->peak, e);
}

/* "AMD EPYC", from a line "model name : AMD EPYC"; "unknown" where the system does not tell. */
static char *find_processor(gf_err *e) {
    size_t size;
    char *text = gf_io_read_all("/proc/cpuinfo", 1 << 24, &size, NULL), *name;
    const char *line = text ? strstr(text, "model name") : NULL;
    const char *colon = line ? strchr(line, ':') : NULL;
    name = colon && colon[1] ? gf_strndup(colon + 2, strcspn(colon + 2, "\n"), e)
                             : gf_strdup("unknown", e);
    gf_free(text);
    return name;
}

static bool name_machine(gf_bench_report *r, gf_err *e) {
    char features[256], blas[256], *processor = find_processor(e);
    cJSON *j = processor ? gf_json_object(r->json, "machine", e) : NULL;
    bool ok = j && gf_json_string(j, "processor", processor, e) &&
              gf_json_string(j, "features", gf_vec_cpu_features(features, sizeof features), e) &&
              gf_json_string(j, "blas", gf_gemm_name(blas, sizeof blas), e) &&
              gf_json_number(j, "threads", r->threads, e);
    if (ok && r->print) printf("%s (%s), %d threads\n%s\n", processor, features, r->threads, blas);
    gf_free(processor);
    return ok;
}

static bool print_json(const gf_bench_report *r, gf_err *e) {
    char *text = gf_json_print(r->json, e);
    if (text) fputs(text, stdout);
    gf_free(text);
    return text != NULL;
}

int main(int argc, char **argv) {
    gf_bench_report r = {.print = true, .threads = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    gf_err e = {0};
    bool ok;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            r.print = false;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0)
            r.threads = atoi(argv[++i]);
        else {
            bool help = strcmp(argv[i], "--help") == 0;
            fputs(usage, help ? stdout : stderr);
            return help ? 0 : 2;
        }
    }
    ok = gf_gemm_start(&e) && (r.json = gf_json_object(NULL, NULL, &e)) && name_machine(&r, &e) &&
         measure_peak(&r, &e) && gf_bench_products(&r, &e) && gf_bench_vectors(&r, &e) &&
         (r.print || print_json(&r, &e));
    cJSON_Delete(r.json);
    if (!ok) fprintf(stderr, "kernels: error: %s\n", e.text);
    return ok ? 0 : gf_err_status(e.code);
}
