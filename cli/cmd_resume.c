#include "cli/train.h"
#include "core/mem.h"

static bool run(gf_args *a, gf_err *e) {
    gf_recipe r = {0};
    char *path = gf_io_join(a->words[0], "recipe.json", e);
    bool ok = path != NULL;
    if (ok && !gf_io_exists(path))
        ok = gf_fail(
            e, GF_E_MODEL,
            "%s: it is no run folder: it holds no recipe.json; give the folder of a training run",
            a->words[0]);
    a->output = a->words[0]; /* also when the folder was moved since */
    ok = ok && gf_cli_read_recipe(&r, a, path, e) && gf_cli_train(&r, a, true, e);
    gf_recipe_free(&r);
    gf_free(path);
    return ok;
}

const gf_command gf_cmd_resume = {
    .name = "resume",
    .summary = "go on with an interrupted run",
    .options = "--at --force --threads --pin --profile --quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft resume RUN [options]\n"
            "\n"
            "Goes on from the newest checkpoint of a run folder whose digest holds, and says\n"
            "which it skipped and why. The run ends as it would have without the\n"
            "interruption. A run whose recipe, data or base model has changed since it began\n"
            "is refused.\n"
            "\n"
            "  --at STEP      from the checkpoint of this step instead\n"
            "  --force        go on although something has changed\n"
            "  --threads N    default: a processor of each core; results do not depend on it\n"
            "  --pin          keep each thread on one processor\n"
            "  --profile      where the time went, as graft train does\n"
            "  --quiet        errors only\n"
            "\n"
            "example: graft resume runs/demo\n",
};
