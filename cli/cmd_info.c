#include "checkpoints/describe.h"
#include "cli/cli.h"

static bool run(gf_args *a, gf_err *e) {
    gf_text t = {0};
    bool ok = gf_describe(a->words[0], &t, e) && gf_io_write(a->out, t.data, t.length, e);
    gf_text_free(&t);
    return ok;
}

const gf_command gf_cmd_info = {
    .name = "info",
    .summary = "what a model file, a folder or a run holds",
    .options = "--quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft info FILE-OR-DIR\n"
            "\n"
            "Prints what a safetensors file, an HDF5 file, a checkpoint, a model folder or a\n"
            "run folder holds: configuration and metadata, then tensors with their shapes\n"
            "and element types.\n"
            "\n"
            "example: graft info demo/tiny-bert\n",
};
