/* build/bench/kernels: what one core can do, and how near to it matrix products and vector kernels
 * come. bench/README.md says how to read it. */
#include "bench/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: kernels [--json] [--save FILE] [--threads N] [--machine]\n"
    "Measures the multiply-add peak of a core, the matrix products of MiniLM and BERT-base "
    "against\n"
    "it with 1 and with N threads (default: all processors), and the vector kernels against\n"
    "memcpy. --json prints one JSON object instead of tables, --save\n"
    "writes it to FILE. --machine measures the peak and the memory alone, which takes a second.\n";

int main(int argc, char **argv) {
    gf_bench_report r = {.print = true, .threads = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    gf_err e = {0};
    const char *save = NULL;
    bool ok, alone = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            r.print = false;
        else if (strcmp(argv[i], "--machine") == 0)
            alone = true;
        else if (strcmp(argv[i], "--save") == 0 && i + 1 < argc)
            save = argv[++i];
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0)
            r.threads = atoi(argv[++i]);
        else {
            bool help = strcmp(argv[i], "--help") == 0;
            fputs(usage, help ? stdout : stderr);
            return help ? 0 : 2;
        }
    }
    ok = gf_bench_machine(&r, &e) &&
         (alone || (gf_bench_products(&r, &e) && gf_bench_vectors(&r, &e))) &&
         gf_bench_give_json(&r, save, &e);
    cJSON_Delete(r.json);
    if (!ok) fprintf(stderr, "kernels: error: %s\n", e.text);
    return ok ? 0 : gf_err_status(e.code);
}
