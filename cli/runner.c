#include "cli/runner.h"

#include "checkpoints/folder.h"
#include "checkpoints/open.h"
#include "recipes/evaluate.h"

#include <string.h>

static bool open_model(gf_runner *r, const char *path, gf_runner_use use, const gf_args *a,
                       gf_err *e) {
    /* A tokenizer's folder may lack weights, and those of a model need not be read. */
    if (use == GF_RUNNER_TOKENIZES && gf_place_find(path) == GF_PLACE_MODEL)
        return gf_folder_open(&r->model, path, GF_OPEN_NO_WEIGHTS, &a->log, e);
    return gf_model_open(&r->model, path, &a->log, e);
}

static bool choose_length(gf_runner *r, const char *path, const gf_args *a, gf_err *e) {
    int64_t most = r->model.config.max_position_embeddings;
    r->max_length = a->max_length ? a->max_length : r->model.max_length;
    if (r->max_length <= most) return true;
    return gf_fail(e, GF_E_USAGE,
                   "--max-length: %lld is more than the %lld positions of %s; use at most %lld",
                   (long long)r->max_length, (long long)most, path, (long long)most);
}

static bool start_engine(gf_engine *n, const gf_args *a, gf_err *e) {
    int p = 0;
    while (a->precision && gf_precision_names[p] &&
           strcmp(a->precision, gf_precision_names[p]) != 0)
        p++;
    if (!gf_precision_names[p])
        return gf_fail(e, GF_E_USAGE, "--precision: \"%s\" is unknown; use fp32 or bf16",
                       a->precision);
    return gf_engine_start(n, (int)a->threads, e) && (!a->pin || gf_pool_pin(n->pool, e)) &&
           gf_engine_precision(n, (gf_precision)p, e);
}

bool gf_runner_open(gf_runner *r, const char *path, gf_runner_use use, const gf_args *a,
                    gf_err *e) {
    if (!path)
        return gf_fail(e, GF_E_USAGE,
                       "--model: it is missing; name a model folder, a run folder or a checkpoint");
    if (!open_model(r, path, use, a, e) || !choose_length(r, path, a, e)) return false;
    if (use == GF_RUNNER_PREDICTS && r->model.n_heads == 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: the model has no heads; train some with graft train and name its run "
                       "folder, or use graft embed",
                       path);
    r->max_rows = a->batch ? a->batch : GF_EVAL_ROWS;
    return use == GF_RUNNER_TOKENIZES || start_engine(&r->engine, a, e);
}

void gf_runner_close(gf_runner *r) {
    gf_engine_stop(&r->engine);
    gf_model_free(&r->model);
}
