#include "bench/machine.h"

#include "bench/fma.h"
#include "bench/measure.h"
#include "core/gemm.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/pool.h"
#include "core/vec.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Of multiply-adds; bytes a thread copies, more than its share of most last-level caches. */
enum { ROUNDS = 1000000, COPIED = 32 << 20 };

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

/* ---- memory ---- */

typedef struct copy_job {
    gf_pool *pool;
    int64_t parts;
    char *from, *to; /* [parts, COPIED] */
} copy_job;

static void copy_part(void *job, int64_t part, int thread) {
    const copy_job *j = job;
    (void)thread;
    memcpy(j->to + part * COPIED, j->from + part * COPIED, COPIED);
}

static void copy_all(void *job) {
    copy_job *j = job;
    gf_pool_run(j->pool, j->parts, copy_part, j);
}

static bool measure_copy(int threads, double *rate, gf_err *e) {
    copy_job j = {.parts = threads};
    bool ok = (j.pool = gf_pool_new(threads, e)) && (j.from = gf_alloc_array(threads, COPIED, e)) &&
              (j.to = gf_alloc_array(threads, COPIED, e));
    if (ok) {
        memset(j.from, 1, (size_t)threads * COPIED);
        *rate = 2e-9 * COPIED * threads / gf_bench_best(5, copy_all, &j);
    }
    gf_free(j.from);
    gf_free(j.to);
    gf_pool_free(j.pool);
    return ok;
}

static bool measure_memory(gf_bench_report *r, gf_err *e) {
    cJSON *j = gf_json_object(r->json, "memory", e);
    double all = 0;
    if (!j || !measure_copy(1, &r->copy, e) || !measure_copy(r->threads, &all, e)) return false;
    if (r->print)
        printf("memory, read and written by memcpy: %.1f GB/s on 1 thread, %.1f on %d\n", r->copy,
               all, r->threads);
    return gf_json_number(j, "gb_s", r->copy, e) && gf_json_number(j, "gb_s_all", all, e);
}

/* ---- names ---- */

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
    char features[256], blas[256], date[16] = "", *processor = find_processor(e);
    cJSON *j = processor ? gf_json_object(r->json, "machine", e) : NULL;
    time_t now = time(NULL);
    struct tm day;
    bool ok;
    if (localtime_r(&now, &day)) strftime(date, sizeof date, "%Y-%m-%d", &day);
    ok = j && gf_json_string(j, "processor", processor, e) &&
         gf_json_string(j, "features", gf_vec_cpu_features(features, sizeof features), e) &&
         gf_json_string(j, "kernels", gf_vec_best()->name, e) &&
         gf_json_string(j, "blas", gf_gemm_name(blas, sizeof blas), e) &&
         gf_json_number(j, "cores", gf_pool_processors(), e) &&
         gf_json_number(j, "threads", r->threads, e) && gf_json_string(j, "date", date, e);
    if (ok && r->print)
        printf("%s, %d cores (%s; kernels for %s), %s\n%s\n", processor, gf_pool_processors(),
               features, gf_vec_best()->name, date, blas);
    gf_free(processor);
    return ok;
}

bool gf_bench_machine(gf_bench_report *r, gf_err *e) {
    return gf_gemm_start(e) && (r->json = gf_json_object(NULL, NULL, e)) && name_machine(r, e) &&
           measure_peak(r, e) && measure_memory(r, e);
}

bool gf_bench_give_json(const gf_bench_report *r, const char *path, gf_err *e) {
    char *text = gf_json_print(r->json, e);
    bool ok = text != NULL;
    if (ok && path) ok = gf_io_replace_file(path, text, strlen(text), e);
    if (ok && !path && !r->print) fputs(text, stdout);
    gf_free(text);
    return ok;
}
