#include "cli/cli.h"
#include "recipes/verify.h"

static bool run(gf_args *a, gf_err *e) {
    gf_text t = {0};
    bool ok = gf_verify(a->words[0], &t, e);
    if (t.length && !gf_io_write(a->out, t.data, t.length, e)) ok = false;
    gf_text_free(&t);
    return ok;
}

const gf_command gf_cmd_verify = {
    .name = "verify",
    .summary = "check the digests of a checkpoint or a run",
    .options = "--quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft verify CHECKPOINT-OR-RUN\n"
            "\n"
            "Checks the SHA-256 of a checkpoint, or of all that a run folder keeps: its\n"
            "checkpoints, model/ and metrics.json (whose digests stand in SHA256SUMS). Prints\n"
            "a line for each file. The exit status is 7 when one does not hold; the line then\n"
            "names the damaged tensor, where that can be told.\n"
            "\n"
            "example: graft verify demo/runs/two-phase\n",
};
