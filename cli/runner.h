/* runner: a model opened to be run, as --threads, --pin, --precision, --max-length and --batch
 * want it.
 *
 *     gf_runner r = {0};
 *     if (!gf_runner_open(&r, a->model, GF_RUNNER_EMBEDS, a, e)) goto done;
 *     ... gf_engine_sweep(&r.engine, &r.model, data, r.max_rows, take, context, e) ...
 *     gf_runner_close(&r);
 */
#ifndef GF_CLI_RUNNER_H
#define GF_CLI_RUNNER_H

#include "cli/cli.h"
#include "model/engine.h"

typedef enum gf_runner_use {
    GF_RUNNER_TOKENIZES, /* weights need not exist, the engine is not started */
    GF_RUNNER_EMBEDS,
    GF_RUNNER_PREDICTS /* a model without heads is an error */
} gf_runner_use;

typedef struct gf_runner {
    gf_model model;
    gf_engine engine;
    int64_t max_length; /* tokens of a text, special ones included */
    int64_t max_rows;   /* texts encoded at once */
} gf_runner;

/* path NULL: a GF_E_USAGE that asks for --model. r must be zeroed; close it after a failure too. */
bool gf_runner_open(gf_runner *r, const char *path, gf_runner_use use, const gf_args *a, gf_err *e);
void gf_runner_close(gf_runner *r);

#endif
